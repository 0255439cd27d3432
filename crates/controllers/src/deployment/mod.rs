//! The Deployment controller: a ReplicaSet for each version, and Pods moved from the old ones to the newest.
//!
//! It makes no Pods: it says how many each ReplicaSet shall have, one stage at a time.

mod draft;
mod history;
mod progress;
mod recreate;
mod rolling;
mod scaling;
mod version;

use std::collections::BTreeSet;

use serde_json::json;

use crate::action::{Action, Kind, Plan, STATUS};
use crate::claim::Claimant;
use crate::moment::Moment;
use crate::trimmed::{Deployment, DeploymentStatus, Pairs, ReplicaSet, Selector};

use draft::Sets;

/// Who says what Events say.
const NAME: &str = "deployment-controller";
/// A number that stands for no limit at all.
const UNLIMITED: i64 = i32::MAX as i64;

/// What a Deployment's ReplicaSets depend on.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The Deployment.
    pub(crate) deployment: &'a Deployment,
    /// The ReplicaSets that it controls, and those in its namespace that nothing controls.
    pub(crate) sets: Vec<&'a ReplicaSet>,
    /// The names of all ReplicaSets in its namespace.
    pub(crate) taken: BTreeSet<&'a str>,
    /// The identifiers of the ReplicaSets that have Pods which are not over, also Pods on their way out.
    pub(crate) busy: BTreeSet<&'a str>,
    /// What the last attempt to make a ReplicaSet ended with.
    pub(crate) failure: Option<&'a str>,
    /// The time.
    pub(crate) now: Moment,
}

impl View<'_> {
    fn wanted(&self) -> i64 {
        self.deployment.spec.replicas
    }

    fn is_rolling(&self) -> bool {
        self.deployment.spec.strategy.kind != "Recreate"
    }

    fn deadline(&self) -> Option<i64> {
        self.deployment.spec.progress_deadline_seconds.filter(|seconds| *seconds != UNLIMITED)
    }
}

/// What is to be done for a Deployment.
pub(crate) fn reconcile(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let selector = view.deployment.spec.selection();
    if selector.is_empty() {
        let seen = json!({"status": {"observedGeneration": view.deployment.metadata.generation}});
        if view.deployment.status.observed_generation < view.deployment.metadata.generation {
            plan.then(Action::on(STATUS, Kind::Deployment, &view.deployment.metadata, seen));
        }
        return plan;
    }
    let own = own_sets(view, &selector, &mut plan);
    let mut stage = Stage { view, sets: version::split(view, &own), work: Work::of(view), plan };
    if view.deployment.metadata.is_leaving() {
        stage.write_status(progress::counted(&stage));
        return stage.plan;
    }
    progress::pause_or_resume(&mut stage);
    if view.deployment.spec.paused || is_rescaled(view, &own) {
        rescale(&mut stage);
    } else if view.is_rolling() {
        rolling::roll(&mut stage);
    } else {
        recreate::roll(&mut stage);
    }
    stage.plan
}

fn own_sets<'a>(view: &View<'a>, selector: &Selector, plan: &mut Plan) -> Vec<&'a ReplicaSet> {
    let claimant = Claimant { kind: Kind::Deployment, meta: &view.deployment.metadata, selector };
    let mut own = claimant.claim(Kind::ReplicaSet, &view.sets, plan);
    own.sort_by(|a, b| {
        let key = |set: &ReplicaSet| (set.metadata.creation_timestamp, set.metadata.name.clone());
        key(a).cmp(&key(b))
    });
    own
}

/// Whether the wanted number has changed since the ReplicaSets were last told it.
fn is_rescaled(view: &View<'_>, own: &[&ReplicaSet]) -> bool {
    let mut active = own.iter().filter(|set| set.spec.replicas > 0);
    active.any(|set| {
        draft::number(&set.metadata.annotations, draft::DESIRED).is_some_and(|told| told != view.wanted())
    })
}

/// What is being decided for a Deployment.
struct Stage<'v, 'a> {
    view: &'v View<'a>,
    sets: Sets<'a>,
    work: Work,
    plan: Plan,
}

/// The Deployment as it becomes.
struct Work {
    status: DeploymentStatus,
    /// Annotations that change.
    annotations: Pairs,
}

impl Work {
    fn of(view: &View<'_>) -> Self {
        Self { status: view.deployment.status.clone(), annotations: Pairs::new() }
    }
}

impl Stage<'_, '_> {
    /// Writes what has changed of the ReplicaSets.
    fn write_sets(&mut self) {
        let view = self.view;
        let patches: Vec<Action> = self.sets.drafts().filter_map(|draft| draft.patch(view)).collect();
        if !patches.is_empty() {
            self.plan.steps.push(patches);
        }
    }

    /// Writes the status if it has changed.
    fn write_status(&mut self, new: DeploymentStatus) {
        let mut old = self.view.deployment.status.clone();
        // Servers before Kubernetes 1.33 do not keep it.
        old.terminating_replicas.get_or_insert(0);
        if new == old && self.work.annotations.is_empty() {
            return;
        }
        let mut body = json!({"status": progress::json(&new)});
        if !self.work.annotations.is_empty() {
            body["metadata"] = json!({"annotations": self.work.annotations});
        }
        self.plan.then(Action::on(STATUS, Kind::Deployment, &self.view.deployment.metadata, body));
    }
}

/// Nothing is rolled out: the ReplicaSets that are there share the wanted number.
fn rescale(stage: &mut Stage<'_, '_>) {
    version::tend(stage);
    scaling::scale(stage);
    stage.write_sets();
    if stage.view.deployment.spec.paused {
        history::clean_up(stage);
    }
    let status = progress::counted(stage);
    stage.write_status(status);
}

#[cfg(test)]
mod tests;
