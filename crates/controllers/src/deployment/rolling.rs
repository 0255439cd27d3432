//! From one version to the next a few Pods at a time.

use super::draft::{Draft, max_surge, max_unavailable};
use super::{Stage, history, progress, version};

/// Takes the next stage: more new Pods, or fewer old ones.
pub(super) fn roll(stage: &mut Stage<'_, '_>) {
    let is_made = version::make(stage);
    if is_made && stage.sets.new.is_none() {
        return;
    }
    if !is_made && !grow(stage) {
        shrink(stage);
    }
    stage.write_sets();
    if progress::is_complete(stage, &stage.view.deployment.status) {
        history::clean_up(stage);
    }
    progress::write_rollout(stage);
}

/// Gives the newest version the Pods that there is room for; answers whether that changes anything.
fn grow(stage: &mut Stage<'_, '_>) -> bool {
    let (view, wanted) = (stage.view, stage.view.wanted());
    let Some(new) = &stage.sets.new else { return false };
    let replicas = if new.replicas > wanted { wanted } else { new_replicas(stage, new) };
    let Some(new) = &mut stage.sets.new else { return false };
    new.replicas != replicas && new.scale(replicas, view)
}

/// How many Pods the newest version may have now.
pub(super) fn new_replicas(stage: &Stage<'_, '_>, new: &Draft<'_>) -> i64 {
    let wanted = stage.view.wanted();
    if !stage.view.is_rolling() {
        return wanted;
    }
    let others: i64 = stage.sets.old.iter().map(|draft| draft.replicas).sum();
    let room = wanted + max_surge(stage.view.deployment) - others - new.replicas;
    if room <= 0 { new.replicas } else { new.replicas + room.min(wanted - new.replicas) }
}

/// Takes Pods from the old versions: broken ones first, then as many as the available ones can spare.
fn shrink(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    if stage.sets.old.iter().all(|draft| draft.replicas == 0) {
        return;
    }
    let least = view.wanted() - max_unavailable(view.deployment);
    // A status from before the last change of size says nothing about what is available after it.
    if stage.sets.drafts().any(|draft| !draft.is_seen()) {
        return;
    }
    let not_up = stage.sets.new.as_ref().map_or(0, |new| new.replicas - new.sure());
    let spare = stage.sets.replicas() - least - not_up;
    if spare <= 0 {
        return;
    }
    take(stage, spare, |draft| draft.replicas - draft.sure());
    let spare = stage.sets.drafts().map(Draft::sure).sum::<i64>() - least;
    if spare > 0 {
        take(stage, spare, |draft| draft.replicas);
    }
}

/// Takes up to `spare` Pods from the old versions, from each as many as `can_go` says.
fn take(stage: &mut Stage<'_, '_>, mut spare: i64, can_go: impl Fn(&Draft<'_>) -> i64) {
    let view = stage.view;
    for draft in &mut stage.sets.old {
        let gone = can_go(draft).min(draft.replicas).min(spare);
        if gone > 0 {
            draft.scale(draft.replicas - gone, view);
            spare -= gone;
        }
    }
}
