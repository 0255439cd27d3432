//! Who leads, until when.

use serde_json::Value;

use super::rules::{Column, created, text};
use super::{ALL_VERBS, Kind, Rules, Scope};
use crate::mistake::{Mistake, Path};
use crate::names;

/// Who leads, until when.
pub(super) const KIND: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    type_name: "coordination.v1.Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "leases",
    rules: RULES,
};

const RULES: Rules = Rules {
    validate,
    validate_update: |new, _| validate(new),
    is_created_by_update: true,
    is_updated_unconditionally: false,
    columns: &[Column::new("Holder", "string", "Who has it."), Column::AGE],
    cells: |object, now| vec![text(object, "/spec/holderIdentity").into(), created(object, now)],
    ..Rules::PLAIN
};

fn validate(object: &Value) -> Vec<Mistake> {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut found = Vec::new();
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|seconds| *seconds <= 0) {
        found.push(Mistake::invalid(&path.child("leaseDurationSeconds"), seconds, "must be greater than 0"));
    }
    if let Some(times) = spec["leaseTransitions"].as_i64().filter(|times| *times < 0) {
        let why = "must be greater than or equal to 0";
        found.push(Mistake::invalid(&path.child("leaseTransitions"), times, why));
    }
    let strategy = spec["strategy"].as_str();
    if let Some(strategy) = strategy {
        // The field stands there twice in Kubernetes' own words.
        let path = path.child("strategy");
        if !strategy.contains('/') && strategy != "OldestEmulationVersion" {
            found.push(Mistake::not_supported(
                &path.child("strategy"),
                strategy,
                &["OldestEmulationVersion"],
            ));
        } else if strategy.contains('/') {
            let wrong = names::qualified_name(strategy).into_iter();
            found.extend(wrong.map(|why| Mistake::invalid(&path.child("strategy"), strategy, why)));
        }
    }
    if !text(spec, "/preferredHolder").is_empty() && strategy.unwrap_or_default().is_empty() {
        let why = "may only be specified if `strategy` is defined";
        found.push(Mistake::forbidden(&path.child("preferredHolder"), why));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn terms_are_longer_than_nothing() {
        let check = |spec: Value, wanted: &str| {
            assert_eq!(aggregate(&validate(&json!({"spec": spec}))), wanted, "{spec}");
        };
        check(json!({"leaseDurationSeconds": 15, "leaseTransitions": 0}), "[]");
        check(
            json!({"leaseDurationSeconds": 0, "leaseTransitions": -1}),
            "[spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0, spec.leaseTransitions: Invalid value: \
             -1: must be greater than or equal to 0]",
        );
        check(
            json!({"strategy": "Nope"}),
            "spec.strategy.strategy: Unsupported value: \"Nope\": supported values: \"OldestEmulationVersion\"",
        );
        check(json!({"strategy": "x.io/mine", "preferredHolder": "h"}), "[]");
        check(
            json!({"preferredHolder": "h"}),
            "spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined",
        );
    }
}
