//! The scheduler: which node a Pod goes to, and why there is none.
//!
//! It weighs no resources: Pods here are processes of one machine.

mod fit;
mod prefer;

use std::collections::BTreeMap;

use serde_json::json;

use crate::action::{Action, Kind, Plan, STRATEGIC_STATUS, Said, Verb};
use crate::moment::Moment;
use crate::trimmed::{Condition, Node, Pod, condition};

pub(crate) use fit::tolerates;

/// The name by which Pods ask for it.
pub(crate) const NAME: &str = "default-scheduler";
/// The condition that tells whether a Pod has a node.
const SCHEDULED: &str = "PodScheduled";

/// What decides where Pods go.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The Pods that have no node.
    pub(crate) waiting: Vec<&'a Pod>,
    /// The Pods that have one.
    pub(crate) placed: Vec<&'a Pod>,
    /// The nodes.
    pub(crate) nodes: Vec<&'a Node>,
    /// The time.
    pub(crate) now: Moment,
}

/// Whether a Pod waits for this scheduler.
pub(crate) fn is_waiting(pod: &Pod) -> bool {
    pod.spec.node_name.is_empty()
        && (pod.spec.scheduler_name.is_empty() || pod.spec.scheduler_name == NAME)
        && pod.spec.scheduling_gates.is_empty()
        && pod.is_active()
}

/// What is to be done so that the waiting Pods have nodes; the oldest are served first.
pub(crate) fn reconcile(view: &View<'_>) -> Plan {
    let mut floor = Floor::of(view);
    let mut waiting = view.waiting.clone();
    waiting.sort_by_key(|pod| (pod.metadata.creation_timestamp, pod.metadata.uid.clone()));
    let decisions = waiting.into_iter().filter_map(|pod| match floor.choose(pod) {
        Ok(node) => {
            floor.place(pod, node);
            Some(bind(pod, node))
        }
        Err(why) => refuse(pod, &why, view.now),
    });
    let step: Vec<Action> = decisions.collect();
    Plan { steps: if step.is_empty() { Vec::new() } else { vec![step] }, ..Plan::default() }
}

/// The nodes and the Pods on them.
struct Floor<'a> {
    nodes: Vec<&'a Node>,
    pods: BTreeMap<&'a str, Vec<&'a Pod>>,
}

impl<'a> Floor<'a> {
    fn of(view: &View<'a>) -> Self {
        let mut nodes = view.nodes.clone();
        nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut floor = Self { nodes, pods: BTreeMap::new() };
        for pod in view.placed.iter().filter(|pod| !pod.is_over()) {
            floor.pods.entry(&pod.spec.node_name).or_default().push(pod);
        }
        floor
    }

    fn on(&self, node: &Node) -> &[&'a Pod] {
        self.pods.get(node.metadata.name.as_str()).map_or(&[], Vec::as_slice)
    }

    fn place(&mut self, pod: &'a Pod, node: &'a Node) {
        self.pods.entry(&node.metadata.name).or_default().push(pod);
    }

    fn choose(&self, pod: &Pod) -> Result<&'a Node, String> {
        if self.nodes.is_empty() {
            return Err("no nodes available to schedule pods".to_owned());
        }
        let (mut fitting, mut refusals) = (Vec::new(), Vec::new());
        for node in &self.nodes {
            match fit::refusal(pod, node, self.on(node)) {
                None => fitting.push(*node),
                Some(refusal) => refusals.push(refusal),
            }
        }
        let best = fitting.into_iter().min_by_key(|node| prefer::burden(self, pod, node));
        best.ok_or_else(|| fit::sentence(&refusals))
    }
}

fn bind(pod: &Pod, node: &Node) -> Action {
    let (meta, node) = (&pod.metadata, &node.metadata.name);
    let body = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let message = format!("Successfully assigned {}/{} to {node}", meta.namespace, meta.name);
    let said = Said::of(Kind::Pod, meta, NAME).that("Scheduled", message);
    Action::on(Verb::Bind, Kind::Pod, meta, body).or_say(Some(said), None)
}

/// Tells why a Pod has no node, unless that is known.
fn refuse(pod: &Pod, why: &str, now: Moment) -> Option<Action> {
    let known = condition(&pod.status.conditions, SCHEDULED);
    let is_known = |known: &Condition| {
        known.status == "False" && known.reason == "Unschedulable" && known.message == why
    };
    if known.is_some_and(is_known) {
        return None;
    }
    let mut new = Condition::new(SCHEDULED, "False", ("Unschedulable", why), now);
    new.last_update_time = None;
    if let Some(known) = known.filter(|known| known.status == "False") {
        new.last_transition_time = known.last_transition_time;
    }
    let said = Said::of(Kind::Pod, &pod.metadata, NAME).that("FailedScheduling", why.to_owned()).warning();
    let body = json!({"status": {"conditions": [new.json()]}});
    Some(Action::on(STRATEGIC_STATUS, Kind::Pod, &pod.metadata, body).or_say(Some(said), None))
}

#[cfg(test)]
mod tests;
