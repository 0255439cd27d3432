//! As many Pods as there shall be.

use serde_json::{Value, json};

use super::pod::read::{negative, number};
use super::workload::{self, column, last_cells, wide};
use super::{ALL_VERBS, Column, Kind, Rules, SCALE, STATUS, Scope};
use crate::mistake::{Mistake, Path};

/// As many Pods as there shall be.
pub(super) const KIND: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    type_name: "apps.v1.ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    table: "replicasets",
    rules: Rules {
        defaults: workload::defaults,
        prepare,
        prepare_update: workload::prepare_update,
        validate,
        validate_update,
        prepare_status: |new, old| workload::prepare_status(new, old, &["generation"]),
        validate_status,
        warnings: workload::warnings,
        columns: COLUMNS,
        cells,
        ..Rules::PLAIN
    },
};

const COLUMNS: &[Column] = &[
    column("Desired", "integer", "How many Pods there shall be."),
    column("Current", "integer", "How many there are."),
    column("Ready", "integer", "How many of them are ready."),
    column("Age", "string", "How long ago it was created."),
    wide("Containers", "The names of the containers of each Pod."),
    wide("Images", "What they are made of."),
    wide("Selector", "The labels by which it knows its Pods."),
];

fn cells(object: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let counts = [(spec, "replicas"), (status, "replicas"), (status, "readyReplicas")];
    let mut cells: Vec<Value> = counts.iter().map(|(of, field)| number(of, field).into()).collect();
    cells.extend(last_cells(object, now));
    cells
}

fn prepare(object: &mut Value) {
    object["metadata"]["generation"] = 1.into();
    object["status"] = json!({"replicas": 0});
}

fn validate(object: &Value) -> Vec<Mistake> {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let counts = ["replicas", "minReadySeconds"];
    let mut found: Vec<Mistake> = counts.iter().filter_map(|field| negative(spec, field, &path)).collect();
    found.extend(workload::selection(spec, &path));
    found
}

fn validate_update(new: &Value, old: &Value) -> Vec<Mistake> {
    let mut found = validate(new);
    found.extend(workload::reselected(new, old));
    found
}

fn validate_status(new: &Value, _: &Value) -> Vec<Mistake> {
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    let all = ["replicas", parts[0], parts[1], parts[2], "observedGeneration", "terminatingReplicas"];
    workload::counts(&new["status"], &all, &parts)
}
