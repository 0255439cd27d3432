//! Discovery: what this server serves, in the forms that clients ask for: the old one, a document for each group and
//! version, and the aggregated one, two documents for everything.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::access::Review;
use crate::kinds::{KINDS, Kind, Scope, Subresource};

/// The media type of the aggregated form.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The groups in the order of their priority, which is Kubernetes' own; the core group has a document of its own.
const GROUPS: [&str; 8] = [
    "",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "networking.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
];

/// A form of the documents about groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The old one.
    PerVersion,
    /// The aggregated one.
    Aggregated,
}

impl Form {
    /// Answers which form a client would like best, by its header `Accept`; `None`: one that there is not.
    ///
    /// The aggregated form was once served as `v2beta1`, which is gone: clients that know it fall back to the old form.
    pub fn wanted(accept: &str) -> Option<Self> {
        let mut ranges: Vec<(f32, Option<Self>)> =
            accept.split(',').filter(|range| !range.trim().is_empty()).map(form_of).collect();
        if ranges.is_empty() {
            return Some(Self::PerVersion);
        }
        ranges.sort_by_key(|(quality, _)| Reverse((quality * 1000.0) as u32));
        ranges.into_iter().filter(|(quality, _)| *quality > 0.0).find_map(|(_, form)| form)
    }
}

/// Answers how much a range of media types is liked, and which form it is.
fn form_of(range: &str) -> (f32, Option<Form>) {
    let mut words = range.split(';').map(str::trim);
    let media_type = words.next().unwrap_or_default();
    let parameters: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
    let parameter = |name: &str| parameters.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let quality = parameter("q").and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let form = match (parameter("g"), parameter("v"), parameter("as")) {
        (_, _, None) => Some(Form::PerVersion),
        (Some("apidiscovery.k8s.io"), Some("v2"), Some("APIGroupDiscoveryList")) => Some(Form::Aggregated),
        (_, _, Some(_)) => None,
    };
    let is_ours = ["*/*", "application/*", "application/json"].contains(&media_type);
    (quality, form.filter(|_| is_ours))
}

/// Answers every kind that has a place in the paths, those that are kept nowhere included, in the order in which they are
/// shown.
pub fn served() -> Vec<&'static Kind> {
    let asked = Review::ALL.into_iter().map(Review::kind);
    let mut kinds: Vec<&'static Kind> = KINDS.iter().copied().chain(asked).collect();
    kinds.sort_by_key(|kind| (GROUPS.iter().position(|group| *group == kind.group), kind.plural));
    kinds
}

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
    let mut kinds = served();
    kinds.retain(|kind| (kind.group, kind.version) == (group, version));
    let first = kinds.first()?;
    let resources: Vec<Value> = kinds.iter().flat_map(|kind| resource_entries(kind)).collect();
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
    GROUPS.into_iter().filter(|group| !group.is_empty()).collect()
}

fn group_entry(name: &str) -> Value {
    let versions: Vec<Value> = versions(name)
        .into_iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

/// The versions of a group.
fn versions(group: &str) -> Vec<&'static str> {
    let mut seen = BTreeSet::new();
    let kinds = served().into_iter().filter(|kind| kind.group == group);
    kinds.map(|kind| kind.version).filter(|version| seen.insert(*version)).collect()
}

fn resource_entries(kind: &Kind) -> Vec<Value> {
    let namespaced = kind.scope == Scope::Namespaced;
    let mut own = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": namespaced,
                         "kind": kind.kind, "verbs": kind.verbs});
    if KINDS.contains(&kind) {
        own["storageVersionHash"] = storage_hash(kind).into();
    }
    add_names(&mut own, kind);
    let part = |part: &Subresource| {
        let name = format!("{}/{}", kind.plural, part.name);
        let mut entry = json!({"name": name, "singularName": "", "namespaced": namespaced,
                               "kind": part.kind.map_or(kind.kind, |(_, _, kind)| kind), "verbs": part.verbs});
        if let Some((group, version, _)) = part.kind.filter(is_elsewhere) {
            entry["group"] = group.into();
            entry["version"] = version.into();
        }
        entry
    };
    std::iter::once(own).chain(kind.subresources.iter().map(part)).collect()
}

/// Group and version of what is exchanged are told where it is not the core group.
fn is_elsewhere((group, _, _): &(&str, &str, &str)) -> bool {
    !group.is_empty()
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
    let version = |version: &str| {
        let kinds = served().into_iter().filter(|kind| (kind.group, kind.version) == (name, version));
        let resources: Vec<Value> = kinds.map(aggregated_resource).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    json!({"metadata": metadata, "versions": versions(name).into_iter().map(version).collect::<Vec<_>>()})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let scope = match kind.scope {
        Scope::Namespaced => "Namespaced",
        Scope::Cluster => "Cluster",
    };
    let response = |of: &Subresource| {
        let name = of.kind.map_or(kind.kind, |(_, _, name)| name);
        let (group, version, _) = of.kind.filter(is_elsewhere).unwrap_or_default();
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

    #[test]
    fn every_group_has_its_place() {
        for kind in served() {
            assert!(GROUPS.contains(&kind.group), "{}", kind.group);
        }
        for group in GROUPS {
            assert_eq!(versions(group), ["v1"], "{group}");
        }
        assert!(served().starts_with(&KINDS[..9]), "kinds are in the same order");
        assert_eq!((group("nope"), resources("apps", "v9")), (None, None));
        assert_eq!(group("apps").expect("apps is served")["preferredVersion"]["groupVersion"], "apps/v1");
    }

    #[test]
    fn questions_are_served_and_not_stored() {
        let list = resources("authentication.k8s.io", "v1").expect("it is served");
        assert_eq!(
            list["resources"],
            json!([
                {"name": "selfsubjectreviews", "singularName": "selfsubjectreview", "namespaced": false,
                 "kind": "SelfSubjectReview", "verbs": ["create"]},
                {"name": "tokenreviews", "singularName": "tokenreview", "namespaced": false,
                 "kind": "TokenReview", "verbs": ["create"]},
            ])
        );
        let list = resources("", "v1").expect("it is served");
        let token =
            list["resources"].as_array().unwrap().iter().find(|r| r["name"] == "serviceaccounts/token");
        assert_eq!(
            token,
            Some(&json!({"name": "serviceaccounts/token", "singularName": "", "namespaced": true,
                         "group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest",
                         "verbs": ["create"]}))
        );
    }

    #[test]
    fn clients_get_the_form_they_like_best() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                       application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let old = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        for (accept, form) in [
            ("", Some(Form::PerVersion)),
            ("*/*", Some(Form::PerVersion)),
            ("application/json, */*", Some(Form::PerVersion)),
            (AGGREGATED, Some(Form::Aggregated)),
            (kubectl, Some(Form::Aggregated)),
            (old, None),
            (&format!("{old},application/json"), Some(Form::PerVersion)),
            (&format!("application/json;q=0.5, {AGGREGATED};q=0.9"), Some(Form::Aggregated)),
            (&format!("{AGGREGATED};q=0.2,application/json"), Some(Form::PerVersion)),
            (&format!("{AGGREGATED};q=0"), None),
            ("text/html", None),
        ] {
            assert_eq!(Form::wanted(accept), form, "{accept}");
        }
    }
}
