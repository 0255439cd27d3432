//! An answer in the form in which answers are recorded. Pure.

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::case::Look;
use super::client::Answer;
use super::keep;

/// Headers that are always compared. A body is JSON unless Content-Type says otherwise.
const NOTED: [&str; 6] =
    ["Content-Type", "Warning", "Retry-After", "Allow", "Www-Authenticate", "Accept-Patch"];

/// Answers code, noted headers, and the part of the body that a step looks at.
pub(super) fn seen(look: &Look, answer: &Answer) -> Map<String, Value> {
    let mut seen = Map::from_iter([("code".to_owned(), json!(answer.code))]);
    let headers = noted(look, &answer.headers);
    if !headers.is_empty() {
        seen.insert("headers".into(), headers.into());
    }
    let bytes = &answer.body[..];
    if bytes.starts_with(b"k8s\0") {
        seen.insert("protobuf".into(), json!("k8s\\0"));
        let bits = usize::BITS - bytes.len().leading_zeros();
        seen.insert("bytes_below".into(), json!(1_u64 << bits));
    } else if !bytes.is_empty() {
        let document =
            serde_json::from_slice(bytes).ok().filter(|body: &Value| body.is_object() || body.is_array());
        let (name, body) = match document.filter(|_| !look.text) {
            Some(document) => ("body", kept(look, document)),
            None => ("text", String::from_utf8_lossy(bytes).into()),
        };
        seen.insert(name.into(), body);
    }
    seen
}

fn kept(look: &Look, document: Value) -> Value {
    let document = if look.discovery { keep::discovery(document) } else { document };
    match &look.only {
        Some(pointers) => keep::only(&document, pointers),
        None => document,
    }
}

fn noted(look: &Look, headers: &HeaderMap) -> Map<String, Value> {
    let names = NOTED.iter().copied().chain(look.note.iter().map(String::as_str));
    let values = names.filter_map(|name| {
        let text = |value: &http::HeaderValue| json!(String::from_utf8_lossy(value.as_bytes()));
        let mut values: Vec<Value> = headers.get_all(name).iter().map(text).collect();
        let value = if values.len() > 1 { Value::Array(values) } else { values.pop()? };
        (name != "Content-Type" || value != "application/json").then(|| (name.to_owned(), value))
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(code: u16, headers: &[(&'static str, &str)], body: &[u8], look: &Look) -> Value {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        seen(look, &Answer { code, headers: map, body: body.to_vec().into() }).into()
    }

    #[test]
    fn answers_are_written_as_recorded() {
        let (plain, text) = (Look::default(), Look { text: true, ..Look::default() });
        let only = Look { only: Some(vec!["/a".into(), "/b".into()]), ..Look::default() };
        let noting = Look { note: vec!["Vary".into()], ..Look::default() };
        let json_type = ("content-type", "application/json");
        for (got, expected) in [
            (
                look(200, &[json_type, ("vary", "x")], b"{\"a\":1}", &plain),
                json!({"code": 200, "body": {"a": 1}}),
            ),
            (look(200, &[("vary", "x")], b"", &noting), json!({"code": 200, "headers": {"Vary": "x"}})),
            (
                look(200, &[json_type], b"{\"a\":1}", &only),
                json!({"code": 200, "body": {"/a": 1, "/b": "absent"}}),
            ),
            (look(200, &[json_type], b"{\"a\":1}", &text), json!({"code": 200, "text": "{\"a\":1}"})),
            (look(200, &[], b"ok", &plain), json!({"code": 200, "text": "ok"})),
            (look(200, &[], b"1", &plain), json!({"code": 200, "text": "1"})),
            (
                look(200, &[("warning", "a"), ("warning", "b"), ("content-type", "text/plain")], b"", &plain),
                json!({"code": 200, "headers": {"Warning": ["a", "b"], "Content-Type": "text/plain"}}),
            ),
            (
                look(200, &[], b"k8s\0 and more than sixteen", &plain),
                json!({"code": 200, "protobuf": "k8s\\0", "bytes_below": 32}),
            ),
        ] {
            assert_eq!(got, expected);
        }
    }
}
