//! The ReplicaSet controller: as many Pods as are wanted, no more and no fewer.
//!
//! Pods that were made but are not seen yet are in the [`World`](crate::world::World) already, so nothing is counted here.

mod rank;
mod status;

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::action::{Action, Kind, Plan, Said, controlled_by};
use crate::claim::Claimant;
use crate::moment::Moment;
use crate::trimmed::{Pod, ReplicaSet};

use rank::doomed;

/// So many Pods are made or deleted in one go at most.
const BURST: usize = 500;
/// Who says what Events say.
const NAME: &str = "replicaset-controller";

/// What a ReplicaSet's Pods depend on.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The ReplicaSet.
    pub(crate) set: &'a ReplicaSet,
    /// The Pods that it controls, and those in its namespace that nothing controls.
    pub(crate) pods: Vec<&'a Pod>,
    /// The Pods of all ReplicaSets of the same Deployment: fewer of them shall share a node.
    pub(crate) related: Vec<&'a Pod>,
    /// What the last attempt to make or delete Pods ended with.
    pub(crate) failure: Option<&'a str>,
    /// The time.
    pub(crate) now: Moment,
}

/// What is to be done for a ReplicaSet.
pub(crate) fn reconcile(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let set = view.set;
    if set.spec.selector.is_empty() {
        return plan;
    }
    let claimant = Claimant { kind: Kind::ReplicaSet, meta: &set.metadata, selector: &set.spec.selector };
    let active: Vec<&Pod> = view.pods.iter().copied().filter(|pod| pod.is_active()).collect();
    let own = claimant.claim(Kind::Pod, &active, &mut plan);
    plan.steps.extend(status::write(view, &own).map(|action| vec![action]));
    if let Some(when) = status::next_available(set, &own, view.now) {
        plan.look_at(when);
    }
    if !set.metadata.is_leaving() {
        plan.steps.extend(scale(view, &own));
    }
    plan
}

fn scale(view: &View<'_>, own: &[&Pod]) -> Vec<Vec<Action>> {
    let wanted = usize::try_from(view.set.spec.replicas).unwrap_or(0);
    match own.len().cmp(&wanted) {
        Ordering::Equal => Vec::new(),
        Ordering::Less => slowly((wanted - own.len()).min(BURST), || create(view.set)),
        Ordering::Greater => {
            let many = (own.len() - wanted).min(BURST);
            let gone = doomed(own, &view.related, many, view.now);
            vec![gone.into_iter().map(|pod| delete(view.set, pod)).collect()]
        }
    }
}

/// One, then two, then four: a Pod that is refused is not refused five hundred times.
fn slowly(many: usize, action: impl Fn() -> Action) -> Vec<Vec<Action>> {
    let (mut steps, mut left, mut size) = (Vec::new(), many, 1);
    while left > 0 {
        let step = size.min(left);
        steps.push((0..step).map(|_| action()).collect());
        left -= step;
        size *= 2;
    }
    steps
}

fn create(set: &ReplicaSet) -> Action {
    let meta = &set.metadata;
    let said = |reason, message: &str| {
        Some(Said::of(Kind::ReplicaSet, meta, NAME).that(reason, message.to_owned()).open())
    };
    let failed = said("FailedCreate", "Error creating: ").map(Said::warning);
    Action::create(Kind::Pod, &meta.namespace, pod(set))
        .or_say(said("SuccessfulCreate", "Created pod: "), failed)
}

/// The Pod that a ReplicaSet's template describes.
pub(crate) fn pod(set: &ReplicaSet) -> Value {
    let (meta, template) = (&set.metadata, &set.spec.template);
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", meta.name), "namespace": meta.namespace,
            "ownerReferences": [controlled_by(Kind::ReplicaSet, meta)],
        },
        "spec": template["spec"],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if !template["metadata"][field].is_null() {
            object["metadata"][field] = template["metadata"][field].clone();
        }
    }
    object
}

fn delete(set: &ReplicaSet, pod: &Pod) -> Action {
    let said =
        |reason, message: String| Some(Said::of(Kind::ReplicaSet, &set.metadata, NAME).that(reason, message));
    let name = &pod.metadata.name;
    let failed = said("FailedDelete", "Error deleting: ".to_owned()).map(|said| said.open().warning());
    Action::delete(Kind::Pod, &pod.metadata)
        .or_say(said("SuccessfulDelete", format!("Deleted pod: {name}")), failed)
}

#[cfg(test)]
mod tests;
