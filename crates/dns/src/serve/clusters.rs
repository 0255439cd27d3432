//! Clusters that are followed, each with one or more zones. One that two configurations name goes on from one to the other.

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::info;
use watch_api::client::Client;
use watch_api::{ApiConfig, Error};

use ::watch as watch_api;

use crate::config::Api;
use crate::metrics::DnsMetrics;
use crate::object::Change;
use crate::plan::Cluster;
use crate::source;
use crate::zone::{Builder, Zone};

/// What is followed.
#[derive(Default)]
pub(super) struct Clusters {
    running: Vec<Followed>,
}

struct Followed {
    cluster: Cluster,
    zones: Vec<watch::Receiver<Zone>>,
    // Aborted when it is dropped.
    _tasks: JoinSet<()>,
}

impl Clusters {
    /// Answers what follows these clusters, those of `self` as they are. What is new may not be synced.
    pub(super) async fn with(
        &mut self,
        wanted: &[Cluster],
        (usual, metrics): (&ApiConfig, &DnsMetrics),
    ) -> Result<Clusters, Error> {
        let mut fresh = Vec::new();
        for cluster in wanted {
            if self.find(cluster).is_some() {
                continue;
            }
            fresh.push(Followed::start(cluster, (usual, metrics)).await?);
        }
        let mut next = Self::default();
        for cluster in wanted {
            let followed = match self.find(cluster) {
                Some(at) => self.running.swap_remove(at),
                None => fresh.remove(0),
            };
            next.running.push(followed);
        }
        Ok(next)
    }

    /// Takes back those of `wanted` from what a configuration was to have that is not used after all.
    pub(super) fn take_back(&mut self, other: Clusters, wanted: &[Cluster]) {
        self.running.extend(other.running.into_iter().filter(|followed| wanted.contains(&followed.cluster)));
    }

    fn find(&self, cluster: &Cluster) -> Option<usize> {
        self.running.iter().position(|followed| followed.cluster == *cluster)
    }

    /// Answers the zones of the cluster with this number.
    pub(super) fn zone(&self, (cluster, zone): (usize, usize)) -> watch::Receiver<Zone> {
        self.running[cluster].zones[zone].clone()
    }

    /// Answers all zones.
    pub(super) fn zones(&self) -> Vec<watch::Receiver<Zone>> {
        self.running.iter().flat_map(|followed| followed.zones.clone()).collect()
    }

    /// Waits until all is known, each cluster at most for its own time.
    pub(super) async fn synced(&self) {
        for followed in &self.running {
            let patience = followed.cluster.patience;
            for zone in &followed.zones {
                let mut zone = zone.clone();
                drop(tokio::time::timeout(patience, zone.wait_for(Zone::is_synced)).await);
            }
        }
    }
}

impl Followed {
    async fn start(cluster: &Cluster, (usual, metrics): (&ApiConfig, &DnsMetrics)) -> Result<Self, Error> {
        let client = Client::connect(&api(cluster.api.as_ref(), usual)).await?;
        let server = client.server().await;
        let client = client.observed(metrics.api.observer(&server));
        let names: Vec<String> = cluster.zones.iter().map(|zone| zone.zone.to_string()).collect();
        info!(server, zones = ?names, "following a cluster");
        let mut tasks = JoinSet::new();
        let (mut zones, mut tellers) = (Vec::new(), Vec::new());
        for settings in &cluster.zones {
            let builder = Builder::new(settings.clone(), source::now());
            let (publish, zone) = watch::channel(builder.zone());
            let (tell, changes) = mpsc::channel(source::BACKLOG);
            tasks.spawn(async move { source::keep(builder, changes, &publish).await });
            zones.push(zone);
            tellers.push(tell);
        }
        // Those of one cluster differ in nothing that is followed.
        if let Some(settings) = cluster.zones.first().cloned() {
            let (tell, changes) = mpsc::channel(source::BACKLOG);
            tasks.spawn(async move { source::follow_cluster(client, &settings, tell).await });
            tasks.spawn(spread(changes, tellers));
        }
        Ok(Self { cluster: cluster.clone(), zones, _tasks: tasks })
    }
}

/// Tells everybody everything.
async fn spread(mut changes: mpsc::Receiver<Change>, tellers: Vec<mpsc::Sender<Change>>) {
    while let Some(change) = changes.recv().await {
        for tell in &tellers {
            if tell.send(change.clone()).await.is_err() {
                return;
            }
        }
    }
}

fn api(given: Option<&Api>, usual: &ApiConfig) -> ApiConfig {
    let (kubeconfig, master, tls) = match given {
        Some(Api::Kubeconfig(path)) => (Some(path.clone()), None, None),
        Some(Api::Endpoint { url, tls }) => (None, Some(url.clone()), tls.clone()),
        None => return usual.clone(),
    };
    ApiConfig { kubeconfig, master, tls, ..usual.clone() }
}
