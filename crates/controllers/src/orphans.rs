//! Pods of nodes that are no more are deleted: nobody else would ever say that they have ended.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::action::{Action, Kind, Plan};
use crate::moment::Moment;
use crate::trimmed::Pod;

/// What is to be done about Pods of nodes that are not there. `missing`: those nodes, and since when they were missed;
/// a node that comes back in time, as one that is registered anew, keeps its Pods.
pub(crate) fn reconcile(
    pods: &[&Pod],
    missing: &BTreeMap<String, Moment>,
    (patience, now): (Duration, Moment),
) -> Plan {
    let mut plan = Plan::default();
    let is_over = |since: &Moment| since.plus(patience) <= now;
    let lost = |pod: &Pod| missing.get(&pod.spec.node_name).is_some_and(is_over);
    let gone: Vec<Action> = pods.iter().filter(|pod| lost(pod)).map(|pod| delete(pod)).collect();
    if !gone.is_empty() {
        plan.steps.push(gone);
    }
    if let Some(next) = missing.values().filter(|since| !is_over(since)).min() {
        plan.look_at(next.plus(patience));
    }
    plan
}

/// At once: the node will not say that the Pod has ended.
fn delete(pod: &Pod) -> Action {
    let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": pod.metadata.uid}});
    Action { body: options, ..Action::delete(Kind::Pod, &pod.metadata) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_of_lost_nodes_go() {
        let pods: Vec<Pod> = [("a", "one"), ("b", "two"), ("c", ""), ("d", "three")]
            .map(|(name, node)| {
                let body = json!({"metadata": {"name": name}, "spec": {"nodeName": node}});
                serde_json::from_value(body).unwrap()
            })
            .into();
        let missing = [("two", 0), ("three", 5000)].map(|(node, since)| (node.to_owned(), Moment(since)));
        let check = |now: i64, expected: &[&str], again: Option<i64>| {
            let pods: Vec<&Pod> = pods.iter().collect();
            let plan = reconcile(&pods, &missing.clone().into(), (Duration::from_secs(40), Moment(now)));
            let names: Vec<&str> =
                plan.steps.iter().flatten().map(|action| action.place.name.as_str()).collect();
            assert_eq!((names.as_slice(), plan.again), (expected, again.map(Moment)));
        };
        check(39_999, &[], Some(40_000));
        check(40_000, &["b"], Some(45_000));
        check(45_000, &["b", "d"], None);
    }
}
