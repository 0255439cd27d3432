//! Deployments: equal Pods of one version, and from one version to the next.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Condition, Meta, Selector};

/// Equal Pods of one version, and from one version to the next.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Deployment {
    /// What every object has.
    pub(crate) metadata: Meta,
    /// What is wanted.
    pub(crate) spec: DeploymentSpec,
    /// What is.
    pub(crate) status: DeploymentStatus,
}

/// What is wanted of a Deployment.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeploymentSpec {
    /// How many Pods.
    pub(crate) replicas: i64,
    /// Which Pods are its own.
    pub(crate) selector: Value,
    /// What its Pods are like, untrimmed.
    pub(crate) template: Value,
    /// How one version replaces another.
    pub(crate) strategy: Strategy,
    /// For how many seconds a Pod must be ready to count as available.
    pub(crate) min_ready_seconds: i64,
    /// How many old ReplicaSets are kept; `None`: all.
    pub(crate) revision_history_limit: Option<i64>,
    /// Whether nothing is rolled out.
    pub(crate) paused: bool,
    /// For how long there may be no progress; `None`: for ever.
    pub(crate) progress_deadline_seconds: Option<i64>,
}

impl DeploymentSpec {
    /// The selector, read. An unreadable one means nothing: it matches what it can.
    pub(crate) fn selection(&self) -> Selector {
        serde_json::from_value(self.selector.clone()).unwrap_or_default()
    }
}

/// How one version replaces another.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Strategy {
    /// `RollingUpdate` or `Recreate`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// How far from the wanted number it may be meanwhile.
    pub(crate) rolling_update: RollingUpdate,
}

/// How far from the wanted number of Pods a rolling update may be.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RollingUpdate {
    /// How many fewer.
    pub(crate) max_unavailable: Bound,
    /// How many more.
    pub(crate) max_surge: Bound,
}

/// A number, or a part of the wanted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// A number.
    Number(i64),
    /// So many of a hundred.
    Percent(i64),
}

impl Default for Bound {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Bound {
    /// Of `whole`, a part of a Pod counting as one.
    pub(crate) fn up(self, whole: i64) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (whole * percent + 99).div_euclid(100),
        }
    }

    /// Of `whole`, a part of a Pod counting as none.
    pub(crate) fn down(self, whole: i64) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => (whole * percent).div_euclid(100),
        }
    }
}

/// What is neither a number nor a percentage is 0: the API server lets nothing else in.
impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(input)?;
        let percent = value.as_str().and_then(|text| text.strip_suffix('%')?.parse::<i32>().ok());
        Ok(match (value.as_i64(), percent) {
            (_, Some(percent)) => Self::Percent(i64::from(percent)),
            (Some(number), None) => Self::Number(number),
            (None, None) => Self::Number(0),
        })
    }
}

/// What a Deployment is.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct DeploymentStatus {
    /// Up to which generation this is true.
    pub(crate) observed_generation: i64,
    /// How many Pods there are.
    pub(crate) replicas: i64,
    /// How many are of the newest version.
    pub(crate) updated_replicas: i64,
    /// How many are ready.
    pub(crate) ready_replicas: i64,
    /// How many have been ready for long enough.
    pub(crate) available_replicas: i64,
    /// How many are missing from what its ReplicaSets want.
    pub(crate) unavailable_replicas: i64,
    /// How many are on their way out; they do not count as replicas.
    pub(crate) terminating_replicas: Option<i64>,
    /// How often a name of a ReplicaSet was taken by something else.
    pub(crate) collision_count: Option<i64>,
    /// What holds for it.
    pub(crate) conditions: Vec<Condition>,
}
