//! What of a Pod may change.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::read::{self, list, number, text};
use super::{scheduling, spec};
use crate::mistake::{Mistake, Path};

const MOST_SECONDS: i64 = 2_147_483_647;
const CHANGEABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                          `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions \
                          to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it \
                          was previously negative)";

/// Judges a changed Pod.
pub(super) fn check(new: &Value, old: &Value) -> Vec<Mistake> {
    let mut found = spec::check_any(new);
    let (new, old, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    for of in ["containers", "initContainers"] {
        if list(new, of).len() != list(old, of).len() {
            let why = "pod updates may not add or remove containers";
            found.push(Mistake::forbidden(&path.child(of), why));
            return found;
        }
        for (at, container) in read::places(new, of, &path) {
            let is_missing = text(container, "image").is_empty();
            found.extend(is_missing.then(|| Mistake::required(&at.child("image"), "")));
            found.extend(spec::padded(container, &at));
        }
    }
    let (wrong, is_final) = deadline(new, old, &path.child("activeDeadlineSeconds"));
    found.extend(wrong);
    if is_final {
        return found;
    }
    match tolerations(new, old, &path.child("tolerations")) {
        Some(changed) => found.push(changed),
        // Kubernetes judges them once more, and each mistake is listed as often.
        None => found.extend(scheduling::tolerations(new, &path)),
    }
    found.extend(gates(new, old, &path));
    if is_gated(old) {
        found.extend(node_selector(new, old, &path));
    }
    let adjusted = adjusted(new, old);
    if adjusted != *old {
        // Kubernetes shows a difference in Go's words, which no program can rely on.
        let why = format!("{CHANGEABLE}\n{}", difference(&adjusted, old));
        found.push(Mistake::forbidden(&path, why));
    }
    found
}

/// A deadline may come, or come nearer. Answers also whether nothing else is to be judged.
fn deadline(new: &Value, old: &Value, path: &Path) -> (Option<Mistake>, bool) {
    let of = |spec: &Value| spec["activeDeadlineSeconds"].as_i64();
    match (of(new), of(old)) {
        (Some(new), _) if !(0..=MOST_SECONDS).contains(&new) => {
            let why = format!("must be between 0 and {MOST_SECONDS}, inclusive");
            (Some(Mistake::invalid(path, new, why)), true)
        }
        (Some(new), Some(old)) if old < new => {
            (Some(Mistake::invalid(path, new, "must be less than or equal to previous value")), true)
        }
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            (Some(Mistake::invalid(path, Value::Null, why)), false)
        }
        (Some(_), _) | (None, None) => (None, false),
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path) -> Option<Mistake> {
    let said = |one: &Value| ["key", "operator", "value", "effect"].map(|field| text(one, field).to_owned());
    let new: BTreeSet<[String; 4]> = list(new, "tolerations").iter().map(said).collect();
    let is_kept = |old: &Value| new.contains(&said(old));
    let why = "existing toleration can not be modified except its tolerationSeconds";
    (!list(old, "tolerations").iter().all(is_kept)).then(|| Mistake::forbidden(path, why))
}

fn gates(new: &Value, old: &Value, path: &Path) -> Vec<Mistake> {
    let known: BTreeSet<&str> = list(old, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    let mut found = Vec::new();
    for (at, gate) in read::places(new, "schedulingGates", path) {
        let name = text(gate, "name");
        if !known.contains(name) {
            let why = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            found.push(Mistake::forbidden(&at.child("name"), why));
        }
    }
    found
}

/// What is not scheduled yet can be bound to fewer nodes.
fn node_selector(new: &Value, old: &Value, path: &Path) -> Option<Mistake> {
    let is_kept = read::pairs(old, "nodeSelector").all(|(key, value)| new["nodeSelector"][key] == value);
    let why = "only additions are allowed to spec.nodeSelector (no mutations or deletions)";
    (!is_kept).then(|| Mistake::invalid(&path.child("nodeSelector"), new["nodeSelector"].clone(), why))
}

fn is_gated(spec: &Value) -> bool {
    !list(spec, "schedulingGates").is_empty()
}

/// `new` with what may change taken from `old`.
fn adjusted(new: &Value, old: &Value) -> Value {
    let mut adjusted = new.clone();
    for of in ["containers", "initContainers"] {
        for (at, container) in list(old, of).iter().enumerate() {
            if let Some(place) = adjusted[of].get_mut(at) {
                keep(place, container, "image");
            }
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(&mut adjusted, old, field);
    }
    if is_gated(old) {
        keep(&mut adjusted, old, "nodeSelector");
    }
    let seconds = |spec: &Value| number(spec, "terminationGracePeriodSeconds");
    if seconds(old) < 0 && seconds(new) == 1 {
        keep(&mut adjusted, old, "terminationGracePeriodSeconds");
    }
    if let Some(fields) = adjusted.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    adjusted
}

fn keep(of: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => of[field] = value.clone(),
        None => drop(of.as_object_mut().and_then(|fields| fields.remove(field))),
    }
}

/// The fields that differ, a line each.
fn difference(new: &Value, old: &Value) -> String {
    let none = Map::new();
    let (new, old) = (new.as_object().unwrap_or(&none), old.as_object().unwrap_or(&none));
    let mut names: Vec<&String> =
        old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))).collect();
    names.retain(|name| old.get(*name) != new.get(*name));
    let line = |sign: char, name: &str, of: &Map<String, Value>| {
        of.get(name).map(|value| format!("{sign} \t{name}: {value}\n")).unwrap_or_default()
    };
    names.into_iter().map(|name| line('-', name, old) + &line('+', name, new)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::defaults;
    use super::*;

    fn judged(change: impl Fn(&mut Value)) -> Vec<String> {
        let mut old = json!({"spec": {"containers": [{"name": "c", "image": "i"}], "activeDeadlineSeconds": 9,
                                      "tolerations": [{"key": "a", "operator": "Exists"}]}});
        defaults::pod(&mut old);
        let mut new = old.clone();
        change(&mut new["spec"]);
        check(&new, &old)
            .iter()
            .map(|mistake| mistake.to_string().lines().next().unwrap_or("").to_owned())
            .collect()
    }

    #[test]
    fn few_fields_may_change() {
        let none: [&str; 0] = [];
        assert_eq!(judged(|_| {}), none);
        assert_eq!(judged(|spec| spec["containers"][0]["image"] = "j".into()), none);
        assert_eq!(judged(|spec| spec["activeDeadlineSeconds"] = 5.into()), none);
        assert_eq!(
            judged(|spec| spec["activeDeadlineSeconds"] = 10.into()),
            ["spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value"]
        );
        assert_eq!(
            judged(|spec| spec["tolerations"] =
                json!([{"key": "a", "operator": "Exists"}, {"operator": "Exists"}])),
            none
        );
        assert_eq!(
            judged(|spec| spec["tolerations"] = json!([])),
            [
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
            ]
        );
        assert_eq!(
            judged(|spec| spec["containers"] = json!([])),
            [
                "spec.containers: Required value",
                "spec.containers: Forbidden: pod updates may not add or remove containers"
            ]
        );
        assert_eq!(
            judged(|spec| spec["schedulingGates"] = json!([{"name": "g"}])),
            [
                "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'"
            ]
        );
        assert_eq!(judged(|spec| spec["nodeName"] = "n".into()), [format!("spec: Forbidden: {CHANGEABLE}")]);
    }

    #[test]
    fn a_difference_shows_both_sides() {
        let (new, old) = (json!({"a": 1, "b": 2, "d": 4}), json!({"a": 1, "b": 3, "c": "x"}));
        assert_eq!(difference(&new, &old), "- \tb: 3\n+ \tb: 2\n- \tc: \"x\"\n+ \td: 4\n");
    }
}
