//! Who is asked for names that are not the cluster's, where no file says more about it than their addresses.
//!
//! What it does *not* do: ask (`dns` does).

use std::sync::Arc;

use ::dns::Asked;
use ::dns::blocks::{Blocks, attend};
use ::dns::config::{Forward, Settings, Upstream};
use ::dns::metrics::DnsMetrics;
use ::dns::wire::Name;
use anyhow::anyhow;
use telemetry::Metrics;
use tokio::sync::{mpsc, watch};

/// Where queries for others go, and what is done with them.
pub(crate) type Forwarding = (Option<mpsc::Sender<Asked>>, watch::Receiver<Arc<Blocks>>);

/// How many queries wait at most for somebody who asks.
const BACKLOG: usize = 1024;

/// Has these asked with a cache before them, as kubeadm's Corefile does it; none: nobody is asked. Queries are counted where
/// metrics are given. Runs inside the runtime.
pub(crate) fn forwarding(to: &[Upstream], metrics: Option<&Metrics>) -> anyhow::Result<Forwarding> {
    const USUAL: &str = ". {\n errors\n loadbalance\n cache 30\n}\n";
    let mut written = Settings::parse(USUAL, &|_| None).map_err(|mistakes| anyhow!("{mistakes}"))?;
    for server in &mut written.servers {
        server.is_counted = metrics.is_some();
        if !to.is_empty() {
            server.forwards.push(Forward { to: to.to_vec(), ..Forward::new(Name::root()) });
        }
    }
    let metrics = DnsMetrics::register(metrics.unwrap_or(&Metrics::default()), env!("CARGO_PKG_VERSION"));
    let blocks = Blocks::new(&written.servers, &metrics);
    let blocks = Arc::new(blocks.map_err(|error| anyhow!("failed to {error}"))?);
    tokio::spawn(blocks.clone().follow());
    let (tell, told) = watch::channel(blocks);
    let (asked, questions) = mpsc::channel(BACKLOG);
    let attending = attend(questions, told.clone());
    tokio::spawn(async move {
        attending.await;
        drop(tell);
    });
    Ok((Some(asked), told))
}
