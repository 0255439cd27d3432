//! `signalbox workload`: the pods of a node as processes of this machine; and the keeper of each of their containers.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Args as Arguments;
use model::IpNet;
use telemetry::Format;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch::channel;
use tracing::info;
use watch::ApiConfig;
use watch::client::Client;
use workload::{Images, Settings};

/// Which node, and what stands for images.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of everything that is kept about the pods
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// How to reach the API server
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The name of this node [default: the machine's]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// The addresses of this node, the usual one first
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', default_value = "127.0.0.1")]
    node_ip: Vec<IpAddr>,
    /// From where its pods get their addresses [default: what its Node object says]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    pod_cidrs: Vec<IpNet>,
    /// Labels of its Node object
    #[arg(long, value_name = "NAME=VALUE", value_delimiter = ',')]
    node_labels: Vec<String>,
    /// The name of the network namespace that is the node's [default: where this program runs]
    #[arg(long, value_name = "NAME")]
    netns: Option<String>,
    /// A program of this machine that stands for an image's entrypoint
    #[arg(long, value_name = "NAME[:TAG]=PROGRAM ARGS..")]
    image: Vec<String>,
    /// A file of such lines
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// Where pods ask for names [default: where this machine does]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Where this node answers the API server, for `kubectl logs` and `exec`; 0 stands for any port
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    port: u16,
    /// The authority of the API server's certificate as a client; nobody is answered without it
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Remove every trace of this node's pods from the machine, and end
    #[arg(long)]
    purge: bool,
    /// How much to log: 0 to 4
    #[arg(short, long, default_value_t = 2)]
    v: u8,
}

/// The files of one run of a container.
#[derive(Debug, Arguments)]
pub(crate) struct Keep {
    run: PathBuf,
}

/// Keeps one container.
pub(crate) fn keep(args: &Keep) -> anyhow::Result<()> {
    workload::keep(&args.run).map_err(|error| anyhow!("failed to keep a container: {error}"))
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    telemetry::start_log(Format::Text, args.v, None);
    let settings = settings(args)?;
    if args.purge {
        let pods = workload::purge(&settings).context("failed to remove what was kept")?;
        println!("removed {pods} pods");
        return Ok(());
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("failed to start threads")?;
    let ended = runtime.block_on(serve(args, settings));
    runtime.shutdown_background();
    ended
}

async fn serve(args: &Args, settings: Settings) -> anyhow::Result<()> {
    let config = ApiConfig::new(args.kubeconfig.clone(), None, "");
    let client = Client::connect(&config).await.map_err(|error| anyhow!("failed to {error}"))?;
    let (stop, stopping) = channel(false);
    let mut running = tokio::spawn(workload::run(client, settings, stopping));
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        ended = &mut running => {
            return ended.context("failed to run pods")?.map_err(|error| anyhow!("failed to {error}"));
        }
    }
    info!("stopping");
    stop.send_replace(true);
    running.await.context("failed to stop")?.map_err(|error| anyhow!("failed to {error}"))
}

/// The words that start the keeper of a container: this very program.
pub(crate) fn keeper() -> Vec<OsString> {
    vec!["/proc/self/exe".into(), "keep".into()]
}

/// What of this program's environment every container has.
pub(crate) fn environment() -> Vec<(String, String)> {
    ["PATH", "HOME", "LANG"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}

fn client_ca(args: &Args) -> anyhow::Result<Option<String>> {
    let Some(file) = &args.client_ca_file else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    Ok(Some(text))
}

/// Adds what a file and the command line say.
pub(crate) fn add_images(images: &mut Images, file: Option<&Path>, lines: &[String]) -> anyhow::Result<()> {
    if let Some(file) = file {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        images.parse(&text).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    }
    lines.iter().try_for_each(|line| images.add(line)).map_err(|error| anyhow!("--image: {error}"))
}

fn settings(args: &Args) -> anyhow::Result<Settings> {
    let mut images = Images::default();
    add_images(&mut images, args.images.as_deref(), &args.image)?;
    let mut labels = BTreeMap::new();
    for label in &args.node_labels {
        let Some((name, value)) = label.split_once('=') else {
            bail!("--node-labels: {label:?} is no NAME=VALUE")
        };
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(Settings {
        node_name: args.node_name.clone().unwrap_or_else(crate::proxy::host_name),
        state_dir: std::path::absolute(&args.state).context("failed to find the state's directory")?,
        images,
        netns: args.netns.clone(),
        pod_cidrs: args.pod_cidrs.clone(),
        labels,
        addresses: args.node_ip.clone(),
        keeper: keeper(),
        environment: environment(),
        dns: args.cluster_dns.clone(),
        domain: args.cluster_domain.clone(),
        port: Some(args.port),
        client_ca: client_ca(args)?,
    })
}
