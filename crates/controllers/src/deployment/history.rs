//! Old versions that are kept, to go back to, and those that are not.

use super::{Stage, UNLIMITED, version};
use crate::action::{Action, Kind};
use crate::trimmed::ReplicaSet;

/// Deletes the oldest versions beyond the limit, if they are empty.
pub(super) fn clean_up(stage: &mut Stage<'_, '_>) {
    let limit = stage.view.deployment.spec.revision_history_limit.filter(|limit| *limit != UNLIMITED);
    let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
    let old = stage.sets.old.iter().filter(|draft| draft.set.is_some_and(|set| !set.metadata.is_leaving()));
    let mut old: Vec<(i64, &ReplicaSet, i64)> =
        old.filter_map(|draft| draft.set.map(|set| (version::revision(set), set, draft.replicas))).collect();
    old.sort_by_key(|(revision, _, _)| *revision);
    let many = old.len().saturating_sub(limit);
    let is_empty = |set: &ReplicaSet, replicas: i64| {
        let is_seen = set.metadata.generation <= set.status.observed_generation;
        is_seen && set.status.replicas == 0 && set.spec.replicas == 0 && replicas == 0
    };
    let gone = old.into_iter().take(many).filter(|(_, set, replicas)| is_empty(set, *replicas));
    let gone: Vec<Action> = gone.map(|(_, set, _)| Action::delete(Kind::ReplicaSet, &set.metadata)).collect();
    if !gone.is_empty() {
        stage.plan.steps.push(gone);
    }
}
