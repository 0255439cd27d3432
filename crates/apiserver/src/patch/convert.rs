//! Whether a strategically patched object still has the shape of its type, in the words of Kubernetes' converter.
//!
//! Only the structure and plain values: times, quantities and the like are read by whoever decodes the object.

use serde_json::Value;

use super::go;
use crate::schema::{Schema, Shape};

/// Says what is wrong first.
pub(super) fn check(value: &Value, shape: &Shape) -> Result<(), String> {
    if value.is_null() {
        return Ok(());
    }
    match shape {
        Shape::Object(of) => {
            let Value::Object(map) = value else {
                return Err(format!("cannot restore struct from: {}", go::kind_of(value)));
            };
            let fields = Schema::get().fields(*of).filter_map(|field| Some((map.get(field.name)?, field)));
            for (value, field) in fields {
                check(value, &field.shape)?;
            }
            Ok(())
        }
        Shape::List(of) => {
            let list = value
                .as_array()
                .ok_or_else(|| format!("cannot restore slice from {}", go::kind_of(value)))?;
            list.iter().try_for_each(|entry| check(entry, of))
        }
        Shape::Map(of) => {
            let map =
                value.as_object().ok_or_else(|| format!("cannot restore map from {}", go::kind_of(value)))?;
            map.values().try_for_each(|entry| check(entry, of))
        }
        Shape::Text => plain(value, "string"),
        Shape::Bool => plain(value, "bool"),
        Shape::Int32 => plain(value, "int32"),
        Shape::Int64 => plain(value, "int64"),
        Shape::Double => plain(value, "float64"),
        Shape::Bytes if !value.is_string() => {
            Err(format!("cannot restore slice from {}", go::kind_of(value)))
        }
        Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Fields
        | Shape::Raw => Ok(()),
    }
}

/// Go's types convert into each other by rules of their own, hence two messages for the same mistake.
fn plain(value: &Value, wanted: &str) -> Result<(), String> {
    let is_whole = || value.as_f64().is_some_and(|number| number.trunc() == number);
    match (go::type_of(value), wanted) {
        ("string", "string") | ("bool", "bool") => Ok(()),
        ("int64", "int32" | "int64" | "float64") | ("float64", "float64") => Ok(()),
        ("float64", "int32" | "int64") if is_whole() => Ok(()),
        ("int64", "string") | ("float64", "int32" | "int64") => {
            Err(format!("cannot convert {} to {wanted}", go::type_of(value)))
        }
        _ => Err(format!("unrecognized type: {wanted}")),
    }
}
