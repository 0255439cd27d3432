//! So many pods.

use super::{ALL_VERBS, Kind, Rules, SCALE, STATUS, Scope};

/// So many pods.
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
    rules: Rules::PLAIN,
};
