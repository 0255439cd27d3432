//! Durable writes: through HTTP, by the store alone, by etcd, and what the disk takes for one of that size.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::client::{Asked, Client, Target};
use super::etcd::{self, Etcd};
use super::load::{self, CONFIG_MAPS, LEASES};
use crate::bench::figures::{median, ms, percentile};
use crate::bench::store;

/// Writers at the same time, and how many writes all of them together do in a round.
const WRITERS: [(u32, u32); 3] = [(1, 150), (16, 2_400), (64, 6_400)];
/// Everything is measured in turn so many times: the disk may be busy with other things.
const ROUNDS: usize = 5;

/// How often the disk alone is asked in a round.
const FLOOR: u32 = 50;

/// How long each write took, and how many there were in a second of each round.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    rates: Vec<f64>,
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
    let size = load::config_map("c0-0-00000").len();
    let alone = ::store::Store::open(&folder.join("alone"), ::store::Window::default())?;
    let etcd = Etcd::start(folder).await?;
    println!("durable writes of {size} bytes, medians of {ROUNDS} rounds in turn");
    for (writers, count) in WRITERS {
        let mut floors = Vec::new();
        let [mut maps, mut leases, mut ours, mut theirs] = [(); 4].map(|()| Taken::default());
        for round in 0..ROUNDS {
            floors.push(store::floor(&folder.join("floor"), FLOOR)?);
            maps.add(together(target, (Work::ConfigMap, round), (writers, count))).await?;
            leases.add(together(target, (Work::Lease, round), (writers, count))).await?;
            ours.add(store::writes(&alone, writers, count)).await?;
            theirs.add(together(&etcd.target, (Work::Put, round), (writers, count))).await?;
        }
        let floor = Duration::from_secs_f64(median(&mut floors));
        println!("  {writers} at the same time; one fsync of the disk {}", ms(floor));
        let rate = median(&mut ours.rates);
        for (what, mut taken) in [
            ("ConfigMaps created over HTTPS", maps),
            ("Leases updated over HTTPS", leases),
            ("the store alone", ours),
            ("etcd, gRPC without TLS", theirs),
        ] {
            let half = percentile(&mut taken.times, 0.5);
            println!(
                "    {what:<30}  {:>6.0}/s   {:.2} of the store's   p50 {:>8} ({:.1} fsyncs)   p99 {:>8}",
                median(&mut taken.rates),
                median(&mut taken.rates) / rate,
                ms(half),
                half.as_secs_f64() / floor.as_secs_f64(),
                ms(percentile(&mut taken.times, 0.99)),
            );
        }
    }
    Ok(())
}

impl Taken {
    /// Runs a round.
    async fn add(&mut self, round: impl Future<Output = Result<Vec<Duration>>>) -> Result<()> {
        let begin = Instant::now();
        let times = round.await?;
        self.rates.push(times.len() as f64 / begin.elapsed().as_secs_f64());
        self.times.extend(times);
        Ok(())
    }
}

/// Each writer has a connection.
async fn together(
    target: &Target,
    (work, round): (Work, usize),
    (writers, count): (u32, u32),
) -> Result<Vec<Duration>> {
    let mut clients = Vec::new();
    for _ in 0..writers {
        clients.push(Client::connect(target).await?);
    }
    let mut leases = Vec::new();
    for (writer, client) in clients.iter_mut().enumerate() {
        if let Work::Lease = work {
            leases.push(first_lease(client, &format!("l{round}-{writers}-{writer}")).await?);
        }
    }
    leases.resize(clients.len(), String::new());
    let mut tasks = JoinSet::new();
    for ((writer, client), lease) in clients.into_iter().enumerate().zip(leases) {
        let share = count / writers;
        tasks.spawn(match work {
            Work::ConfigMap => {
                tokio::spawn(config_maps(client, format!("c{round}-{writers}-{writer}"), share))
            }
            Work::Lease => {
                tokio::spawn(renewals(client, (format!("l{round}-{writers}-{writer}"), lease), share))
            }
            Work::Put => tokio::spawn(puts(client, format!("p{round}-{writers}-{writer}"), share)),
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended???);
    }
    Ok(times)
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
