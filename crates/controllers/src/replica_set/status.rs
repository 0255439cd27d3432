//! What a ReplicaSet's status says of its Pods.

use serde_json::{Value, json};

use super::View;
use crate::action::{Action, Kind, STATUS};
use crate::claim::{Claimant, Relation};
use crate::moment::Moment;
use crate::trimmed::{Condition, Pairs, Pod, ReplicaSet, ReplicaSetStatus, condition};

/// The condition that tells of Pods that could not be made or deleted.
const FAILURE: &str = "ReplicaFailure";

/// Writes the status if it has changed.
pub(super) fn write(view: &View<'_>, own: &[&Pod]) -> Option<Action> {
    let (set, new) = (view.set, outcome(view, own));
    let mut old = set.status.clone();
    // Servers before Kubernetes 1.33 do not keep it.
    old.terminating_replicas.get_or_insert(0);
    if new == old {
        return None;
    }
    Some(Action::on(STATUS, Kind::ReplicaSet, &set.metadata, json!({"status": json(&new)})))
}

/// The status. `own`: the active Pods that are the ReplicaSet's.
pub(super) fn outcome(view: &View<'_>, own: &[&Pod]) -> ReplicaSetStatus {
    let set = view.set;
    let wanted: Pairs =
        serde_json::from_value(set.spec.template["metadata"]["labels"].clone()).unwrap_or_default();
    let count = |is: &dyn Fn(&Pod) -> bool| own.iter().filter(|pod| is(pod)).count() as i64;
    let has_all = |pod: &Pod| wanted.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value));
    ReplicaSetStatus {
        replicas: own.len() as i64,
        fully_labeled_replicas: count(&has_all),
        ready_replicas: count(&Pod::is_ready),
        available_replicas: count(&|pod| pod.is_available(set.spec.min_ready_seconds, view.now)),
        terminating_replicas: Some(terminating(view)),
        observed_generation: set.metadata.generation,
        conditions: conditions(view, own.len() as i64),
    }
}

fn terminating(view: &View<'_>) -> i64 {
    let (meta, selector) = (&view.set.metadata, &view.set.spec.selector);
    let claimant = Claimant { kind: Kind::ReplicaSet, meta, selector };
    let leaving = view.pods.iter().filter(|pod| pod.metadata.is_leaving() && !pod.is_over());
    leaving.filter(|pod| claimant.relation(&pod.metadata) == Relation::Own).count() as i64
}

fn conditions(view: &View<'_>, own: i64) -> Vec<Condition> {
    let old = &view.set.status.conditions;
    let mut kept: Vec<Condition> = old.iter().filter(|one| one.kind != FAILURE).cloned().collect();
    let Some(failure) = view.failure else { return kept };
    if let Some(known) = condition(old, FAILURE) {
        // The first failure stands until there is none: each attempt would write again otherwise.
        return if known.status == "True" { old.clone() } else { kept };
    }
    let reason = if own < view.set.spec.replicas { "FailedCreate" } else { "FailedDelete" };
    let mut new = Condition::new(FAILURE, "True", (reason, failure), view.now);
    new.last_update_time = None;
    kept.push(new);
    kept
}

fn json(status: &ReplicaSetStatus) -> Value {
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": status.fully_labeled_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": status.conditions.iter().map(Condition::json).collect::<Vec<_>>(),
    })
}

/// When the next Pod has been ready for long enough.
pub(super) fn next_available(set: &ReplicaSet, own: &[&Pod], now: Moment) -> Option<Moment> {
    let from = own.iter().filter_map(|pod| pod.available_from(set.spec.min_ready_seconds));
    // Strictly after: a Pod is available when the time is over, not when it ends.
    from.filter(|from| *from >= now).min().map(|from| Moment(from.0 + 1))
}
