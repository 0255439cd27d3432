//! ReplicaSets: a number of equal Pods.

use serde::Deserialize;
use serde_json::Value;

use super::{Condition, Meta, Selector};

/// A number of equal Pods.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ReplicaSet {
    /// What every object has.
    pub(crate) metadata: Meta,
    /// What is wanted.
    pub(crate) spec: ReplicaSetSpec,
    /// What is.
    pub(crate) status: ReplicaSetStatus,
}

/// What is wanted of a ReplicaSet.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplicaSetSpec {
    /// How many Pods.
    pub(crate) replicas: i64,
    /// For how many seconds a Pod must be ready to count as available.
    pub(crate) min_ready_seconds: i64,
    /// Which Pods are its own.
    pub(crate) selector: Selector,
    /// What its Pods are like, untrimmed.
    pub(crate) template: Value,
}

/// What a ReplicaSet is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReplicaSetStatus {
    /// How many Pods there are.
    pub(crate) replicas: i64,
    /// How many have all labels of the template.
    pub(crate) fully_labeled_replicas: i64,
    /// How many are ready.
    pub(crate) ready_replicas: i64,
    /// How many have been ready for long enough.
    pub(crate) available_replicas: i64,
    /// How many are on their way out; they do not count as replicas.
    pub(crate) terminating_replicas: Option<i64>,
    /// Up to which generation this is true.
    pub(crate) observed_generation: i64,
    /// What holds for it.
    pub(crate) conditions: Vec<Condition>,
}
