//! `signalbox proxy`: a source, the agent, and the signals that end them.
//!
//! The agent has a thread of its own, so that a long write to the kernel keeps nobody from reading the watch.

use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;

use ::watch::{ApiConfig, EventRecorder, Progress, record_events, watch_progress};
use agent::{
    Agent, Counting, Event, FlowSweeper, IptablesKernel, Kernel, KernelWatch, Leftovers, Threads,
    TransactionTimes, apply_settings, open_iptables, open_kernel, route_localnet, watch_chain_connections,
    watch_connections,
};
use anyhow::{Context, anyhow, bail};
use backend::{Backend, Driver};
use config::{Flags, LogFormat, Mode, Settings, yaml};
use health::Snapshot;
use model::Family;
use telemetry::{Format, Metrics, watch_process};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info};

use crate::events::{Happened, Recorder};
use crate::follow::{Told, follow_config};
use crate::health_ports::{self, Shown};
use crate::node_names::NodeNames;
use crate::{KUBERNETES, VERSION};

/// How many events wait for the agent before the source waits for it.
const QUEUE: usize = 4096;

/// Runs until a signal ends it. The rules stay in the kernel.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<()> {
    if let Some(form) = &flags.version {
        return say_version(form);
    }
    let host_name = host_name();
    let told = Told::read(flags, &host_name)?;
    if flags.cleanup || flags.write_config_to.is_some() {
        for remark in &told.warnings {
            eprintln!("signalbox: {remark}");
        }
    }
    if let Some(path) = &flags.write_config_to {
        let written = std::fs::write(path, yaml(&told.configuration));
        return written.with_context(|| format!("failed to write the configuration to {}", path.display()));
    }
    if flags.cleanup {
        return cleanup_everything();
    }
    start(flags, told, &host_name)
}

/// As kube-proxy does: whatever any mode of it, or of us, left in the kernel.
fn cleanup_everything() -> anyhow::Result<()> {
    crate::cleanup()?;
    for family in agent::cleanup_kube_proxy().map_err(|error| anyhow!("failed to {error}"))? {
        println!("removed the nftables table `kube-proxy` of {family}");
    }
    let mut failures = Vec::new();
    for result in agent::remove_leftovers() {
        match result {
            Ok((program, chains)) => println!("removed {chains} chains of kube-proxy that {program} listed"),
            Err(error) => failures.push(format!("failed to {error}")),
        }
    }
    if failures.is_empty()
        && let Err(error) = agent::cleanup_ipsets()
    {
        failures.push(format!("failed to {error}"));
    }
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

fn start(flags: &Flags, told: Told, host_name: &str) -> anyhow::Result<()> {
    if told.settings.mode == Mode::Ipvs && !flags.init_only {
        bail!("mode: `ipvs` is not there yet, only nftables and iptables are");
    }
    sys::memory::use_one_heap();
    start_log(&told.settings);
    told.warn();
    apply_settings(&told.settings.kernel);
    if flags.init_only {
        // Else the agent does it when the rules are in force.
        if told.settings.mode == Mode::Iptables && told.settings.localhost_node_ports {
            route_localnet();
        }
        return Ok(());
    }
    let health = watch::channel(Snapshot::default());
    keep_in_step((flags, told, host_name), health, async {
        let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Keeps the rules of the calling thread's network namespace in step, until the end; they stay.
pub(crate) fn keep_in_step(
    (flags, told, host_name): (&Flags, Told, &str),
    (health, snapshots): (watch::Sender<Snapshot>, watch::Receiver<Snapshot>),
    end: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let settings = told.settings;
    let mut source = source(flags, &settings)?;
    let names = NodeNames::read(flags)?;
    if names.is_none() {
        forget_names();
    }
    // First of all what cannot be waited for: without the kernel there is nothing to do.
    let counting = if flags.count_connections() { Counting::Connections } else { Counting::Nothing };
    let metrics = metrics();
    let kernel = Programmed::open(&settings, counting, &metrics)?;
    let writes = kernel.writes();
    info!(version = VERSION, node = %settings.node_name, mode = settings.mode.name(), "starting");
    if counting == Counting::Connections {
        kernel.watch_connections(&metrics)?;
    }
    let (events, queue) = mpsc::channel(QUEUE);
    let agent = kernel.start(&settings, (events.clone(), queue), (health, metrics.clone()))?;
    let names = match (names, &mut source) {
        (Some(names), Source::Api(config)) => {
            let own = (given_addresses(&settings), default_route_addresses as fn() -> _);
            Some(names.start(config, own, (writes, &metrics))?)
        }
        (Some(_) | None, _) => None,
    };
    let (in_force, configuration) = watch::channel(told.configuration);
    let (recorder, recording) = recorder(&source);
    recorder.record(Happened::Starting);
    let shown = Shown { in_force: configuration, metrics: metrics.clone(), snapshots, recorder };
    let besides = async {
        tokio::select! {
            result = health_ports::serve(flags, &settings, shown) => result,
            result = follow_config((flags, host_name), in_force, events.clone()) => result,
            result = end => result,
        }
    };
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let recording = tokio::spawn(recording);
        let ended = until_the_end((source, &metrics), besides, (events.clone(), agent)).await;
        // All who record are gone now: what they said goes out, or a few seconds are over.
        drop(recording.await);
        ended
    });
    if let Some(names) = names {
        names.stop();
    }
    // A profile that is being taken keeps nobody waiting.
    runtime.shutdown_background();
    ended
}

/// What records Events, and what posts them meanwhile.
fn recorder(source: &Source) -> (Recorder, Pin<Box<dyn Future<Output = ()> + Send>>) {
    match source {
        Source::Manifests(_) => (Recorder(EventRecorder::nowhere()), Box::pin(std::future::ready(()))),
        Source::Api(config) => {
            let (recorder, recording) = record_events((**config).clone());
            (Recorder(recorder), Box::pin(recording))
        }
    }
}

fn say_version(form: &str) -> anyhow::Result<()> {
    match form {
        "true" => println!("Kubernetes {KUBERNETES} (signalbox {VERSION})"),
        "raw" => println!("signalbox {VERSION}, which stands for the kube-proxy of Kubernetes {KUBERNETES}"),
        other => bail!("--version: `{other}` is neither true nor raw"),
    }
    Ok(())
}

fn start_log(settings: &Settings) {
    let format = match settings.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    telemetry::start_log(format, settings.log.verbosity, std::env::var("SIGNALBOX_LOG").ok().as_deref());
}

/// What every process shows of itself.
pub(crate) fn metrics() -> Metrics {
    let metrics = Metrics::default();
    watch_process(&metrics);
    let build = metrics.gauge(
        "signalbox_build_info",
        "Always 1; the labels say what runs.",
        &["version", "emulates"],
    );
    build.with_label_values(&[VERSION, KUBERNETES]).set(1.0);
    metrics
}

/// What the agent must know of the settings.
pub(crate) fn agent_settings(settings: &Settings) -> agent::Settings {
    let mut options = settings.options();
    options.fallback_addresses = default_route_addresses();
    agent::Settings { options, sync_period: settings.sync_period, min_sync_period: settings.min_sync_period }
}

/// The addresses with which this node is to speak, where anybody has said so.
fn given_addresses(settings: &Settings) -> Vec<IpAddr> {
    settings.bind_addresses.iter().copied().filter(|address| !address.is_unspecified()).collect()
}

/// Takes away what a process that was killed left of names, which this one does not answer. One that does so here keeps it.
fn forget_names() {
    match ::dns::node::cleanup() {
        Ok(0) => {}
        Ok(count) => info!("removed {count} tables and routes of this node's DNS"),
        Err(error) => debug!(%error, "what this node's DNS may have left is still there"),
    }
}

/// Where the objects come from.
enum Source {
    Manifests(std::path::PathBuf),
    Api(Box<ApiConfig>),
}

fn source(flags: &Flags, settings: &Settings) -> anyhow::Result<Source> {
    if let Some(directory) = flags.manifests() {
        return Ok(Source::Manifests(directory));
    }
    let (kubeconfig, master) = (settings.kubeconfig.clone(), flags.master());
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if kubeconfig.is_none() && master.is_none() && !in_cluster {
        bail!(
            "no source of Services: give --kubeconfig FILE for an API server or --manifests DIR for a directory \
             (inside a pod, its service account is used)"
        );
    }
    Ok(Source::Api(Box::new(ApiConfig::new(kubeconfig, master, &settings.node_name))))
}

/// The kernel, opened for one of the modes.
enum Programmed {
    Nftables(Kernel),
    Iptables(IptablesKernel),
}

impl Programmed {
    fn open(settings: &Settings, counting: Counting, metrics: &Metrics) -> anyhow::Result<Self> {
        let kernel = match settings.mode {
            Mode::Iptables => open_iptables(metrics).map(Self::Iptables),
            Mode::Nftables | Mode::Ipvs => {
                open_kernel(counting, &TransactionTimes::register(metrics)).map(Self::Nftables)
            }
        };
        kernel.map_err(|error| anyhow!("failed to {error}"))
    }

    /// Where other parts of this process count what they write to nftables.
    fn writes(&self) -> Arc<AtomicU32> {
        match self {
            Self::Nftables(kernel) => kernel.writes.counter(),
            Self::Iptables(kernel) => Arc::clone(&kernel.others),
        }
    }

    fn watch_connections(&self, metrics: &Metrics) -> anyhow::Result<()> {
        match self {
            Self::Nftables(_) => watch_connections(metrics).map_err(|error| anyhow!("failed to {error}")),
            Self::Iptables(kernel) => {
                watch_chain_connections(metrics, kernel.programs.clone());
                Ok(())
            }
        }
    }

    fn start(
        self,
        settings: &Settings,
        (events, queue): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
        (health, metrics): (watch::Sender<Snapshot>, Metrics),
    ) -> anyhow::Result<oneshot::Receiver<()>> {
        let threads = Threads {
            flow_sweeper: Some(FlowSweeper::start(&metrics)),
            health: Some(health),
            metrics,
            mode: settings.mode,
            ..Threads::default()
        };
        match self {
            Self::Nftables(kernel) => {
                let kernel_watch = Some(KernelWatch::new(kernel.writes, events));
                start_agent(settings, kernel.drivers, queue, Threads { kernel_watch, ..threads })
            }
            Self::Iptables(kernel) => {
                let kernel_watch = Some(KernelWatch::of_iptables(
                    kernel.programs.clone(),
                    (kernel.writes, kernel.others),
                    events,
                ));
                let leftovers = Leftovers::AllBut(kernel.programs);
                start_agent(settings, kernel.drivers, queue, Threads { kernel_watch, leftovers, ..threads })
            }
        }
    }
}

fn start_agent<B>(
    settings: &Settings,
    drivers: Vec<(Family, Driver<B>)>,
    queue: mpsc::Receiver<Event>,
    threads: Threads,
) -> anyhow::Result<oneshot::Receiver<()>>
where
    B: Backend + Send + 'static,
    B::Key: Send,
    B::Value: Send,
{
    let agent = Agent::new(agent_settings(settings), drivers, threads);
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

/// Runs the source and the agent until `besides` ends, well or not.
async fn until_the_end(
    (source, metrics): (Source, &Metrics),
    besides: impl Future<Output = anyhow::Result<()>>,
    (events, mut agent): (mpsc::Sender<Event>, oneshot::Receiver<()>),
) -> anyhow::Result<()> {
    let (sink, objects) = mpsc::channel(QUEUE);
    let progress = Progress::default();
    let source = async {
        match source {
            Source::Manifests(directory) => ::watch::run_manifests(directory, sink).await,
            Source::Api(config) => {
                watch_progress(metrics, &progress);
                ::watch::run(*config, progress, sink).await
            }
        }
    };
    tokio::select! {
        // What others depend on first: its end explains theirs.
        biased;
        _ = &mut agent => bail!("the agent ended unexpectedly"),
        ended = source => match ended {
            Ok(()) => bail!("the source of objects ended"),
            Err(error) => bail!("{error}"),
        },
        ended = besides => ended?,
        () = forward(objects, &events) => bail!("the agent does not take events any more"),
    }
    // Even with a full queue: the agent takes from it until it sees this.
    let _ = events.send(Event::Shutdown).await;
    let _ = agent.await;
    Ok(())
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

pub(crate) fn host_name() -> String {
    std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).unwrap_or_default().trim().to_owned()
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
