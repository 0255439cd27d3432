//! What is asked for, by dnsperf or by clients of our own, and what comes of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use dns::wire::{Name, Type};

use super::crowd::Crowd;
use super::servers::{Server, Spent};

/// Where the Services are.
pub(super) const NAMESPACE: &str = "load";
/// Queries a second while latency is measured: few enough that nobody waits for another.
pub(super) const CALM: u32 = 5_000;
/// How many queries wait for their answers at a time: about as many as a socket's buffer takes by default.
const OUTSTANDING: &str = "200";
/// The core of the load.
const CORE: &str = "1";
/// Seconds of the calm load.
const CALM_SECONDS: u32 = 1;

/// Where the names are that a server has to ask another one for.
pub(super) const OUTSIDE: &str = "example.org";
/// How many of them there are.
pub(super) const OUTSIDE_NAMES: u32 = 1000;

/// Names of one kind.
pub(super) struct Names {
    what: &'static str,
    rcode: (&'static str, u8),
    file: PathBuf,
    names: Vec<Name>,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    /// dnsperf, from eight sockets, as fast as it can, and then slowly.
    Dnsperf,
    /// Clients of our own.
    Crowd(Crowd),
}

/// As many clients as queries: no two answers have the same way.
pub(super) const SINGLES: Asker = Asker::Crowd(Crowd { clients: 200, kinds: &[Type::A] });
/// As a C library asks.
pub(super) const PAIRS: Asker = Asker::Crowd(Crowd { clients: 100, kinds: &[Type::A, Type::AAAA] });

/// What one server did in one round.
pub(super) struct Sample {
    /// Answers a second.
    pub(super) rate: f64,
    /// The share of the time in which the server ran.
    pub(super) busy: f64,
    /// Seconds of processor time for a query, and how much of them was not the kernel's.
    pub(super) cost: f64,
    pub(super) own: f64,
    /// Of dnsperf's calm load.
    pub(super) latencies: Vec<Duration>,
}

/// Answers the name of a Service.
pub(super) fn service_name(number: u32) -> String {
    format!("s{number}.{NAMESPACE}.svc.cluster.local")
}

/// Answers a name outside of the cluster.
pub(super) fn outside_name(number: u32) -> String {
    format!("w{number}.{OUTSIDE}")
}

impl Names {
    /// Names of Services, in no order.
    pub(super) fn services(file: &Path, services: u32) -> Result<Self> {
        Self::write(file, ("Services' names", ("NOERROR", 0)), services, service_name)
    }

    /// What a pod's C library asks first, where its resolv.conf has `ndots:5`: names with the first search domain behind them.
    pub(super) fn searches(file: &Path, services: u32) -> Result<Self> {
        Self::write(file, ("search paths", ("NXDOMAIN", 3)), services, |number| {
            let name = match number % 2 {
                0 => service_name(number),
                _ => format!("www{number}.example.org"),
            };
            format!("{name}.{NAMESPACE}.svc.cluster.local")
        })
    }

    /// Names that another server knows, and a cache after the first time.
    pub(super) fn outside(file: &Path) -> Result<Self> {
        Self::write(file, ("names outside, cached", ("NOERROR", 0)), OUTSIDE_NAMES, outside_name)
    }

    fn write(
        file: &Path,
        (what, rcode): (&'static str, (&'static str, u8)),
        count: u32,
        name: impl Fn(u32) -> String,
    ) -> Result<Self> {
        let mut text = String::new();
        let mut names = Vec::new();
        for at in 0..u64::from(count) {
            // A prime: every number comes once, far from the one before.
            let name = name((at * 7919 % u64::from(count)) as u32);
            writeln!(text, "{name} A")?;
            names.push(name.parse().map_err(|error| anyhow::anyhow!("{name}: {error}"))?);
        }
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
        Ok(Self { what, rcode, file: file.to_owned(), names })
    }

    /// Answers what is asked for, by whom.
    pub(super) fn title(&self, asker: Asker) -> String {
        let count = self.names.len();
        match asker {
            Asker::Dnsperf => format!("{count} {}, A, asked for by dnsperf", self.what),
            Asker::Crowd(crowd) => {
                let kinds: Vec<String> = crowd.kinds.iter().map(Type::to_string).collect();
                format!(
                    "{count} {}, {} clients that each ask for {} at a time",
                    self.what,
                    crowd.clients,
                    kinds.join(" and ")
                )
            }
        }
    }

    /// Has a server answer as much as it can; and then little, where dnsperf asks.
    pub(super) fn ask(&self, server: &Server, asker: Asker, seconds: u32) -> Result<Sample> {
        let before = server.spent()?;
        let (completed, rate) = match asker {
            Asker::Dnsperf => self.ask_by_dnsperf(server, seconds)?,
            Asker::Crowd(crowd) => {
                let rcode = (!server.echoes).then_some(self.rcode.1);
                let time = Duration::from_secs(seconds.into());
                let seen = crowd.ask(server.address, &self.names, (rcode, time))?;
                ensure!(seen.wrong == 0, "other answers than {}: {seen:?}", self.rcode.0);
                (seen.answers as f64, seen.answers as f64 / seen.time.as_secs_f64())
            }
        };
        let after = server.spent()?;
        let spent = Spent { all: after.all - before.all, own: after.own - before.own };
        let latencies = match asker {
            Asker::Dnsperf => {
                let calm = CALM.to_string();
                latencies(&self.dnsperf(server, CALM_SECONDS, &["-q", "100", "-v", "-Q", &calm])?)
            }
            Asker::Crowd(_) => Vec::new(),
        };
        Ok(Sample {
            rate,
            busy: spent.all / completed * rate,
            cost: spent.all / completed,
            own: spent.own / completed,
            latencies,
        })
    }

    /// Answers how many queries were answered, and how many in a second.
    fn ask_by_dnsperf(&self, server: &Server, seconds: u32) -> Result<(f64, f64)> {
        let said = self.dnsperf(server, seconds, &["-q", OUTSTANDING])?;
        let rcode = if server.echoes { "NOERROR" } else { self.rcode.0 };
        let codes = said.lines().find(|line| line.contains("Response codes:")).unwrap_or_default();
        ensure!(codes.contains(rcode) && codes.contains("(100.00%)"), "other answers than {rcode}: {codes}");
        Ok((field(&said, "Queries completed:")?, field(&said, "Queries per second:")?))
    }

    fn dnsperf(&self, server: &Server, seconds: u32, words: &[&str]) -> Result<String> {
        let mut command = Command::new("taskset");
        command.args(["-c", CORE, "dnsperf", "-s", "127.0.0.1", "-p", &server.address.port().to_string()]);
        command
            .arg("-d")
            .arg(&self.file)
            .args(["-l", &seconds.to_string(), "-c", "8", "-T", "1"])
            .args(words);
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("dnsperf")?;
        ensure!(output.status.success(), "dnsperf ended with {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// The number after a word.
fn field(said: &str, word: &str) -> Result<f64> {
    let line = said.lines().find_map(|line| line.trim().strip_prefix(word));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("dnsperf says nothing of {word:?}"))
}

/// Of lines such as `> NOERROR s1.load.svc.cluster.local A 0.000103`.
fn latencies(said: &str) -> Vec<Duration> {
    let lines = said.lines().filter_map(|line| line.strip_prefix("> "));
    let seconds = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok());
    seconds.filter(|seconds: &f64| *seconds >= 0.0).map(Duration::from_secs_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dnsperf_is_understood() {
        let said = "> NOERROR h0.example.org A 0.004013\n> T h1.example.org A\n> NXDOMAIN h2.example.org A 0.000155\n\
                    Statistics:\n\n  Queries completed:    100 (100.00%)\n  Queries per second:   99.973707\n";
        assert_eq!(latencies(said), [Duration::from_micros(4013), Duration::from_micros(155)]);
        assert_eq!(field(said, "Queries completed:").unwrap(), 100.0);
        assert_eq!(field(said, "Queries per second:").unwrap(), 99.973_707);
        assert!(field(said, "Queries lost:").is_err());
    }
}
