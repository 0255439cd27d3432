//! Pods of one version, and from one to the next.

use super::{ALL_VERBS, Kind, Rules, SCALE, STATUS, Scope};

/// Pods of one version, and from one to the next.
pub(super) const KIND: Kind = Kind {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    type_name: "apps.v1.Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[SCALE, STATUS],
    selectable: &[],
    table: "deployments",
    rules: Rules::PLAIN,
};
