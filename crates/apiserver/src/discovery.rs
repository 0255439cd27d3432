//! Discovery: what this server serves, in the forms that clients ask for: the old one, a document for each group and
//! version, and the aggregated one, two documents for everything.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::kinds::{KINDS, Kind, Scope, Subresource};

/// The media type of the aggregated form.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers `/api`; `server`: how clients reach this server, `host:port`.
pub fn core_versions(server: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"],
           "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}]})
}

/// Answers `/apis`.
pub fn groups() -> Value {
    let groups: Vec<Value> = group_names().into_iter().map(group_entry).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Answers `/apis/GROUP`; `None`: there is no such group.
pub fn group(name: &str) -> Option<Value> {
    let mut group = group_names().into_iter().find(|known| *known == name).map(group_entry)?;
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

/// Answers `/api/v1` and `/apis/GROUP/VERSION`; `None`: there is no such version.
pub fn resources(group: &str, version: &str) -> Option<Value> {
    let kinds = || KINDS.iter().filter(|kind| (kind.group, kind.version) == (group, version));
    let first = kinds().next()?;
    let resources: Vec<Value> = kinds().flat_map(|kind| resource_entries(kind)).collect();
    let mut list =
        json!({"kind": "APIResourceList", "groupVersion": first.api_version(), "resources": resources});
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

/// Answers the aggregated form of `/api` (`is_core`) or `/apis`.
pub fn aggregated(is_core: bool) -> Value {
    let groups = if is_core { vec![""] } else { group_names() };
    let items: Vec<Value> = groups.into_iter().map(aggregated_group).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

/// The named groups, in the order of their priority.
fn group_names() -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    KINDS.iter().map(|kind| kind.group).filter(|group| !group.is_empty() && seen.insert(*group)).collect()
}

fn group_entry(name: &str) -> Value {
    let mut seen = BTreeSet::new();
    let kinds = KINDS.iter().filter(|kind| kind.group == name);
    let versions = kinds.map(|kind| kind.version).filter(|version| seen.insert(*version));
    let versions: Vec<Value> = versions
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

fn resource_entries(kind: &Kind) -> Vec<Value> {
    let namespaced = kind.scope == Scope::Namespaced;
    let mut own = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": namespaced,
                         "kind": kind.kind, "verbs": kind.verbs, "storageVersionHash": storage_hash(kind)});
    add_names(&mut own, kind);
    let part = |part: &Subresource| {
        let name = format!("{}/{}", kind.plural, part.name);
        let mut entry = json!({"name": name, "singularName": "", "namespaced": namespaced,
                               "kind": part.kind.map_or(kind.kind, |(_, _, kind)| kind), "verbs": part.verbs});
        if let Some((group, version, _)) = part.kind {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entry
    };
    std::iter::once(own).chain(kind.subresources.iter().map(part)).collect()
}

fn add_names(entry: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
}

/// What tells versions of a kind apart that are stored in another form (k8s.io/apiserver, StorageVersionHash).
fn storage_hash(kind: &Kind) -> String {
    let of = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    let digest = digest(&SHA256, of.as_bytes());
    STANDARD.encode(&digest.as_ref()[..8])
}

fn aggregated_group(name: &str) -> Value {
    let mut seen = BTreeSet::new();
    let kinds = || KINDS.iter().filter(|kind| kind.group == name);
    let versions = kinds().map(|kind| kind.version).filter(|version| seen.insert(*version));
    let version = |version: &str| {
        let resources: Vec<Value> =
            kinds().filter(|kind| kind.version == version).map(|kind| aggregated_resource(kind)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    json!({"metadata": metadata, "versions": versions.map(version).collect::<Vec<_>>()})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let scope = match kind.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let response = |of: &Subresource| {
        let (group, version, name) = of.kind.unwrap_or(("", "", kind.kind));
        json!({"group": group, "version": version, "kind": name})
    };
    let part = |part: &Subresource| json!({"subresource": part.name, "responseKind": response(part), "verbs": part.verbs});
    let parts: Vec<Value> = kind.subresources.iter().map(part).collect();
    let mut entry = json!({"resource": kind.plural, "responseKind": {"group": "", "version": "", "kind": kind.kind},
                           "scope": scope, "singularResource": kind.singular, "verbs": kind.verbs});
    add_names(&mut entry, kind);
    if !parts.is_empty() {
        entry["subresources"] = parts.into();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against what Kubernetes' API server answers, as recorded.
    #[test]
    fn documents_are_kubernetes_own() {
        let apps = resources("apps", "v1").expect("apps is served");
        let names: Vec<&str> =
            apps["resources"].as_array().expect("a list").iter().filter_map(|r| r["name"].as_str()).collect();
        assert_eq!(
            names,
            [
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status"
            ]
        );
        assert_eq!(apps["resources"][0]["storageVersionHash"], "8aSe+NMegvE=");
        assert_eq!(apps["resources"][3]["storageVersionHash"], "P1RzHs8/mWQ=");
        assert_eq!(apps["resources"][1]["group"], "autoscaling");
        assert_eq!(apps["apiVersion"], "v1");
        let core = resources("", "v1").expect("the core group is served");
        assert_eq!(core.get("apiVersion"), None);
        let pods =
            core["resources"].as_array().expect("a list").iter().find(|r| r["name"] == "pods").expect("pods");
        assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
        let groups = groups();
        let names: Vec<&str> =
            groups["groups"].as_array().expect("a list").iter().filter_map(|g| g["name"].as_str()).collect();
        assert_eq!(
            names,
            ["apps", "events.k8s.io", "networking.k8s.io", "coordination.k8s.io", "discovery.k8s.io"]
        );
        assert_eq!(group("apps").expect("apps is served")["preferredVersion"]["groupVersion"], "apps/v1");
        assert_eq!((group("nope"), resources("apps", "v9")), (None, None));
        let all = aggregated(false);
        assert_eq!(
            all["items"][2]["versions"][0]["resources"][1]["subresources"][0]["subresource"],
            "status"
        );
        assert_eq!(aggregated(true)["items"][0]["versions"][0]["resources"][0]["shortNames"], json!(["cm"]));
    }
}
