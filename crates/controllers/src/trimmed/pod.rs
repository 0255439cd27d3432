//! Pods: whose they are, how they are, and what they ask of a node.

use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::selector::{Requirement, Selector};
use super::{Condition, Meta, Pairs, condition};
use crate::moment::Moment;

/// Containers that run together.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    /// What every object has.
    pub(crate) metadata: Meta,
    /// What is wanted.
    pub(crate) spec: PodSpec,
    /// What is.
    pub(crate) status: PodStatus,
}

impl Pod {
    /// Whether it has run to its end.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Whether it counts as one that runs or will run.
    pub(crate) fn is_active(&self) -> bool {
        !self.is_over() && !self.metadata.is_leaving()
    }

    /// Whether it can be sent work.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready_since().is_some() || self.ready().is_some_and(|ready| ready.status == "True")
    }

    /// Since when it can be sent work.
    pub(crate) fn ready_since(&self) -> Option<Moment> {
        self.ready().filter(|ready| ready.status == "True")?.last_transition_time
    }

    fn ready(&self) -> Option<&Condition> {
        condition(&self.status.conditions, "Ready")
    }

    /// From when on it counts as available, if it stays ready. `min_ready`: seconds.
    pub(crate) fn available_from(&self, min_ready: i64) -> Option<Moment> {
        if min_ready == 0 {
            return self.is_ready().then_some(Moment(i64::MIN));
        }
        self.ready_since().map(|since| since.plus_seconds(min_ready))
    }

    /// Whether it has been ready for long enough.
    pub(crate) fn is_available(&self, min_ready: i64, now: Moment) -> bool {
        self.available_from(min_ready).is_some_and(|from| from < now)
    }
}

/// How far a Pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Phase {
    /// It does not run yet.
    #[default]
    Pending,
    /// Nobody knows.
    Unknown,
    /// It runs.
    Running,
    /// It has ended well.
    Succeeded,
    /// It has ended badly.
    Failed,
}

impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(input)?.as_str() {
            "" | "Pending" => Self::Pending,
            "Running" => Self::Running,
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            _ => Self::Unknown,
        })
    }
}

/// What is wanted of a Pod: where it runs, and what it has in common with others of its kind.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(from = "Wants")]
pub(crate) struct PodSpec {
    /// Where it runs; empty: nowhere yet.
    pub(crate) node_name: String,
    /// The rest.
    pub(crate) wants: Arc<Wants>,
}

impl From<Wants> for PodSpec {
    fn from(mut wants: Wants) -> Self {
        Self { node_name: std::mem::take(&mut wants.node_name), wants: Arc::new(wants) }
    }
}

impl Deref for PodSpec {
    type Target = Wants;

    fn deref(&self) -> &Wants {
        &self.wants
    }
}

/// Something that has to happen first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Gate {}

/// What Pods of a kind want alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Wants {
    /// Moves to [`PodSpec`].
    node_name: String,
    /// Who decides where it runs.
    pub(crate) scheduler_name: String,
    /// What has to happen before that is decided.
    pub(crate) scheduling_gates: Vec<Gate>,
    /// Labels that the node must have.
    pub(crate) node_selector: Pairs,
    /// What the node should or must be like.
    pub(crate) affinity: Affinity,
    /// What it does not mind.
    pub(crate) tolerations: Vec<Toleration>,
    /// Over what it should be spread evenly.
    pub(crate) topology_spread_constraints: Vec<Spread>,
    /// What runs.
    pub(crate) containers: Vec<Container>,
    /// What runs first, or beside it.
    pub(crate) init_containers: Vec<Container>,
    /// Whether it has the node's addresses.
    pub(crate) host_network: bool,
}

/// What the node should or must be like.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Affinity {
    /// As to the node itself.
    pub(crate) node_affinity: NodeAffinity,
}

/// What the node itself should or must be like.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeAffinity {
    /// One of these terms has to match.
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(crate) required: Option<NodeSelector>,
    /// These make a node better.
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub(crate) preferred: Vec<Preference>,
}

/// Terms of which one has to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeSelector {
    /// The terms.
    pub(crate) node_selector_terms: Vec<NodeTerm>,
}

/// A term that makes a node better.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Preference {
    /// By how much.
    pub(crate) weight: i64,
    /// What has to match.
    pub(crate) preference: NodeTerm,
}

/// Requirements that all have to hold; none at all holds for no node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeTerm {
    /// As to labels.
    pub(crate) match_expressions: Vec<Requirement>,
    /// As to fields, of which there is one: `metadata.name`.
    pub(crate) match_fields: Vec<Requirement>,
}

/// A taint that a Pod does not mind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Toleration {
    /// The taint's name; empty: any.
    pub(crate) key: String,
    /// `Equal`, which is the default, `Exists`, or, for numbers, `Lt` and `Gt`.
    pub(crate) operator: String,
    /// The taint's value.
    pub(crate) value: String,
    /// The taint's effect; empty: any.
    pub(crate) effect: String,
    /// For how long; `None`: for ever.
    pub(crate) toleration_seconds: Option<i64>,
}

/// Over what Pods should be spread evenly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Spread {
    /// The node's label whose values are the places.
    pub(crate) topology_key: String,
    /// Which Pods count.
    pub(crate) label_selector: Option<Selector>,
}

/// What runs, as far as a node has to have room for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    /// Where it listens.
    pub(crate) ports: Vec<Port>,
}

/// Where a container listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Port {
    /// `TCP`, `UDP` or `SCTP`.
    pub(crate) protocol: String,
    /// The port of the node; 0: none.
    #[serde(rename = "hostPort")]
    pub(crate) host_port: u16,
    /// The address of the node; empty: all.
    #[serde(rename = "hostIP")]
    pub(crate) host_ip: String,
}

/// What a Pod is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatus {
    /// How far it is.
    pub(crate) phase: Phase,
    /// What holds for it, as far as a controller asks.
    #[serde(deserialize_with = "needed")]
    pub(crate) conditions: Vec<Condition>,
    /// How its containers are.
    pub(crate) container_statuses: Vec<ContainerStatus>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatus {
    /// How often it was started again.
    pub(crate) restart_count: i64,
}

/// There are many Pods; what nobody asks for is not kept.
fn needed<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Condition>, D::Error> {
    let mut all = Option::<Vec<Condition>>::deserialize(input)?.unwrap_or_default();
    all.retain(|one| ["Ready", "PodScheduled", "DisruptionTarget"].contains(&one.kind.as_str()));
    for one in all.iter_mut().filter(|one| one.status == "True") {
        (one.reason, one.message) = Default::default();
    }
    all.shrink_to_fit();
    Ok(all)
}
