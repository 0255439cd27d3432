//! Everything that the controllers know, and which of them a change concerns.
//!
//! It decides nothing; it finds what a decision depends on.

use std::collections::{BTreeMap, BTreeSet};

use watch::client::Told;

use crate::eviction::Clocks;
use crate::lifecycle::{Pace, Signs};
use crate::moment::Moment;
use crate::pool::Pools;
use crate::table::Table;
use crate::trimmed::{Deployment, Lease, Meta, Namespace, Node, Place, Plain, Pod, ReplicaSet, Trimmed};
use crate::{eviction, namespace, schedule};

/// Something that is decided as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// The Pods of a ReplicaSet.
    ReplicaSet(Place),
    /// The ReplicaSets of a Deployment.
    Deployment(Place),
    /// Where Pods go.
    Schedule,
    /// How a node is, and its taints.
    Node(String),
    /// Pods that have to go from a node.
    Evictions(String),
    /// The nodes' ranges.
    Ranges,
    /// Pods of nodes that are no more.
    Orphans,
    /// The ServiceAccount of a namespace.
    Account(String),
    /// The certificate in a namespace.
    Root(String),
}

/// Something that was seen.
#[derive(Debug, Clone)]
pub(crate) enum News {
    /// Of Pods.
    Pod(Told<Pod>),
    /// Of ReplicaSets.
    ReplicaSet(Told<ReplicaSet>),
    /// Of Deployments.
    Deployment(Told<Deployment>),
    /// Of nodes.
    Node(Told<Node>),
    /// Of the Leases by which nodes say that they live.
    Lease(Told<Lease>),
    /// Of namespaces.
    Namespace(Told<Namespace>),
    /// Of ServiceAccounts `default`.
    Account(Told<Plain>),
    /// Of the ConfigMaps with the certificate.
    Root(Told<Plain>),
}

/// Everything that is known.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Pods.
    pub(crate) pods: Table<Pod>,
    /// ReplicaSets.
    pub(crate) sets: Table<ReplicaSet>,
    /// Deployments.
    pub(crate) deployments: Table<Deployment>,
    /// Nodes.
    pub(crate) nodes: Table<Node>,
    /// Namespaces.
    pub(crate) namespaces: Table<Namespace>,
    /// ServiceAccounts `default`.
    pub(crate) accounts: Table<Plain>,
    /// The ConfigMaps with the certificate.
    pub(crate) roots: Table<Plain>,
    /// To which node a Pod was given, by its identifier, until that is seen.
    pub(crate) given: BTreeMap<String, String>,
    /// The Pods that have no node.
    pub(crate) waiting: BTreeSet<Place>,
    /// When nodes were last heard of.
    pub(crate) signs: Signs,
    /// How fast Pods may be put away.
    pub(crate) pace: Pace,
    /// Since when Pods have to go, by node.
    pub(crate) clocks: BTreeMap<String, Clocks>,
    knows_leases: bool,
    pools: Pools,
    /// Nodes that have Pods and are not there, and since when.
    pub(crate) missing: BTreeMap<String, Moment>,
}

impl World {
    /// Whether everything that was there at some time has been seen.
    pub(crate) fn is_synced(&self) -> bool {
        self.pods.is_synced()
            && self.sets.is_synced()
            && self.deployments.is_synced()
            && self.nodes.is_synced()
            && self.namespaces.is_synced()
            && self.accounts.is_synced()
            && self.roots.is_synced()
            && self.knows_leases
    }

    /// Takes what was seen; answers what it concerns.
    pub(crate) fn hear(&mut self, news: News) -> Vec<Key> {
        match news {
            News::Pod(told) => self.hear_of_pods(told),
            News::ReplicaSet(told) => hear(self, told, |world| &mut world.sets, Self::concerned_by_set),
            News::Deployment(told) => hear(
                self,
                told,
                |world| &mut world.deployments,
                |_, deployment| vec![Key::Deployment(deployment.metadata.place())],
            ),
            News::Node(told) => hear(self, told, |world| &mut world.nodes, |_, node| concerned_by_node(node)),
            // Who lives needs nothing; when a node's time is over is known beforehand.
            News::Lease(told) => {
                self.knows_leases |= told == Told::Synced;
                Vec::new()
            }
            News::Namespace(told) => hear(
                self,
                told,
                |world| &mut world.namespaces,
                |_, namespace| {
                    let name = &namespace.metadata.name;
                    vec![Key::Account(name.clone()), Key::Root(name.clone())]
                },
            ),
            News::Account(told) => hear(
                self,
                told,
                |world| &mut world.accounts,
                |_, account| vec![Key::Account(account.metadata.namespace.clone())],
            ),
            News::Root(told) => hear(
                self,
                told,
                |world| &mut world.roots,
                |_, root| vec![Key::Root(root.metadata.namespace.clone())],
            ),
        }
    }

    fn hear_of_pods(&mut self, told: Told<Pod>) -> Vec<Key> {
        let told = match told {
            Told::Put(mut pod) => {
                self.pools.share(&mut pod);
                Told::Put(self.with_node(pod))
            }
            told @ (Told::Gone { .. } | Told::Synced) => told,
        };
        let place = match &told {
            Told::Put(pod) => pod.metadata.place(),
            Told::Gone { namespace, name } => Place { namespace: namespace.clone(), name: name.clone() },
            Told::Synced => Place::default(),
        };
        if let (Told::Gone { .. }, Some(pod)) = (&told, self.pods.get(&place)) {
            let uid = pod.metadata.uid.clone();
            self.given.remove(&uid);
        }
        let keys = hear(self, told, |world| &mut world.pods, Self::concerned_by_pod);
        self.note_waiting(place);
        keys
    }

    /// A Pod that was given to a node has it, also if what was seen is older than that.
    fn with_node(&mut self, mut pod: Pod) -> Pod {
        if !pod.spec.node_name.is_empty() {
            self.given.remove(&pod.metadata.uid);
        } else if let Some(node) = self.given.get(&pod.metadata.uid) {
            pod.spec.node_name.clone_from(node);
        }
        pod
    }

    fn note_waiting(&mut self, place: Place) {
        if self.pods.get(&place).is_some_and(schedule::is_waiting) {
            self.waiting.insert(place);
        } else {
            self.waiting.remove(&place);
        }
    }

    /// Takes a Pod as the server answered a write; answers what it concerns.
    pub(crate) fn write_pod(&mut self, mut pod: Pod, now: Moment) -> Vec<Key> {
        self.pools.share(&mut pod);
        let (place, pod) = (pod.metadata.place(), self.with_node(pod));
        let mut keys = self.pods.get(&place).map(|old| self.concerned_by_pod(old)).unwrap_or_default();
        self.pods.write(pod, now);
        keys.extend(self.pods.get(&place).map(|new| self.concerned_by_pod(new)).unwrap_or_default());
        self.note_waiting(place);
        keys
    }

    /// Notes that a Pod was given to a node.
    pub(crate) fn give(&mut self, place: &Place, uid: &str, node: &str) {
        let Some(pod) = self.pods.get_mut(place).filter(|pod| pod.metadata.uid == uid) else { return };
        if pod.spec.node_name.is_empty() {
            pod.spec.node_name = node.to_owned();
            self.given.insert(uid.to_owned(), node.to_owned());
        }
        self.waiting.remove(place);
    }

    /// What a Pod concerns.
    pub(crate) fn concerned_by_pod(&self, pod: &Pod) -> Vec<Key> {
        let mut keys = Vec::new();
        match pod.metadata.controller() {
            Some(owner) if owner.kind == "ReplicaSet" => {
                let place = Place { namespace: pod.metadata.namespace.clone(), name: owner.name.clone() };
                // A rollout that replaces everything waits for the last Pod.
                let set = self.sets.get(&place).filter(|_| !pod.is_active());
                keys.extend(set.and_then(|set| deployment_of(&set.metadata)).map(Key::Deployment));
                keys.push(Key::ReplicaSet(place));
            }
            Some(_) => {}
            None => {
                let sets = self.sets.inside(&pod.metadata.namespace);
                let meant = sets.filter(|set| set.spec.selector.matches(&pod.metadata.labels));
                keys.extend(meant.map(|set| Key::ReplicaSet(set.metadata.place())));
            }
        }
        let node = &pod.spec.node_name;
        if node.is_empty() || !self.waiting.is_empty() {
            keys.push(Key::Schedule);
        }
        match self.node(node) {
            None if !node.is_empty() => keys.push(Key::Orphans),
            Some(known) if eviction::puts_away(known) => keys.push(Key::Evictions(node.clone())),
            Some(_) | None => {}
        }
        keys
    }

    /// What a ReplicaSet concerns.
    pub(crate) fn concerned_by_set(&self, set: &ReplicaSet) -> Vec<Key> {
        let mut keys = vec![Key::ReplicaSet(set.metadata.place())];
        if set.metadata.controller().is_some() {
            keys.extend(deployment_of(&set.metadata).map(Key::Deployment));
        } else {
            let deployments = self.deployments.inside(&set.metadata.namespace);
            let meant =
                deployments.filter(|deployment| deployment.spec.selection().matches(&set.metadata.labels));
            keys.extend(meant.map(|deployment| Key::Deployment(deployment.metadata.place())));
        }
        keys
    }

    /// A node.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(&Place { namespace: String::new(), name: name.to_owned() })
    }

    /// The Pods of a node.
    pub(crate) fn pods_on(&self, node: &str) -> Vec<&Pod> {
        self.pods.all().filter(|pod| pod.spec.node_name == node).collect()
    }

    /// Notes which nodes have Pods and are not there.
    pub(crate) fn note_missing(&mut self, now: Moment) {
        let used: BTreeSet<&str> =
            self.pods.all().map(|pod| pod.spec.node_name.as_str()).filter(|node| !node.is_empty()).collect();
        let missing = used.into_iter().filter(|node| self.node(node).is_none());
        let since = |node: &str| self.missing.get(node).copied().unwrap_or(now);
        self.missing = missing.map(|node| (node.to_owned(), since(node))).collect();
    }

    /// The ServiceAccount of Pods that name none.
    pub(crate) fn account(&self, namespace: &str) -> Option<&Plain> {
        self.accounts.get(&Place { namespace: namespace.to_owned(), name: namespace::ACCOUNT.to_owned() })
    }

    /// The ConfigMap with the certificate.
    pub(crate) fn root(&self, namespace: &str) -> Option<&Plain> {
        self.roots.get(&Place { namespace: namespace.to_owned(), name: namespace::ROOT.to_owned() })
    }
}

/// What a node concerns.
pub(crate) fn concerned_by_node(node: &Node) -> Vec<Key> {
    let name = &node.metadata.name;
    let mut keys = vec![Key::Node(name.clone()), Key::Ranges, Key::Schedule, Key::Orphans];
    keys.push(Key::Evictions(name.clone()));
    keys
}

/// The Deployment that controls a ReplicaSet.
pub(crate) fn deployment_of(set: &Meta) -> Option<Place> {
    let owner = set.controller().filter(|owner| owner.kind == "Deployment")?;
    Some(Place { namespace: set.namespace.clone(), name: owner.name.clone() })
}

/// Takes what was seen into a table; answers what the old and the new state concern.
fn hear<T: Trimmed>(
    world: &mut World,
    told: Told<T>,
    table: fn(&mut World) -> &mut Table<T>,
    concerned: impl Fn(&World, &T) -> Vec<Key>,
) -> Vec<Key> {
    match told {
        Told::Synced => {
            table(world).sync();
            Vec::new()
        }
        Told::Put(new) => {
            let place = new.meta().place();
            let old = table(world).get(&place).cloned();
            if !table(world).see(new) {
                return Vec::new();
            }
            let new = table(world).get(&place).cloned();
            old.iter().chain(&new).flat_map(|object| concerned(world, object)).collect()
        }
        Told::Gone { namespace, name } => {
            let old = table(world).forget(&Place { namespace, name });
            old.iter().flat_map(|object| concerned(world, object)).collect()
        }
    }
}
