//! What is the same in every object: its metadata, checked in Kubernetes' words
//! (`ValidateObjectMeta` of k8s.io/apimachinery).

use std::collections::BTreeSet;

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
    if let Some(generation) = meta["generation"].as_i64().filter(|generation| *generation < 0) {
        let why = "must be greater than or equal to 0";
        found.push(Mistake::invalid(&path.child("generation"), generation, why));
    }
    found.extend(contents(meta, &path));
    found.extend(finalizers(object, kind));
    found
}

/// A prefix may end in what a name may not end in. Kubernetes drops one letter too many.
fn completed(prefix: &str) -> String {
    match prefix.strip_suffix('-').and_then(|rest| rest.len().checked_sub(1).and_then(|at| rest.get(..at))) {
        Some(rest) => format!("{rest}a"),
        None => prefix.to_owned(),
    }
}

fn contents(meta: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = labels(&meta["labels"], &path.child("labels"));
    found.extend(annotations(&meta["annotations"], &path.child("annotations")));
    found.extend(owners(&meta["ownerReferences"], &path.child("ownerReferences")));
    found
}

/// Finalizers without a prefix that Kubernetes knows.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND];
/// Dependents lose their owner before it goes.
const ORPHAN: &str = "orphan";
/// Dependents go before their owner.
const FOREGROUND: &str = "foregroundDeletion";

/// Answers the mistakes in the finalizers of an object: of a new one as a part of [`check`], of a changed one besides
/// [`check_update`], which does not look at them.
pub fn finalizers(object: &Value, kind: &Kind) -> Vec<Mistake> {
    let path = Path::new("metadata").child("finalizers");
    let all = &object["metadata"]["finalizers"];
    let names: Vec<&str> = all.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let wrong = |name: &&str| -> Vec<Mistake> {
        let wrong = names::qualified_name(name);
        wrong.into_iter().map(|why| Mistake::invalid(&path, *name, why)).collect()
    };
    let mut found: Vec<Mistake> = names.iter().flat_map(wrong).collect();
    if names.contains(&ORPHAN) && names.contains(&FOREGROUND) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        found.push(Mistake::invalid(&path, all.clone(), why));
    }
    if knows_standard_finalizers(kind) {
        let each = names.iter().enumerate();
        found.extend(each.filter_map(|(at, name)| unknown_finalizer(name, &path.index(at))));
    }
    found
}

/// Leases and the older Events are judged by the machinery that every API shares, which knows no standard finalizers.
fn knows_standard_finalizers(kind: &Kind) -> bool {
    (kind.group, kind.plural) != ("", "events") && kind.plural != "leases"
}

/// A mistake if a finalizer has no prefix and is none of the standard ones.
pub(crate) fn unknown_finalizer(name: &str, path: &Path) -> Option<Mistake> {
    let is_known = name.contains('/') || STANDARD_FINALIZERS.contains(&name);
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    (!is_known).then(|| Mistake::invalid(path, name, why))
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

/// The fields of an owner in Go's order.
const OWNER: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];

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
            found.push(Mistake::invalid(path, owner.clone(), why).ordered(&OWNER));
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
                found.push(Mistake::invalid(path, owners.clone(), why).ordered(&OWNER));
            }
        }
    }
    found
}

/// Answers the mistakes in how the metadata of an object shall change. Kubernetes asks twice, and lists them twice.
pub fn check_update(new: &Value, old: &Value) -> Vec<Mistake> {
    let (new, old, path) = (&new["metadata"], &old["metadata"], Path::new("metadata"));
    let mut found = Vec::new();
    if old["deletionTimestamp"].is_string() {
        let list = |meta: &Value| -> Vec<String> {
            let list = meta["finalizers"].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let known: BTreeSet<String> = list(old).into_iter().collect();
        let mut added: Vec<String> =
            list(new).into_iter().filter(|one| !known.contains(one.as_str())).collect();
        added.sort_unstable();
        added.dedup();
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
    for field in ["name", "namespace", "uid"] {
        let text = |meta: &Value| Value::from(meta[field].as_str().unwrap_or_default());
        found.extend(immutable(&text(new), &text(old), &path.child(field)));
    }
    for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        found.extend(immutable(&new[field], &old[field], &path.child(field)));
    }
    found.extend(contents(new, &path));
    found
}

/// A mistake if a field was changed.
pub fn immutable(new: &Value, old: &Value, path: &Path) -> Option<Mistake> {
    (new != old).then(|| Mistake::invalid(path, new.clone(), "field is immutable"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mistake::aggregate;

    fn kind(group: &str, plural: &str) -> &'static Kind {
        Kind::find(group, "v1", plural).expect("it is served")
    }

    #[test]
    fn new_objects_have_good_names_and_finalizers() {
        let check = |meta: Value, wanted: &str| {
            let object = json!({"metadata": meta});
            let found = super::check(&object, kind("", "configmaps"), names::dns_subdomain);
            assert_eq!(aggregate(&found), wanted, "{object}");
        };
        check(json!({"name": "a", "namespace": "n"}), "[]");
        // The letter before the dash does not count.
        check(json!({"name": "a", "namespace": "n", "generateName": "a_-"}), "[]");
        check(json!({"name": "a", "namespace": "n", "generateName": "-"}).clone(), SUBDOMAIN);
        check(json!({"name": "a"}), "metadata.namespace: Required value");
        check(
            json!({"name": "a", "namespace": "n", "generation": -1}),
            "metadata.generation: Invalid value: -1: must be greater than or equal to 0",
        );
        check(
            json!({"name": "a", "namespace": "n", "finalizers": ["kubernetes", "x.io/a", "mine"]}),
            "metadata.finalizers[2]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully \
             qualified",
        );
        check(
            json!({"name": "a", "namespace": "n", "finalizers": ["orphan", "foregroundDeletion"]}),
            "metadata.finalizers: Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and \
             foregroundDeletion cannot be both set",
        );
        let lease = json!({"metadata": {"name": "a", "namespace": "n", "finalizers": ["mine"]}});
        assert_eq!(super::check(&lease, kind("coordination.k8s.io", "leases"), names::dns_subdomain), []);
    }

    const SUBDOMAIN: &str = "metadata.generateName: Invalid value: \"-\": a lowercase RFC 1123 subdomain must consist of \
                             lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric \
                             character (e.g. 'example.com', regex used for validation is \
                             '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

    #[test]
    fn what_is_fixed_stays() {
        let old = json!({"name": "a", "uid": "1", "resourceVersion": "7", "generation": 2, "finalizers": ["x.io/a"],
                         "deletionTimestamp": "2026-01-01T00:00:00Z"});
        let check = |field: &str, value: Value, wanted: &str| {
            let mut new = old.clone();
            new[field] = value;
            let found = check_update(&json!({"metadata": new}), &json!({"metadata": old}));
            assert_eq!(aggregate(&found), wanted);
        };
        check("name", json!("a"), "[]");
        check("uid", json!("2"), "metadata.uid: Invalid value: \"2\": field is immutable");
        check("uid", json!(null), "metadata.uid: Invalid value: \"\": field is immutable");
        check(
            "deletionTimestamp",
            json!(null),
            "metadata.deletionTimestamp: Invalid value: null: field is immutable",
        );
        check("generation", json!(1), "metadata.generation: Invalid value: 1: must not be decremented");
        check(
            "resourceVersion",
            json!(""),
            "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
        );
        check("finalizers", json!([]), "[]");
        check(
            "finalizers",
            json!(["x.io/c", "x.io/b", "x.io/c"]),
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{\"x.io/b\", \"x.io/c\"}",
        );
    }
}
