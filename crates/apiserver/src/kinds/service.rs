//! An address that stays.

use super::{ALL_VERBS, FieldValue, Kind, Rules, STATUS, Scope, Selectable};

/// An address that stays.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Service",
    type_name: "core.v1.Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    selectable: &[
        Selectable { label: "spec.clusterIP", value: FieldValue::Text("/spec/clusterIP") },
        Selectable { label: "spec.type", value: FieldValue::Text("/spec/type") },
    ],
    table: "services",
    rules: Rules::PLAIN,
};
