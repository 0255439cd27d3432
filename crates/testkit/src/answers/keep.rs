//! What of an answer the recorded cases are about: single values, or the groups and kinds of discovery that they use.

use serde_json::{Map, Value, json};

use super::tree;

/// The kinds that the cases are about.
const RESOURCES: [&str; 15] = [
    "namespaces",
    "nodes",
    "pods",
    "services",
    "endpoints",
    "endpointslices",
    "servicecidrs",
    "ipaddresses",
    "configmaps",
    "secrets",
    "events",
    "leases",
    "replicasets",
    "deployments",
    "serviceaccounts",
];
/// Their groups. Of each, version v1.
const GROUPS: [&str; 5] =
    ["apps", "discovery.k8s.io", "networking.k8s.io", "coordination.k8s.io", "events.k8s.io"];
const SUBRESOURCES: [&str; 3] = ["status", "scale", "finalize"];

/// Answers the values at some pointers, as a flat mapping; `absent` where there is none.
pub(super) fn only(document: &Value, pointers: &[String]) -> Value {
    let value = |pointer: &String| tree::at(document, pointer).cloned().unwrap_or_else(|| json!("absent"));
    Value::Object(pointers.iter().map(|pointer| (pointer.clone(), value(pointer))).collect::<Map<_, _>>())
}

/// Leaves only the groups and kinds of the cases in a document of discovery.
pub(super) fn discovery(mut document: Value) -> Value {
    match document["kind"].as_str() {
        Some("APIGroupList") => {
            retain(&mut document, "groups", |group| is_among(&GROUPS, &group["name"]));
            list(&mut document, "groups").iter_mut().for_each(keep_v1);
        }
        Some("APIGroup") => keep_v1(&mut document),
        Some("APIResourceList") => retain(&mut document, "resources", is_kept_resource),
        Some("APIGroupDiscoveryList") => {
            retain(&mut document, "items", |group| {
                let name = &group["metadata"]["name"];
                name.as_str().is_none_or(str::is_empty) || is_among(&GROUPS, name)
            });
            list(&mut document, "items").iter_mut().for_each(keep_in_group);
        }
        Some(_) | None => {}
    }
    document
}

fn keep_v1(group: &mut Value) {
    retain(group, "versions", |version| version["version"] == "v1");
}

fn keep_in_group(group: &mut Value) {
    if let Some(metadata) = group["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    keep_v1(group);
    for version in list(group, "versions") {
        retain(version, "resources", |resource| is_among(&RESOURCES, &resource["resource"]));
        for resource in list(version, "resources") {
            retain(resource, "subresources", |part| is_among(&SUBRESOURCES, &part["subresource"]));
        }
    }
}

fn is_kept_resource(resource: &Value) -> bool {
    let name = resource["name"].as_str().unwrap_or_default();
    let (first, last) =
        (name.split('/').next().unwrap_or_default(), name.rsplit('/').next().unwrap_or_default());
    RESOURCES.contains(&first) && (RESOURCES.contains(&last) || SUBRESOURCES.contains(&last))
}

fn is_among(names: &[&str], value: &Value) -> bool {
    value.as_str().is_some_and(|value| names.contains(&value))
}

/// Does nothing where there is no such list, so that none appears.
fn retain(document: &mut Value, field: &str, keep: impl Fn(&Value) -> bool) {
    if let Some(items) = document.get_mut(field).and_then(Value::as_array_mut) {
        items.retain(keep);
    }
}

fn list<'a>(document: &'a mut Value, field: &str) -> &'a mut [Value] {
    document.get_mut(field).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_values() {
        let document = json!({"a": {"b": [1, null]}, "c/d": 2});
        let pointers = ["/a/b/0", "/a/b/1", "/a/b/2", "/c~1d", "/a/x/y"].map(str::to_owned);
        let expected =
            json!({"/a/b/0": 1, "/a/b/1": null, "/a/b/2": "absent", "/c~1d": 2, "/a/x/y": "absent"});
        assert_eq!(only(&document, &pointers), expected);
    }

    #[test]
    fn keeps_what_the_cases_are_about() {
        for (document, expected) in [
            (
                json!({"kind": "APIResourceList", "resources": [{"name": "pods/status"}, {"name": "pods/log"}, {"name": "jobs"}]}),
                json!({"kind": "APIResourceList", "resources": [{"name": "pods/status"}]}),
            ),
            (
                json!({"kind": "APIGroupList", "groups": [{"name": "batch"}, {"name": "apps", "versions": [{"version": "v2"}, {"version": "v1"}]}]}),
                json!({"kind": "APIGroupList", "groups": [{"name": "apps", "versions": [{"version": "v1"}]}]}),
            ),
            (
                json!({"kind": "APIGroupDiscoveryList", "items": [
                    {"metadata": {"name": "batch"}},
                    {"metadata": {"creationTimestamp": null}, "versions": [{"version": "v1", "resources": [
                        {"resource": "pods", "subresources": [{"subresource": "exec"}, {"subresource": "status"}]},
                        {"resource": "secrets"}, {"resource": "limitranges"}]}]}]}),
                json!({"kind": "APIGroupDiscoveryList", "items": [
                    {"metadata": {}, "versions": [{"version": "v1", "resources": [
                        {"resource": "pods", "subresources": [{"subresource": "status"}]}, {"resource": "secrets"}]}]}]}),
            ),
            (json!({"kind": "Other", "resources": [1]}), json!({"kind": "Other", "resources": [1]})),
        ] {
            assert_eq!(discovery(document), expected);
        }
    }
}
