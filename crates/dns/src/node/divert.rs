//! Where questions go that nobody here can answer: to the cluster's DNS, or where the configuration says.

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
                let way = match self.way(&asked.message) {
                    Way::Cluster => Some(&to_cluster),
                    Way::World => self.elsewhere.as_ref(),
                    Way::Nobody => None,
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

    /// Names of the cluster are never asked of the world, unless the configuration says so of those that do not exist. A question
    /// may come here although everything is known by now.
    fn way(&self, message: &[u8]) -> Way {
        let Ok(query) = Query::read(message) else { return Way::Nobody };
        if self.zone.zone_of(&query.name).is_none() {
            return Way::World;
        }
        let has_cluster = !self.cluster.borrow().endpoints.is_empty();
        let is_known_elsewhere = *self.synced.borrow() && self.zone.falls_through(&query.name);
        let is_left = self.zone.leaves_endpoints && self.zone.is_reverse(&query.name);
        match (is_known_elsewhere, has_cluster) {
            (true, true) if is_left => Way::Cluster,
            (true, true | false) => Way::World,
            (false, true) => Way::Cluster,
            (false, false) => Way::Nobody,
        }
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Cluster,
    World,
    Nobody,
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
        let all = ["A web.shop.svc.cluster.local", "PTR 1.0.96.10.in-addr.arpa", "A www.example.org"];
        for (is_synced, has_cluster, expected) in [
            (false, false, [Way::Nobody, Way::Nobody, Way::World]),
            (false, true, [Way::Cluster, Way::Cluster, Way::World]),
            (true, false, [Way::Nobody, Way::World, Way::World]),
            (true, true, [Way::Cluster, Way::Cluster, Way::World]),
        ] {
            let mut zone = zone::Settings::new("cluster.local".parse().unwrap());
            zone.leaves_endpoints = true;
            let endpoints = if has_cluster { vec!["10.0.0.1:53".parse().unwrap()] } else { Vec::new() };
            let divert = Divert {
                zone,
                synced: watch::channel(is_synced).1,
                elsewhere: None,
                cluster: watch::channel(ClusterDns { endpoints, ..ClusterDns::default() }).1,
            };
            assert_eq!(all.map(|text| divert.way(&query(text, None))), expected, "{is_synced} {has_cluster}");
        }
    }
}
