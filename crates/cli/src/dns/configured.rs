//! `signalbox dns --config FILE`: a Corefile, a ConfigMap with one, or a file of our own, followed while it runs; and what
//! names beside a node's proxy take from such a file.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use ::dns::blocks::Blocks;
use ::dns::config::{Mistakes, Settings as Written};
use ::dns::metrics::DnsMetrics;
use ::dns::plan::Plan;
use ::dns::serve::{Configured, run_configured};
use ::watch::ApiConfig;
use anyhow::{Context, anyhow};
use tokio::sync::watch;
use tracing::warn;

use super::{Args, policy, stopped, threads};

/// Runs until a signal ends it, or until queries turn out to come back.
pub(super) async fn serve(args: &Args, file: &Path) -> anyhow::Result<()> {
    let configured = Configured {
        file: file.to_owned(),
        environment: variable,
        api: ApiConfig::new(args.kubeconfig.clone(), args.master.clone(), ""),
        own: args.server_address.clone(),
        policy: policy(args, false),
        has_cookies: args.cookies,
        threads: threads(args),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (stop, stopping) = watch::channel(false);
    let mut running = std::pin::pin!(run_configured(configured, stopping));
    tokio::select! {
        result = &mut running => return result.map_err(|error| anyhow!("failed to {error}")),
        result = stopped() => result?,
    }
    stop.send_replace(true);
    running.await.map_err(|error| anyhow!("failed to {error}"))
}

pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Makes the blocks of servers beside a node's proxy, all at one place.
pub(crate) fn make(written: &Written, metrics: &DnsMetrics) -> anyhow::Result<Blocks> {
    Blocks::new(&written.servers, metrics).map_err(|error| anyhow!("failed to {error}"))
}

pub(crate) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))
}

pub(crate) fn listeners(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses.iter().copied().map(listen).collect()
}

/// The plan of a file, whose files are read.
pub(crate) fn plan(written: &Written) -> Result<Plan, Mistakes> {
    Plan::new(written, &[], &|path| std::fs::read_to_string(path))
}

/// Takes over what a changed file says of names elsewhere, and follows the files that it names.
pub(crate) async fn take_over(
    mut changes: watch::Receiver<Written>,
    (before, metrics): (Plan, DnsMetrics),
    blocks: watch::Sender<Arc<Blocks>>,
) {
    let mut following = tokio::spawn(blocks.borrow().clone().follow());
    while changes.changed().await.is_ok() {
        let written = changes.borrow_and_update().clone();
        if plan(&written).as_ref() != Ok(&before) {
            warn!(
                "the cluster's zones, ports or addresses have changed; beside the proxy that needs a new start"
            );
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
