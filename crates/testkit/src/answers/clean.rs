//! Removing what a case made: objects of its namespace, objects of the whole cluster, the namespace itself.
//!
//! No controller is counted on: finalizers are taken off by hand.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use super::client::Call;
use super::play::Play;

/// Collections in a namespace that cases write to.
const NAMESPACED: [(&str, &str); 11] = [
    ("/api/v1", "pods"),
    ("/api/v1", "services"),
    ("/api/v1", "endpoints"),
    ("/api/v1", "configmaps"),
    ("/api/v1", "secrets"),
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "events"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "replicasets"),
    ("/apis/coordination.k8s.io/v1", "leases"),
    ("/apis/discovery.k8s.io/v1", "endpointslices"),
];
/// What a server has by itself.
const OWN: [&str; 5] = ["default", "kube-system", "kube-public", "kube-node-lease", "kubernetes"];

/// Removes everything.
pub(super) async fn clean(play: &mut Play<'_>) -> Result<(), String> {
    let mut collections: BTreeSet<String> =
        play.written.iter().filter_map(|path| cluster_wide(path)).collect();
    collections.extend(play.case.cleans.iter().cloned());
    let namespace = play.namespace().map(str::to_owned);
    if let Some(namespace) = &namespace {
        let by_controllers = play.case.needs_controllers();
        let is_touched = |kind: &str| {
            play.case.needs_kubectl()
                || play.case.sent.contains(kind)
                || (by_controllers && matches!(kind, "endpoints" | "endpointslices"))
        };
        for (group, kind) in NAMESPACED.into_iter().filter(|(_, kind)| is_touched(kind)) {
            let collection = format!("{group}/namespaces/{namespace}/{kind}");
            for name in names(play, &collection).await? {
                remove(play, &format!("{collection}/{name}")).await?;
            }
        }
    }
    // Addresses go with their Services.
    for collection in collections.iter().filter(|collection| !collection.ends_with("/ipaddresses")) {
        for name in names(play, collection).await? {
            if !OWN.contains(&name.as_str()) && namespace.as_ref() != Some(&name) {
                remove(play, &format!("{collection}/{name}")).await?;
            }
        }
    }
    match namespace {
        Some(namespace) => remove(play, &format!("/api/v1/namespaces/{namespace}")).await,
        None => Ok(()),
    }
}

/// The collection of the whole cluster that a path is in, also that of the namespaces; `None`: it is in a namespace.
fn cluster_wide(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').collect();
    let root = if parts.get(1) == Some(&"api") { 3 } else { 4 };
    let kind = parts.get(root)?;
    let is_of_namespace = matches!(parts.get(root + 2), None | Some(&("finalize" | "status")));
    let is_cluster_wide = *kind != "namespaces" || is_of_namespace;
    is_cluster_wide.then(|| parts[..=root].join("/"))
}

async fn names(play: &mut Play<'_>, collection: &str) -> Result<Vec<String>, String> {
    let list = ask(play, Call::new(Method::GET, collection)).await?;
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect())
}

async fn remove(play: &mut Play<'_>, path: &str) -> Result<(), String> {
    let left = ask(play, Call::new(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"))).await?;
    if left["metadata"]["finalizers"].is_array() {
        let patch = json!({"metadata": {"finalizers": null}}).to_string();
        ask(play, Call::new(Method::PATCH, path).with_body("application/merge-patch+json", patch)).await?;
    }
    if cluster_wide(path).is_some_and(|collection| collection.ends_with("/namespaces")) {
        let mut namespace = ask(play, Call::new(Method::GET, path)).await?;
        if namespace["kind"] == "Namespace" {
            namespace["spec"] = json!({"finalizers": []});
            ask(play, Call::json(Method::PUT, &format!("{path}/finalize"), &namespace)).await?;
        }
    }
    Ok(())
}

/// Answers the body; a refusal is one too.
async fn ask(play: &mut Play<'_>, call: Call) -> Result<Value, String> {
    Ok(play.client.call(&call).await?.json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_collections_of_the_cluster() {
        for (path, expected) in [
            ("/api/v1/nodes/a/status", Some("/api/v1/nodes")),
            ("/api/v1/nodes", Some("/api/v1/nodes")),
            ("/apis/networking.k8s.io/v1/servicecidrs/x", Some("/apis/networking.k8s.io/v1/servicecidrs")),
            ("/api/v1/namespaces", Some("/api/v1/namespaces")),
            ("/api/v1/namespaces/a", Some("/api/v1/namespaces")),
            ("/api/v1/namespaces/a/finalize", Some("/api/v1/namespaces")),
            ("/api/v1/namespaces/a/pods", None),
            ("/api/v1/namespaces/a/pods/b", None),
            ("/apis/apps/v1/namespaces/a/deployments/b", None),
            ("/version", None),
            ("/api/v1", None),
        ] {
            assert_eq!(cluster_wide(path).as_deref(), expected, "{path}");
        }
    }
}
