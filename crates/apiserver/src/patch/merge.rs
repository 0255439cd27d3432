//! JSON merge patch (RFC 7396). Other than there, `null` inside of what is new is dropped in lists too, as Kubernetes does.

use serde_json::{Map, Value};

use super::{PatchError, decode};

pub(super) fn apply(patch: &[u8], object: &Value) -> Result<Value, PatchError> {
    let read = decode::object(patch)
        .map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    let patch = read.ok_or_else(|| PatchError::Malformed("Invalid JSON Patch".to_owned()))?;
    let mut patched = object.clone();
    merge(&mut patched, Value::Object(patch));
    Ok(patched)
}

fn merge(old: &mut Value, patch: Value) {
    match (old, patch) {
        (Value::Object(old), Value::Object(patch)) => merge_maps(old, patch),
        (old, patch) => *old = without_nulls(patch),
    }
}

fn merge_maps(old: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        if value.is_null() {
            old.remove(&key);
        } else if let Some(old) = old.get_mut(&key) {
            merge(old, value);
        } else {
            old.insert(key, without_nulls(value));
        }
    }
}

/// Answers a value without the fields that are `null`. Entries of lists that are `null` stay.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain,
    }
}
