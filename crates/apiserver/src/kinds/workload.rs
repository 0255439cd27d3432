//! What the kinds that make Pods of a template have alike.

use serde_json::{Value, json};

use super::pod::read::{list, negative, text};
use super::pod::{defaults, life, spec, warnings};
use super::{Column, labels};
use crate::age::age;
use crate::meta;
use crate::mistake::{Mistake, Path};
use crate::names;

/// Completes the number of Pods and the template.
pub(super) fn defaults(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    defaults::set(spec, "replicas", 1);
    if let Some(pod) = spec.pointer_mut("/template/spec").filter(|pod| pod.is_object()) {
        defaults::spec(pod);
    }
}

/// Takes the status back and counts the generation.
pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    new["status"] = old["status"].clone();
    life::count(new, old, new["spec"] != old["spec"]);
}

/// Takes back all but the status and the metadata. `kept`: metadata that is taken back, too.
pub(super) fn prepare_status(new: &mut Value, old: &Value, kept: &[&str]) {
    new["spec"] = old["spec"].clone();
    for field in kept {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => drop(new["metadata"].as_object_mut().and_then(|meta| meta.remove(*field))),
        }
    }
}

/// Judges the selector and the template.
pub(super) fn selection(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (selector, at, mut found) = (&spec["selector"], path.child("selector"), Vec::new());
    if selector.is_null() {
        found.push(Mistake::required(&at, ""));
    } else {
        let wrong = labels::check(selector, &at);
        let is_wrong = !wrong.is_empty();
        found.extend(wrong);
        if labels::is_empty(selector) {
            found.push(Mistake::invalid(&at, selector.clone(), "empty selector is invalid for deployment"));
        }
        if is_wrong {
            found.push(Mistake::invalid(&at, selector.clone(), "invalid label selector"));
            return found;
        }
    }
    found.extend(template(spec, &path.child("template")));
    found
}

fn template(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (selector, template) = (&spec["selector"], &spec["template"]);
    let (meta, pod) = (&template["metadata"], &template["spec"]);
    let (meta_path, spec_path, mut found) = (path.child("metadata"), path.child("spec"), Vec::new());
    if !labels::matches(selector, &meta["labels"]) {
        let why = "`selector` does not match template `labels`";
        found.push(Mistake::invalid(&meta_path.child("labels"), meta["labels"].clone(), why));
    }
    // Kubernetes leaves `metadata` out here.
    found.extend(meta::labels(&meta["labels"], &path.child("labels")));
    found.extend(meta::annotations(&meta["annotations"], &path.child("annotations")));
    found.extend(spec::check(pod, &spec_path));
    if !list(pod, "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        found.push(Mistake::forbidden(&spec_path.child("ephemeralContainers"), why));
    }
    let policy = text(pod, "restartPolicy");
    if policy != "Always" {
        found.push(Mistake::not_supported(&spec_path.child("restartPolicy"), policy, &["Always"]));
    }
    if !pod["activeDeadlineSeconds"].is_null() {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        found.push(Mistake::forbidden(&spec_path.child("activeDeadlineSeconds"), why));
    }
    found
}

/// A mistake if the selector was changed.
pub(super) fn reselected(new: &Value, old: &Value) -> Option<Mistake> {
    let path = Path::new("spec").child("selector");
    meta::immutable(&new["spec"]["selector"], &old["spec"]["selector"], &path)
}

/// Judges numbers of Pods. `within`: those that are parts of all.
pub(super) fn counts(status: &Value, counts: &[&str], within: &[&str]) -> Vec<Mistake> {
    let path = Path::new("status");
    let mut found: Vec<Mistake> = counts.iter().filter_map(|field| negative(status, field, &path)).collect();
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let mut exceeds = |field: &str, other: &str, words: &str| {
        if number(field) > number(other) {
            let why = format!("cannot be greater than {words}");
            found.push(Mistake::invalid(&path.child(field), number(field), why));
        }
    };
    within.iter().for_each(|field| exceeds(field, "replicas", "status.replicas"));
    exceeds("availableReplicas", "readyReplicas", "readyReplicas");
    found
}

/// Says what is surprising about a new object, or one whose specification changed.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let (name, template) = (text(&new["metadata"], "name"), &new["spec"]["template"]);
    let path = Path::new("spec").child("template");
    let of_template = || warnings::of(&template["spec"], &template["metadata"], &path);
    let Some(old) = old else {
        let mut all = Vec::new();
        let wrong = names::dns_label(name);
        if !wrong.is_empty() {
            all.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
                 label is recommended: [{}]",
                wrong.join(" ")
            ));
        }
        all.extend(of_template());
        return all;
    };
    let is_changed = new["metadata"]["generation"] != old["metadata"]["generation"];
    if is_changed { of_template() } else { Vec::new() }
}

/// A column of a table.
pub(super) const fn column(name: &'static str, shape: &'static str, description: &'static str) -> Column {
    Column { name, shape, description, priority: 0 }
}

/// A column that is shown on request.
pub(super) const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, shape: "string", description, priority: 1 }
}

/// The last cells of a row: age, containers, images, selector.
pub(super) fn last_cells(object: &Value, now: i64) -> Vec<Value> {
    let containers = list(&object["spec"]["template"]["spec"], "containers");
    let all =
        |field: &str| containers.iter().map(|container| text(container, field)).collect::<Vec<_>>().join(",");
    let selector = labels::cell(&object["spec"]["selector"]);
    vec![
        json!(age(&object["metadata"]["creationTimestamp"], now)),
        json!(all("name")),
        json!(all("image")),
        json!(selector),
    ]
}
