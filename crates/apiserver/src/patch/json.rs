//! JSON patch (RFC 6902), with the peculiarities of the library that Kubernetes uses (evanphx/json-patch 4): `replace` of a
//! missing key adds it, `test` holds `null` and missing for the same, an operation without `value` has `null`, negative indices
//! count from the end, and the object as a whole (the path ``) cannot be patched.
//!
//! Unlike it, `copy` of a missing key and a path without a leading `/` are refused, and so is what would nest an object deeper
//! than its JSON could be read again.

use serde_json::{Map, Value};

use super::{PatchError, decode};

/// Kubernetes' `maxJSONPatchOperations`.
const MOST_OPERATIONS: usize = 10_000;

/// Kubernetes' `JSONPatchMaxCopyBytes`: copies of copies grow exponentially.
const MOST_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// How many values may be looked at to know how deep what is moved is: a patch has many operations, an object many values.
const MOST_LOOKED_AT: usize = 4_000_000;

/// One operation, its fields as they are written.
#[derive(Default)]
struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Value,
}

pub(super) fn apply(patch: &[u8], object: &Value) -> Result<Value, PatchError> {
    let operations =
        read(patch).map_err(|error| PatchError::Malformed(format!("error decoding patch: {error}")))?;
    if operations.len() > MOST_OPERATIONS {
        return Err(PatchError::TooMany { most: MOST_OPERATIONS, given: operations.len() });
    }
    let mut patching = Patching { object: object.clone(), copied_bytes: 0, looked_at: 0 };
    for operation in operations {
        patching.operate(operation).map_err(PatchError::Inapplicable)?;
    }
    Ok(patching.object)
}

/// Answers the fields that no operation has.
pub(super) fn unknown_fields(patch: &[u8]) -> Vec<String> {
    let Ok(Value::Array(operations)) = decode::json(patch) else { return Vec::new() };
    let mut unknown = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        for name in operation.as_object().into_iter().flat_map(Map::keys) {
            if !matches!(name.as_str(), "op" | "path" | "from" | "value") {
                unknown.push(format!("[{index}].{name}"));
            }
        }
    }
    unknown
}

fn read(patch: &[u8]) -> Result<Vec<Operation>, String> {
    let operations = match decode::json(patch)? {
        Value::Null => Vec::new(),
        Value::Array(operations) => operations,
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            return Err(decode::cannot("value of type []handlers.jsonPatchOp", &other));
        }
    };
    operations.into_iter().map(read_operation).collect()
}

fn read_operation(written: Value) -> Result<Operation, String> {
    let mut fields = match written {
        Value::Null => return Ok(Operation::default()),
        Value::Object(fields) => fields,
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            return Err(decode::cannot("value of type handlers.jsonPatchOp", &other));
        }
    };
    let mut text = |name: &str| match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            Err(decode::cannot(&format!("struct field jsonPatchOp.{name} of type string"), &other))
        }
    };
    let (op, path, from) = (text("op")?.unwrap_or_default(), text("path")?, text("from")?);
    Ok(Operation { op, path, from, value: fields.remove("value").unwrap_or_default() })
}

/// An object while it is patched.
struct Patching {
    object: Value,
    copied_bytes: usize,
    looked_at: usize,
}

impl Patching {
    fn operate(&mut self, operation: Operation) -> Result<(), String> {
        let Operation { op, path, from, value } = operation;
        let path = || path.as_deref().ok_or("an operation has no path");
        let from = || from.as_deref().ok_or("an operation has no from");
        match op.as_str() {
            "add" => {
                self.check_depth(path()?, &value)?;
                add(&mut self.object, path()?, value)
            }
            "remove" => remove(&mut self.object, path()?).map(drop),
            "replace" => {
                self.check_depth(path()?, &value)?;
                replace(&mut self.object, path()?, value)
            }
            "move" => {
                let value = remove(&mut self.object, from()?)?;
                self.check_depth(path()?, &value)?;
                add(&mut self.object, path()?, value)
            }
            "copy" => self.copy(from()?, path()?),
            "test" => {
                let path = path()?;
                let is_so = get(&mut self.object, path)?.unwrap_or(&Value::Null) == &value;
                if is_so { Ok(()) } else { Err(format!("{path} is not {value}")) }
            }
            other => Err(format!("{other:?} is no operation")),
        }
    }

    fn copy(&mut self, from: &str, path: &str) -> Result<(), String> {
        let value = get(&mut self.object, from)?.ok_or_else(|| missing(from))?.clone();
        self.copied_bytes += value.to_string().len();
        if self.copied_bytes > MOST_COPIED_BYTES {
            return Err(format!("more than {MOST_COPIED_BYTES} bytes are copied"));
        }
        self.check_depth(path, &value)?;
        add(&mut self.object, path, value)
    }

    /// Refuses to put a value where its innermost would be nested too deep.
    fn check_depth(&mut self, path: &str, value: &Value) -> Result<(), String> {
        let depth = path.matches('/').count() + depth(value, &mut self.looked_at);
        if self.looked_at > MOST_LOOKED_AT {
            return Err(format!("more than {MOST_LOOKED_AT} values are moved"));
        }
        if depth > decode::DEEPEST { Err(format!("{path:?} is nested too deep")) } else { Ok(()) }
    }
}

fn add(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let (place, key) = parent(object, path)?;
    match place {
        Value::Object(map) => drop(map.insert(key, value)),
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let index = index(&key, list.len() + 1)?;
            list.insert(index, value);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(missing(path)),
    }
    Ok(())
}

fn remove(object: &mut Value, path: &str) -> Result<Value, String> {
    let (place, key) = parent(object, path)?;
    match place {
        Value::Object(map) => map.remove(&key).ok_or_else(|| missing(path)),
        Value::Array(list) => {
            let index = index(&key, list.len())?;
            Ok(list.remove(index))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(missing(path)),
    }
}

fn replace(object: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let (place, key) = parent(object, path)?;
    match place {
        Value::Object(map) => drop(map.insert(key, value)),
        Value::Array(list) => {
            let index = index(&key, list.len())?;
            list[index] = value;
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return Err(missing(path)),
    }
    Ok(())
}

/// Answers what stands at a path; `None` where its object is there, but the key is not.
fn get<'a>(object: &'a mut Value, path: &str) -> Result<Option<&'a Value>, String> {
    let (place, key) = parent(object, path)?;
    match place {
        Value::Object(map) => Ok(map.get(&key)),
        Value::Array(list) => {
            let index = index(&key, list.len())?;
            Ok(list.get(index))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(missing(path)),
    }
}

/// Answers the object or list that a path ends in, and the last part of the path.
fn parent<'a>(object: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let parts = path.strip_prefix('/').ok_or_else(|| missing(path))?;
    let mut parts: Vec<String> =
        parts.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let last = parts.pop().ok_or_else(|| missing(path))?;
    let mut place = object;
    for part in parts {
        let next = match place {
            Value::Object(map) => map.get_mut(&part),
            Value::Array(list) => {
                let index = index(&part, list.len())?;
                list.get_mut(index)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        place = next.ok_or_else(|| missing(path))?;
    }
    Ok((place, last))
}

fn index(text: &str, length: usize) -> Result<usize, String> {
    let index: i64 = text.parse().map_err(|_| format!("{text:?} is no index"))?;
    let index = if index < 0 { index.saturating_add_unsigned(length as u64) } else { index };
    let index = usize::try_from(index).ok().filter(|index| *index < length);
    index.ok_or_else(|| format!("there is no index {text}"))
}

fn depth(value: &Value, looked_at: &mut usize) -> usize {
    *looked_at += 1;
    let deepest = match value {
        Value::Array(list) => list.iter().map(|one| depth(one, looked_at)).max(),
        Value::Object(map) => map.values().map(|one| depth(one, looked_at)).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    deepest.unwrap_or(0) + 1
}

fn missing(path: &str) -> String {
    format!("there is nothing at {path:?}")
}
