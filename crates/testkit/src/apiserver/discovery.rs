//! The paths that are no resource: health, version and discovery, enough for `kubectl`.

use serde_json::{Value, json};

use super::resource::Resource;

/// What such a path answers.
pub(super) enum Meta {
    Text(&'static str),
    Object(Value),
}

/// Answers what is at `path`, if anything is.
pub(super) fn meta(path: &str, served: &[Resource]) -> Option<Meta> {
    let object = match path.trim_end_matches('/') {
        "/healthz" | "/livez" | "/readyz" => return Some(Meta::Text("ok")),
        "/version" => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0-test"}),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        "/apis" => group_list(served),
        "/api/v1" => resource_list("v1", served)?,
        path => resource_list(path.strip_prefix("/apis/")?, served)?,
    };
    Some(Meta::Object(object))
}

fn group_list(served: &[Resource]) -> Value {
    let mut versions: Vec<&str> =
        served.iter().map(|r| r.api_version()).filter(|v| v.contains('/')).collect();
    versions.dedup();
    let groups: Vec<Value> = versions
        .into_iter()
        .map(|api_version| {
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let version = json!({"groupVersion": api_version, "version": version});
            json!({"name": group, "versions": [version], "preferredVersion": version})
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resource_list(api_version: &str, served: &[Resource]) -> Option<Value> {
    let resources: Vec<Resource> =
        served.iter().copied().filter(|r| r.api_version() == api_version).collect();
    if resources.is_empty() {
        return None;
    }
    let mut entries = Vec::new();
    for resource in resources {
        let verbs = json!(["create", "delete", "get", "list", "patch", "update", "watch"]);
        let singular = resource.kind().to_ascii_lowercase();
        entries.push(json!({"name": resource.plural(), "singularName": singular, "namespaced": resource.is_namespaced(),
                            "kind": resource.kind(), "verbs": verbs, "shortNames": short_names(resource)}));
        if resource.has_status() {
            entries.push(json!({"name": format!("{}/status", resource.plural()), "singularName": "",
                "namespaced": resource.is_namespaced(), "kind": resource.kind(), "verbs": ["get", "patch", "update"]}));
        }
    }
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": entries}),
    )
}

fn short_names(resource: Resource) -> Value {
    match resource {
        Resource::Namespaces => json!(["ns"]),
        Resource::Nodes => json!(["no"]),
        Resource::Services => json!(["svc"]),
        Resource::Events => json!(["ev"]),
        Resource::EndpointSlices | Resource::ServiceCidrs => json!([]),
    }
}
