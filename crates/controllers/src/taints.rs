//! Taints that follow from how a node is: Pods stay away from one that is not ready or is cordoned.
//!
//! It does *not* evict Pods, and it believes what a node says of itself: nobody asks whether the node still says it.

use serde_json::json;

use crate::action::{Action, Kind, MERGE, Plan};
use crate::trimmed::{Node, Taint, condition};

/// What holds for a node, the status that keeps Pods away, and the taint.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const CORDON: &str = "node.kubernetes.io/unschedulable";

/// What is to be done so that a node has the taints that it should have, and no others of their names.
pub(crate) fn reconcile(node: &Node) -> Plan {
    let mut plan = Plan::default();
    let is_ours = |taint: &Taint| {
        let is_known = BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key) || taint.key == CORDON;
        is_known && taint.effect == "NoSchedule"
    };
    let wanted = wanted(node);
    let mut taints: Vec<Taint> = node.spec.taints.clone();
    taints.retain(|taint| !is_ours(taint) || wanted.contains(&taint.key.as_str()));
    for key in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == "NoSchedule") {
            taints.push(Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
    }
    if taints != node.spec.taints && !node.metadata.is_leaving() {
        let body = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints},
        });
        plan.then(Action::on(MERGE, Kind::Node, &node.metadata, body));
    }
    plan
}

fn wanted(node: &Node) -> Vec<&'static str> {
    let status = |kind: &str| condition(&node.status.conditions, kind).map(|one| one.status.as_str());
    let by_condition = BY_CONDITION.iter().filter(|(kind, bad, _)| status(kind) == Some(bad));
    let mut keys: Vec<&str> = by_condition.map(|(_, _, key)| *key).collect();
    if status("Ready").is_none() {
        // It was just made, and has said nothing yet.
        keys.push("node.kubernetes.io/not-ready");
    }
    if node.spec.unschedulable {
        keys.push(CORDON);
    }
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn taints_follow_the_conditions() {
        let check = |ready: &str, unschedulable: bool, taints: &[&str], expected: &[&str]| {
            let taints: Vec<Value> =
                taints.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})).collect();
            let node = json!({
                "metadata": {"name": "one"},
                "spec": {"unschedulable": unschedulable, "taints": taints},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            });
            let plan = reconcile(&serde_json::from_value(node).unwrap());
            let patches = plan.steps.concat();
            let of = |patch: &Action| -> Vec<String> {
                let list = patch.body["spec"]["taints"].as_array().unwrap().clone();
                list.iter().map(|taint| taint["key"].as_str().unwrap().to_owned()).collect()
            };
            let found: Vec<String> = patches.iter().flat_map(of).collect();
            assert_eq!(found, expected, "{ready} {taints:?}");
        };
        let not_ready = "node.kubernetes.io/not-ready";
        check("True", false, &[], &[]);
        check("True", false, &[not_ready, "mine"], &["mine"]);
        check("False", false, &["mine"], &["mine", not_ready]);
        check("False", false, &[not_ready], &[]);
        check("Unknown", false, &[], &["node.kubernetes.io/unreachable"]);
        check("True", true, &["mine"], &["mine", CORDON]);
        check("True", false, &[CORDON, "mine"], &["mine"]);
    }
}
