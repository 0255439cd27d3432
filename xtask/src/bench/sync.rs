//! From objects in memory to rules in the kernel: everything at once, then one change at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use backend_nftables::NftablesBackend;
use model::Family;
use sys::nftables::{Batch, NftSocket, Nftables};
use sys::testing::in_new_network_namespace;

use super::Size;
use super::cluster::{Agent, Cluster, options};
use super::figures::{ms, percentile, resident};
use super::recorder::Recorder;

/// How often the full sync is measured: its best time is compared with the best of the floor.
const ROUNDS: usize = 5;

/// Runs the benchmark.
pub(super) fn run(size: Size) -> Result<()> {
    println!("{} Services x {} endpoints, nftables, IPv4", size.services, size.endpoints);
    sys::memory::use_one_heap();
    in_namespace(|| memory(size))?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(in_namespace(|| full_sync(size))?);
    }
    report_full(&times);
    let Times { mut changes, mut floors } = in_namespace(|| single_changes(size))?;
    println!("one endpoint replaced, {} times", changes.len());
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        let (ours, floor) = (percentile(&mut changes, share), percentile(&mut floors, share));
        println!("  {name}  {:>9}   the kernel's own time for the same batches {:>9}", ms(ours), ms(floor));
    }
    Ok(())
}

pub(super) fn in_namespace<T: Send>(function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    in_new_network_namespace(function).context("this process may not make network namespaces")?
}

impl Agent<Nft<NftSocket>> {
    /// Writes to the kernel of the calling thread's network namespace, and has written a cluster.
    pub(super) fn started(size: Size) -> Result<Self> {
        let mut agent = writing_to(kernel()?);
        let touched = agent.apply(Cluster::new(size).events());
        agent.decide(&touched);
        agent.sync()?;
        Ok(agent)
    }

    /// How long each of some changes takes, in seconds; each replaces one endpoint of another Service. Generations
    /// begin with `first`.
    pub(super) fn change_times(&mut self, size: Size, first: u32) -> Result<Vec<f64>> {
        let cluster = Cluster::new(size);
        let mut times = Vec::new();
        for change in 0..size.changes {
            let event = cluster.slice(change.wrapping_mul(7919) % size.services.max(1), first + change);
            let begin = Instant::now();
            let touched = self.apply([event]);
            self.decide(&touched);
            self.sync()?;
            times.push(begin.elapsed().as_secs_f64());
        }
        Ok(times)
    }
}

type Nft<N> = NftablesBackend<N>;

fn writing_to<N: Nftables>(nft: N) -> Agent<Nft<N>> {
    Agent::new(NftablesBackend::new(Family::V4, nft), options())
}

fn kernel() -> Result<NftSocket> {
    NftSocket::open().map_err(|error| anyhow!("failed to {error}"))
}

/// Resident memory of this process with nothing but the agent in it.
fn memory(size: Size) -> Result<()> {
    let (before, _) = resident("self");
    let mut agent = writing_to(kernel()?);
    let touched = agent.apply(Cluster::new(size).events());
    let (objects, _) = resident("self");
    agent.decide(&touched);
    drop(touched);
    agent.sync()?;
    sys::memory::give_back();
    let (after, most) = resident("self");
    println!(
        "resident memory: objects {:.1} MiB, and what is in the kernel {:.1} MiB",
        objects - before,
        after - objects
    );
    println!(
        "                 {after:.1} MiB in all, at most {most:.1} MiB (this program without anything: {before:.1} MiB)"
    );
    Ok(())
}

struct FullSync {
    decide: Duration,
    write: Duration,
    floor: Duration,
    batches: usize,
    bytes: usize,
}

fn full_sync(size: Size) -> Result<FullSync> {
    let mut agent = writing_to(kernel()?);
    let touched = agent.apply(Cluster::new(size).events());
    let begin = Instant::now();
    agent.decide(&touched);
    let decide = begin.elapsed();
    agent.sync()?;
    let write = begin.elapsed() - decide;
    drop(agent);

    // The same once more, with the batches kept, and then only the batches.
    let batches = in_namespace(|| {
        let recorder = Recorder::open().map_err(|error| anyhow!("failed to {error}"))?;
        let mut agent = writing_to(recorder);
        let touched = agent.apply(Cluster::new(size).events());
        agent.decide(&touched);
        agent.driver.backend_mut().kernel_mut().nft_mut().keep = true;
        agent.sync()?;
        Ok(agent.take_batches())
    })?;
    let (count, bytes) = (batches.len(), batches.iter().map(Batch::bytes).sum());
    let floor = in_namespace(move || {
        let mut nft = kernel()?;
        let mut floor = Duration::ZERO;
        for batch in batches {
            let begin = Instant::now();
            nft.commit(batch).map_err(|error| anyhow!("failed to {error}"))?;
            floor += begin.elapsed();
        }
        Ok(floor)
    })?;
    Ok(FullSync { decide, write, floor, batches: count, bytes })
}

fn report_full(times: &[FullSync]) {
    let ours = |time: &FullSync| time.decide + time.write;
    let best = |of: &dyn Fn(&FullSync) -> Duration| times.iter().map(of).min().unwrap_or_default();
    let (full, floor) = (best(&ours), best(&|time| time.floor));
    let mut all: Vec<Duration> = times.iter().map(ours).collect();
    println!("full sync into an empty kernel, from objects in memory, {} times", times.len());
    println!("  best {:>9}   median {:>9}", ms(full), ms(percentile(&mut all, 0.5)));
    println!(
        "  of it deciding and compiling {:>9}, the rest is the transaction",
        ms(best(&|time| time.decide))
    );
    if let Some(time) = times.first() {
        println!(
            "  the kernel's own time for the same {} batches ({:.1} MB) {:>9}   ratio {:.2}",
            time.batches,
            time.bytes as f64 / 1e6,
            ms(floor),
            full.as_secs_f64() / floor.as_secs_f64()
        );
    }
}

struct Times {
    changes: Vec<Duration>,
    floors: Vec<Duration>,
}

/// Each change replaces one endpoint of another Service.
fn single_changes(size: Size) -> Result<Times> {
    let cluster = Cluster::new(size);
    let mut recorder = Recorder::open().map_err(|error| anyhow!("failed to {error}"))?;
    recorder.keep = true;
    let mut agent = writing_to(recorder);
    let touched = agent.apply(cluster.events());
    agent.decide(&touched);
    agent.sync()?;
    let first = agent.take_batches();
    let mut changes = Vec::new();
    let mut batches = Vec::new();
    for change in 0..size.changes {
        let event = cluster.slice(change.wrapping_mul(7919) % size.services.max(1), 1 + change);
        let begin = Instant::now();
        let touched = agent.apply([event]);
        agent.decide(&touched);
        agent.sync()?;
        changes.push(begin.elapsed());
        batches.push(agent.take_batches());
    }
    drop(agent);
    // The same batches in the same order in a new kernel table, with nobody computing them.
    let floors = in_namespace(move || {
        let mut nft = kernel()?;
        let mut replay = |batches: Vec<Batch>| {
            let begin = Instant::now();
            for batch in batches {
                nft.commit(batch).map_err(|error| anyhow!("failed to {error}"))?;
            }
            Ok(begin.elapsed())
        };
        replay(first)?;
        batches.into_iter().map(replay).collect::<Result<Vec<Duration>>>()
    })?;
    Ok(Times { changes, floors })
}

impl Agent<Nft<Recorder>> {
    fn take_batches(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.driver.backend_mut().kernel_mut().nft_mut().batches)
    }
}
