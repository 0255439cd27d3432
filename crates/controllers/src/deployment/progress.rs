//! What a Deployment's status says: how many Pods, whether enough are available, whether a rollout gets on.
//!
//! `kubectl rollout status` and `kubectl wait` live on these words.

use std::time::Duration;

use serde_json::{Value, json};

use super::Stage;
use super::draft::{Draft, max_unavailable};
use crate::trimmed::{Condition, DeploymentStatus, ReplicaSet, condition};

/// Whether a rollout gets on.
pub(super) const PROGRESSING: &str = "Progressing";
/// Whether enough Pods are available.
const AVAILABLE: &str = "Available";
/// Whether a ReplicaSet cannot make Pods.
const FAILURE: &str = "ReplicaFailure";
const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// Notes that a rollout stands still because somebody wants it, or no longer does.
pub(super) fn pause_or_resume(stage: &mut Stage<'_, '_>) {
    if stage.view.deadline().is_none() {
        return;
    }
    let reason = condition(&stage.work.status.conditions, PROGRESSING).map(|one| one.reason.as_str());
    let is_paused = stage.view.deployment.spec.paused;
    match reason {
        // A rollout that has failed stays failed.
        Some(TIMED_OUT) => {}
        Some(PAUSED) if !is_paused => {
            set(stage, PROGRESSING, "Unknown", ("DeploymentResumed", "Deployment is resumed"));
        }
        Some(PAUSED) => {}
        Some(_) | None if is_paused => {
            set(stage, PROGRESSING, "Unknown", (PAUSED, "Deployment is paused"));
        }
        Some(_) | None => {}
    }
}

/// Sets a condition of the status that is being made.
pub(super) fn set(stage: &mut Stage<'_, '_>, kind: &str, status: &str, why: (&str, &str)) {
    let new = Condition::new(kind, status, why, stage.view.now);
    put(&mut stage.work.status.conditions, new);
}

/// One that says the same stays as it is, with its times; one with the same status keeps the time of the change.
fn put(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = condition(conditions, &new.kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    remove(conditions, &new.kind);
    conditions.push(new);
}

fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|condition| condition.kind != kind);
}

/// The status with the numbers of now, and whether enough Pods are available.
pub(super) fn counted(stage: &Stage<'_, '_>) -> DeploymentStatus {
    let (view, sets) = (stage.view, &stage.sets);
    let sum =
        |count: fn(&ReplicaSet) -> i64| sets.drafts().filter_map(|draft| draft.set).map(count).sum::<i64>();
    let available = sets.available();
    let new_pods = sets.new.as_ref().and_then(|new| new.set).map_or(0, |set| set.status.replicas);
    let mut status = DeploymentStatus {
        observed_generation: view.deployment.metadata.generation,
        replicas: sum(|set| set.status.replicas),
        updated_replicas: new_pods,
        ready_replicas: sum(|set| set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sets.replicas() - available).max(0),
        terminating_replicas: Some(sum(|set| set.status.terminating_replicas.unwrap_or(0))),
        collision_count: stage.work.status.collision_count,
        conditions: stage.work.status.conditions.clone(),
    };
    let is_enough = available >= view.wanted() - max_unavailable(view.deployment);
    let (word, why) = if is_enough {
        ("True", ("MinimumReplicasAvailable", "Deployment has minimum availability."))
    } else {
        ("False", ("MinimumReplicasUnavailable", "Deployment does not have minimum availability."))
    };
    put(&mut status.conditions, Condition::new(AVAILABLE, word, why, view.now));
    status
}

/// Whether a status is that of a Deployment that has all it wants.
pub(super) fn is_complete(stage: &Stage<'_, '_>, status: &DeploymentStatus) -> bool {
    let wanted = stage.view.wanted();
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= stage.view.deployment.metadata.generation
}

/// Writes the status of a Deployment that is being rolled out.
pub(super) fn write_rollout(stage: &mut Stage<'_, '_>) {
    let mut new = counted(stage);
    let known = condition(&stage.work.status.conditions, PROGRESSING).cloned();
    if stage.view.deadline().is_none() {
        remove(&mut new.conditions, PROGRESSING);
    } else {
        let was_done = known.as_ref().is_some_and(|known| known.reason == DONE);
        if !(was_done && new.replicas == new.updated_replicas) {
            judge(stage, &mut new, known.as_ref());
        }
    }
    match failure(stage) {
        Some(failure) => put(&mut new.conditions, failure),
        None => remove(&mut new.conditions, FAILURE),
    }
    look_again(stage, &new);
    stage.write_status(new);
}

/// Says whether the rollout is done, gets on, or is stuck; leaves what was said if none of it is new.
fn judge(stage: &Stage<'_, '_>, new: &mut DeploymentStatus, known: Option<&Condition>) {
    let now = stage.view.now;
    let what = match &stage.sets.new {
        Some(draft) => format!("ReplicaSet \"{}\"", draft.name),
        None => format!("Deployment \"{}\"", stage.view.deployment.metadata.name),
    };
    if is_complete(stage, new) {
        let message = format!("{what} has successfully progressed.");
        put(&mut new.conditions, Condition::new(PROGRESSING, "True", (DONE, &message), now));
    } else if gets_on(&stage.view.deployment.status, new) {
        let message = format!("{what} is progressing.");
        let mut one = Condition::new(PROGRESSING, "True", ("ReplicaSetUpdated", &message), now);
        if let Some(known) = known.filter(|known| known.status == "True") {
            one.last_transition_time = known.last_transition_time;
        }
        // Each step begins the time anew, also if the words stay the same.
        remove(&mut new.conditions, PROGRESSING);
        new.conditions.push(one);
    } else if is_late(stage, known) {
        let message = format!("{what} has timed out progressing.");
        put(&mut new.conditions, Condition::new(PROGRESSING, "False", (TIMED_OUT, &message), now));
    }
}

fn gets_on(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let outdated = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
    new.updated_replicas > old.updated_replicas
        || outdated(new) < outdated(old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn is_late(stage: &Stage<'_, '_>, known: Option<&Condition>) -> bool {
    let (Some(known), Some(deadline)) = (known, stage.view.deadline()) else { return false };
    match known.reason.as_str() {
        DONE => false,
        TIMED_OUT => true,
        _ => known.last_update_time.is_some_and(|from| from.plus_seconds(deadline) < stage.view.now),
    }
}

/// What the ReplicaSets complain of, the newest first.
fn failure(stage: &Stage<'_, '_>) -> Option<Condition> {
    let failure = |draft: &Draft<'_>| condition(&draft.set?.status.conditions, FAILURE).cloned();
    let newest = stage.sets.new.as_ref().and_then(failure);
    let mut failure = newest.or_else(|| stage.sets.old.iter().find_map(failure))?;
    failure.last_update_time = failure.last_transition_time;
    Some(failure)
}

/// A rollout that is stuck causes no events, so the time has to.
fn look_again(stage: &mut Stage<'_, '_>, new: &DeploymentStatus) {
    let Some(deadline) = stage.view.deadline() else { return };
    let Some(known) = condition(&new.conditions, PROGRESSING) else { return };
    if is_complete(stage, new) || [TIMED_OUT, DONE].contains(&known.reason.as_str()) {
        return;
    }
    let Some(from) = known.last_update_time else { return };
    let end = from.plus_seconds(deadline).plus(Duration::from_secs(1));
    stage.plan.look_at(end.max(stage.view.now.plus(Duration::from_secs(1))));
}

/// The status as objects carry it. Numbers that are gone are told as well: a merge keeps what it is not told.
pub(super) fn json(status: &DeploymentStatus) -> Value {
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "updatedReplicas": status.updated_replicas,
        "readyReplicas": status.ready_replicas,
        "availableReplicas": status.available_replicas,
        "unavailableReplicas": status.unavailable_replicas,
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": status.conditions.iter().map(Condition::json).collect::<Vec<_>>(),
    })
}
