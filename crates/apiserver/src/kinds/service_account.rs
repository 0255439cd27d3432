//! Who a pod is.

use super::{ALL_VERBS, Kind, Rules, Scope};

/// Who a pod is.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ServiceAccount",
    type_name: "core.v1.ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "serviceaccounts",
    rules: Rules::PLAIN,
};
