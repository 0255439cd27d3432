//! `signalbox controller`: EndpointSlices and Endpoints, from Services and pods, in any API server.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args as Arguments;
use endpointslice::Settings;
use telemetry::Format;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use watch::ApiConfig;
use watch::client::{Client, Lease};

/// The lease of all controllers of one cluster.
const LEASE: &str = "signalbox-endpointslice-controller";

/// Where the API server is, and whether there may be others.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// How to reach the API server [default: the service account of the pod this runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The URL of the API server, in place of the kubeconfig's
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// Whether to work only while holding the lease, so that several can run
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// The namespace of the lease
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    leader_elect_resource_namespace: String,
    /// How many Services are worked on at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    concurrent_service_endpoint_syncs: usize,
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
    info!(server = client.server().await, "keeping EndpointSlices and Endpoints");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    let mut running = std::pin::pin!(endpointslice::run(client, settings(args), stopping));
    tokio::select! {
        () = &mut running => return Ok(()),
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("stopping");
    stop.send_replace(true);
    running.await;
    Ok(())
}

fn settings(args: &Args) -> Settings {
    let identity = format!("{}_{}", crate::proxy::host_name(), std::process::id());
    let namespace = args.leader_elect_resource_namespace.clone();
    Settings {
        lease: args.leader_elect.then(|| Lease { namespace, name: LEASE.into(), identity }),
        workers: args.concurrent_service_endpoint_syncs,
    }
}
