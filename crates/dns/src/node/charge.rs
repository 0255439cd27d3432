//! Which addresses this node is in charge of at a moment, and the sockets and the kernel's state that follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Family;
use telemetry::{Gauge, Metrics};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::cluster::ClusterDns;
use super::kernel::Kernel;
use super::{Node, at};
use crate::blocks::Blocks;
use crate::serve::Sockets;
use crate::wire::Name;

/// How often the kernel is looked at: an address that left the node takes routes with it.
const LOOK: Duration = Duration::from_secs(30);
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(3);
/// Queries that have come in when the charge ends are answered still.
const DRAIN: Duration = Duration::from_millis(100);
/// How long names are left to others when queries go round, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Somebody must be there to be asked.
const BEFORE_LOOPS: Duration = Duration::from_millis(500);

/// What this node is in charge of.
pub(super) struct Charge {
    node: Node,
    synced: watch::Receiver<bool>,
    cluster: watch::Receiver<ClusterDns>,
    doors: mpsc::Sender<Sockets>,
    opened: BTreeSet<IpAddr>,
    kernel: Option<Kernel>,
    /// What was last said to have failed, by what it is about.
    failed: BTreeMap<String, String>,
    has_cluster: watch::Sender<bool>,
    shown: Gauge,
}

impl Charge {
    pub(super) fn new(
        node: Node,
        (synced, cluster): (watch::Receiver<bool>, watch::Receiver<ClusterDns>),
        doors: mpsc::Sender<Sockets>,
        metrics: &Metrics,
    ) -> Self {
        let name = "signalbox_dns_in_charge";
        let help = "1 while this node answers what is asked of the cluster's DNS, else 0.";
        let shown = metrics.gauge(name, help, &[]).with_label_values::<&str>(&[]);
        shown.set(0.0);
        Self {
            node,
            synced,
            cluster,
            doors,
            opened: BTreeSet::new(),
            kernel: None,
            failed: BTreeMap::new(),
            has_cluster: watch::channel(false).0,
            shown,
        }
    }

    /// Keeps it up until told to stop, with pauses where queries turn out to go round.
    pub(super) async fn keep(
        &mut self,
        mut stopping: watch::Receiver<bool>,
        blocks: watch::Receiver<Arc<Blocks>>,
    ) {
        let own = self.node.addresses.first().copied();
        let mut pause = FIRST_PAUSE;
        loop {
            let known = (self.has_cluster.subscribe(), self.cluster.clone());
            let zone = tokio::select! {
                () = self.follow(&mut stopping) => break,
                zone = look_for_loops(blocks.clone(), known, own) => zone,
            };
            self.settle(&BTreeSet::new()).await;
            error!(
                %zone,
                again_in = ?pause,
                "names are not answered on this node, as a server that is asked asks this one; the cluster's DNS does it"
            );
            tokio::select! {
                _ = stopping.wait_for(|stops| *stops) => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        self.end().await;
    }

    /// Does what follows from what is known, until told to stop.
    async fn follow(&mut self, stopping: &mut watch::Receiver<bool>) {
        let (mut synced, mut cluster) = (self.synced.clone(), self.cluster.clone());
        loop {
            let (is_synced, known) = (*synced.borrow_and_update(), cluster.borrow_and_update().clone());
            let is_whole = self.settle(&wanted(&self.node.addresses, is_synced, &known)).await;
            tokio::select! {
                // Nobody who could tell it to stop is as good as being told.
                _ = stopping.wait_for(|stops| *stops) => return,
                Ok(()) = synced.changed() => {}
                Ok(()) = cluster.changed() => {}
                () = tokio::time::sleep(if is_whole { LOOK } else { RETRY }) => {}
            }
        }
    }

    /// Without its route an IPv4 address is none to send from, so the routes go last.
    async fn end(&mut self) {
        if let Some(Err(error)) = self.kernel.as_mut().map(Kernel::leave) {
            warn!(%error, "names are not left to the cluster's DNS yet");
        }
        info!("leaving names to the cluster's DNS");
        tokio::time::sleep(DRAIN).await;
        self.kernel = None;
    }

    /// Comes as close to what is wanted as it can; answers whether that is all.
    async fn settle(&mut self, wanted: &BTreeSet<IpAddr>) -> bool {
        for address in wanted {
            if !self.opened.contains(address) {
                self.open(*address).await;
            }
        }
        let ready: BTreeSet<IpAddr> = wanted.intersection(&self.opened).copied().collect();
        let is_set = self.set(&ready);
        let answered = self.kernel.as_ref().map(Kernel::answered).unwrap_or_default();
        let own = &self.node.addresses;
        let of_cluster: Vec<&IpAddr> = answered.iter().filter(|address| !own.contains(address)).collect();
        let is_in_charge = !of_cluster.is_empty();
        if self.has_cluster.send_replace(is_in_charge) != is_in_charge {
            if is_in_charge {
                info!(addresses = ?of_cluster, "answering in place of the cluster's DNS");
            } else {
                info!("leaving names to the cluster's DNS");
            }
        }
        self.shown.set(f64::from(u8::from(is_in_charge)));
        is_set && ready == *wanted
    }

    /// Each family for itself.
    fn set(&mut self, addresses: &BTreeSet<IpAddr>) -> bool {
        let failed = |error| format!("failed to {error}");
        if self.kernel.is_none() {
            let opened = Kernel::open(self.node.clone());
            let opened = opened.map(|kernel| self.kernel = Some(kernel));
            self.note("kernel", opened.map_err(failed));
        }
        let Some(mut kernel) = self.kernel.take() else { return false };
        let mut is_set = true;
        for family in Family::BOTH {
            let result = kernel.set(family, addresses).map_err(failed);
            is_set &= self.note(&family.to_string(), result);
        }
        self.kernel = Some(kernel);
        is_set
    }

    async fn open(&mut self, address: IpAddr) {
        let mut sockets = Sockets::default();
        let opened = sockets.open_anywhere(at(address), self.node.threads);
        let is_open = self.note(&address.to_string(), opened.map_err(|error| format!("failed to {error}")));
        if is_open && self.doors.send(sockets).await.is_ok() {
            self.opened.insert(address);
        }
    }

    /// Says what failed, once until it changes; answers whether it did not.
    fn note(&mut self, about: &str, result: Result<(), String>) -> bool {
        let Err(error) = result else {
            self.failed.remove(about);
            return true;
        };
        if self.failed.get(about) != Some(&error) {
            warn!(about, error, "names are not answered here; trying again");
            self.failed.insert(about.to_owned(), error);
        }
        false
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shown.set(0.0);
    }
}

/// The addresses to answer at: those of the cluster's DNS when everything is known.
fn wanted(own: &[IpAddr], is_synced: bool, cluster: &ClusterDns) -> BTreeSet<IpAddr> {
    let of_cluster = cluster.addresses.iter().filter(|_| is_synced);
    own.iter().chain(of_cluster).copied().collect()
}

/// Looks whether queries go round: at the start, each time when this node came in charge, and when others are asked than before.
/// Ends when they do, with the zone.
async fn look_for_loops(
    mut blocks: watch::Receiver<Arc<Blocks>>,
    (mut has_cluster, cluster): (watch::Receiver<bool>, watch::Receiver<ClusterDns>),
    own: Option<IpAddr>,
) -> Name {
    loop {
        tokio::time::sleep(BEFORE_LOOPS).await;
        has_cluster.mark_unchanged();
        let first = cluster.borrow().addresses.first().copied().filter(|_| *has_cluster.borrow());
        let asked = blocks.borrow_and_update().clone();
        let looked = async {
            match first.or(own) {
                Some(address) => asked.look_for_loops(at(address)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            zone = looked => return zone,
            Ok(()) = has_cluster.changed() => {}
            Ok(()) = blocks.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_addresses_are_taken_when_everything_is_known() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let cluster =
            ClusterDns { addresses: [address("10.96.0.10"), address("fd00::a")].into(), endpoints: vec![] };
        for (own, is_synced, expected) in [
            (&["169.254.20.10"][..], false, "{169.254.20.10}"),
            (&["169.254.20.10"], true, "{10.96.0.10, 169.254.20.10, fd00::a}"),
            (&[], false, "{}"),
            (&[], true, "{10.96.0.10, fd00::a}"),
        ] {
            let own: Vec<IpAddr> = own.iter().map(|text| address(text)).collect();
            assert_eq!(format!("{:?}", wanted(&own, is_synced, &cluster)), expected);
        }
    }
}
