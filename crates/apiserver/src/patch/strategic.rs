//! Strategic merge patch: a merge patch that knows which lists are merged, and has directives.
//!
//! | directive | means |
//! |---|---|
//! | `$patch: replace` | what stands beside it replaces the map; in a list: the other entries replace the list |
//! | `$patch: delete` | the map becomes empty; in a list: the entry with this key goes |
//! | `$retainKeys: [..]` | fields not named here go |
//! | `$deleteFromPrimitiveList/x: [..]` | these values of the list `x` go |
//! | `$setElementOrder/x: [..]` | the order of the list `x` |
//!
//! Kubernetes knows the word `$patch: merge`, but refuses it. Where it drops a map that is new and says `$patch: replace`, or
//! keeps directives in what is new, this does what they say.
//!
//! <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

use super::lists::{self, List};
use super::{PatchError, convert, decode, go};
use crate::schema::{Patch, Schema, Shape, TypeId};

/// What changes a map or an entry as a whole.
pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const ORDER_OF_LIST: &str = "$setElementOrder";

type Object = Map<String, Value>;

pub(super) fn apply(patch: &[u8], object: &Value, of: TypeId) -> Result<Value, PatchError> {
    let written = decode::object(patch).map_err(PatchError::Malformed)?.unwrap_or_default();
    let old = object.as_object().ok_or_else(|| bad_type("map[string]interface {}", object))?;
    let shape = Shape::Object(of);
    let patched = Value::Object(merge_maps(old.clone(), written.clone(), Some(&shape))?);
    let printed = || go::print_map(&written);
    convert::check(&patched, &shape).map_err(|why| PatchError::Invalid { value: printed(), why })?;
    Ok(patched)
}

/// Answers a patched map. Without a shape, as in raw JSON, lists are replaced.
pub(super) fn merge_maps(
    mut old: Object,
    mut patch: Object,
    shape: Option<&Shape>,
) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(taken_map(patch)),
            Some("delete") => Ok(Object::new()),
            _ => Err(unknown_directive(directive, &patch)),
        };
    }
    retain_keys(&mut old, &mut patch)?;
    order_lists(&mut old, &mut patch, shape)?;
    delete_from_lists(&mut old, &mut patch)?;
    for (key, new) in patch {
        if new.is_null() {
            old.remove(&key);
            continue;
        }
        let merged = match (old.remove(&key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                Some(Value::Object(merge_maps(old, new, field(shape, &key).0)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                Some(Value::Array(merge_lists(old, new, field(shape, &key))?))
            }
            (_, new) => taken(new),
        };
        if let Some(merged) = merged {
            old.insert(key, merged);
        }
    }
    Ok(old)
}

/// Answers what is known about a field. Kubernetes' objects have no unknown fields; in raw JSON nothing is known.
fn field<'a>(shape: Option<&'a Shape>, name: &str) -> (Option<&'a Shape>, Patch) {
    if let Some(Shape::Object(of)) = shape {
        let field = Schema::get().field(*of, name);
        return field.map_or((None, Patch::default()), |field| (Some(&field.shape), field.patch.clone()));
    }
    if let Some(Shape::Map(of)) = shape {
        return (Some(of), Patch::default());
    }
    (None, Patch::default())
}

fn list<'a>((shape, patch): &(Option<&'a Shape>, Patch)) -> List<'a> {
    let entry = if let Some(Shape::List(of)) = shape { Some(&**of) } else { None };
    List { key: patch.key, entry }
}

fn merge_lists(
    old: Vec<Value>,
    new: Vec<Value>,
    facts: (Option<&Shape>, Patch),
) -> Result<Vec<Value>, PatchError> {
    if facts.1.merges { lists::merge(old, new, list(&facts)) } else { Ok(taken_list(new)) }
}

fn retain_keys(old: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let bad = || PatchError::Malformed("invalid patch format of retainKeys".to_owned());
    let keys = keys.as_array().ok_or_else(bad)?;
    let is_retained = |key: &str| keys.iter().any(|retained| retained == key);
    let is_free = |key: &str| key.starts_with(DELETE_FROM_LIST) || key.starts_with(ORDER_OF_LIST);
    if patch.iter().any(|(key, value)| !value.is_null() && !is_free(key) && !is_retained(key)) {
        return Err(bad());
    }
    old.retain(|key, _| is_retained(key));
    Ok(())
}

/// Merges the lists whose order is given, and puts them in order.
fn order_lists(old: &mut Object, patch: &mut Object, shape: Option<&Shape>) -> Result<(), PatchError> {
    for (name, order) in taken_directives(patch, ORDER_OF_LIST) {
        let order = entries(order)?;
        let name = name.ok_or_else(|| malformed("setElementOrder list"))?;
        let before = old.remove(&name).map(entries).transpose()?;
        let new = patch.remove(&name).map(entries).transpose()?;
        let facts = field(shape, &name);
        let list = list(&facts);
        lists::check_order(new.as_deref().unwrap_or_default(), &order, list)?;
        let merged = match (before.clone(), new) {
            (Some(old), None) => old,
            (None, Some(new)) => taken_list(new),
            (Some(old), Some(new)) => merge_lists(old, new, facts)?,
            (None, None) => continue,
        };
        old.insert(name, Value::Array(lists::ordered(merged, &order, &before.unwrap_or_default(), list)?));
    }
    Ok(())
}

fn delete_from_lists(old: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    for (name, values) in taken_directives(patch, DELETE_FROM_LIST) {
        let name = name.ok_or_else(|| malformed("primitive list"))?;
        let Value::Array(values) = values else { return Err(malformed("primitive list")) };
        if let Some(Value::Array(old)) = old.get_mut(&name) {
            lists::delete(old, &values)?;
        }
    }
    Ok(())
}

/// Takes the directives `PREFIX/FIELD` out of a patch; what does not name a field has `None`.
fn taken_directives(patch: &mut Object, prefix: &str) -> Vec<(Option<String>, Value)> {
    let mut keys: Vec<String> = patch.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    keys.sort();
    let named = |key: &str| Some(key.strip_prefix(prefix)?.strip_prefix('/')?.to_owned());
    keys.into_iter().filter_map(|key| Some((named(&key), patch.remove(&key)?))).collect()
}

/// Answers what becomes of a value that is new: nothing, if it only says what is to go.
pub(super) fn taken(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) => {
            let is_replaced = |directive: &Value| directive == "replace";
            map.get(DIRECTIVE).is_none_or(is_replaced).then(|| Value::Object(taken_map(map)))
        }
        Value::Array(list) => Some(Value::Array(taken_list(list))),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Some(plain),
    }
}

fn taken_map(map: Object) -> Object {
    let is_directive = |key: &str| {
        key == DIRECTIVE
            || key == RETAIN_KEYS
            || [DELETE_FROM_LIST, ORDER_OF_LIST]
                .iter()
                .any(|prefix| key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
    };
    let kept = map.into_iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
    kept.filter_map(|(key, value)| Some((key, taken(value)?))).collect()
}

/// Answers a new list: entries with a directive are none.
fn taken_list(list: Vec<Value>) -> Vec<Value> {
    let entries = list.into_iter().filter(|entry| entry.get(DIRECTIVE).is_none());
    entries.filter_map(taken).collect()
}

fn entries(value: Value) -> Result<Vec<Value>, PatchError> {
    if let Value::Array(list) = value { Ok(list) } else { Err(bad_type("[]interface {}", &value)) }
}

pub(super) fn bad_type(expected: &str, value: &Value) -> PatchError {
    PatchError::Internal(format!("expected a {expected}, but received a {}", go::type_of(value)))
}

pub(super) fn unknown_directive(directive: &Value, map: &Object) -> PatchError {
    let directive = go::print_as_text(directive);
    PatchError::Internal(format!("unknown patch type: {directive} in map: {}", go::print_map(map)))
}

pub(super) fn malformed(what: &str) -> PatchError {
    PatchError::Malformed(format!("invalid patch format of {what}"))
}
