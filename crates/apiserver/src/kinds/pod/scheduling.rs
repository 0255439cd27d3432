//! What a Pod may say about the nodes that it can be on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::read::{self, list, number, text, wrongs};
use crate::kinds::labels;
use crate::mistake::{Mistake, Path};
use crate::names;

/// Judges what keeps a Pod from being scheduled.
pub(super) fn gates(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (at, gate) in read::places(spec, "schedulingGates", path) {
        let name = text(gate, "name");
        let wrong = wrongs(&at, name, names::qualified_name(name));
        if wrong.is_empty() && seen.contains(&name) {
            found.push(Mistake::duplicate(&at, name));
        }
        seen.insert(name);
        found.extend(wrong);
    }
    found
}

/// Judges the tolerations.
pub(super) fn tolerations(spec: &Value, path: &Path) -> Vec<Mistake> {
    read::places(spec, "tolerations", path).flat_map(|(at, one)| toleration(one, &at)).collect()
}

fn toleration(toleration: &Value, path: &Path) -> Vec<Mistake> {
    let part = |field: &str| text(toleration, field);
    let (key, operator, value, effect) = (part("key"), part("operator"), part("value"), part("effect"));
    let mut found = Vec::new();
    if !key.is_empty() {
        found.extend(wrongs(&path.child("key"), key, names::qualified_name(key)));
    }
    if key.is_empty() && operator != "Exists" {
        let why =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        found.push(Mistake::invalid(&path.child("operator"), operator, why));
    }
    let seconds = &toleration["tolerationSeconds"];
    if seconds.is_number() && effect != "NoExecute" {
        let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        found.push(Mistake::invalid(&path.child("effect"), effect, why));
    }
    match operator {
        "" | "Equal" => {
            let wrong = names::label_value(value);
            if !wrong.is_empty() {
                found.push(Mistake::invalid(&path.child("operator"), value, wrong.join(";")));
            }
        }
        "Exists" if value.is_empty() => {}
        "Exists" => {
            let why = "value must be empty when `operator` is 'Exists'";
            found.push(Mistake::invalid(&path.child("operator"), value, why));
        }
        other => found.push(Mistake::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.is_empty() && !effects.contains(&effect) {
        found.push(Mistake::not_supported(&path.child("effect"), effect, &effects));
    }
    found
}

/// Judges how Pods are spread.
pub(super) fn spread(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (at, one) in read::places(spec, "topologySpreadConstraints", path) {
        let skew = number(one, "maxSkew");
        if skew <= 0 {
            found.push(Mistake::invalid(&at.child("maxSkew"), skew, "must be greater than zero"));
        }
        let key = text(one, "topologyKey");
        found.extend(topology_key(key, &at));
        let otherwise = text(one, "whenUnsatisfiable");
        let known = ["DoNotSchedule", "ScheduleAnyway"];
        if !known.contains(&otherwise) {
            found.push(Mistake::not_supported(&at.child("whenUnsatisfiable"), otherwise, &known));
        }
        if seen.contains(&(key, otherwise)) {
            found.push(Mistake::duplicate(
                &at.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{key}, {otherwise}}}"),
            ));
        }
        seen.insert((key, otherwise));
        if let Some(least) = one["minDomains"].as_i64() {
            if least <= 0 {
                found.push(Mistake::invalid(&at.child("minDomains"), least, "must be greater than zero"));
            }
            if otherwise != "DoNotSchedule" {
                let why =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {otherwise}");
                found.push(Mistake::invalid(&at.child("minDomains"), least, why));
            }
        }
        found.extend(labels::check(&one["labelSelector"], &at.child("labelSelector")));
    }
    found
}

fn topology_key(key: &str, path: &Path) -> Vec<Mistake> {
    let path = path.child("topologyKey");
    match key {
        "" => vec![Mistake::required(&path, "can not be empty")],
        key => wrongs(&path, key, names::qualified_name(key)),
    }
}

/// A term of the affinity to other Pods.
pub(super) fn pod_term(term: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = labels::check(&term["labelSelector"], &path.child("labelSelector"));
    found.extend(labels::check(&term["namespaceSelector"], &path.child("namespaceSelector")));
    for (_, namespace) in read::places(term, "namespaces", path) {
        let namespace = namespace.as_str().unwrap_or_default();
        found.extend(wrongs(&path.child("namespace"), namespace, names::dns_label(namespace)));
    }
    found.extend(topology_key(text(term, "topologyKey"), path));
    found
}

/// A term about nodes.
pub(super) fn node_term(term: &Value, path: &Path) -> Vec<Mistake> {
    let expressions = read::places(term, "matchExpressions", path);
    let mut found: Vec<Mistake> = expressions.flat_map(|(at, one)| node_requirement(one, &at)).collect();
    found.extend(read::places(term, "matchFields", path).flat_map(|(at, one)| node_field(one, &at)));
    found
}

fn node_field(one: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    match text(one, "operator") {
        "In" | "NotIn" if list(one, "values").len() == 1 => {}
        "In" | "NotIn" => {
            let why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            found.push(Mistake::required(&path.child("values"), why));
        }
        other => {
            found.push(Mistake::invalid(&path.child("operator"), other, "not a valid selector operator"))
        }
    }
    let key = text(one, "key");
    if key != "metadata.name" {
        found.push(Mistake::invalid(&path.child("key"), key, "not a valid field selector key"));
        return found;
    }
    for (at, name) in read::places(one, "values", path) {
        let name = name.as_str().unwrap_or_default();
        found.extend(wrongs(&at, name, names::dns_subdomain(name)));
    }
    found
}

fn node_requirement(one: &Value, path: &Path) -> Vec<Mistake> {
    let (operator, values) = (text(one, "operator"), list(one, "values").len());
    let wrong = match operator {
        "In" | "NotIn" if values == 0 => Some(Mistake::required(
            &path.child("values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if values > 0 => Some(Mistake::forbidden(
            &path.child("values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if values != 1 => Some(Mistake::required(
            &path.child("values"),
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => None,
        other => Some(Mistake::invalid(&path.child("operator"), other, "not a valid selector operator")),
    };
    let mut found: Vec<Mistake> = wrong.into_iter().collect();
    let key = text(one, "key");
    found.extend(wrongs(&path.child("key"), key, names::qualified_name(key)));
    for (at, value) in read::places(one, "values", path) {
        let value = value.as_str().unwrap_or_default();
        found.extend(wrongs(&at, value, names::label_value(value)));
    }
    found
}
