//! A room for objects.

use super::{FieldValue, Kind, Rules, STATUS, Scope, Selectable, Subresource};

/// A room for objects.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    type_name: "core.v1.Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Subresource { name: "finalize", kind: None, verbs: &["update"] }, STATUS],
    selectable: &[Selectable { label: "status.phase", value: FieldValue::Text("/status/phase") }],
    table: "namespaces",
    rules: Rules::PLAIN,
};
