//! Values as fields of a set know them: in an order, whatever they are, and as Go writes and shows them.

use std::cmp::Ordering;

use serde_json::Value;

/// A value that can be ordered.
#[derive(Debug, Clone)]
pub(super) struct Json(pub(super) Value);

/// Orders any two values: numbers, texts, booleans, lists, objects, nothing. 1 and 1.0 are the same.
pub(super) fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => a.as_f64().unwrap_or_default().total_cmp(&b.as_f64().unwrap_or_default()),
        },
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            first_difference(a.iter().zip(b).map(|(a, b)| order(a, b))).then(a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => {
            let pairs =
                a.iter().zip(b).map(|((a_key, a), (b_key, b))| a_key.cmp(b_key).then_with(|| order(a, b)));
            first_difference(pairs).then(a.len().cmp(&b.len()))
        }
        (a, b) => rank(a).cmp(&rank(b)),
    }
}

/// Answers whether two values say the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    order(a, b) == Ordering::Equal
}

fn first_difference(mut all: impl Iterator<Item = Ordering>) -> Ordering {
    all.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// Answers a whole number for one that was written with a fraction of nothing.
pub(super) fn plain(value: Value) -> Value {
    /// Up to here every whole number has a double of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.as_f64() {
        Some(number) if !value.is_i64() && number.fract() == 0.0 && number.abs() < EXACT => {
            #[allow(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
            let whole = number as i64;
            whole.into()
        }
        _ => value,
    }
}

/// Answers JSON as Go writes it: what could end a script in a web page is escaped.
pub(super) fn text(value: &Value) -> String {
    let mut text = String::new();
    for char in value.to_string().chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(char)))
            }
            char => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_have_an_order() {
        let sorted = json!([-1, 1.5, 2, "", "a", false, true, [], [1], [1, 2], [2], {}, {"a": 1}, {"a": 2}, {"b": 0}, null]);
        let sorted = sorted.as_array().unwrap();
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(order(a, b), at.cmp(&other), "{a} {b}");
            }
        }
        assert!(same(&json!({"a": [1]}), &json!({"a": [1.0]})));
        assert_eq!(plain(json!(80.0)).to_string(), "80");
        assert_eq!(plain(json!(0.5)).to_string(), "0.5");
        assert_eq!(plain(json!(u64::MAX)), json!(u64::MAX));
        assert_eq!(text(&json!({"<": "\u{2028}&"})), r#"{"\u003c":"\u2028\u0026"}"#);
    }
}
