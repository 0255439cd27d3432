//! A range of addresses for Services.

use super::{ALL_VERBS, Kind, Rules, STATUS, Scope};

/// A range of addresses for Services.
pub(super) const KIND: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "ServiceCIDR",
    type_name: "networking.v1.ServiceCIDR",
    plural: "servicecidrs",
    singular: "servicecidr",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[STATUS],
    selectable: &[],
    table: "servicecidrs",
    rules: Rules::PLAIN,
};
