//! The recorded requests as inputs: what fuzzing begins with.

use std::path::Path;

use apiserver::body::{Expected, Strictness, decode, protobuf, yaml};
use apiserver::kinds::KINDS;
use serde_json::Value;

use super::requests::{BETWEEN, parts};

/// In the project's folder, which is above that of every program that uses this.
const CASES: &str = "conformance/api/cases";

/// Every recorded case as one input: its name and its requests, as [`requests`](super::requests) reads them.
pub(crate) fn inputs() -> Vec<(String, Vec<u8>)> {
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join(CASES));
    let root = above.find(|folder| folder.is_dir()).unwrap();
    let mut files: Vec<_> = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut inputs = Vec::new();
    for file in files {
        let options = serde_saphyr::options! { strict_booleans: true };
        let text = std::fs::read_to_string(&file).unwrap();
        let cases: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
        for case in &cases {
            let steps = case["steps"].as_array().into_iter().flatten();
            let requests: Vec<Vec<u8>> = steps.filter_map(request).collect();
            if !requests.is_empty() {
                inputs.push((case["case"].as_str().unwrap().to_owned(), requests.join(BETWEEN)));
            }
        }
    }
    inputs
}

/// The bodies of an input that are accepted for some kind, in every language, as [`bodies`](super::bodies) reads them.
pub(crate) fn bodies(input: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for part in parts(input) {
        let Some(at) = part.windows(2).position(|two| two == b"\n\n") else { continue };
        let body = &part[at + 2..];
        if !body.windows(6).any(|window| window == b"\"kind\"") {
            continue;
        }
        for (number, kind) in (0..).zip(KINDS) {
            let api_version = kind.api_version();
            let expected = Expected { api_version: &api_version, kind: kind.kind, of: kind.of_type() };
            let read = decode(body, "application/json", &expected, Strictness::Ignore);
            let Ok((object, _)) = read else { continue };
            let message = protobuf::encode(&object, expected.of);
            let sealed = protobuf::Envelope::seal(&api_version, kind.kind, &message);
            bodies.push([&[number, 0], body].concat());
            bodies.push([&[number, 1], yaml::encode(&object).as_bytes()].concat());
            bodies.push([&[number, 2], &sealed[..]].concat());
        }
    }
    bodies
}

fn request(step: &Value) -> Option<Vec<u8>> {
    let line = step["request"].as_str().or(step["open"].as_str())?;
    let mut text = format!("{line}\n").replace(' ', "%20").replacen("%20", " ", 1);
    for (name, value) in step["headers"].as_object().into_iter().flatten() {
        text += &format!("{name}: {}\n", value.as_str().unwrap_or_default());
    }
    text.push('\n');
    match (&step["raw"], &step["body"]) {
        (Value::String(raw), _) => text += raw,
        (_, Value::Null) => {}
        (_, body) => text += &body.to_string(),
    }
    Some(text.replace("$ns", "default").into_bytes())
}
