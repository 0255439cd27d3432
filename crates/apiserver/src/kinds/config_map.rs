//! Settings as texts.

use serde_json::Value;

use super::rules::{Column, created};
use super::{ALL_VERBS, Kind, Rules, Scope};
use crate::mistake::{Mistake, Path};
use crate::names;

/// Settings as texts.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    type_name: "core.v1.ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "configmaps",
    rules: RULES,
};

const RULES: Rules = Rules {
    validate,
    validate_update: |new, old| {
        let mut found = unchanged(new, old, &["data", "binaryData"]);
        found.extend(validate(new));
        found
    },
    columns: &[Column::new("Data", "string", "How many entries there are."), Column::AGE],
    cells: |object, now| {
        let entries: usize = ["data", "binaryData"].iter().map(|field| count(&object[*field])).sum();
        vec![entries.into(), created(object, now)]
    },
    ..Rules::PLAIN
};

/// The most bytes that the values of a ConfigMap or a Secret may have.
pub(super) const MOST: usize = 1024 * 1024;

/// How many entries a map has.
pub(super) fn count(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

/// How many bytes a text of base64 stands for.
pub(super) fn decoded_size(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// Answers the mistakes in the keys of a map.
pub(super) fn keys(map: &Value, path: &Path) -> Vec<Mistake> {
    let keys = map.as_object().into_iter().flatten().map(|(key, _)| key);
    let wrong = |key: &String| -> Vec<Mistake> {
        let at = path.key(key);
        names::data_key(key).into_iter().map(|why| Mistake::invalid(&at, key.as_str(), why)).collect()
    };
    keys.flat_map(wrong).collect()
}

/// Answers which fields of an immutable object were changed.
pub(super) fn unchanged(new: &Value, old: &Value, fields: &[&str]) -> Vec<Mistake> {
    if old["immutable"] != true {
        return Vec::new();
    }
    let forbid =
        |field: &str| Mistake::forbidden(&Path::new(field), "field is immutable when `immutable` is set");
    let mut found = Vec::new();
    if new["immutable"] != true {
        found.push(forbid("immutable"));
    }
    found.extend(fields.iter().filter(|field| new[**field] != old[**field]).map(|field| forbid(field)));
    found
}

fn validate(object: &Value) -> Vec<Mistake> {
    let (text, binary) = (&object["data"], &object["binaryData"]);
    let mut found = Vec::new();
    let entries = |map: &'_ Value| map.as_object().cloned().unwrap_or_default();
    let mut size = 0;
    for (key, value) in entries(text) {
        let path = Path::new("data").key(&key);
        let wrong = names::data_key(&key).into_iter();
        found.extend(wrong.map(|why| Mistake::invalid(&path, key.as_str(), why)));
        if binary.get(&key).is_some() {
            found.push(Mistake::invalid(&path, key.as_str(), "duplicate of key present in binaryData"));
        }
        size += value.as_str().map_or(0, str::len);
    }
    found.extend(keys(binary, &Path::new("binaryData")));
    size += entries(binary).values().filter_map(Value::as_str).map(decoded_size).sum::<usize>();
    if size > MOST {
        // Kubernetes has no name for the object as a whole.
        found.push(Mistake::too_long(&Path::new("[]"), MOST));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn entries_have_one_place_and_a_limit() {
        let check = |object: Value, wanted: &str| assert_eq!(aggregate(&validate(&object)), wanted);
        check(json!({"data": {"a": "1"}, "binaryData": {"b": "AAEC"}}), "[]");
        check(
            json!({"data": {"a": "1"}, "binaryData": {"a": "AAEC"}}),
            "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
        );
        check(json!({"data": {"..": "1"}}), "data[..]: Invalid value: \"..\": must not be '..'");
        check(json!({"data": {"a": "x".repeat(MOST)}}), "[]");
        check(
            json!({"data": {"a": "x".repeat(MOST - 2)}, "binaryData": {"b": "AAEC"}}),
            "[]: Too long: may not be more than 1048576 bytes",
        );
        assert_eq!(decoded_size("AA=="), 1);
        assert_eq!(decoded_size(""), 0);
    }
}
