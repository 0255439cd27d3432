//! Durable writes: through HTTP, by the store alone, by etcd, and what the disk takes for one of that size.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::client::{Asked, Client, Target};
use super::etcd::{self, Etcd};
use super::load::{self, CONFIG_MAPS, LEASES};
use crate::bench::figures::{ms, percentile};
use crate::bench::store;

/// Writers at the same time, and how many writes all of them together do.
const WRITERS: [(u32, u32); 3] = [(1, 400), (16, 6_400), (64, 12_800)];

/// How long each write took, and all of them together.
struct Taken {
    times: Vec<Duration>,
    all: Duration,
}

/// What is written.
#[derive(Debug, Clone, Copy)]
enum Work {
    ConfigMap,
    Lease,
    Put,
}

/// Measures all of them in turn.
pub(super) async fn run(target: &Target, folder: &std::path::Path) -> Result<()> {
    let size = load::config_map("c0-00000").len();
    let floor = store::floor(&folder.join("floor"))?;
    println!(
        "durable writes of {size} bytes; one fsync of the disk takes {}",
        ms(Duration::from_secs_f64(floor))
    );
    let alone = ::store::Store::open(&folder.join("alone"), ::store::Window::default())?;
    let etcd = Etcd::start(folder).await?;
    for (writers, count) in WRITERS {
        println!("  {writers} writer{}", if writers == 1 { "" } else { "s" });
        let maps = together(target, Work::ConfigMap, (writers, count)).await?;
        let leases = together(target, Work::Lease, (writers, count)).await?;
        let begin = Instant::now();
        let times = store::writes(&alone, writers, count).await?;
        let ours = Taken { times, all: begin.elapsed() };
        let theirs = together(&etcd.target, Work::Put, (writers, count)).await?;
        let rate = ours.rate();
        for (what, mut taken) in [
            ("ConfigMaps created over HTTPS", maps),
            ("Leases updated over HTTPS", leases),
            ("the store alone", ours),
            ("etcd, gRPC without TLS", theirs),
        ] {
            println!(
                "    {what:<30}  {:>7.0}/s   {:.2} of the store's   p50 {:>8}   p99 {:>8}",
                taken.rate(),
                taken.rate() / rate,
                ms(percentile(&mut taken.times, 0.5)),
                ms(percentile(&mut taken.times, 0.99)),
            );
        }
    }
    Ok(())
}

impl Taken {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.all.as_secs_f64()
    }
}

/// Each writer has a connection.
async fn together(target: &Target, work: Work, (writers, count): (u32, u32)) -> Result<Taken> {
    let mut clients = Vec::new();
    for _ in 0..writers {
        clients.push(Client::connect(target).await?);
    }
    let mut leases = Vec::new();
    for (writer, client) in clients.iter_mut().enumerate() {
        if let Work::Lease = work {
            leases.push(first_lease(client, &format!("l{writers}-{writer}")).await?);
        }
    }
    leases.resize(clients.len(), String::new());
    let mut tasks = JoinSet::new();
    let begin = Instant::now();
    for ((writer, client), lease) in clients.into_iter().enumerate().zip(leases) {
        let share = count / writers;
        tasks.spawn(match work {
            Work::ConfigMap => tokio::spawn(config_maps(client, format!("c{writers}-{writer}"), share)),
            Work::Lease => tokio::spawn(renewals(client, (format!("l{writers}-{writer}"), lease), share)),
            Work::Put => tokio::spawn(puts(client, format!("p{writers}-{writer}"), share)),
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended???);
    }
    Ok(Taken { times, all: begin.elapsed() })
}

async fn config_maps(mut client: Client, prefix: String, count: u32) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..count {
        let body = load::config_map(&format!("{prefix}-{number}"));
        let begin = Instant::now();
        client.ask(Asked::json("POST", CONFIG_MAPS, body)).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

async fn puts(mut client: Client, prefix: String, count: u32) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in 0..count {
        let name = format!("{prefix}-{number}");
        let body = load::config_map(&name);
        let begin = Instant::now();
        etcd::put(&mut client, &format!("/registry/configmaps/load/{name}"), body.as_bytes()).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// Makes a Lease and answers its revision.
pub(super) async fn first_lease(client: &mut Client, name: &str) -> Result<String> {
    let made = client.ask(Asked::json("POST", LEASES, load::lease(name).to_string())).await?;
    revision(&made)
}

/// Renews a Lease, of which the last revision is known, again and again.
pub(super) async fn renewals(
    mut client: Client,
    (name, mut last): (String, String),
    count: u32,
) -> Result<Vec<Duration>> {
    let (mut times, path) = (Vec::new(), format!("{LEASES}/{name}"));
    for number in 0..count {
        let mut lease = load::lease(&name);
        lease["metadata"]["resourceVersion"] = last.into();
        let (seconds, minutes) = (number % 60, number / 60 % 60);
        lease["spec"]["renewTime"] = format!("2026-11-25T11:{minutes:02}:{seconds:02}.000000Z").into();
        let body = lease.to_string();
        let begin = Instant::now();
        let answer = client.ask(Asked::json("PUT", &path, body)).await?;
        times.push(begin.elapsed());
        last = revision(&answer)?;
    }
    Ok(times)
}

fn revision(object: &[u8]) -> Result<String> {
    let object: serde_json::Value = serde_json::from_slice(object)?;
    Ok(object["metadata"]["resourceVersion"].as_str().context("an object has a revision")?.to_owned())
}
