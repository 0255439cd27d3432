//! What a Pod may say about the nodes and the Pods that it wants to be near.

use serde_json::{Value, json};

use super::read::{self, list, number};
use super::scheduling::{node_term, pod_term};
use crate::mistake::{Mistake, Path};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Judges the affinity; null is none.
pub(super) fn check(affinity: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = of_nodes(&affinity["nodeAffinity"], &path.child("nodeAffinity"));
    for of in ["podAffinity", "podAntiAffinity"] {
        found.extend(of_pods(&affinity[of], &path.child(of)));
    }
    found
}

fn of_nodes(affinity: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    let required = &affinity[REQUIRED];
    if required.is_object() {
        let (at, terms) = (path.child(REQUIRED), list(required, "nodeSelectorTerms"));
        if terms.is_empty() {
            let why = "must have at least one node selector term";
            found.push(Mistake::required(&at.child("nodeSelectorTerms"), why));
        }
        for (at, term) in read::places(required, "nodeSelectorTerms", &at) {
            found.extend(node_term(term, &at));
        }
    }
    for (at, one) in read::places(affinity, PREFERRED, path) {
        found.extend(weight(one, &at));
        found.extend(node_term(&one["preference"], &at.child("preference")));
    }
    found
}

fn of_pods(affinity: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, term) in read::places(affinity, REQUIRED, path) {
        found.extend(pod_term(term, &at));
    }
    for (at, one) in read::places(affinity, PREFERRED, path) {
        found.extend(weight(one, &at));
        found.extend(pod_term(&one["podAffinityTerm"], &at.child("podAffinityTerm")));
    }
    found
}

fn weight(one: &Value, path: &Path) -> Option<Mistake> {
    let weight = number(one, "weight");
    let why = "must be in the range 1-100";
    (!(1..=100).contains(&weight)).then(|| Mistake::invalid(&path.child("weight"), weight, why))
}

/// Adds to the selectors of other Pods what they shall have in common with this one, or not: the values of its own labels.
pub(super) fn add_own_labels(pod: &mut Value) {
    let labels = pod["metadata"]["labels"].clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for of in ["podAffinity", "podAntiAffinity"] {
        for term in terms(spec, &format!("/affinity/{of}/{REQUIRED}")) {
            add(term, &labels);
        }
        for one in terms(spec, &format!("/affinity/{of}/{PREFERRED}")) {
            if let Some(term) = one.get_mut("podAffinityTerm") {
                add(term, &labels);
            }
        }
    }
    for constraint in terms(spec, "/topologySpreadConstraints") {
        add(constraint, &labels);
    }
}

fn terms<'a>(spec: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> + use<'a> {
    spec.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

fn add(term: &mut Value, labels: &Value) {
    let mut added = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in list(term, field).iter().filter_map(Value::as_str) {
            if let Some(value) = labels[key].as_str() {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    // Without a selector no Pod is meant, whatever its labels are.
    let selector = term.get_mut("labelSelector").filter(|selector| selector.is_object());
    if let Some(selector) = selector.filter(|_| !added.is_empty()) {
        let expressions: Value = list(selector, "matchExpressions").iter().cloned().chain(added).collect();
        selector["matchExpressions"] = expressions;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_shall_have_in_common_is_selected() {
        let term = |selector: Value| json!({"matchLabelKeys": ["a", "none"], "mismatchLabelKeys": ["b"], "labelSelector": selector});
        let pod = |selector: Value| {
            let affinity = json!({"podAffinity": {REQUIRED: [term(selector.clone())]},
                                  "podAntiAffinity": {PREFERRED: [{"podAffinityTerm": term(selector)}]}});
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"affinity": affinity}})
        };
        let wanted = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]},
                                                 {"key": "b", "operator": "NotIn", "values": ["2"]}]});
        for (given, wanted) in [(json!({}), wanted), (Value::Null, Value::Null)] {
            let mut given = pod(given);
            add_own_labels(&mut given);
            assert_eq!(given, pod(wanted));
        }
    }
}
