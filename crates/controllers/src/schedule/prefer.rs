//! Which of the nodes that a Pod can go to is the best.

use std::collections::BTreeMap;

use super::{Floor, fit};
use crate::trimmed::{Node, Pod, Spread};

/// What speaks against a node; the fields count in their order, and the node's name decides when all are equal.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Burden {
    /// Taints that would rather keep the Pod away.
    taints: usize,
    /// What the Pod prefers and the node is not.
    unlike: i64,
    /// Pods that should be elsewhere, for the Pod's topology spread constraints.
    crowded: usize,
    /// Pods of the same owner.
    siblings: usize,
    /// Pods.
    pods: usize,
}

/// What speaks against a node.
pub(super) fn burden(floor: &Floor<'_>, pod: &Pod, node: &Node) -> Burden {
    let soft = node.spec.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let preferred = pod.spec.affinity.node_affinity.preferred.iter();
    let there = floor.on(node);
    Burden {
        taints: soft.filter(|taint| !fit::is_tolerated(pod, taint)).count(),
        unlike: preferred.filter(|one| !fit::matches(&one.preference, node)).map(|one| one.weight).sum(),
        crowded: pod
            .spec
            .topology_spread_constraints
            .iter()
            .map(|spread| crowd(floor, pod, (spread, node)))
            .sum(),
        siblings: there.iter().filter(|other| are_siblings(pod, other)).count(),
        pods: there.len(),
    }
}

fn are_siblings(a: &Pod, b: &Pod) -> bool {
    let owner = |pod: &Pod| pod.metadata.controller().map(|owner| owner.uid.clone());
    a.metadata.namespace == b.metadata.namespace && owner(a).is_some() && owner(a) == owner(b)
}

/// How many Pods that a constraint counts are in the node's place; in a place without name, more than anywhere.
fn crowd(floor: &Floor<'_>, pod: &Pod, (spread, node): (&Spread, &Node)) -> usize {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for other in &floor.nodes {
        let Some(place) = other.metadata.labels.get(&spread.topology_key) else { continue };
        let is_counted = |one: &&&Pod| {
            one.metadata.namespace == pod.metadata.namespace
                && spread
                    .label_selector
                    .as_ref()
                    .is_some_and(|selector| selector.matches(&one.metadata.labels))
        };
        *counts.entry(place).or_default() += floor.on(other).iter().filter(is_counted).count();
    }
    let most = counts.values().sum::<usize>() + 1;
    let place = node.metadata.labels.get(&spread.topology_key);
    place.and_then(|place| counts.get(place.as_str()).copied()).unwrap_or(most)
}
