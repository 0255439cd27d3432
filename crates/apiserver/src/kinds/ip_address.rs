//! An address that a Service has.

use super::{ALL_VERBS, Kind, Rules, Scope};

/// An address that a Service has.
pub(super) const KIND: Kind = Kind {
    group: "networking.k8s.io",
    version: "v1",
    kind: "IPAddress",
    type_name: "networking.v1.IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "ipaddresses",
    rules: Rules::PLAIN,
};
