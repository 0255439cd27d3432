//! Who a pod is.

use super::{ALL_VERBS, Kind, Rules, Scope, Subresource};

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
    subresources: &[TOKEN],
    selectable: &[],
    table: "serviceaccounts",
    rules: Rules::PLAIN,
};

/// Asking for a token.
const TOKEN: Subresource = Subresource {
    name: "token",
    kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
    verbs: &["create"],
};
