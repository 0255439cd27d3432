//! How Go prints JSON values: Kubernetes quotes patches in its messages that way.

use std::fmt::Write;

use serde_json::{Map, Number, Value};

/// Answers what `%v` prints.
pub(crate) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => print_number(number),
        Value::String(text) => text.clone(),
        Value::Array(list) => print_list(list),
        Value::Object(map) => print_map(map),
    }
}

/// Answers what `%v` prints of a list.
pub(super) fn print_list(list: &[Value]) -> String {
    let entries: Vec<String> = list.iter().map(print).collect();
    format!("[{}]", entries.join(" "))
}

/// Answers what `%v` prints of a map: its keys are sorted.
pub(super) fn print_map(map: &Map<String, Value>) -> String {
    let mut entries: Vec<(&String, String)> = map.iter().map(|(key, value)| (key, print(value))).collect();
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("map[{}]", entries.join(" "))
}

/// Answers what `%s` prints, which is meant for texts.
pub(super) fn print_as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "%!s(<nil>)".to_owned(),
        Value::Bool(_) | Value::Number(_) => format!("%!s({}={})", type_of(value), print(value)),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(print_as_text).collect::<Vec<_>>().join(" "))
        }
        Value::Object(_) => print(value),
    }
}

/// Answers the type that a decoded value has.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// Answers the kind of that type.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
        Value::Bool(_) | Value::Number(_) | Value::String(_) => type_of(value),
    }
}

/// Answers what `%q` prints.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            control if control.is_ascii_control() => {
                write!(quoted, "\\x{:02x}", u32::from(control)).expect("a text takes everything");
            }
            control if control.is_control() => {
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("a text takes everything");
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Answers a number as Go's shortest form: from 1e21 on, and below 1e-4, with an exponent of at least two digits.
fn print_number(number: &Number) -> String {
    let Some(float) = number.as_f64().filter(|_| !number.is_i64()) else { return number.to_string() };
    if float == 0.0 || (1e-4..1e21).contains(&float.abs()) {
        return float.to_string();
    }
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_go_prints_them() {
        let check = |json: &str, printed: &str| {
            assert_eq!(print(&serde_json::from_str(json).unwrap()), printed, "{json}");
        };
        check(r#"{"b":[1,"x",null,{}],"a":true}"#, "map[a:true b:[1 x <nil> map[]]]");
        check("1.5", "1.5");
        check("2.0", "2");
        check("1e21", "1e+21");
        check("1.5e-7", "1.5e-07");
        check("18446744073709551615", "18446744073709552000");
        assert_eq!(quote("a\"b\\\n\u{1}é\u{85}"), r#""a\"b\\\n\x01é\u0085""#);
        assert_eq!(print_as_text(&Value::from(5)), "%!s(int64=5)");
    }
}
