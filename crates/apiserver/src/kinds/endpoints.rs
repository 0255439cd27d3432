//! Addresses of a Service, the old way.

use super::{ALL_VERBS, Kind, Rules, Scope};

/// Addresses of a Service, the old way.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Endpoints",
    type_name: "core.v1.Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "endpoints",
    rules: Rules::PLAIN,
};
