//! `signalbox up`: how soon there is a cluster, how soon a Service balances, how soon a deleted pod has a successor that is
//! asked; and the memory of it all. The floor is a network namespace with a process in it that is connected to.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use sys::netns::Namespace;
use testkit::traffic::get;
use testkit::up::Up;

use super::figures::{ms, percentile, resident};
use crate::demo::stage::Stage;
use crate::sweep::Sweep;

/// How often each is measured.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Rounds {
    /// Clusters, and pods that are deleted
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Nodes of a cluster
    #[arg(long, default_value_t = 2)]
    nodes: u32,
}

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the benchmark.
pub(super) fn run(rounds: Rounds) -> Result<()> {
    let root = crate::root()?;
    let binary = crate::conformance::build_product(root)?;
    let sweep = Sweep::begin("bench-up", false)?;
    let data = sweep.folder().join("data");
    sweep.take_down(&binary, &data);
    let nodes = format!("--nodes={}", rounds.nodes);
    let words = ["--isolated", "--listen=127.0.0.1:0", nodes.as_str()];
    let (mut ready, mut balances, mut replaced, mut floor) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds.rounds {
        let mut up = Up::new(&binary, &data, &words, None);
        ready.push(up.start()?);
        let stage = Stage::new(&up)?;
        let node = up.node("node-1").context("node-1 has no network namespace")?;
        let begin = Instant::now();
        stage.apply(&root.join("demo/backend.yaml"))?;
        let service = stage.service()?;
        until_answered(&node, service)?;
        balances.push(begin.elapsed());
        stage.ready_pods("backend", 3)?;
        replaced.push(replace(&stage)?);
        floor.push(bare(&binary, &format!("{}-{round}", sweep.run()))?);
        if round + 1 == rounds.rounds {
            println!(
                "resident memory with {} nodes and 3 pods, besides the pods  {:.0} MiB",
                rounds.nodes,
                memory(&up)?
            );
        }
        up.down()?;
    }
    println!("medians of {} rounds, {} nodes", rounds.rounds, rounds.nodes);
    println!("start until it is ready                              {}", ms(percentile(&mut ready, 0.5)));
    println!("Deployment and Service made, until the first answer  {}", ms(percentile(&mut balances, 0.5)));
    println!("pod deleted, until its successor is in the slice     {}", ms(percentile(&mut replaced, 0.5)));
    println!("floor: a namespace, a process in it, an answer       {}", ms(percentile(&mut floor, 0.5)));
    Ok(())
}

fn until_answered(from: &Namespace, service: SocketAddr) -> Result<()> {
    let begin = Instant::now();
    let asked = from.run(|| {
        while get(service, "/name", Duration::from_millis(200)).code != Some(200) {
            if begin.elapsed() > PATIENCE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    });
    if asked.map_err(|error| anyhow!("failed to {error}"))? {
        Ok(())
    } else {
        bail!("{service} does not answer")
    }
}

/// Deletes a pod and waits until another is in the slice.
fn replace(stage: &Stage) -> Result<Duration> {
    let before = stage.pods("backend")?;
    let begin = Instant::now();
    stage.delete_pod(&before.first().context("there is no backend")?.name)?;
    stage.until("a successor", || {
        let is_new = |pod: &str| before.iter().all(|known| known.name != pod);
        Ok(stage.endpoints()?.iter().any(|one| one.is_ready && is_new(&one.pod)).then_some(()))
    })?;
    Ok(begin.elapsed())
}

/// What cannot be faster: a namespace, the same server in it, and an answer.
fn bare(binary: &std::path::Path, run: &str) -> Result<Duration> {
    let begin = Instant::now();
    let place = Namespace::create(&format!("{run}-bare")).map_err(|error| anyhow!("failed to {error}"))?;
    let up = place.run(|| sys::link::Links::open()?.set_up("lo")).and_then(|result| result);
    up.map_err(|error| anyhow!("failed to {error}"))?;
    let mut command: Command = place.command(binary);
    let mut server = command
        .args(["whoami", "--port=80", "--linger=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let answered = until_answered(&place, SocketAddr::from(([127, 0, 0, 1], 80)));
    let took = begin.elapsed();
    server.kill()?;
    server.wait()?;
    place.remove();
    answered.map(|()| took)
}

fn memory(up: &Up) -> Result<f64> {
    let number = up.process().context("it does not run")?;
    Ok(resident(&number.to_string()).0)
}
