//! Taints that follow from how a node is: Pods stay away from one that is not ready or is cordoned, and those that are
//! there go in the end.

use serde_json::json;

use super::Leave;
use crate::action::{Action, Kind, MERGE, Plan};
use crate::moment::Moment;
use crate::trimmed::{Node, Taint, condition};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const CORDON: &str = "node.kubernetes.io/unschedulable";
/// What holds for a node, the status that keeps Pods away, and the taint.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// Has a node get the taints that it should have, and no others of their names.
pub(super) fn write(node: &Node, (leave, now): (Leave, Moment), plan: &mut Plan) {
    let mut taints = node.spec.taints.clone();
    let wanted = wanted(node);
    taints.retain(|taint| !is_ours(taint, "NoSchedule") || wanted.contains(&taint.key.as_str()));
    for key in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == "NoSchedule") {
            taints.push(Taint { key: key.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
    }
    empty(node, &mut taints, (leave, now), plan);
    if taints != node.spec.taints {
        let body = json!({
            "metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints},
        });
        plan.then(Action::on(MERGE, Kind::Node, &node.metadata, body));
    }
}

/// Whether one of the taints puts Pods away because of how the node is.
pub(super) fn put_away(taints: &[Taint]) -> bool {
    taints.iter().any(is_putting_away)
}

fn is_putting_away(taint: &Taint) -> bool {
    taint.effect == "NoExecute" && [NOT_READY, UNREACHABLE].contains(&taint.key.as_str())
}

fn is_ours(taint: &Taint, effect: &str) -> bool {
    let is_known = BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key) || taint.key == CORDON;
    is_known && taint.effect == effect
}

/// The taint by which Pods go: one instead of the other at once, a new one when it may be.
fn empty(node: &Node, taints: &mut Vec<Taint>, (leave, now): (Leave, Moment), plan: &mut Plan) {
    let has_one = taints.iter().any(is_putting_away);
    let wanted = match node.ready().map(|ready| ready.status.as_str()) {
        Some("False") => NOT_READY,
        Some("Unknown") => UNREACHABLE,
        Some(_) => {
            taints.retain(|taint| !is_putting_away(taint));
            return;
        }
        None => return,
    };
    match leave {
        Leave::Never => return taints.retain(|taint| !is_putting_away(taint)),
        Leave::From(when) if !has_one => return plan.look_at(when),
        Leave::From(_) | Leave::Now => {}
    }
    taints.retain(|taint| !is_putting_away(taint) || taint.key == wanted);
    if !taints.iter().any(is_putting_away) {
        let added = Some(now.text());
        let effect = "NoExecute".to_owned();
        taints.push(Taint { key: wanted.to_owned(), effect, time_added: added, ..Taint::default() });
    }
}

fn wanted(node: &Node) -> Vec<&'static str> {
    let status = |kind: &str| condition(&node.status.conditions, kind).map(|one| one.status.as_str());
    let by_condition = BY_CONDITION.iter().filter(|(kind, bad, _)| status(kind) == Some(bad));
    let mut keys: Vec<&str> = by_condition.map(|(_, _, key)| *key).collect();
    if status("Ready").is_none() {
        // It was just made, and has said nothing yet.
        keys.push(NOT_READY);
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

    /// The taints of a node that has these; `!` marks those that put Pods away.
    fn check((ready, unschedulable): (&str, bool), leave: Leave, taints: &str, expected: &str) {
        let taint = |text: &str| match text.strip_suffix('!') {
            Some(key) => json!({"key": key, "effect": "NoExecute"}),
            None => json!({"key": text, "effect": "NoSchedule"}),
        };
        let list: Vec<Value> = taints.split_whitespace().map(|text| taint(&long(text))).collect();
        let node = json!({
            "metadata": {"name": "one"},
            "spec": {"unschedulable": unschedulable, "taints": list},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        let mut plan = Plan::default();
        write(&serde_json::from_value(node).unwrap(), (leave, Moment(0)), &mut plan);
        let found = plan.steps.concat().first().map(|patch| {
            let list: Vec<Taint> = serde_json::from_value(patch.body["spec"]["taints"].clone()).unwrap();
            let mark = |taint: &Taint| if taint.effect == "NoExecute" { "!" } else { "" };
            let texts = list.iter().map(|taint| format!("{}{}", short(&taint.key), mark(taint)));
            texts.collect::<Vec<_>>().join(" ")
        });
        let again = plan.again.map(|when| format!("later {}", when.0 / 1000));
        let found = found.into_iter().chain(again).collect::<Vec<_>>().join(", ");
        assert_eq!(found, expected, "{ready} {leave:?} {taints}");
    }

    fn long(text: &str) -> String {
        text.replacen("k/", "node.kubernetes.io/", 1)
    }

    fn short(text: &str) -> String {
        text.replacen("node.kubernetes.io/", "k/", 1)
    }

    #[test]
    fn taints_follow_the_conditions() {
        let (now, never, later) = (Leave::Now, Leave::Never, Leave::From(Moment(9000)));
        check(("True", false), now, "", "");
        check(("True", false), now, "k/not-ready mine", "mine");
        check(("True", false), never, "k/not-ready! k/unreachable! mine!", "mine!");
        check(("False", false), now, "mine", "mine k/not-ready k/not-ready!");
        check(("False", false), never, "k/not-ready", "");
        check(("False", false), later, "mine", "mine k/not-ready, later 9");
        check(("Unknown", false), later, "k/unreachable", "later 9");
        check(("Unknown", false), now, "k/unreachable k/unreachable!", "");
        check(("Unknown", false), later, "k/not-ready k/not-ready!", "k/unreachable k/unreachable!");
        check(("Unknown", false), never, "k/unreachable k/unreachable!", "k/unreachable");
        check(("True", true), now, "mine", "mine k/unschedulable");
        check(("True", false), now, "k/unschedulable mine", "mine");
    }
}
