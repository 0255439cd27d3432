//! Kubernetes' objects, trimmed to what the controllers look at.
//!
//! Whoever writes an object patches the fields that change, so what is trimmed away is never lost.

mod deployment;
mod node;
mod pod;
mod replica_set;
mod selector;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::moment::Moment;

pub(crate) use deployment::{Deployment, DeploymentStatus};
pub(crate) use node::{Node, Taint};
pub(crate) use pod::{NodeTerm, Phase, Pod, Port, Spread, Toleration, Wants};
pub(crate) use replica_set::{ReplicaSet, ReplicaSetStatus};
pub(crate) use selector::{Requirement, Selector};

/// Labels or annotations.
pub(crate) type Pairs = BTreeMap<String, String>;

/// What every object has.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Meta {
    /// Its name.
    pub(crate) name: String,
    /// Its namespace; empty for objects of the cluster.
    pub(crate) namespace: String,
    /// What tells it from others that had its name.
    pub(crate) uid: String,
    /// Its revision, as text.
    pub(crate) resource_version: String,
    /// How often what is wanted of it has changed.
    pub(crate) generation: i64,
    /// Its labels.
    pub(crate) labels: Arc<Pairs>,
    /// Its annotations.
    pub(crate) annotations: Arc<Pairs>,
    /// Since when it exists.
    pub(crate) creation_timestamp: Option<Moment>,
    /// Since when it is being deleted.
    pub(crate) deletion_timestamp: Option<Moment>,
    /// Whose it is.
    pub(crate) owner_references: Arc<Vec<Owner>>,
}

impl Meta {
    /// Where it is.
    pub(crate) fn place(&self) -> Place {
        Place { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// The owner that controls it.
    pub(crate) fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether it is on its way out.
    pub(crate) fn is_leaving(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Its revision as a number; 0 where it is none.
    pub(crate) fn revision(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }
}

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Owner {
    /// The owner's group and version.
    pub(crate) api_version: String,
    /// The owner's kind.
    pub(crate) kind: String,
    /// The owner's name.
    pub(crate) name: String,
    /// The owner's identifier.
    pub(crate) uid: String,
    /// Whether it controls the object; at most one owner does.
    pub(crate) controller: bool,
}

/// A namespace and a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Place {
    /// The namespace; empty for objects of the cluster.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

/// Something that holds for an object, or does not.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Condition {
    /// What holds, such as `Ready`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// `True`, `False` or `Unknown`.
    pub(crate) status: String,
    /// Why, in one word.
    pub(crate) reason: String,
    /// Why, in a sentence.
    pub(crate) message: String,
    /// When it was last written.
    pub(crate) last_update_time: Option<Moment>,
    /// When it was last said, by nodes.
    pub(crate) last_heartbeat_time: Option<Moment>,
    /// Since when the status is what it is.
    pub(crate) last_transition_time: Option<Moment>,
}

impl Condition {
    /// Something that was just found.
    pub(crate) fn new(kind: &str, status: &str, why: (&str, &str), now: Moment) -> Self {
        Self {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: why.0.to_owned(),
            message: why.1.to_owned(),
            last_update_time: Some(now),
            last_heartbeat_time: None,
            last_transition_time: Some(now),
        }
    }

    /// As objects carry it; empty fields are left out as Go leaves them out.
    pub(crate) fn json(&self) -> Value {
        let mut out = json!({"type": self.kind, "status": self.status});
        for (field, time) in
            [("lastUpdateTime", self.last_update_time), ("lastTransitionTime", self.last_transition_time)]
        {
            if let Some(time) = time {
                out[field] = time.text().into();
            }
        }
        for (field, text) in [("reason", &self.reason), ("message", &self.message)] {
            if !text.is_empty() {
                out[field] = text.as_str().into();
            }
        }
        out
    }
}

/// The condition of a kind.
pub(crate) fn condition<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// A kind of objects as the controllers keep them.
pub(crate) trait Trimmed: for<'de> Deserialize<'de> + Clone {
    /// What every object has.
    fn meta(&self) -> &Meta;
    /// What every object has, to be changed.
    fn meta_mut(&mut self) -> &mut Meta;
}

macro_rules! trimmed {
    ($($kind:ty),+) => {$(
        impl Trimmed for $kind {
            fn meta(&self) -> &Meta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut Meta {
                &mut self.metadata
            }
        }
    )+};
}

trimmed!(Pod, ReplicaSet, Deployment, Node, Namespace, Plain);

/// A node's sign of life.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Lease {
    /// What every object has.
    pub(crate) metadata: Meta,
    /// What it says.
    pub(crate) spec: LeaseSpec,
}

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct LeaseSpec {
    /// When it was last renewed, by the node's clock.
    pub(crate) renew_time: String,
}

/// A room for names.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    /// What every object has.
    pub(crate) metadata: Meta,
}

/// An object of which only its being there matters.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Plain {
    /// What every object has.
    pub(crate) metadata: Meta,
    /// The texts of a ConfigMap.
    pub(crate) data: Pairs,
}

/// Decodes an object.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}
