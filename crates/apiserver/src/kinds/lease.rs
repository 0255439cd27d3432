//! Who leads, until when.

use super::{ALL_VERBS, Kind, Rules, Scope};

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
    rules: Rules::PLAIN,
};
