//! What the agent publishes about its health.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use health::{FamilyHealth, HealthPort, Snapshot};
use model::{Family, Fate, NodeView, ServiceKey, ServiceView};
use tokio::sync::watch::Sender;

/// The last published state, and what it is made of.
pub(crate) struct Health {
    publisher: Sender<Snapshot>,
    snapshot: Snapshot,
    ports_of: BTreeMap<(Family, ServiceKey), u16>,
}

impl Health {
    pub(crate) fn new(publisher: Sender<Snapshot>) -> Self {
        Self { publisher, snapshot: Snapshot::default(), ports_of: BTreeMap::new() }
    }

    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.snapshot.patience = patience;
    }

    pub(crate) fn set_node(&mut self, view: &NodeView) {
        self.snapshot.node_port_addresses.insert(view.family, view.node_port_addresses.clone());
    }

    pub(crate) fn set_node_eligible(&mut self, is_eligible: bool) {
        self.snapshot.is_node_eligible = is_eligible;
    }

    pub(crate) fn set_family(&mut self, family: Family, health: FamilyHealth) {
        self.snapshot.families.insert(family, health);
    }

    /// Takes what a Service is now, with its health-check node port; 0: it has none.
    pub(crate) fn set_service(
        &mut self,
        (family, key): (Family, &ServiceKey),
        port: u16,
        view: Option<&ServiceView>,
    ) {
        let place = (family, key.clone());
        if let Some(before) = self.ports_of.remove(&place)
            && self.snapshot.ports.get(&(family, before)).is_some_and(|known| known.service == *key)
        {
            self.snapshot.ports.remove(&(family, before));
        }
        let Some(view) = view.filter(|_| port != 0) else { return };
        self.ports_of.insert(place, port);
        // Of two Services with one port, which the API server does not allow, the first keeps it.
        let served = || HealthPort { service: key.clone(), local_endpoints: local_ready_endpoints(view) };
        self.snapshot.ports.entry((family, port)).or_insert_with(served);
    }

    /// Publishes what changed since the last time.
    pub(crate) fn publish(&self) {
        self.publisher.send_if_modified(|published| {
            let changed = *published != self.snapshot;
            if changed {
                published.clone_from(&self.snapshot);
            }
            changed
        });
    }
}

/// How many pods of a Service are ready on this node: one with two ports counts once, one that terminates does not.
fn local_ready_endpoints(view: &ServiceView) -> usize {
    let endpoints = view.ports.iter().flat_map(|port| &port.endpoints);
    let ready = endpoints.filter(|endpoint| endpoint.local && endpoint.in_local == Fate::Used);
    ready.map(|view| view.endpoint.address).collect::<BTreeSet<IpAddr>>().len()
}
