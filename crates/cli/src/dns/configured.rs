//! `signalbox dns --config FILE`: a Corefile, a ConfigMap with one, or a file of our own, followed while it runs.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::dns::blocks::{Blocks, attend};
use ::dns::config::{Api, Settings as Written, follow, read};
use ::dns::metrics::DnsMetrics;
use ::dns::object::{Change, Kind};
use ::dns::plan::Plan;
use ::dns::wire::Name;
use ::dns::{Settings, Sockets};
use ::watch::ApiConfig;
use ::watch::client::Client;
use anyhow::{Context, anyhow, bail};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::{Args, policy, stopped, threads};

/// As many queries wait to be handed on.
const BACKLOG: usize = 1024;

/// Runs until a signal ends it, or until queries turn out to come back.
pub(super) async fn serve(args: &Args, file: &Path) -> anyhow::Result<()> {
    let written = read(file, variable).map_err(|mistakes| anyhow!("{}:\n{mistakes}", file.display()))?;
    let plan = Plan::new(&written).map_err(|mistakes| anyhow!("{}:\n{mistakes}", file.display()))?;
    let metrics = telemetry::Metrics::default();
    telemetry::watch_process(&metrics);
    let counted = DnsMetrics::register(&metrics, env!("CARGO_PKG_VERSION"));
    let blocks = Arc::new(make(&written, &counted)?);
    let (tell, told) = watch::channel(blocks.clone());
    let (asked, questions) = mpsc::channel(BACKLOG);
    tokio::spawn(attend(questions, told.clone()));
    let (settings, own) = settings(args, &plan, &written)?;
    let settings = Settings {
        metrics: Some((listeners(&written.metrics)?, metrics)),
        elsewhere: Some(asked),
        blocks: told,
        ..settings
    };
    let (write, changes) = watch::channel(written);
    let path = file.to_owned();
    let failed = counted.reloads_failed.clone();
    tokio::spawn(async move { follow(&path, variable, write, failed).await });
    tokio::spawn(take_over(changes, (plan.clone(), counted), tell));
    let (stop, stopping) = watch::channel(false);
    let mut running = std::pin::pin!(run(args, (plan, settings), stopping));
    let looking = async {
        // Somebody must be there to be asked.
        tokio::time::sleep(Duration::from_millis(500)).await;
        blocks.look_for_loops(own).await
    };
    tokio::select! {
        result = &mut running => return result,
        zone = looking => bail!("queries for {zone} come back: a server that is asked asks this one"),
        result = stopped() => result?,
    }
    stop.send_replace(true);
    running.await
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(crate) fn make(written: &Written, metrics: &DnsMetrics) -> anyhow::Result<Blocks> {
    Blocks::new(&written.servers, metrics).map_err(|error| anyhow!("failed to {error}"))
}

/// What the plan says, with open sockets; and where this server can be asked by itself.
fn settings(args: &Args, plan: &Plan, written: &Written) -> anyhow::Result<(Settings, SocketAddr)> {
    let mut sockets = Sockets::default();
    let mut opened = Vec::new();
    for address in &plan.listen {
        opened.push(sockets.open(*address, threads(args)).map_err(|error| anyhow!("failed to {error}"))?);
    }
    info!(addresses = ?opened, "answering");
    // Without a cluster there are no names of one; this one cannot be asked for by anybody (RFC 6761).
    let nowhere = || "cluster.invalid".parse::<Name>().expect("two short labels");
    let mut zone = plan.zone.clone().unwrap_or_else(|| {
        let mut zone = ::dns::zone::Settings::new(nowhere());
        zone.reverse.clear();
        zone
    });
    let own = opened.iter().map(SocketAddr::ip).filter(|address| !address.is_unspecified());
    zone.servers = if args.server_address.is_empty() { own.collect() } else { args.server_address.clone() };
    let health = written.health.as_ref();
    let settings = Settings {
        zone,
        sockets,
        policy: policy(args),
        health: health.map(|health| listen(health.address)).transpose()?,
        ready: written.ready.map(listen).transpose()?,
        metrics: None,
        lameduck: health.map(|health| health.lameduck).unwrap_or_default(),
        elsewhere: None,
        blocks: ::dns::serve::no_blocks(),
    };
    let first = opened.first().copied().context("failed to start: no address to answer at")?;
    let at = if first.ip().is_unspecified() {
        (std::net::Ipv4Addr::LOCALHOST, first.port()).into()
    } else {
        first
    };
    Ok((settings, at))
}

pub(crate) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))
}

pub(crate) fn listeners(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses.iter().copied().map(listen).collect()
}

async fn run(
    args: &Args,
    (plan, settings): (Plan, Settings),
    stopping: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    if plan.zone.is_none() {
        let (tell, changes) = mpsc::channel(8);
        for kind in [Kind::Service, Kind::Slice, Kind::Namespace, Kind::Pod] {
            tell.send(Change::Synced(kind)).await.context("failed to start")?;
        }
        return ::dns::serve::serve(settings, changes, stopping)
            .await
            .map_err(|error| anyhow!("failed to {error}"));
    }
    let (kubeconfig, master): (Option<PathBuf>, Option<String>) = match plan.api {
        Some(Api::Kubeconfig(path)) => (Some(path), None),
        Some(Api::Endpoint(url)) => (None, Some(url)),
        None => (args.kubeconfig.clone(), args.master.clone()),
    };
    let config = ApiConfig::new(kubeconfig, master, "");
    let client = Client::connect(&config).await.map_err(|error| anyhow!("failed to start: {error}"))?;
    ::dns::run(client, settings, stopping).await.map_err(|error| anyhow!("failed to {error}"))
}

/// Takes over what a changed file says of names elsewhere, and follows the files that it names.
pub(crate) async fn take_over(
    mut changes: watch::Receiver<Written>,
    (plan, metrics): (Plan, DnsMetrics),
    blocks: watch::Sender<Arc<Blocks>>,
) {
    let mut following = tokio::spawn(blocks.borrow().clone().follow());
    while changes.changed().await.is_ok() {
        let written = changes.borrow_and_update().clone();
        if Plan::new(&written).as_ref() != Ok(&plan) {
            warn!("the cluster's zones, ports or addresses have changed; that needs a new start");
        }
        match make(&written, &metrics) {
            Ok(made) => {
                following.abort();
                let made = Arc::new(made);
                following = tokio::spawn(made.clone().follow());
                blocks.send_replace(made);
            }
            Err(error) => {
                metrics.reloads_failed.inc();
                warn!(%error, "the changed DNS configuration cannot be used; the one before stays");
            }
        }
    }
    // The file is not followed any more; those that it names are.
    drop(following.await);
}
