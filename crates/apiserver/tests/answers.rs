//! What a real API server answered, read and written by our own codecs: nothing may be unknown, nothing may be lost.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use apiserver::body::{Expected, Strictness, decode, protobuf};
use apiserver::kinds::Kind;
use apiserver::schema::Schema;
use serde_json::{Value, json};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");

/// Every object that was answered whole, with its placeholders filled in.
fn answers() -> Vec<(String, Value)> {
    let mut files: Vec<_> =
        std::fs::read_dir(Path::new(CASES)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut answers = Vec::new();
    for file in files {
        let options = serde_saphyr::options! { strict_booleans: true };
        let text = std::fs::read_to_string(&file).unwrap();
        let cases: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
        for case in &cases {
            for step in case["steps"].as_array().unwrap().iter().filter(|step| step.get("only").is_none()) {
                let body = &step["response"]["body"];
                let items = body["items"].as_array().map_or(&[][..], Vec::as_slice);
                for object in
                    std::iter::once(body).chain(items).filter(|object| object["metadata"].is_object())
                {
                    answers.extend(
                        filled(object).map(|object| (case["case"].as_str().unwrap().to_owned(), object)),
                    );
                }
            }
        }
    }
    answers
}

/// `None`: it holds something of which only a part was recorded.
fn filled(value: &Value) -> Option<Value> {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| *value != "$managed");
            known
                .map(|(name, value)| Some((name.clone(), filled(value)?)))
                .collect::<Option<_>>()
                .map(Value::Object)
        }
        Value::Array(values) => values.iter().map(filled).collect::<Option<_>>().map(Value::Array),
        Value::String(text) => match text.strip_prefix('$') {
            Some("any") => None,
            Some(name) if name.starts_with("time") => Some("2026-01-01T00:00:00Z".into()),
            Some(name) => match name.strip_prefix("nodeport").and_then(|number| number.parse::<u16>().ok()) {
                Some(number) => Some(json!(30_000 + number)),
                None => Some(text.as_str().into()),
            },
            None => Some(text.as_str().into()),
        },
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => Some(plain.clone()),
    }
}

#[test]
fn answers_are_understood_and_written_again_as_they_are() {
    let mut seen = 0;
    for (case, object) in answers() {
        let Some(kind) = Kind::of(&object) else { continue };
        let of = Schema::get().find(kind.type_name).unwrap();
        let api_version = kind.api_version();
        let expected = Expected { api_version: &api_version, kind: kind.kind, of };
        let text = object.to_string();
        let (read, warnings) = decode(text.as_bytes(), "application/json", &expected, Strictness::Strict)
            .unwrap_or_else(|error| panic!("{case}: {error}\n{object:#}"));
        assert_eq!((&read, warnings.len()), (&object, 0), "{case}");
        let message = protobuf::encode(&object, of);
        let sealed = protobuf::Envelope::seal(&api_version, kind.kind, &message);
        let (again, _) =
            decode(&sealed, "application/vnd.kubernetes.protobuf", &expected, Strictness::Strict)
                .unwrap_or_else(|error| panic!("{case}: {error}\n{object:#}"));
        assert_eq!(again, object, "{case}");
        seen += 1;
    }
    assert!(seen > 300, "{seen} answers were checked");
}
