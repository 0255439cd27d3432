//! What dnsperf is given to ask, and what comes of it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::servers::{Server, Spent};

/// Where the Services are.
pub(super) const NAMESPACE: &str = "load";
/// Queries a second while latency is measured: few enough that nobody waits for another.
pub(super) const CALM: u32 = 5_000;
/// How many queries wait for their answers at a time: about as many as a socket's buffer takes by default.
const OUTSTANDING: &str = "200";
/// The core of the load.
const CORE: &str = "0";
/// Seconds of the calm load.
const CALM_SECONDS: u32 = 1;

/// Queries of one kind.
pub(super) struct Load {
    pub(super) what: &'static str,
    rcode: &'static str,
    file: PathBuf,
}

/// What one server did in one round.
pub(super) struct Sample {
    /// Answers a second.
    pub(super) rate: f64,
    /// The share of the time in which the server ran.
    pub(super) busy: f64,
    /// Seconds of processor time for a query, and how much of them was not the kernel's.
    pub(super) cost: f64,
    pub(super) own: f64,
    /// Of the calm load.
    pub(super) latencies: Vec<Duration>,
}

/// Answers the name of a Service.
pub(super) fn service_name(number: u32) -> String {
    format!("s{number}.{NAMESPACE}.svc.cluster.local")
}

impl Load {
    /// Names of Services, in no order.
    pub(super) fn services(file: &Path, services: u32) -> Result<Self> {
        Self::write(file, ("A of Services' names", "NOERROR"), services, service_name)
    }

    /// What a pod's C library asks first, where its resolv.conf has `ndots:5`: names with the first search domain behind them.
    pub(super) fn searches(file: &Path, services: u32) -> Result<Self> {
        Self::write(file, ("NXDOMAIN of search paths", "NXDOMAIN"), services, |number| {
            let name = match number % 2 {
                0 => service_name(number),
                _ => format!("www{number}.example.org"),
            };
            format!("{name}.{NAMESPACE}.svc.cluster.local")
        })
    }

    fn write(
        file: &Path,
        (what, rcode): (&'static str, &'static str),
        count: u32,
        name: impl Fn(u32) -> String,
    ) -> Result<Self> {
        let mut text = String::new();
        for at in 0..u64::from(count) {
            // A prime: every number comes once, far from the one before.
            writeln!(text, "{} A", name((at * 7919 % u64::from(count)) as u32))?;
        }
        std::fs::write(file, text).with_context(|| file.display().to_string())?;
        Ok(Self { what, rcode, file: file.to_owned() })
    }

    /// Has a server answer as much as it can, and then little.
    pub(super) fn ask(&self, server: &Server, seconds: u32) -> Result<Sample> {
        let before = server.spent()?;
        let said = self.dnsperf(server, seconds, &["-q", OUTSTANDING])?;
        let after = server.spent()?;
        let completed = field(&said, "Queries completed:")?;
        let spent = Spent { all: after.all - before.all, own: after.own - before.own };
        let rcode = if server.echoes { "NOERROR" } else { self.rcode };
        let codes = said.lines().find(|line| line.contains("Response codes:")).unwrap_or_default();
        ensure!(codes.contains(rcode) && codes.contains("(100.00%)"), "other answers than {rcode}: {codes}");
        let calm = CALM.to_string();
        let calm = self.dnsperf(server, CALM_SECONDS, &["-q", "100", "-v", "-Q", &calm])?;
        let rate = field(&said, "Queries per second:")?;
        Ok(Sample {
            rate,
            busy: spent.all / completed * rate,
            cost: spent.all / completed,
            own: spent.own / completed,
            latencies: latencies(&calm),
        })
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
