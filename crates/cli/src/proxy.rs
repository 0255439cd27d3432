//! `signalbox proxy`: a source, the agent, and the signals that end them.
//!
//! The agent has a thread of its own, so that a long write to the kernel keeps nobody from reading the watch.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::thread;

use ::watch::{ApiConfig, Progress};
use agent::{Agent, Event, FlowSweeper, Kernel, KernelWatch, Threads, apply_settings, open_kernel};
use anyhow::{Context, anyhow, bail};
use desired::Options;
use health::{Snapshot, serve_health, serve_health_ports, serve_status};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::config;
use crate::flags::{self, ProxyFlags};

/// How many events wait for the agent before the source waits for it.
const QUEUE: usize = 4096;

/// Runs until a signal ends it. The rules stay in the kernel.
///
/// `given` are the flags that stand on the command line.
pub(crate) fn run(mut flags: ProxyFlags, given: &[String]) -> anyhow::Result<()> {
    sys::memory::use_one_heap();
    let warnings = configure(&mut flags, given)?;
    telemetry::start_log(flags.verbosity, std::env::var("SIGNALBOX_LOG").ok().as_deref());
    for (field, reason) in warnings.iter().filter_map(|warning| warning.split_once(": ")) {
        warn!(field, reason, "the configuration has something that means nothing here");
    }
    let flags = &flags;
    let host_name = host_name();
    let mut options = flags::options(flags, &host_name).map_err(|mistakes| list(&mistakes))?;
    options.fallback_addresses = default_route_addresses();
    let source = source(flags, &options)?;
    // First of all what cannot be waited for: without the kernel there is nothing to do.
    let kernel = open_kernel().map_err(|error| anyhow!("failed to {error}"))?;
    info!(version = env!("CARGO_PKG_VERSION"), node = %options.node_name, mode = "nftables", "starting");
    apply_settings(&flags.settings.settings());
    let (events, queue) = mpsc::channel(QUEUE);
    let (health, snapshots) = watch::channel(Snapshot::default());
    let agent = start_agent(options, kernel, (events.clone(), queue), health)?;
    let servers = servers(flags, snapshots);
    runtime()?.block_on(until_the_end(source, servers, (events, agent)))
}

/// Reads the configuration file, if there is one; answers what to warn about.
fn configure(flags: &mut ProxyFlags, given: &[String]) -> anyhow::Result<Vec<String>> {
    /// What counts beside a configuration file.
    const BESIDE: [&str; 5] = ["config", "hostname-override", "master", "manifests", "verbosity"];
    let Some(path) = flags.config.clone() else { return Ok(Vec::new()) };
    let typed = std::mem::replace(flags, flags::defaults());
    flags.hostname_override = typed.hostname_override;
    flags.master = typed.master;
    flags.manifests = typed.manifests;
    flags.verbosity = typed.verbosity;
    let mut warnings = config::read(&path, flags).map_err(|mistakes| list(&mistakes))?;
    let ignored = given.iter().filter(|flag| !BESIDE.contains(&flag.as_str()));
    warnings.extend(ignored.map(|flag| format!("--{flag}: counts for nothing beside --config")));
    if flags.manifests.is_some() {
        flags.kubeconfig = None;
    }
    Ok(warnings)
}

/// Where the objects come from.
enum Source {
    Manifests(std::path::PathBuf),
    Api(Box<ApiConfig>),
}

fn source(flags: &ProxyFlags, options: &Options) -> anyhow::Result<Source> {
    if let Some(directory) = &flags.manifests {
        return Ok(Source::Manifests(directory.clone()));
    }
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if flags.kubeconfig.is_none() && flags.master.is_none() && !in_cluster {
        bail!(
            "no source of Services: give --kubeconfig FILE for an API server or --manifests DIR for a directory \
             (inside a pod, its service account is used)"
        );
    }
    let (kubeconfig, master) = (flags.kubeconfig.clone(), flags.master.clone());
    Ok(Source::Api(Box::new(ApiConfig::new(kubeconfig, master, &options.node_name))))
}

fn start_agent(
    options: Options,
    kernel: Kernel,
    (events, queue): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    health: watch::Sender<Snapshot>,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let threads = Threads {
        kernel_watch: Some(KernelWatch::new(kernel.writers, events)),
        flow_sweeper: Some(FlowSweeper::start()),
        health: Some(health),
    };
    let agent = Agent::new(options, kernel.drivers, threads);
    let runtime = runtime()?;
    // Dropped when the thread ends, also by a panic.
    let (running, ended) = oneshot::channel();
    let run = move || {
        runtime.block_on(agent.run(queue));
        drop(running);
    };
    thread::Builder::new()
        .name("agent".to_owned())
        .spawn(run)
        .context("failed to start the agent's thread")?;
    Ok(ended)
}

async fn until_the_end(
    source: Source,
    servers: impl Future<Output = ()>,
    (events, mut agent): (mpsc::Sender<Event>, oneshot::Receiver<()>),
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let (sink, objects) = mpsc::channel(QUEUE);
    let source = async {
        match source {
            Source::Manifests(directory) => ::watch::run_manifests(directory, sink).await,
            Source::Api(config) => ::watch::run(*config, Progress::default(), sink).await,
        }
    };
    tokio::select! {
        ended = source => match ended {
            Ok(()) => bail!("the source of objects ended"),
            Err(error) => bail!("{error}"),
        },
        () = servers => bail!("the health ports are not served any more"),
        () = forward(objects, &events) => bail!("the agent does not take events any more"),
        _ = &mut agent => bail!("the agent ended unexpectedly"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Even with a full queue: the agent takes from it until it sees this.
    let _ = events.send(Event::Shutdown).await;
    let _ = agent.await;
    Ok(())
}

/// The ports that others ask; each is served, or tried again, for ever.
async fn servers(flags: &ProxyFlags, snapshots: watch::Receiver<Snapshot>) {
    let health = async {
        match flags.healthz_bind_address {
            Some(address) => serve_health(address, snapshots.clone()).await,
            None => std::future::pending().await,
        }
    };
    let status = async {
        match flags.metrics_bind_address {
            Some(address) => serve_status(address, "nftables").await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(health, status, serve_health_ports(snapshots.clone()));
}

async fn forward(mut objects: mpsc::Receiver<objects::Event>, events: &mpsc::Sender<Event>) {
    while let Some(event) = objects.recv().await {
        if events.send(Event::Objects(event)).await.is_err() {
            return;
        }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("failed to start the event loop")
}

fn host_name() -> String {
    std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default().trim().to_owned()
}

fn list(mistakes: &[String]) -> anyhow::Error {
    anyhow!("{}", mistakes.join("\nsignalbox: "))
}

/// The addresses from which this machine would speak to the rest of the world; nothing is sent.
fn default_route_addresses() -> Vec<IpAddr> {
    let towards = |local: &str, remote: &str| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    // Documentation addresses (RFC 5737, RFC 3849): routed like any other.
    let both = [towards("0.0.0.0:0", "192.0.2.1:9"), towards("[::]:0", "[2001:db8::1]:9")];
    both.into_iter().flatten().collect()
}
