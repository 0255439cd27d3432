//! ReplicaSets of a Deployment as they become.

use serde_json::{Value, json};

use super::{NAME, View};
use crate::action::{Action, Kind, MERGE, Said};
use crate::trimmed::{Deployment, Pairs, ReplicaSet};

/// How many Pods the Deployment wanted when the ReplicaSet was last told.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// How many Pods there could have been then.
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// The ReplicaSets of a Deployment.
pub(super) struct Sets<'a> {
    /// That of the newest version, if it is there.
    pub(super) new: Option<Draft<'a>>,
    /// The others, the oldest first.
    pub(super) old: Vec<Draft<'a>>,
}

impl<'a> Sets<'a> {
    /// All of them, the newest version last.
    pub(super) fn drafts(&self) -> impl Iterator<Item = &Draft<'a>> {
        self.old.iter().chain(&self.new)
    }

    /// How many Pods they shall have together.
    pub(super) fn replicas(&self) -> i64 {
        self.drafts().map(|draft| draft.replicas).sum()
    }

    /// How many available Pods they have together.
    pub(super) fn available(&self) -> i64 {
        self.drafts().map(Draft::available).sum()
    }

    /// The old ones that shall have Pods.
    pub(super) fn active_old(&self) -> impl Iterator<Item = &Draft<'a>> {
        self.old.iter().filter(|draft| draft.replicas > 0)
    }
}

/// A ReplicaSet as it becomes.
#[derive(Debug, Clone)]
pub(super) struct Draft<'a> {
    /// As it is; `None`: it is about to be made.
    pub(super) set: Option<&'a ReplicaSet>,
    /// Its name.
    pub(super) name: String,
    /// How many Pods it shall have.
    pub(super) replicas: i64,
    /// Annotations that change.
    pub(super) annotations: Pairs,
    /// For how many seconds a Pod must be ready, if that changes.
    pub(super) min_ready: Option<i64>,
}

impl<'a> Draft<'a> {
    /// One that is there, unchanged.
    pub(super) fn of(set: &'a ReplicaSet) -> Self {
        Self {
            set: Some(set),
            name: set.metadata.name.clone(),
            replicas: set.spec.replicas,
            annotations: Pairs::new(),
            min_ready: None,
        }
    }

    /// How many of its Pods are available.
    pub(super) fn available(&self) -> i64 {
        self.set.map_or(0, |set| set.status.available_replicas)
    }

    /// How many of its Pods stay available when it has the size that it shall have.
    pub(super) fn sure(&self) -> i64 {
        self.available().min(self.replicas)
    }

    /// Whether its status is about the size that it shall have now, or there is nothing to know.
    pub(super) fn is_seen(&self) -> bool {
        let is_old = |set: &ReplicaSet| set.status.observed_generation < set.metadata.generation;
        self.replicas == 0 || !self.set.is_some_and(is_old)
    }

    /// An annotation as it becomes.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        let known = || self.set.and_then(|set| set.metadata.annotations.get(key));
        self.annotations.get(key).or_else(known).map(String::as_str)
    }

    /// Changes an annotation; answers whether that changes anything.
    pub(super) fn annotate(&mut self, key: &str, value: String) -> bool {
        let is_new = self.annotation(key) != Some(value.as_str());
        if is_new {
            self.annotations.insert(key.to_owned(), value);
        }
        is_new
    }

    /// Says how many Pods it shall have, and of how many; answers whether that changes anything.
    pub(super) fn scale(&mut self, replicas: i64, view: &View<'_>) -> bool {
        let is_other = self.replicas != replicas;
        self.replicas = replicas;
        let most = view.wanted() + max_surge(view.deployment);
        let is_told = self.annotate(DESIRED, view.wanted().to_string());
        let is_most = self.annotate(MAX, most.to_string());
        is_other || is_told || is_most
    }

    /// The request that makes it so, if there is anything to change.
    pub(super) fn patch(&self, view: &View<'_>) -> Option<Action> {
        let set = self.set?;
        let (mut spec, mut metadata) = (json!({}), json!({}));
        if self.replicas != set.spec.replicas {
            spec["replicas"] = self.replicas.into();
        }
        if let Some(seconds) = self.min_ready {
            spec["minReadySeconds"] = seconds.into();
        }
        if !self.annotations.is_empty() {
            metadata["annotations"] = json!(self.annotations);
        }
        let parts = [("metadata", &mut metadata), ("spec", &mut spec)];
        if parts.iter().all(|(_, part)| part.as_object().is_some_and(serde_json::Map::is_empty)) {
            return None;
        }
        // Somebody else may have scaled it meanwhile: then everything is decided anew.
        metadata["resourceVersion"] = set.metadata.resource_version.as_str().into();
        let body = json!({"metadata": metadata, "spec": spec});
        let told = (self.replicas != set.spec.replicas)
            .then(|| scaled(view, &self.name, set.spec.replicas, self.replicas));
        Some(Action::on(MERGE, Kind::ReplicaSet, &set.metadata, body).or_say(told, None))
    }
}

/// Tells that a ReplicaSet has another size.
pub(super) fn scaled(view: &View<'_>, name: &str, from: i64, to: i64) -> Said {
    let way = if to > from { "up" } else { "down" };
    Said::of(Kind::Deployment, &view.deployment.metadata, NAME)
        .that("ScalingReplicaSet", format!("Scaled {way} replica set {name} from {from} to {to}"))
}

/// A number in an annotation.
pub(super) fn number(annotations: &Pairs, key: &str) -> Option<i64> {
    annotations.get(key)?.parse::<i32>().ok().map(i64::from)
}

/// How many Pods there may be beyond the wanted number.
pub(crate) fn max_surge(deployment: &Deployment) -> i64 {
    bounds(deployment).0
}

/// How many Pods may be missing.
pub(crate) fn max_unavailable(deployment: &Deployment) -> i64 {
    let replicas = deployment.spec.replicas;
    if replicas == 0 { 0 } else { bounds(deployment).1.min(replicas) }
}

fn bounds(deployment: &Deployment) -> (i64, i64) {
    let strategy = &deployment.spec.strategy;
    if strategy.kind == "Recreate" {
        return (0, 0);
    }
    let replicas = deployment.spec.replicas;
    let surge = strategy.rolling_update.max_surge.up(replicas);
    let unavailable = strategy.rolling_update.max_unavailable.down(replicas);
    // Nothing would ever move if both were 0, as small percentages of few Pods are.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A text of an object; empty if there is none.
pub(super) fn is_same(a: &Value, b: &Value) -> bool {
    let is_nothing = |value: &Value| {
        value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty)
    };
    if is_nothing(a) || is_nothing(b) {
        return is_nothing(a) && is_nothing(b);
    }
    match (a.as_object(), b.as_object()) {
        (Some(a), Some(b)) => {
            let has = |of: &serde_json::Map<String, Value>, other: &serde_json::Map<String, Value>| {
                of.iter().all(|(key, value)| is_same(value, other.get(key).unwrap_or(&Value::Null)))
            };
            has(a, b) && has(b, a)
        }
        _ => match (a.as_array(), b.as_array()) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
            _ => a == b,
        },
    }
}
