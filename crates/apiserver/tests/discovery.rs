//! What a real API server answered about the kinds it serves, and what ours does.

#![allow(clippy::unwrap_used, reason = "tests")]

use apiserver::discovery::{self, Form};
use serde_json::Value;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases/discovery.yaml");
/// The groups that are served and that no case is about.
const BESIDE: [&str; 2] = ["authentication.k8s.io", "authorization.k8s.io"];
/// The parts of objects that cases are about.
const PARTS: [&str; 3] = ["finalize", "scale", "status"];

fn answer(path: &str, form: Form) -> Option<Value> {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (&words[..], form) {
        (["api"], Form::PerVersion) => Some(discovery::core_versions("127.0.0.1:6443")),
        (["api"], Form::Aggregated) => Some(discovery::aggregated(true)),
        (["apis"], Form::PerVersion) => Some(discovery::groups()),
        (["apis"], Form::Aggregated) => Some(discovery::aggregated(false)),
        (["api", version], _) => discovery::resources("", version),
        (["apis", group], _) => discovery::group(group),
        (["apis", group, version], _) => discovery::resources(group, version),
        _ => None,
    }
}

/// Drops what the cases were recorded without.
fn kept(mut answer: Value) -> Value {
    let is_known = |name: &Value| !BESIDE.contains(&name.as_str().unwrap_or_default());
    let is_part = |name: &Value| {
        let name = name.as_str().unwrap_or_default();
        name.split_once('/').is_none_or(|(_, part)| PARTS.contains(&part))
    };
    for (list, name) in [("groups", "/name"), ("items", "/metadata/name"), ("resources", "/name")] {
        let Some(entries) = answer.get_mut(list).and_then(Value::as_array_mut) else { continue };
        entries.retain(|entry| entry.pointer(name).is_none_or(|name| is_known(name) && is_part(name)));
        for resource in entries.iter_mut().filter_map(|group| group.pointer_mut("/versions/0/resources")) {
            for parts in resource.as_array_mut().unwrap().iter_mut() {
                if let Some(parts) = parts.get_mut("subresources").and_then(Value::as_array_mut) {
                    parts.retain(|part| PARTS.contains(&part["subresource"].as_str().unwrap()));
                }
            }
        }
    }
    answer
}

#[test]
fn documents_are_kubernetes_own() {
    let options = serde_saphyr::options! { strict_booleans: true };
    let text = std::fs::read_to_string(CASES).unwrap();
    let cases: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
    let mut seen = 0;
    for case in &cases {
        for step in case["steps"].as_array().unwrap() {
            let Some(path) = step["request"].as_str().and_then(|request| request.strip_prefix("GET ")) else {
                continue;
            };
            let name = case["case"].as_str().unwrap();
            let wanted = Form::wanted(step["headers"]["Accept"].as_str().unwrap_or_default());
            let code = match wanted.map(|form| answer(path, form)) {
                None => 406,
                Some(None) => 404,
                Some(Some(answer)) => {
                    let mut expected = step["response"]["body"].clone();
                    if expected["serverAddressByClientCIDRs"] == "$any" {
                        expected["serverAddressByClientCIDRs"] = answer["serverAddressByClientCIDRs"].clone();
                    }
                    assert_eq!(kept(answer), expected, "{name}");
                    200
                }
            };
            assert_eq!(code, step["response"]["code"], "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 10);
}
