//! The controllers of a small cluster: ReplicaSets, Deployments, the scheduler, ranges of nodes, silent nodes and their
//! Pods, ServiceAccounts.
//!
//! Each is a pure function from what is known to a [`Plan`](action::Plan); [`Engine`](engine::Engine) decides when each of
//! them looks again, and [`run`] is the only part with effects. They talk to any API server over HTTP.
//!
//! What they do *not* do: run Pods (the workload does), make EndpointSlices, collect garbage (the API server does).

#![deny(missing_docs)]

mod action;
mod claim;
mod deployment;
mod engine;
mod eviction;
mod lifecycle;
mod moment;
mod namespace;
mod orphans;
mod pool;
mod queue;
mod ranges;
mod replica_set;
mod schedule;
mod shell;
mod table;
mod tally;
mod trimmed;
mod world;

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use telemetry::WorkQueues;
use watch::client::Lease;

pub use shell::run;

/// A controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// As many Pods as a ReplicaSet wants.
    ReplicaSet,
    /// From one version of a Deployment to the next.
    Deployment,
    /// Nodes for Pods.
    Scheduler,
    /// Ranges of addresses for nodes.
    NodeIpam,
    /// What is known of silent nodes, and taints of nodes that take no Pods.
    NodeLifecycle,
    /// No Pods where taints keep them away.
    TaintEviction,
    /// No Pods of nodes that are no more.
    PodGc,
    /// A ServiceAccount `default` in every namespace.
    ServiceAccount,
    /// The API server's certificate in every namespace.
    RootCa,
}

impl Controller {
    /// All of them, with the names by which they are chosen, which are those of kube-controller-manager where it has them.
    pub const ALL: [(&'static str, Self); 9] = [
        ("replicaset-controller", Self::ReplicaSet),
        ("deployment-controller", Self::Deployment),
        ("scheduler", Self::Scheduler),
        ("node-ipam-controller", Self::NodeIpam),
        ("node-lifecycle-controller", Self::NodeLifecycle),
        ("taint-eviction-controller", Self::TaintEviction),
        ("pod-garbage-collector-controller", Self::PodGc),
        ("serviceaccount-controller", Self::ServiceAccount),
        ("root-ca-certificate-publisher-controller", Self::RootCa),
    ];
}

/// Reads a name; the error lists those that there are.
impl FromStr for Controller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, controller)| *controller);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("no controller is called {text:?}; there are {}", names.join(", "))
        })
    }
}

/// What the controllers have to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The lease under which they work; `None`: nobody else does.
    pub lease: Option<Lease>,
    /// Which of them work.
    pub controllers: BTreeSet<Controller>,
    /// The ranges of all Pods' addresses, the usual one first; at most one of each family.
    pub cluster_ranges: Vec<IpNet>,
    /// The certificate of the API server, in PEM; `None`: none is told to Pods.
    pub root_certificate: Option<String>,
    /// How long a node may be silent.
    pub node_grace: Duration,
    /// Where the work is counted.
    pub queues: WorkQueues,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: None,
            controllers: BTreeSet::new(),
            cluster_ranges: Vec::new(),
            root_certificate: None,
            node_grace: Duration::from_secs(50),
            queues: WorkQueues::default(),
        }
    }
}

#[cfg(test)]
mod tests;
