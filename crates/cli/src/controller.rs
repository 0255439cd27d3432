//! `signalbox controller`: what Kubernetes' controllers and scheduler do, in any API server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args as Arguments;
use controllers::Controller;
use endpointslice::{Settings, SliceMetrics};
use health::{Port, serve_component};
use telemetry::{Format, Metrics, WorkQueues};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use watch::ApiConfig;
use watch::client::{Client, Lease};

/// The controller that is not one of `controllers`.
const SLICES: &str = "endpointslice-controller";
/// The lease of those that keep EndpointSlices in one cluster.
const LEASE: &str = "signalbox-endpointslice-controller";
/// The lease of all the others.
const OTHERS_LEASE: &str = "signalbox-controllers";

/// Where the API server is, and whether there may be others.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// How to reach the API server [default: the service account of the pod this runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The URL of the API server, in place of the kubeconfig's
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// Which controllers work: `*` for all, NAME for one, -NAME for all but one
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    controllers: Vec<String>,
    /// The ranges of all Pods' addresses, from which nodes get theirs [default: nodes get none]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    cluster_cidr: Vec<String>,
    /// The certificate of the API server that Pods are told [default: none]
    #[arg(long, value_name = "FILE")]
    root_ca_file: Option<PathBuf>,
    /// How long a node may be silent
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = config::parse_duration)]
    node_monitor_grace_period: Duration,
    /// Whether to work only while holding the lease, so that several can run
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// The namespace of the lease
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    leader_elect_resource_namespace: String,
    /// How many Services are worked on at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    concurrent_service_endpoint_syncs: usize,
    /// Where /metrics and /healthz are served, such as 127.0.0.1:10257 [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_bind_address: Option<SocketAddr>,
    /// How much to log: 0 to 4
    #[arg(short, long, default_value_t = 2)]
    v: u8,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    telemetry::start_log(Format::Text, args.v, None);
    // One thread: the work is waiting.
    let runtime = Builder::new_current_thread().enable_all().build().context("failed to start")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let config = ApiConfig::new(args.kubeconfig.clone(), args.master.clone(), "");
    let client = Client::connect(&config).await.map_err(|error| anyhow!("failed to start: {error}"))?;
    let (has_slices, others) = chosen(&args.controllers).map_err(|error| anyhow!(error))?;
    let metrics = crate::proxy::metrics();
    let queues = WorkQueues::new(&metrics);
    let settings = settings(args, &queues, &metrics);
    let others = other_settings(args, others, queues)?;
    info!(server = client.server().await, has_slices, others = ?others.controllers, "controlling");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    let slices = async {
        if has_slices {
            endpointslice::run(client.clone(), settings, stopping.clone()).await;
        }
    };
    let others = async {
        if !others.controllers.is_empty() {
            controllers::run(client.clone(), others, stopping.clone()).await;
        }
    };
    let mut running = std::pin::pin!(async { tokio::join!(slices, others) });
    tokio::select! {
        _ = &mut running => return Ok(()),
        served = serve_metrics(args.metrics_bind_address, metrics) => served?,
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("stopping");
    stop.send_replace(true);
    running.await;
    Ok(())
}

/// Serves the metrics, for ever or until the port cannot be had.
async fn serve_metrics(address: Option<SocketAddr>, metrics: Metrics) -> anyhow::Result<()> {
    let Some(address) = address else { return std::future::pending().await };
    let port = Port { address, hard_fail: true, failed: Arc::new(|_| {}) };
    serve_component(port, metrics).await.map_err(|error| anyhow!("failed to {error}"))
}

/// Whether EndpointSlices are kept, and which of the others work.
fn chosen(list: &[String]) -> Result<(bool, BTreeSet<Controller>), String> {
    let (mut has_slices, mut others) = (false, BTreeSet::new());
    let all = || Controller::ALL.iter().map(|(_, controller)| *controller);
    if list.iter().any(|word| word == "*") {
        has_slices = true;
        others.extend(all());
    }
    for word in list.iter().filter(|word| *word != "*") {
        let (name, is_wanted) = word.strip_prefix('-').map_or((word.as_str(), true), |name| (name, false));
        if name == SLICES {
            has_slices = is_wanted;
            continue;
        }
        let controller: Controller = name.parse().map_err(|error| format!("{error}, {SLICES}"))?;
        if is_wanted {
            others.insert(controller);
        } else {
            others.remove(&controller);
        }
    }
    Ok((has_slices, others))
}

fn other_settings(
    args: &Args,
    mut chosen: BTreeSet<Controller>,
    queues: WorkQueues,
) -> anyhow::Result<controllers::Settings> {
    let range = |text: &String| {
        text.parse().map_err(|_| anyhow!("--cluster-cidr: {text:?} is no range of addresses"))
    };
    let cluster_ranges = args.cluster_cidr.iter().map(range).collect::<anyhow::Result<Vec<_>>>()?;
    if cluster_ranges.is_empty() {
        chosen.remove(&Controller::NodeIpam);
    }
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))
    };
    let root_certificate = args.root_ca_file.as_ref().map(read).transpose()?;
    let lease = lease(args, OTHERS_LEASE);
    let node_grace = args.node_monitor_grace_period;
    Ok(controllers::Settings {
        lease,
        controllers: chosen,
        cluster_ranges,
        root_certificate,
        node_grace,
        queues,
    })
}

fn settings(args: &Args, queues: &WorkQueues, metrics: &Metrics) -> Settings {
    Settings {
        lease: lease(args, LEASE),
        workers: args.concurrent_service_endpoint_syncs,
        queues: queues.clone(),
        metrics: SliceMetrics::new(metrics),
    }
}

fn lease(args: &Args, name: &str) -> Option<Lease> {
    let identity = format!("{}_{}", crate::proxy::host_name(), std::process::id());
    let namespace = args.leader_elect_resource_namespace.clone();
    args.leader_elect.then(|| Lease { namespace, name: name.to_owned(), identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_chosen() {
        let check = |list: &str, expected: (bool, usize)| {
            let list: Vec<String> = list.split(',').map(str::to_owned).collect();
            let (has_slices, others) = chosen(&list).unwrap();
            assert_eq!((has_slices, others.len()), expected, "{list:?}");
        };
        let all = Controller::ALL.len();
        check("*", (true, all));
        check("*,-scheduler", (true, all - 1));
        check("-scheduler,*", (true, all - 1));
        check("*,-endpointslice-controller", (false, all));
        check("endpointslice-controller", (true, 0));
        check("scheduler,deployment-controller", (false, 2));
        assert!(chosen(&["schedule".to_owned()]).unwrap_err().contains("scheduler"));
    }
}
