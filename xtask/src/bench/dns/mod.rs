//! Cluster DNS: queries a second, latency and processor time on one core, for names of Services and for names that a search
//! path makes up; beside a plain UDP echo as the floor, and Debian's unbound and knot with the same names.
//!
//! The load is dnsperf on the other core. Where that is what limits, a server is not busy all the time, and only its
//! processor time for each query says what it can do; clients of our own cost less, and have the server limit.

mod crowd;
mod load;
mod servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use serde_json::{Value, json};
use testkit::answers::{Access, Call, Client, OwnServer};

use super::figures::{median, percentile};
use load::{Asker, Names, PAIRS, SINGLES, Sample};
use servers::Server;

/// How many names, and how long.
#[derive(Debug, Clone, Args)]
pub(crate) struct Size {
    /// Services
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Rounds, in each of which every server is asked in turn
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Seconds of the highest load, for each server and round
    #[arg(long, default_value_t = 2)]
    seconds: u32,
    /// A binary to measure instead of this checkout's
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// How many requests fill the API server at a time.
const FILLERS: u32 = 32;

/// Runs the benchmark, in a folder that goes afterwards.
pub(super) fn run(size: &Size) -> Result<()> {
    crate::tools::require_dns_peers()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ensure!(cores > 1, "a server and its load need a core each");
    let binary = match &size.binary {
        Some(binary) => binary.clone(),
        None => crate::conformance::build_product(crate::root()?)?,
    };
    let folder = std::env::temp_dir().join(format!("signalbox-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let result = measure(size, &binary, &folder);
    // A leftover folder in /tmp harms nobody.
    drop(std::fs::remove_dir_all(&folder));
    result
}

fn measure(size: &Size, binary: &Path, folder: &Path) -> Result<()> {
    let api = OwnServer::start(binary, &folder.join("data"), &[]).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let addresses = runtime.block_on(fill(api.access(), size.services))?;
    let known = Names::services(&folder.join("known"), size.services)?;
    let unknown = Names::searches(&folder.join("unknown"), size.services)?;
    let outside = Names::outside(&folder.join("outside"))?;
    let knot = servers::knot(folder, &addresses)?;
    let caching = [
        servers::signalbox_in_front(folder, (binary, &api.kubeconfig()), knot.address)?,
        servers::unbound_in_front(folder, knot.address)?,
    ];
    let servers = [
        servers::echo()?,
        servers::signalbox(binary, &api.kubeconfig())?,
        servers::unbound(folder, &addresses)?,
        knot,
    ];
    for server in &servers[1..] {
        server.wait_for(&load::service_name(size.services - 1))?;
    }
    for server in &caching {
        (0..load::OUTSIDE_NAMES).try_for_each(|number| server.wait_for(&load::outside_name(number)))?;
    }
    println!(
        "medians of {} rounds of {} s, everybody in turn on one core, the load on another; factors are medians of those of the rounds",
        size.rounds, size.seconds
    );
    let all: Vec<&Server> = servers.iter().collect();
    for asker in [Asker::Dnsperf, SINGLES, PAIRS] {
        compare(size, (&known, asker), &all)?;
    }
    compare(size, (&unknown, Asker::Dnsperf), &all)?;
    let caching = [&servers[0], &caching[0], &caching[1]];
    for asker in [Asker::Dnsperf, SINGLES] {
        compare(size, (&outside, asker), &caching)?;
    }
    Ok(())
}

/// Asks everybody in turn and prints what came of it.
fn compare(size: &Size, (names, asker): (&Names, Asker), servers: &[&Server]) -> Result<()> {
    println!("{}", names.title(asker));
    let mut taken: Vec<Vec<Sample>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..size.rounds {
        for (server, samples) in servers.iter().zip(&mut taken) {
            samples.push(names.ask(server, asker, size.seconds).with_context(|| server.name.to_owned())?);
        }
    }
    let rows: Vec<Row> = servers.iter().zip(taken).map(|(server, taken)| Row::of(server, taken)).collect();
    rows.iter().for_each(|row| row.print(&rows));
    Ok(())
}

/// What is known of a server after all rounds.
struct Row {
    name: &'static str,
    samples: Vec<Sample>,
    half: Duration,
    most: Duration,
}

impl Row {
    fn of(server: &Server, samples: Vec<Sample>) -> Self {
        let mut latencies: Vec<Duration> =
            samples.iter().flat_map(|sample| &sample.latencies).copied().collect();
        let half = percentile(&mut latencies, 0.5);
        let most = percentile(&mut latencies, 0.99);
        Self { name: server.name, samples, half, most }
    }

    fn middle(&self, value: fn(&Sample) -> f64) -> f64 {
        median(&mut self.samples.iter().map(value).collect::<Vec<_>>())
    }

    /// The middle one of what a value is here against there, round by round.
    fn against(&self, other: &Self, value: fn(&Sample) -> f64) -> f64 {
        let both = self.samples.iter().zip(&other.samples);
        median(&mut both.map(|(own, other)| value(own) / value(other)).collect::<Vec<_>>())
    }

    fn print(&self, all: &[Self]) {
        print!(
            "  {:<9}  {:>7.0}/s  busy {:>3.0} %  {:.2} us of a core each ({:.2} outside of the kernel)",
            self.name,
            self.middle(|sample| sample.rate),
            self.middle(|sample| sample.busy) * 100.0,
            self.middle(|sample| sample.cost) * 1e6,
            self.middle(|sample| sample.own) * 1e6,
        );
        if !self.half.is_zero() {
            let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
            print!("  at {}/s p50 {:.0} us p99 {:.0} us", load::CALM, micros(self.half), micros(self.most));
        }
        for other in all.iter().filter(|other| other.name != self.name) {
            print!(
                "  x {}: {:.2} ({:.2} by core time)",
                other.name,
                self.against(other, |sample| sample.rate),
                other.against(self, |sample| sample.cost),
            );
        }
        println!();
    }
}

/// Makes the Services; answers their addresses.
async fn fill(access: &Access, services: u32) -> Result<Vec<String>> {
    let namespace = json!({"metadata": {"name": load::NAMESPACE}});
    post(&mut Client::new(access), "/api/v1/namespaces", &namespace).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for filler in 0..FILLERS {
        let mut client = Client::new(access);
        tasks.spawn(async move {
            let mut made = Vec::new();
            for number in (filler..services).step_by(FILLERS as usize) {
                let service = json!({"metadata": {"name": format!("s{number}")},
                                     "spec": {"ports": [{"name": "http", "port": 80}]}});
                let path = format!("/api/v1/namespaces/{}/services", load::NAMESPACE);
                let answer = post(&mut client, &path, &service).await?;
                let address = answer["spec"]["clusterIP"].as_str().context("a ClusterIP")?.to_owned();
                made.push((number, address));
            }
            anyhow::Ok(made)
        });
    }
    let mut all = Vec::new();
    while let Some(made) = tasks.join_next().await {
        all.extend(made??);
    }
    all.sort_unstable();
    Ok(all.into_iter().map(|(_, address)| address).collect())
}

async fn post(client: &mut Client, path: &str, object: &Value) -> Result<Value> {
    let answer = client.call(&Call::json(http::Method::POST, path, object)).await?;
    ensure!(answer.code < 300, anyhow!("{path}: {}", answer.json()));
    Ok(answer.json())
}
