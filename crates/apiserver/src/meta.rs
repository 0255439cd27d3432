//! What is the same in every object: its metadata, checked in Kubernetes' words
//! (`ValidateObjectMeta` of k8s.io/apimachinery).

use serde_json::Value;

use crate::kinds::{Kind, Scope};
use crate::mistake::{Mistake, Path};
use crate::names;

/// The most bytes that annotations may have.
const MOST_ANNOTATIONS: usize = 256 * 1024;

/// Answers the mistakes in the metadata of an object that shall be created. `name_of`: what its name can be.
pub fn check(object: &Value, kind: &Kind, name_of: fn(&str) -> Vec<String>) -> Vec<Mistake> {
    let (meta, path) = (&object["metadata"], Path::new("metadata"));
    let text = |field: &str| meta[field].as_str().unwrap_or_default();
    let mut found = Vec::new();
    let invalid = |path: Path, value: &str, whys: Vec<String>| {
        let value = value.to_owned();
        whys.into_iter().map(move |why| Mistake::invalid(&path, value.clone(), why)).collect::<Vec<_>>()
    };
    let prefix = text("generateName");
    if !prefix.is_empty() {
        found.extend(invalid(path.child("generateName"), prefix, name_of(&completed(prefix))));
    }
    let (name, namespace) = (text("name"), text("namespace"));
    if name.is_empty() {
        found.push(Mistake::required(&path.child("name"), "name or generateName is required"));
    } else {
        found.extend(invalid(path.child("name"), name, name_of(name)));
    }
    match kind.scope {
        Scope::Namespaced if namespace.is_empty() => {
            found.push(Mistake::required(&path.child("namespace"), ""))
        }
        Scope::Namespaced => {
            found.extend(invalid(path.child("namespace"), namespace, names::dns_label(namespace)))
        }
        Scope::Cluster if namespace.is_empty() => {}
        Scope::Cluster => {
            found.push(Mistake::forbidden(&path.child("namespace"), "not allowed on this type"))
        }
    }
    found.extend(contents(meta, &path));
    found
}

/// A prefix may end in what a name may not end in.
fn completed(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => prefix.to_owned(),
    }
}

fn contents(meta: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    if let Some(generation) = meta["generation"].as_i64().filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to 0";
        found.push(Mistake::invalid(&path.child("generation"), generation, why));
    }
    found.extend(labels(&meta["labels"], &path.child("labels")));
    found.extend(annotations(&meta["annotations"], &path.child("annotations")));
    found.extend(owners(&meta["ownerReferences"], &path.child("ownerReferences")));
    for finalizer in meta["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let wrong = names::qualified_name(finalizer);
        found
            .extend(wrong.into_iter().map(|why| Mistake::invalid(&path.child("finalizers"), finalizer, why)));
    }
    found
}

/// Answers the mistakes in a map of labels.
pub fn labels(labels: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let wrong = names::qualified_name(key);
        found.extend(wrong.into_iter().map(|why| Mistake::invalid(path, key.as_str(), why)));
        let wrong = names::label_value(value);
        found.extend(wrong.into_iter().map(|why| Mistake::invalid(path, value, why)));
    }
    found
}

/// Answers the mistakes in a map of annotations.
pub fn annotations(annotations: &Value, path: &Path) -> Vec<Mistake> {
    let (mut found, mut size) = (Vec::new(), 0);
    for (key, value) in annotations.as_object().into_iter().flatten() {
        // Capitals are nobody's fault here.
        let wrong = names::qualified_name(&key.to_lowercase());
        found.extend(wrong.into_iter().map(|why| Mistake::invalid(path, key.as_str(), why)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > MOST_ANNOTATIONS {
        found.push(Mistake::too_long(path, MOST_ANNOTATIONS));
    }
    found
}

fn owners(owners: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mut controller: Option<&Value> = None;
    for owner in owners.as_array().into_iter().flatten() {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let version = text("apiVersion").rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            found.push(Mistake::invalid(
                &path.child("apiVersion"),
                text("apiVersion"),
                "version must not be empty",
            ));
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                found.push(Mistake::invalid(&path.child(field), text(field), "must not be empty"));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            found.push(Mistake::invalid(path, owner.clone(), why));
        }
        if owner["controller"] != true {
            continue;
        }
        match controller {
            None => controller = Some(owner),
            Some(first) => {
                let one = |owner: &Value| {
                    let text = |field: &str| owner[field].as_str().unwrap_or_default().to_owned();
                    format!("{}/{}", text("kind"), text("name"))
                };
                let why = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    one(first),
                    one(owner)
                );
                found.push(Mistake::invalid(path, owners.clone(), why));
            }
        }
    }
    found
}

/// Answers the mistakes in how the metadata of an object shall change.
pub fn check_update(new: &Value, old: &Value) -> Vec<Mistake> {
    let (new, old, path) = (&new["metadata"], &old["metadata"], Path::new("metadata"));
    let mut found = Vec::new();
    if old["deletionTimestamp"].is_string() {
        let list = |meta: &Value| -> Vec<String> {
            let list = meta["finalizers"].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let known = list(old);
        let added: Vec<String> = list(new).into_iter().filter(|one| !known.contains(one)).collect();
        if !added.is_empty() {
            let added: Vec<String> = added.iter().map(|one| crate::body::quoted(one)).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                added.join(", ")
            );
            found.push(Mistake::forbidden(&path.child("finalizers"), why));
        }
    }
    if new["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        found.push(Mistake::invalid(&path.child("resourceVersion"), "", "must be specified for an update"));
    }
    let number = |meta: &Value| meta["generation"].as_i64().unwrap_or(0);
    if number(new) < number(old) {
        found.push(Mistake::invalid(&path.child("generation"), number(new), "must not be decremented"));
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        found.extend(immutable(&new[field], &old[field], &path.child(field)));
    }
    found.extend(contents(new, &path));
    found
}

/// A mistake if a field was changed.
pub fn immutable(new: &Value, old: &Value, path: &Path) -> Option<Mistake> {
    (new != old).then(|| Mistake::invalid(path, new.clone(), "field is immutable"))
}
