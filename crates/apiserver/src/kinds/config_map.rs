//! Settings as texts.

use super::{ALL_VERBS, Kind, Rules, Scope};

/// Settings as texts.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    type_name: "core.v1.ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "configmaps",
    rules: Rules::PLAIN,
};
