//! What a Pod may say about the nodes and the Pods that it wants to be near.

use serde_json::Value;

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
