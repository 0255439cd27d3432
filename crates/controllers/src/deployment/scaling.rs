//! Another number of Pods in the middle of a rollout: every version gets its part.

use std::cmp::Reverse;

use super::draft::{Draft, MAX, max_surge};
use super::{Stage, View};

/// Gives each ReplicaSet its part of the wanted number.
pub(super) fn scale(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    if let Some(only) = only(stage) {
        only.scale(view.wanted(), view);
    } else if is_saturated(stage) {
        stage.sets.old.iter_mut().filter(|old| old.replicas > 0).for_each(|old| {
            old.scale(0, view);
        });
    } else if view.is_rolling() {
        share(stage);
    } else {
        replace(stage);
    }
}

/// Versions that must not be there together, because the strategy was changed in the middle: the old ones go.
fn replace(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    stage.sets.old.iter_mut().filter(|old| old.replicas > 0).for_each(|old| {
        old.scale(0, view);
    });
    if let Some(new) = &mut stage.sets.new {
        new.scale(new.replicas, view);
    }
}

/// The one that has Pods, or the newest one if none has; `None`: several have.
fn only<'s, 'a>(stage: &'s mut Stage<'_, 'a>) -> Option<&'s mut Draft<'a>> {
    let sets = &mut stage.sets;
    let active = sets.drafts().filter(|draft| draft.replicas > 0).count();
    match active {
        0 => sets.new.as_mut().or(sets.old.last_mut()),
        1 => sets.old.iter_mut().chain(&mut sets.new).find(|draft| draft.replicas > 0),
        2.. => None,
    }
}

/// Whether the newest version has all the Pods that are wanted, and all are available.
fn is_saturated(stage: &Stage<'_, '_>) -> bool {
    let wanted = stage.view.wanted();
    let Some(new) = &stage.sets.new else { return false };
    let told = new.annotation(super::draft::DESIRED).and_then(|text| text.parse::<i64>().ok());
    new.replicas == wanted && told == Some(wanted) && new.available() == wanted
}

fn share(stage: &mut Stage<'_, '_>) {
    let view = stage.view;
    let most = if view.wanted() > 0 { view.wanted() + max_surge(view.deployment) } else { 0 };
    let change = most - stage.sets.replicas();
    let sets = &mut stage.sets;
    // The oldest first, the newest version last; the order decides among equally large ones.
    let mut active: Vec<(usize, &mut Draft<'_>)> =
        sets.old.iter_mut().chain(&mut sets.new).enumerate().collect();
    active.retain(|(_, draft)| draft.replicas > 0);
    active.sort_by_key(|(age, draft)| {
        let age = i64::try_from(*age).unwrap_or(i64::MAX);
        (Reverse(draft.replicas), if change > 0 { -age } else { age })
    });
    let mut given = 0;
    let mut sizes: Vec<i64> = Vec::new();
    for (_, draft) in &active {
        let part = part(view, draft, change - given);
        given += part;
        sizes.push(draft.replicas + part);
    }
    // What rounding has left goes to the largest.
    if let Some(first) = sizes.first_mut() {
        *first = (*first + change - given).max(0);
    }
    for ((_, draft), size) in active.into_iter().zip(sizes) {
        draft.scale(size, view);
    }
}

/// How much of a change is a ReplicaSet's, at most `left`.
fn part(view: &View<'_>, draft: &Draft<'_>, left: i64) -> i64 {
    let fraction = fraction(view, draft);
    if left > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(view: &View<'_>, draft: &Draft<'_>) -> i64 {
    if view.wanted() == 0 {
        return -draft.replicas;
    }
    let told = draft.set.and_then(|set| super::draft::number(&set.metadata.annotations, MAX));
    let before = told.filter(|told| *told > 0).unwrap_or(view.deployment.status.replicas);
    if before <= 0 {
        return 0;
    }
    let most = view.wanted() + max_surge(view.deployment);
    // Rounded to the nearest.
    (2 * draft.replicas * most + before) / (2 * before) - draft.replicas
}
