//! Who a pod is.

use serde_json::{Value, json};

use super::rules::list;
use super::{ALL_VERBS, Does, Kind, Rules, Scope, Subresource};

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
    rules: RULES,
};

/// Asking for a token.
const TOKEN: Subresource = Subresource {
    name: "token",
    kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
    verbs: &["create"],
    does: Does::Token,
};

const RULES: Rules = Rules {
    prepare: names_only,
    prepare_update: |new, _| names_only(new),
    warnings,
    is_answered_when_deleted: true,
    ..Rules::PLAIN
};

/// Of the secrets only the names are kept.
fn names_only(object: &mut Value) {
    let name = |secret: &Value| match secret["name"].as_str().unwrap_or_default() {
        "" => json!({}),
        name => json!({"name": name}),
    };
    let secrets: Vec<Value> = list(object, "/secrets").iter().map(name).collect();
    if !secrets.is_empty() {
        object["secrets"] = secrets.into();
    }
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let key = "kubernetes.io/enforce-mountable-secrets";
    let is_on = |object: &Value| object["metadata"]["annotations"][key] == "true";
    if !is_on(new) || old.is_some_and(is_on) {
        return Vec::new();
    }
    let instead = "prefer separate namespaces to isolate access to mounted secrets";
    vec![format!("metadata.annotations[{key}]: deprecated in v1.32+; {instead}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_secrets_are_kept() {
        let mut object = json!({"secrets": [{"kind": "Secret", "name": "a"}]});
        names_only(&mut object);
        assert_eq!(object, json!({"secrets": [{"name": "a"}]}));
        let object =
            json!({"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
        assert_eq!(warnings(&object, None).len(), 1);
        assert_eq!(warnings(&object, Some(&object)).len(), 0);
    }
}
