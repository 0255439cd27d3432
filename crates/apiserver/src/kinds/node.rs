//! A machine.

use super::{ALL_VERBS, FieldValue, Kind, Rules, STATUS, Scope, Selectable};

/// A machine.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    type_name: "core.v1.Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    selectable: &[Selectable { label: "spec.unschedulable", value: FieldValue::Flag("/spec/unschedulable") }],
    table: "nodes",
    rules: Rules::PLAIN,
};
