//! Settings that are nobody's business.

use super::{ALL_VERBS, FieldValue, Kind, Rules, Scope, Selectable};

/// Settings that are nobody's business.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    type_name: "core.v1.Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[Selectable { label: "type", value: FieldValue::Text("/type") }],
    table: "secrets",
    rules: Rules::PLAIN,
};
