//! Addresses of a Service.

use super::{ALL_VERBS, Kind, Rules, Scope};

/// Addresses of a Service.
pub(super) const KIND: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    type_name: "discovery.v1.EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "endpointslices",
    rules: Rules::PLAIN,
};
