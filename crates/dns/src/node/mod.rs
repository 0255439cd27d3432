//! DNS on a node of a cluster, beside its proxy: at link-local addresses, and in place of the cluster's DNS as soon as
//! everything is known.
//!
//! What this does *not* do: touch the rules of the cluster's DNS. They lead to its endpoints as ever, for packets that
//! connection tracking sees.

mod charge;
mod cluster;
mod divert;
mod kernel;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use objects::naming;
use telemetry::Metrics;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::metrics::DnsMetrics;
use crate::object::{Change, Key};
use crate::serve::{self, Live, Settings, serve_live};
use crate::source::{self, Shared};
use charge::Charge;
use cluster::{ClusterDns, Observer};
use divert::Divert;

pub use cluster::PORT;
pub use kernel::{TABLE, cleanup};

/// As many queries wait to be handed on.
const BACKLOG: usize = 1024;
/// How soon a configuration that cannot be read is read again.
const RECONNECT: Duration = Duration::from_secs(3);

/// Where a node answers.
#[derive(Debug, Clone)]
pub struct Node {
    /// The Service whose ClusterIPs are answered at.
    pub service: Key,
    /// Addresses that are answered at in any case.
    pub addresses: Vec<IpAddr>,
    /// Addresses of the node with which it is to speak, if it has been told any.
    pub own: Vec<IpAddr>,
    /// Finds those with which it speaks to the world, as it is at the moment.
    pub find_own: fn() -> Vec<IpAddr>,
    /// How many threads answer over UDP at each address.
    pub threads: usize,
    /// Counts transactions of nftables, for whoever must tell those of others from this process' own.
    pub writes: Arc<AtomicU32>,
}

/// What a server on a node is made from.
pub struct Parts {
    /// The API server, for what the proxy does not watch.
    pub api: ::watch::ApiConfig,
    /// What the proxy's watch tells.
    pub objects: mpsc::Receiver<naming::Event>,
    /// Where is counted.
    pub metrics: Metrics,
    /// The same, by CoreDNS' names.
    pub counted: DnsMetrics,
}

/// Serves until told to stop. `settings` has no sockets: they follow from the node.
pub async fn run(
    node: Node,
    settings: Settings,
    parts: Parts,
    stopping: watch::Receiver<bool>,
) -> Result<(), serve::Error> {
    let (changed, changes) = mpsc::channel(source::BACKLOG);
    let (tell_cluster, cluster) = watch::channel(ClusterDns::default());
    let (tell_synced, synced) = watch::channel(false);
    let (more, doors) = mpsc::channel(8);
    let (stop, stopped) = watch::channel(false);
    let (settings, diverting) = diverted(settings, (synced.clone(), cluster.clone()), parts.counted.clone());
    let blocks = settings.blocks.clone();
    let keeps_pods = settings.zone.names_endpoints_after_pods;
    let sharing = share(
        parts.objects,
        (Observer::new(node.service.clone()), keeps_pods),
        changed.clone(),
        tell_cluster,
    );
    let zone = settings.zone.clone();
    let rest = async { source::follow_rest(connect(&parts.api).await, &zone, changed).await };
    let serving = serve_live(settings, Live { more: doors, synced: tell_synced }, changes, stopped);
    let mut serving = std::pin::pin!(serving);
    let mut charge = Charge::new(node, (synced, cluster), more, &parts.metrics);
    tokio::select! {
        ended = &mut serving => return ended,
        () = charge.keep(stopping, blocks) => {}
        () = async { tokio::join!(sharing, rest, diverting); std::future::pending().await } => {}
    }
    // From here on the cluster's DNS answers; queries that have come in are answered still.
    drop(charge);
    stop.send_replace(true);
    serving.await
}

/// Prepares to ask the API server, as soon as what says how can be read. What the proxy tells is taken meanwhile: the rules do not
/// wait for names.
async fn connect(api: &::watch::ApiConfig) -> ::watch::client::Client {
    let mut said = String::new();
    loop {
        match ::watch::client::Client::connect(api).await {
            Ok(client) => return client,
            Err(error) if error.to_string() == said => {}
            Err(error) => {
                said = error.to_string();
                warn!(error = said, "names are not answered here yet; trying again");
            }
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Puts the cluster's DNS between the server and what is asked elsewhere.
fn diverted(
    mut settings: Settings,
    (synced, cluster): (watch::Receiver<bool>, watch::Receiver<ClusterDns>),
    metrics: DnsMetrics,
) -> (Settings, impl Future<Output = ()>) {
    settings.zone.asks_until_synced = true;
    settings.zone.leaves_endpoints = true;
    let (ask, questions) = mpsc::channel(BACKLOG);
    let elsewhere = settings.elsewhere.replace(ask);
    let divert = Divert { zone: settings.zone.clone(), synced, elsewhere, cluster };
    (settings, divert.run(questions, metrics))
}

/// Makes changes of what the proxy's watch tells, until it ends.
async fn share(
    mut objects: mpsc::Receiver<naming::Event>,
    (mut observer, keeps_pods): (Observer, bool),
    changes: mpsc::Sender<Change>,
    cluster: watch::Sender<ClusterDns>,
) {
    let mut shared = Shared::new(keeps_pods);
    while let Some(event) = objects.recv().await {
        for change in shared.take(event) {
            if let Some(found) = observer.look(&change)
                && *cluster.borrow() != found
            {
                let servers = Change::Servers(found.addresses.iter().copied().collect());
                drop(changes.send(servers).await);
                cluster.send_replace(found);
            }
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }
}

fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

#[cfg(test)]
mod tests {
    use crate::script::{ASKING, ask, settings, zone};

    /// Everything else is as ever, down to names below a Service that no endpoint has.
    #[test]
    fn names_of_endpoints_are_left_to_the_clusters_dns_where_they_are_many() {
        let objects = "namespace shop
            service shop/web 10.96.0.1 http/tcp:80
            slice shop/web-1 web http/tcp:8080 | one=10.0.0.1 10.0.0.2
            headless shop/db pg/tcp:5432
            slice shop/db-1 db pg/tcp:5432 | one=10.0.0.3";
        let mut settings = settings();
        settings.fallthrough.clear();
        settings.leaves_endpoints = true;
        let zone = zone(settings, objects);
        for (question, expected) in [
            ("A web.shop.svc.cluster.local", "NOERROR aa\nweb"),
            ("SRV _http._tcp.web.shop.svc.cluster.local", "NOERROR aa\n_http"),
            ("PTR 1.0.96.10.in-addr.arpa", "NOERROR aa\n1.0"),
            ("A one.db.shop.svc.cluster.local", "NOERROR aa\none"),
            ("PTR 3.0.0.10.in-addr.arpa", "NOERROR aa\n3.0"),
            ("A 10-0-0-2.web.shop.svc.cluster.local", "elsewhere"),
            ("A one.web.shop.svc.cluster.local", "elsewhere"),
            ("PTR 1.0.0.10.in-addr.arpa", "elsewhere"),
            ("A two.one.web.shop.svc.cluster.local", "NXDOMAIN aa"),
            ("A one.nothing.shop.svc.cluster.local", "NXDOMAIN aa"),
            ("A nothing.shop.svc.cluster.local", "NXDOMAIN aa"),
            ("SRV _x._tcp.web.shop.svc.cluster.local", "NXDOMAIN aa"),
            ("A _x.web.shop.svc.cluster.local", "NXDOMAIN aa"),
        ] {
            let found = ask(&zone, &ASKING, question);
            assert!(found.starts_with(expected), "{question}: {found}");
        }
    }
}
