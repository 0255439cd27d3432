//! What becomes of a live object when a configuration is laid over it, and what is left of an object without some fields.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::set::{Element, Set};
use super::typed::{At, Parts, entries, is_hollow};

/// Answers the object with the applied fields. Nothing is removed; `None`: nothing is there.
pub(super) fn merged(
    at: At<'_>,
    live: Option<&Value>,
    applied: Option<&Value>,
) -> Result<Option<Value>, String> {
    let at = at.holding(applied.or(live));
    if !at.is_shared() || (is_hollow(live) && is_hollow(applied)) {
        return Ok(applied.or(live).cloned());
    }
    match at.parts {
        Parts::Fields(_) | Parts::Keys(_) | Parts::Any => fields(at, live, applied),
        Parts::Values(_) | Parts::Objects(..) | Parts::Places(_) | Parts::None(_) => list(at, live, applied),
    }
}

fn fields(at: At<'_>, live: Option<&Value>, applied: Option<&Value>) -> Result<Option<Value>, String> {
    let nothing = Map::new();
    let [live, applied] = [live, applied].map(|value| value.and_then(Value::as_object).unwrap_or(&nothing));
    let mut all = Map::new();
    for name in live.keys().chain(applied.keys().filter(|name| !live.contains_key(*name))) {
        let inner = at.field(name).ok_or_else(|| format!(".{name}: field not declared in schema"))?;
        let value =
            merged(inner, live.get(name), applied.get(name)).map_err(|why| format!(".{name}{why}"))?;
        all.extend(value.map(|value| (name.clone(), value)));
    }
    Ok((!all.is_empty()).then_some(Value::Object(all)))
}

/// Entries of a list with what tells them apart.
type Told<'a> = VecDeque<(Element, &'a Value)>;

fn told<'a>(at: At<'_>, value: Option<&'a Value>) -> Result<Told<'a>, String> {
    let mut told = Told::new();
    for (number, entry) in entries(value).iter().enumerate() {
        told.push_back((at.element(entry).map_err(|why| format!(": element {number}: {why}"))?, entry));
    }
    Ok(told)
}

/// The applied entries stand in their order; live entries that are not applied stay where they are, as far as that goes.
fn list(at: At<'_>, live: Option<&Value>, applied: Option<&Value>) -> Result<Option<Value>, String> {
    let (mut live, mut applied) = (told(at, live)?, told(at, applied)?);
    let all_applied: BTreeSet<Element> = applied.iter().map(|(element, _)| element.clone()).collect();
    let mut all_live: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for (element, entry) in &live {
        all_live.entry(element.clone()).or_default().push(entry);
    }
    let mut shared: VecDeque<Element> = applied
        .iter()
        .map(|(element, _)| element.clone())
        .filter(|element| all_live.contains_key(element))
        .collect();
    let mut out = Vec::new();
    let mut taken: BTreeSet<Element> = BTreeSet::new();
    let merge = |element: &Element, applied: &Value| {
        let live = match all_live.get(element).map(Vec::as_slice) {
            None | Some([]) => None,
            Some([only]) => Some(*only),
            // Live entries that stand there twice are replaced.
            Some([_, _, ..]) => Some(&Value::Null),
        };
        merged(at.entry(), live, Some(applied)).map_err(|why| format!("{element}{why}"))
    };
    while !live.is_empty() || !applied.is_empty() {
        if let Some((element, entry)) = live.front() {
            if !all_applied.contains(element) {
                out.extend(merged(at.entry(), Some(entry), None)?);
                live.pop_front();
                continue;
            }
            let is_next = applied.front().is_some_and(|(next, _)| next == element);
            let is_awaited = shared.front().is_none_or(|awaited| awaited == element);
            if applied.is_empty() || (!is_next && !is_awaited) {
                live.pop_front();
                continue;
            }
            if is_next || taken.contains(element) {
                live.pop_front();
            }
        }
        let Some((element, entry)) = applied.pop_front() else { continue };
        if shared.front() == Some(&element) {
            shared.pop_front();
        }
        out.extend(merge(&element, entry)?);
        taken.insert(element);
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}

/// Answers what is left without some fields, entries and keys. What loses all that is in it stays, empty.
pub(super) fn without(at: At<'_>, value: &Value, gone: &Set) -> Value {
    let at = at.holding(Some(value));
    match value {
        Value::Object(fields) if at.is_shared() => {
            let mut kept = Map::new();
            for (name, value) in fields {
                let element = Element::Field(name.clone());
                if !gone.has_member(&element) {
                    kept.insert(name.clone(), part_without(at.field(name), value, gone.below(&element)));
                }
            }
            Value::Object(kept)
        }
        Value::Array(list) if at.is_shared() => {
            let kept = list.iter().filter_map(|entry| match at.element(entry) {
                Ok(element) if gone.has_member(&element) => None,
                Ok(element) => Some(part_without(Some(at.entry()), entry, gone.below(&element))),
                Err(_) => Some(entry.clone()),
            });
            Value::Array(kept.collect())
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => value.clone(),
    }
}

fn part_without(at: Option<At<'_>>, value: &Value, gone: Option<&Set>) -> Value {
    match (at, gone) {
        (Some(at), Some(gone)) => without(at, value, gone),
        (Some(_) | None, None) | (None, Some(_)) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use serde_json::json;

    fn root() -> At<'static> {
        At::root(Schema::get().find("core.v1.Pod").unwrap())
    }

    fn pod(names: &str) -> Value {
        let containers: Vec<Value> = names.split_whitespace().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn lists_are_merged_in_the_order_of_what_is_applied() {
        let check = |live: &str, applied: &str, wanted: &str| {
            let merged = merged(root(), Some(&pod(live)), Some(&pod(applied))).unwrap().unwrap();
            let containers = merged["spec"]["containers"].as_array().unwrap();
            let names: Vec<&str> = containers.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
            assert_eq!(names.join(" "), wanted, "{live} + {applied}");
        };
        check("a b c", "a b c", "a b c");
        check("a b c", "c a", "b c a");
        check("a b", "c", "a b c");
        check("a b", "c b", "a c b");
        check("a b c d", "b d", "a b c d");
        check("x a y b", "b a z", "x y b a z");
        check("", "b a", "b a");
        check("a a b", "a", "a b");
    }

    #[test]
    fn what_is_applied_wins() {
        let check = |live: Value, applied: Value, wanted: Value| {
            assert_eq!(merged(root(), Some(&live), Some(&applied)), Ok(Some(wanted)));
        };
        check(
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeSelector": {"x": "y"}, "hostname": "h"}}),
            json!({"metadata": {"labels": {"b": "3"}}, "spec": {"nodeSelector": {}, "hostname": null}}),
            json!({"metadata": {"labels": {"a": "1", "b": "3"}}, "spec": {"nodeSelector": {}, "hostname": null}}),
        );
        check(
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": null}),
            json!({"metadata": {"labels": {"a": "1"}}}),
        );
    }

    #[test]
    fn fields_are_taken_out() {
        let object = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x/a", "x/b"]},
                            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}], "nodeSelector": {"x": "y"}}});
        let gone = Set::read(&json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/a\"": {}}},
                                     "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {}}}}))
        .unwrap();
        assert_eq!(
            without(root(), &object, &gone),
            json!({"metadata": {"labels": {}, "finalizers": ["x/b"]},
                   "spec": {"containers": [{"name": "a"}], "nodeSelector": {"x": "y"}}})
        );
    }
}
