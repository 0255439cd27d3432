//! Pods go from nodes with a taint `NoExecute` that they do not tolerate, or not for longer.
//!
//! How long a Pod has is counted from when the taint and the Pod were first seen together; whoever takes over counts anew.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::action::{Action, Kind, Plan, STRATEGIC_STATUS, Said};
use crate::moment::Moment;
use crate::schedule::tolerates;
use crate::trimmed::{Node, Pod, Taint, condition};

/// Who says what Events say.
const NAME: &str = "taint-eviction-controller";
const REASON: &str = "TaintManagerEviction";

/// Since when the Pods of a node have to go, by their identifiers.
pub(crate) type Clocks = BTreeMap<String, Moment>;

/// Whether a node has Pods put away.
pub(crate) fn puts_away(node: &Node) -> bool {
    node.spec.taints.iter().any(|taint| taint.effect == "NoExecute")
}

/// What is to be done about the Pods of a node. `clocks` are brought up to date.
pub(crate) fn reconcile(node: &Node, pods: &[&Pod], clocks: &mut Clocks, now: Moment) -> Plan {
    let mut plan = Plan::default();
    let mut kept = Clocks::new();
    let (mut marks, mut deletions) = (Vec::new(), Vec::new());
    for pod in pods.iter().filter(|pod| !pod.metadata.is_leaving()) {
        let uid = &pod.metadata.uid;
        let Some(seconds) = patience(pod, &node.spec.taints) else {
            if clocks.contains_key(uid) {
                plan.said.push(said(pod, "Cancelling deletion of Pod"));
            }
            continue;
        };
        let since = clocks.get(uid).copied().unwrap_or(now);
        kept.insert(uid.clone(), since);
        let end = since.plus_seconds(seconds);
        if end > now {
            plan.look_at(end);
            continue;
        }
        marks.extend(mark(pod, now));
        deletions.push(
            Action::delete(Kind::Pod, &pod.metadata)
                .or_say(Some(said(pod, "Marking for deletion Pod")), None),
        );
    }
    *clocks = kept;
    plan.steps.extend([marks, deletions].into_iter().filter(|step| !step.is_empty()));
    plan
}

/// How many seconds a Pod may stay with these taints; `None`: as long as it likes.
fn patience(pod: &Pod, taints: &[Taint]) -> Option<i64> {
    let mut least = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let Some(used) = pod.spec.tolerations.iter().find(|one| tolerates(one, taint)) else {
            return Some(0);
        };
        if let Some(seconds) = used.toleration_seconds {
            least = Some(least.map_or(seconds, |least: i64| least.min(seconds)).max(0));
        }
    }
    least
}

/// Says on the Pod why it goes, unless that is said.
fn mark(pod: &Pod, now: Moment) -> Option<Action> {
    let kind = "DisruptionTarget";
    if condition(&pod.status.conditions, kind).is_some_and(|known| known.status == "True") {
        return None;
    }
    let new: Value = json!({
        "type": kind, "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": now.text(),
    });
    let meta = &pod.metadata;
    let body = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [new]}});
    Some(Action::on(STRATEGIC_STATUS, Kind::Pod, meta, body))
}

fn said(pod: &Pod, what: &str) -> Said {
    let meta = &pod.metadata;
    Said::of(Kind::Pod, meta, NAME).that(REASON, format!("{what} {}/{}", meta.namespace, meta.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Pod with these tolerations, `key`, `key=seconds` or `*`, on a node with these taints.
    fn check(tolerations: &str, taints: &str, expected: Option<i64>) {
        let toleration = |text: &str| {
            let (key, seconds) = text.split_once('=').map_or((text, None), |(key, text)| (key, Some(text)));
            let key = if key == "*" { "" } else { key };
            let seconds = seconds.map(|seconds| seconds.parse::<i64>().unwrap());
            json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
        };
        let list: Vec<Value> = tolerations.split_whitespace().map(toleration).collect();
        let pod: Pod = serde_json::from_value(json!({"spec": {"tolerations": list}})).unwrap();
        let taint = |key: &str| Taint { key: key.into(), effect: "NoExecute".into(), ..Taint::default() };
        let taints: Vec<Taint> = taints.split_whitespace().map(taint).collect();
        assert_eq!(patience(&pod, &taints), expected, "{tolerations} against {taints:?}");
    }

    #[test]
    fn the_shortest_toleration_counts() {
        check("", "", None);
        check("", "a", Some(0));
        check("a", "a", None);
        check("*", "a b", None);
        check("a=30", "a", Some(30));
        check("a=30 b=20", "a b", Some(20));
        check("a=30 b", "a b", Some(30));
        check("a=30", "a b", Some(0));
        check("a=-1", "a", Some(0));
        // The first that fits is the one that is used.
        check("a=30 *", "a", Some(30));
    }
}
