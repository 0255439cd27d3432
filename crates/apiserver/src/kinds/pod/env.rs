//! What the environment of a container may say.

use serde_json::Value;

use super::read::{self, text, wrongs};
use crate::mistake::{Mistake, Path};
use crate::names;

/// What a variable can be of the Pod, besides its labels and annotations.
const OF_POD: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What a file can be of the Pod.
const OF_POD_IN_FILES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const OF_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Judges the variables of a container.
pub(super) fn check(container: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, variable) in read::places(container, "env", path) {
        found.extend(match text(variable, "name") {
            "" => vec![Mistake::required(&at.child("name"), "")],
            name => wrongs(&at.child("name"), name, variable_name(name)),
        });
        if variable["valueFrom"].is_object() {
            found.extend(source(variable, &at.child("valueFrom")));
        }
    }
    for (at, from) in read::places(container, "envFrom", path) {
        let prefix = text(from, "prefix");
        found.extend(wrongs(&at.child("prefix"), prefix, variable_name(prefix)));
        found.extend(many(from, &at));
    }
    found
}

fn variable_name(name: &str) -> Vec<String> {
    let is_right = name.chars().all(|char| (' '..='~').contains(&char) && char != '=');
    let why =
        "a valid environment variable name must consist only of printable ASCII characters other than '='";
    if is_right { Vec::new() } else { vec![why.to_owned()] }
}

fn source(variable: &Value, path: &Path) -> Vec<Mistake> {
    let (from, mut found, mut sources) = (&variable["valueFrom"], Vec::new(), 0);
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let (one, at) = (&from[kind], path.child(kind));
        if !one.is_object() {
            continue;
        }
        sources += 1;
        match kind {
            "fieldRef" => found.extend(of_pod(one, &OF_POD, &at)),
            "resourceFieldRef" => found.extend(of_resources(one, &at)),
            "fileKeyRef" => {}
            _ => found.extend(key_of(one, &at)),
        }
    }
    match sources {
        0 => {
            let why =
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
            found.push(Mistake::invalid(path, "", why));
        }
        _ if !text(variable, "value").is_empty() => {
            found.push(Mistake::invalid(path, "", "may not be specified when `value` is not empty"));
        }
        1 => {}
        _ => found.push(Mistake::invalid(path, "", "may not have more than one field specified at a time")),
    }
    found
}

/// Judges what files say about the Pod.
pub(super) fn of_pod_in_file(item: &Value, path: &Path) -> Vec<Mistake> {
    of_pod(&item["fieldRef"], &OF_POD_IN_FILES, &path.child("fieldRef"))
}

fn of_pod(reference: &Value, known: &[&str], path: &Path) -> Vec<Mistake> {
    let (version, field) = (text(reference, "apiVersion"), text(reference, "fieldPath"));
    let at = path.child("fieldPath");
    if version.is_empty() {
        return vec![Mistake::required(&path.child("apiVersion"), "")];
    }
    if field.is_empty() {
        return vec![Mistake::required(&at, "")];
    }
    let unknown =
        |why: String| vec![Mistake::invalid(&at, field, format!("error converting fieldPath: {why}"))];
    if version != "v1" {
        return unknown(format!("unsupported pod version: {version}"));
    }
    if let Some((of, key)) = field.strip_suffix("']").and_then(|field| field.split_once("['")) {
        return match of {
            "metadata.labels" => wrongs(path, key, names::qualified_name(key)),
            "metadata.annotations" => {
                let key = key.to_lowercase();
                wrongs(path, &key, names::qualified_name(&key))
            }
            _ => unknown(format!("field label does not support subscript: {field}")),
        };
    }
    if known.contains(&field) {
        Vec::new()
    } else if OF_POD.contains(&field) || OF_POD_IN_FILES.contains(&field) {
        vec![Mistake::not_supported(&at, field, known)]
    } else {
        unknown(format!("field label not supported: {field}"))
    }
}

/// Judges a reference to a resource of a container.
pub(super) fn of_resources(reference: &Value, path: &Path) -> Vec<Mistake> {
    let resource = text(reference, "resource");
    let is_huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|of| resource.starts_with(of));
    if resource.is_empty() {
        return vec![Mistake::required(&path.child("resource"), "")];
    }
    if !OF_RESOURCES.contains(&resource) && !is_huge {
        return vec![Mistake::not_supported(&path.child("resource"), resource, &OF_RESOURCES)];
    }
    Vec::new()
}

fn key_of(reference: &Value, path: &Path) -> Vec<Mistake> {
    match text(reference, "key") {
        "" => vec![Mistake::required(&path.child("key"), "")],
        key => wrongs(&path.child("key"), key, config_key(key)),
    }
}

/// The key of a ConfigMap or a Secret.
pub(super) fn config_key(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if key.len() > 253 {
        wrong.push("must be no more than 253 characters".to_owned());
    }
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if key.is_empty() || !key.bytes().all(is_inside) {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  \
             or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match key {
        "." => wrong.push("must not be '.'".to_owned()),
        ".." => wrong.push("must not be '..'".to_owned()),
        key if key.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

fn many(from: &Value, path: &Path) -> Vec<Mistake> {
    let given: Vec<&str> =
        ["configMapRef", "secretRef"].into_iter().filter(|kind| from[kind].is_object()).collect();
    let mut found = Vec::new();
    for kind in &given {
        let at = path.child(kind).child("name");
        found.extend(match text(&from[kind], "name") {
            "" => vec![Mistake::required(&at, "")],
            name => wrongs(&at, name, names::dns_subdomain(name)),
        });
    }
    match given.len() {
        0 => {
            let why = "must specify one of: `configMapRef` or `secretRef`";
            found.push(Mistake::invalid(path, "", why));
        }
        1 => {}
        _ => found.push(Mistake::invalid(path, "", "may not have more than one field specified at a time")),
    }
    found
}
