//! The life of nodes: one that is silent for too long is unknown, its Pods are not ready, and taints say how it is.
//!
//! It does *not* put Pods away: [`eviction`](crate::eviction) does, by the taints.

mod disruption;
mod signs;
mod taints;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::action::{Action, Kind, Plan, STRATEGIC_STATUS, Said};
use crate::moment::Moment;
use crate::trimmed::{Condition, Meta, Node, Pod, condition};

pub(crate) use disruption::{Leave, Pace};
pub(crate) use signs::Signs;

/// How long a node may be silent that has never said anything.
const STARTUP_GRACE: Duration = Duration::from_secs(60);
/// How often a node says that it lives.
const BEAT: Duration = Duration::from_secs(10);
/// Who says what Events say.
const NAME: &str = "node-controller";
/// What nobody knows of a silent node. Whether its network is there is somebody else's word.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What a node's state depends on.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// The node.
    pub(crate) node: &'a Node,
    /// When it was last heard of.
    pub(crate) heard: Moment,
    /// How long it may be silent.
    pub(crate) grace: Duration,
    /// Its Pods; needed only if [`is_lost`].
    pub(crate) pods: Vec<&'a Pod>,
    /// Whether it may get the taint that puts Pods away.
    pub(crate) leave: Leave,
    /// The time.
    pub(crate) now: Moment,
}

/// Until when a node may be silent.
fn patience(node: &Node, (heard, grace): (Moment, Duration)) -> Moment {
    heard.plus(if node.ready().is_some() { grace } else { STARTUP_GRACE })
}

/// Whether nobody knows how a node is.
pub(crate) fn is_lost(node: &Node, silence: (Moment, Duration), now: Moment) -> bool {
    patience(node, silence) < now || node.ready().is_some_and(|ready| ready.status == "Unknown")
}

/// What is to be done for a node.
pub(crate) fn reconcile(view: &View<'_>) -> Plan {
    let (node, now) = (view.node, view.now);
    let mut plan = Plan::default();
    if node.metadata.is_leaving() {
        return plan;
    }
    let registered = format!("Registered Node {} in Controller", node.metadata.name);
    plan.said.push(said_of(&node.metadata).that("RegisteredNode", registered).once());
    let until = patience(node, (view.heard, view.grace));
    if until >= now {
        // A millisecond later it is silent.
        plan.look_at(Moment(until.0 + 1));
    } else {
        plan.steps.extend(forget(node, now).map(|action| vec![action]));
    }
    if is_lost(node, (view.heard, view.grace), now) {
        let unready: Vec<Action> = view.pods.iter().filter_map(|pod| unready(pod, now)).collect();
        plan.steps.extend(Some(unready).filter(|step| !step.is_empty()));
    }
    if plan.steps.is_empty() {
        taints::write(node, (patient(view), now), &mut plan);
    }
    plan
}

/// When a node may get the taint that puts Pods away: not before others that fell silent with it have been found out.
fn patient(view: &View<'_>) -> Leave {
    let ready = view.node.ready().filter(|ready| ready.status == "Unknown");
    let from = ready.and_then(|ready| ready.last_transition_time).map(|since| since.plus(BEAT));
    match (view.leave, from) {
        (Leave::Now, Some(from)) if from > view.now => Leave::From(from),
        (leave @ (Leave::Now | Leave::From(_) | Leave::Never), _) => leave,
    }
}

/// Whether a plan has Pods put away from a node that kept them so far.
pub(crate) fn begins_to_put_away(node: &Node, plan: &Plan) -> bool {
    let mut lists = plan.steps.iter().flatten().map(|action| &action.body["spec"]["taints"]);
    let puts_away = |list: &Value| Vec::deserialize(list).is_ok_and(|list| taints::put_away(&list));
    !taints::put_away(&node.spec.taints) && lists.any(puts_away)
}

/// Says that nothing is known of a node, unless that is said.
fn forget(node: &Node, now: Moment) -> Option<Action> {
    let conditions: Vec<Value> = CONDITIONS.iter().filter_map(|kind| unknown(node, kind, now)).collect();
    if conditions.is_empty() {
        return None;
    }
    let meta = &node.metadata;
    let body = json!({
        "metadata": {"resourceVersion": meta.resource_version}, "status": {"conditions": conditions},
    });
    let said = node.is_ready().then(|| {
        said_of(meta).that("NodeNotReady", format!("Node {} status is now: NodeNotReady", meta.name))
    });
    Some(Action::on(STRATEGIC_STATUS, Kind::Node, meta, body).or_say(said, None))
}

fn unknown(node: &Node, kind: &str, now: Moment) -> Option<Value> {
    let (reason, message, heartbeat) = match condition(&node.status.conditions, kind) {
        Some(known) if known.status == "Unknown" => return None,
        Some(known) => {
            ("NodeStatusUnknown", "Kubelet stopped posting node status.", known.last_heartbeat_time)
        }
        None => {
            let made = node.metadata.creation_timestamp;
            ("NodeStatusNeverUpdated", "Kubelet never posted node status.", made)
        }
    };
    let mut new = json!({
        "type": kind, "status": "Unknown", "reason": reason, "message": message, "lastTransitionTime": now.text(),
    });
    if let Some(heartbeat) = heartbeat {
        new["lastHeartbeatTime"] = heartbeat.text().into();
    }
    Some(new)
}

/// Takes a Pod out of service: nobody vouches for it.
fn unready(pod: &Pod, now: Moment) -> Option<Action> {
    let known: &Condition =
        condition(&pod.status.conditions, "Ready").filter(|ready| ready.status != "False")?;
    let meta = &pod.metadata;
    let new = json!({"type": known.kind, "status": "False", "lastTransitionTime": now.text()});
    let body = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [new]}});
    let said = Said::of(Kind::Pod, meta, NAME).that("NodeNotReady", "Node is not ready".to_owned()).warning();
    Some(Action::on(STRATEGIC_STATUS, Kind::Pod, meta, body).or_say(Some(said), None))
}

fn said_of(meta: &Meta) -> Said {
    Said::of(Kind::Node, meta, NAME)
}
