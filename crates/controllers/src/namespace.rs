//! What every namespace has: a ServiceAccount `default`, and the certificate by which Pods know the API server.

use serde_json::json;

use crate::action::{Action, Kind, MERGE, Plan};
use crate::trimmed::{Namespace, Plain};

/// The ServiceAccount of Pods that name none.
pub(crate) const ACCOUNT: &str = "default";
/// The ConfigMap with the certificate.
pub(crate) const ROOT: &str = "kube-root-ca.crt";

/// What is to be done so that a namespace has a ServiceAccount.
pub(crate) fn account(namespace: &Namespace, account: Option<&Plain>) -> Plan {
    let mut plan = Plan::default();
    if account.is_none() && !namespace.metadata.is_leaving() {
        let object = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": namespace.metadata.name},
        });
        plan.then(Action::create(Kind::ServiceAccount, &namespace.metadata.name, object));
    }
    plan
}

/// What is to be done so that a namespace has the certificate.
pub(crate) fn root(namespace: &Namespace, known: Option<&Plain>, certificate: &str) -> Plan {
    let mut plan = Plan::default();
    if namespace.metadata.is_leaving() {
        return plan;
    }
    let data = json!({"ca.crt": certificate});
    match known {
        None => {
            let why = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {
                    "name": ROOT, "namespace": namespace.metadata.name,
                    "annotations": {"kubernetes.io/description": why},
                },
                "data": data,
            });
            plan.then(Action::create(Kind::ConfigMap, &namespace.metadata.name, object));
        }
        Some(known) if known.data.get("ca.crt").map(String::as_str) == Some(certificate) => {}
        Some(known) => plan.then(Action::on(MERGE, Kind::ConfigMap, &known.metadata, json!({"data": data}))),
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_gets_what_it_lacks() {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
        let known: Plain =
            serde_json::from_value(json!({"metadata": {"name": ROOT}, "data": {"ca.crt": "old"}})).unwrap();
        let path = |plan: Plan| plan.steps.concat().iter().map(Action::path).collect::<String>();
        assert_eq!(path(account(&namespace, None)), "/api/v1/namespaces/shop/serviceaccounts");
        assert_eq!(path(account(&namespace, Some(&Plain::default()))), "");
        assert_eq!(path(root(&namespace, None, "new")), "/api/v1/namespaces/shop/configmaps");
        assert_eq!(path(root(&namespace, Some(&known), "new")), "/api/v1/configmaps/kube-root-ca.crt");
        assert_eq!(path(root(&namespace, Some(&known), "old")), "");
        let leaving = json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-11-25T00:00:00Z"}});
        let leaving: Namespace = serde_json::from_value(leaving).unwrap();
        assert_eq!(path(account(&leaving, None)) + &path(root(&leaving, None, "new")), "");
    }
}
