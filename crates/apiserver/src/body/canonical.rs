//! An object as Go's struct would print it: without fields that do not exist or are left out when empty, with those that
//! are always there.

use serde_json::{Map, Value};

use super::go::{self, Presence};
use super::time::{self, Precision};
use crate::schema::{Shape, TypeId};

/// Brings an object into the form in which it is stored and answered.
///
/// Its values must have the right types, as they have after decoding. `apiVersion` and `kind` stay.
pub fn canonical(object: &mut Value, of: TypeId) {
    let Value::Object(fields) = object else { return };
    let type_meta: Vec<(String, Value)> =
        ["apiVersion", "kind"].iter().filter_map(|name| fields.remove_entry(*name)).collect();
    let is_of_the_type = |name: &String| go::fields_of(of).flat.contains_key(name.as_str());
    let (own, meta): (Vec<_>, Vec<_>) = type_meta.into_iter().partition(|(name, _)| is_of_the_type(name));
    fields.extend(own);
    let mut printed = printed(std::mem::take(fields), of);
    printed.extend(meta);
    *fields = printed;
}

/// Answers the fields that Go prints.
pub(super) fn printed(mut given: Map<String, Value>, of: TypeId) -> Map<String, Value> {
    let mut all = Map::new();
    for (name, member) in &go::fields_of(of).flat {
        let shape = &member.field.shape;
        let value = given.remove(*name).filter(|value| !value.is_null()).map(|value| part(value, shape));
        let value = match (value, member.presence) {
            (Some(value), Presence::Omitted) => Some(value).filter(|value| !is_empty(value, shape)),
            (Some(value), Presence::Null) => {
                let is_nothing = !is_scalar(shape) && is_empty(&value, shape);
                Some(if is_nothing { Value::Null } else { value })
            }
            (Some(value), Presence::Pointer | Presence::Zero) => Some(value),
            (None, Presence::Omitted | Presence::Pointer) => None,
            (None, Presence::Zero) => Some(zero(shape)),
            (None, Presence::Null) => Some(Value::Null),
        };
        if let Some(value) = value {
            all.insert((*name).to_owned(), value);
        }
    }
    all
}

/// Answers one value as Go prints it.
fn part(value: Value, shape: &Shape) -> Value {
    match (shape, value) {
        (Shape::Object(id), Value::Object(fields)) => Value::Object(printed(fields, *id)),
        (Shape::List(of), Value::Array(parts)) => {
            Value::Array(parts.into_iter().map(|value| part_or_zero(value, of)).collect())
        }
        (Shape::Map(of), Value::Object(parts)) => {
            Value::Object(parts.into_iter().map(|(key, value)| (key, part_or_zero(value, of))).collect())
        }
        (_, value) => value,
    }
}

fn part_or_zero(value: Value, shape: &Shape) -> Value {
    if value.is_null() { zero(shape) } else { part(value, shape) }
}

/// Answers the empty value of a shape.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Bytes => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Double | Shape::IntOrString => 0.into(),
        Shape::Time | Shape::MicroTime | Shape::Fields | Shape::Raw => Value::Null,
        Shape::Quantity => "0".into(),
        Shape::Object(id) => Value::Object(printed(Map::new(), *id)),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Map(_) => Value::Object(Map::new()),
    }
}

fn is_scalar(shape: &Shape) -> bool {
    matches!(shape, Shape::Text | Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Double | Shape::Bytes)
}

/// Whether a value is what its field holds when nobody gave one. Lists and maps do not tell "none" from "empty" once
/// they were stored.
fn is_empty(value: &Value, shape: &Shape) -> bool {
    match (shape, value) {
        (Shape::Time | Shape::MicroTime, Value::String(text)) => {
            let precision = if *shape == Shape::Time { Precision::Seconds } else { Precision::Micros };
            time::parse(text, precision).is_ok_and(time::Instant::is_zero)
        }
        (_, Value::Null) => true,
        (_, Value::Bool(value)) => !value,
        (_, Value::Number(number)) => number.as_f64() == Some(0.0),
        (_, Value::String(text)) => text.is_empty(),
        (Shape::List(_), Value::Array(parts)) => parts.is_empty(),
        (Shape::Map(_), Value::Object(parts)) => parts.is_empty(),
        (_, Value::Array(_) | Value::Object(_)) => false,
    }
}
