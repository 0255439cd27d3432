//! Where questions go that nobody here can answer: names of the cluster to the cluster's DNS until they are known, all others
//! where the configuration says.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::cluster::ClusterDns;
use crate::blocks::{Blocks, attend};
use crate::config::{Forward, Server, Upstream};
use crate::metrics::DnsMetrics;
use crate::serve::Asked;
use crate::wire::{Name, Query};
use crate::zone;

/// As many questions wait.
const BACKLOG: usize = 1024;

/// Both ways.
pub(super) struct Divert {
    pub(super) zone: zone::Settings,
    pub(super) synced: watch::Receiver<bool>,
    /// What the configuration says of names elsewhere.
    pub(super) elsewhere: Option<mpsc::Sender<Asked>>,
    pub(super) cluster: watch::Receiver<ClusterDns>,
}

impl Divert {
    /// Hands questions on until nobody asks any more. One that nobody can be asked is dropped, which is SERVFAIL.
    pub(super) async fn run(self, mut questions: mpsc::Receiver<Asked>, metrics: DnsMetrics) {
        let (to_cluster, asked) = mpsc::channel(BACKLOG);
        let (tell, blocks) = watch::channel(Arc::default());
        let keeping = keep_blocks(self.cluster.clone(), tell, metrics);
        let handing = async {
            while let Some(asked) = questions.recv().await {
                let way = if self.is_clusters(&asked.message) {
                    Some(&to_cluster).filter(|_| !self.cluster.borrow().endpoints.is_empty())
                } else {
                    self.elsewhere.as_ref()
                };
                if let Some(way) = way {
                    // A server that has ended answers nothing.
                    drop(way.send(asked).await);
                }
            }
        };
        tokio::select! {
            () = handing => {}
            () = keeping => {}
            () = attend(asked, blocks) => {}
        }
    }

    /// Answers whether the cluster's DNS is to be asked. A question may come here although everything is known by now.
    fn is_clusters(&self, message: &[u8]) -> bool {
        let Ok(query) = Query::read(message) else { return false };
        let is_ours = self.zone.zone_of(&query.name).is_some();
        is_ours && !(*self.synced.borrow() && self.zone.falls_through(&query.name))
    }
}

async fn keep_blocks(
    mut cluster: watch::Receiver<ClusterDns>,
    tell: watch::Sender<Arc<Blocks>>,
    metrics: DnsMetrics,
) {
    loop {
        let endpoints = cluster.borrow_and_update().endpoints.clone();
        match Blocks::new(&servers(&endpoints), &metrics) {
            Ok(blocks) => drop(tell.send_replace(Arc::new(blocks))),
            Err(error) => warn!(%error, "the cluster's DNS cannot be asked"),
        }
        if cluster.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn servers(endpoints: &[std::net::SocketAddr]) -> Vec<Server> {
    if endpoints.is_empty() {
        return Vec::new();
    }
    // As many as a `forward` may have.
    const MOST: usize = 15;
    let to = endpoints.iter().take(MOST).map(|endpoint| Upstream::Plain(*endpoint)).collect();
    let forward = Forward { to, ..Forward::new(Name::root()) };
    vec![Server { zones: vec![Name::root()], port: 53, forwards: vec![forward], ..Server::default() }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::query;

    #[test]
    fn names_of_the_cluster_are_never_asked_of_the_world() {
        for (is_synced, text, expected) in [
            (false, "A web.shop.svc.cluster.local", true),
            (false, "PTR 1.0.96.10.in-addr.arpa", true),
            (false, "A www.example.org", false),
            (true, "A web.shop.svc.cluster.local", true),
            (true, "PTR 1.0.96.10.in-addr.arpa", false),
            (true, "A www.example.org", false),
        ] {
            let divert = Divert {
                zone: zone::Settings::new("cluster.local".parse().unwrap()),
                synced: watch::channel(is_synced).1,
                elsewhere: None,
                cluster: watch::channel(ClusterDns::default()).1,
            };
            assert_eq!(divert.is_clusters(&query(text, None)), expected, "{is_synced} {text}");
        }
    }
}
