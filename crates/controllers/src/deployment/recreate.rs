//! From one version to the next with nothing in between: all old Pods go before the first new one comes.

use super::{Stage, history, progress, version};

/// Takes the next stage.
pub(super) fn roll(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    version::tend(stage);
    if stage.sets.active_old().next().is_some() {
        for draft in stage.sets.old.iter_mut().filter(|draft| draft.replicas > 0) {
            draft.scale(0, view);
        }
    } else if !has_old_pods(stage) {
        if stage.sets.new.is_none() {
            version::make(stage);
            if stage.sets.new.is_none() {
                return;
            }
        }
        if let Some(new) = stage.sets.new.as_mut().filter(|new| new.replicas != view.wanted()) {
            new.scale(view.wanted(), view);
        }
        if progress::is_complete(stage, &view.deployment.status) {
            history::clean_up(stage);
        }
    }
    stage.write_sets();
    progress::write_rollout(stage);
}

fn has_old_pods(stage: &Stage<'_, '_>) -> bool {
    let mut old = stage.sets.old.iter().filter_map(|draft| draft.set);
    old.any(|set| set.status.replicas > 0 || stage.view.busy.contains(set.metadata.uid.as_str()))
}
