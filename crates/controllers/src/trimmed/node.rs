//! Nodes: whether Pods can go there.

use serde::{Deserialize, Serialize};

use super::{Condition, Meta, Pairs, condition};

/// A machine that runs Pods.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    /// What every object has.
    pub(crate) metadata: Meta,
    /// What is wanted.
    pub(crate) spec: NodeSpec,
    /// What is.
    pub(crate) status: NodeStatus,
}

impl Node {
    /// Whether it says that it can run Pods.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready().is_some_and(|ready| ready.status == "True")
    }

    /// What is said of whether it can run Pods.
    pub(crate) fn ready(&self) -> Option<&Condition> {
        condition(&self.status.conditions, "Ready")
    }

    /// How many Pods it runs at most, if it says so.
    pub(crate) fn most_pods(&self) -> Option<usize> {
        self.status.allocatable.get("pods")?.parse().ok()
    }

    /// The ranges that its Pods have their addresses from.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &str> {
        let first = Some(self.spec.pod_cidr.as_str()).filter(|range| !range.is_empty());
        first.into_iter().chain(self.spec.pod_cidrs.iter().map(String::as_str))
    }
}

/// What is wanted of a node.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeSpec {
    /// The first range of its Pods' addresses.
    #[serde(rename = "podCIDR")]
    pub(crate) pod_cidr: String,
    /// All ranges of its Pods' addresses, one of each family.
    #[serde(rename = "podCIDRs")]
    pub(crate) pod_cidrs: Vec<String>,
    /// Whether it takes no more Pods.
    pub(crate) unschedulable: bool,
    /// What keeps Pods away.
    pub(crate) taints: Vec<Taint>,
}

/// What keeps Pods away that do not tolerate it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Taint {
    /// Its name.
    pub(crate) key: String,
    /// Its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub(crate) effect: String,
    /// Since when it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_added: Option<String>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatus {
    /// What holds for it.
    pub(crate) conditions: Vec<Condition>,
    /// What of it is for Pods.
    pub(crate) allocatable: Pairs,
}
