//! Whether what is applied fits its type, in the words of structured-merge-diff.
//!
//! Fields that are missing and values that make no sense are no business of this check.

use std::collections::BTreeSet;

use serde_json::Value;

use super::set::Element;
use super::typed::{At, Parts, Scalar};
use crate::patch::go;

/// Answers what is wrong, if anything is.
pub(super) fn check(at: At<'_>, value: &Value) -> Result<(), String> {
    let mut wrong = Vec::new();
    walk(at, value, "", &mut wrong);
    match &wrong[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        several => Err(format!("errors:\n  {}", several.join("\n  "))),
    }
}

fn walk(at: At<'_>, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let at = at.holding(Some(value));
    if value.is_null() {
        return;
    }
    match at.parts {
        Parts::None(scalar) => {
            wrong.extend(misfit(scalar, value).map(|why| said(path, &why)));
        }
        Parts::Fields(_) | Parts::Keys(_) | Parts::Any => fields(at, value, path, wrong),
        Parts::Places(_) | Parts::Values(_) | Parts::Objects(..) => entries(at, value, path, wrong),
    }
}

fn fields(at: At<'_>, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let Some(fields) = value.as_object() else {
        return wrong.push(said(path, &format!("expected map, got {}", held(value))));
    };
    for (name, value) in fields {
        let path = format!("{path}.{name}");
        match at.field(name) {
            Some(inner) => walk(inner, value, &path, wrong),
            None => return wrong.push(said(&path, "field not declared in schema")),
        }
    }
}

fn entries(at: At<'_>, value: &Value, path: &str, wrong: &mut Vec<String>) {
    let Some(entries) = value.as_array() else {
        return wrong.push(said(path, &format!("expected list, got {}", held(value))));
    };
    let mut seen: BTreeSet<Element> = BTreeSet::new();
    for (number, entry) in entries.iter().enumerate() {
        let element = match at.parts {
            Parts::Places(_) => Element::Index(i64::try_from(number).unwrap_or(i64::MAX)),
            Parts::Values(_)
            | Parts::Objects(..)
            | Parts::None(_)
            | Parts::Fields(_)
            | Parts::Keys(_)
            | Parts::Any => match at.element(entry) {
                Ok(element) => element,
                Err(why) => return wrong.push(said(path, &format!("element {number}: {why}"))),
            },
        };
        if seen.contains(&element) {
            wrong.push(said(path, &format!("duplicate entries for key {element}")));
        }
        walk(at.entry(), entry, &format!("{path}{element}"), wrong);
        seen.insert(element);
    }
}

fn misfit(scalar: Scalar, value: &Value) -> Option<String> {
    match scalar {
        Scalar::Number => (!value.is_number())
            .then(|| format!("expected numeric (int or float), got {}", go::type_of(value))),
        Scalar::Text => (!value.is_string())
            .then(|| format!("expected string, got &value.valueUnstructured{{Value:{}}}", literal(value))),
        Scalar::Bool => (!value.is_boolean()).then(|| format!("expected boolean, got {}", held(value))),
        Scalar::Any => (value.is_array() || value.is_object())
            .then(|| format!("expected any scalar, got {}", held(value))),
    }
}

fn said(path: &str, why: &str) -> String {
    if path.is_empty() { why.to_owned() } else { format!("{path}: {why}") }
}

/// As Go's `%v` prints a pointer to what holds the value.
fn held(value: &Value) -> String {
    format!("&{{{}}}", go::print(value))
}

/// As Go's `%#v` prints it.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(_) | Value::Number(_) => go::print(value),
        Value::String(text) => crate::body::quoted(text),
        Value::Array(list) => {
            let entries: Vec<String> = list.iter().map(literal).collect();
            format!("[]interface {{}}{{{}}}", entries.join(", "))
        }
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", crate::body::quoted(key), literal(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use serde_json::json;

    #[test]
    fn misfits_are_worded_as_kubernetes_words_them() {
        let of = Schema::get().find("core.v1.Service").unwrap();
        let check = |spec: Value, wanted: &str| {
            let found = super::check(At::root(of), &json!({ "spec": spec })).err().unwrap_or_default();
            assert_eq!(found, wanted, "{spec}");
        };
        check(
            json!({"ports": [{"port": 1}, {"port": 1, "protocol": "UDP"}], "selector": null, "type": null}),
            "",
        );
        check(
            json!({"ports": [{"port": "eighty"}]}),
            ".spec.ports[port=\"eighty\",protocol=\"TCP\"].port: expected numeric (int or float), got string",
        );
        check(
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}),
            ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]",
        );
        check(
            json!({"ports": [{"port": 80, "targetPort": "http"}, {}]}),
            ".spec.ports: element 1: associative list with keys has an element that omits key field \"port\" \
             (and doesn't have default value)",
        );
        check(json!({"nope": 1}), ".spec.nope: field not declared in schema");
        check(json!({"type": true}), ".spec.type: expected string, got &value.valueUnstructured{Value:true}");
        check(
            json!({"clusterIPs": "a", "selector": ["b"]}),
            "errors:\n  .spec.clusterIPs: expected list, got &{a}\n  .spec.selector: expected map, got &{[b]}",
        );
        check(
            json!({"clusterIPs": [1]}),
            ".spec.clusterIPs[0]: expected string, got &value.valueUnstructured{Value:1}",
        );
        check(
            json!({"publishNotReadyAddresses": {"a": 1}}),
            ".spec.publishNotReadyAddresses: expected boolean, got &{map[a:1]}",
        );
    }
}
