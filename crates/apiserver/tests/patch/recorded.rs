//! The answers of a real API server: every recorded patch whose object is known is applied again.
//!
//! The server goes on after the patch (defaults, versions, validation), so patched objects are compared for what they have, and
//! what only the answer has must be one of the fields that servers fill in.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use apiserver::patch::{Kind, PatchError, apply};
use apiserver::schema::{Schema, TypeId};
use serde_json::{Value, json};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");

/// What a server fills in after a patch.
const FILLED_IN: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "externalTrafficPolicy",
    "generation",
    "healthCheckNodePort",
    "imagePullPolicy",
    "ipMode",
    "lastHeartbeatTime",
    "lastProbeTime",
    "lastTransitionTime",
    "nodePort",
    "protocol",
    "resources",
    "targetPort",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// What servers refuse after the patch was applied.
const REFUSED_LATER: &[&str] = &[
    "field is immutable",
    "does not match the name on the URL",
    "does not match the namespace sent on the request",
    "strict decoding error: unknown field",
    "strict decoding error: json patch unknown field",
    "is invalid: metadata.finalizers: ",
    "is invalid: spec.",
    "is invalid: status.",
    "is invalid: [status.",
    "is invalid: [spec.",
    "object has been modified",
];

#[derive(Debug, Default)]
struct Tally {
    patched: usize,
    refused: usize,
    refused_later: usize,
    without_object: usize,
}

/// What is known while a case is played.
#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    saved: BTreeMap<String, Value>,
}

#[test]
fn recorded_patches() {
    if !Path::new(CASES).is_dir() {
        println!("SKIPPED (needs the recorded cases): conformance/api/cases is not there");
        return;
    }
    let mut tally = Tally::default();
    let mut files: Vec<_> = fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|name| name == "yaml")) {
        let text = fs::read_to_string(file).unwrap();
        for case in super::read_cases(&text) {
            play(&typed(case), &mut tally);
        }
    }
    println!("{tally:?}");
    assert!(tally.patched >= 55 && tally.refused >= 10, "too few could be played: {tally:?}");
}

/// Gives placeholders the types of what they stand for.
fn typed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| value != "$managed");
            Value::Object(kept.map(|(key, value)| (key, typed(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(typed).collect()),
        Value::String(text) => {
            match text.strip_prefix("$nodeport").and_then(|number| number.parse::<u16>().ok()) {
                Some(number) => json!(30_000 + number),
                None => Value::String(text),
            }
        }
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_)) => plain,
    }
}

fn play(case: &Value, tally: &mut Tally) {
    let name = case["case"].as_str().expect("a case has a name");
    let mut world = World::default();
    for step in case["steps"].as_array().expect("a case has steps") {
        let Some((method, path)) = step["request"].as_str().and_then(|request| request.split_once(' '))
        else {
            // Who knows what kubectl, or a series of requests, changes.
            if step.get("kubectl").is_some() || step.get("each").is_some() {
                world.objects.clear();
            }
            continue;
        };
        let path = path.split('?').next().unwrap_or(path);
        let answer = &step["response"]["body"];
        let is_fine = step["response"]["code"].as_u64().is_some_and(|code| code < 300);
        if let Some(name) = step["save"].as_str() {
            world.saved.insert(name.to_owned(), answer.clone());
        }
        if method == "PATCH" {
            let kind =
                step.pointer("/headers/Content-Type").and_then(Value::as_str).and_then(Kind::of_content_type);
            if let Some(kind) = kind {
                patch(&format!("{name}: {path}"), kind, step, (&mut world, &mut *tally));
                continue;
            }
        }
        if is_fine && (method != "GET" || world.objects.contains_key(path)) {
            let is_partial = step.get("only").is_some();
            let is_told = is_partial && method == "POST" && step["body"].is_object();
            remember(&mut world, path, if is_told { &step["body"] } else { answer }, is_partial && !is_told);
        }
    }
}

/// Remembers an object that is answered as a whole; forgets one that was changed and is not.
fn remember(world: &mut World, path: &str, answer: &Value, is_partial: bool) {
    let Some(name) = answer.pointer("/metadata/name").and_then(Value::as_str) else {
        world.objects.retain(|known, _| !known.starts_with(path));
        return;
    };
    let place = if path.ends_with(&format!("/{name}")) { path.to_owned() } else { format!("{path}/{name}") };
    if is_partial || answer["kind"] == "Status" {
        world.objects.remove(&place);
    } else {
        world.objects.insert(place, answer.clone());
    }
}

fn patch(what: &str, kind: Kind, step: &Value, (world, tally): (&mut World, &mut Tally)) {
    let path = step["request"].as_str().and_then(|request| request.split(' ').nth(1)).expect("a request");
    let path = path.split('?').next().unwrap_or(path).trim_end_matches("/status").to_owned();
    let known = world.objects.get(&path).and_then(|object| Some((object.clone(), type_of(object)?)));
    let Some((object, of)) = known.filter(|_| step.get("from").is_none()) else {
        println!("not played, the object is not known: {what}");
        tally.without_object += 1;
        return;
    };
    let mut body = step.get("raw").map_or_else(
        || step["body"].to_string(),
        |raw| raw.as_str().expect("a raw body is a text").to_owned(),
    );
    for (name, saved) in &world.saved {
        for pointer in ["/metadata/resourceVersion", "/metadata/uid"] {
            let value = saved.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            body = body.replace(&format!("${{{name}{pointer}}}"), value);
        }
    }
    assert!(!body.contains("${"), "{what}: a reference is left in {body}");
    let answer = &step["response"]["body"];
    match (apply(kind, body.as_bytes(), &object, of), step["response"]["code"].as_u64()) {
        (Ok(patched), Some(200)) => {
            let only = step["only"].as_array();
            compare(what, &patched, answer, only.map(Vec::as_slice));
            world.objects.insert(path, if only.is_some() { with(patched, answer) } else { answer.clone() });
            tally.patched += 1;
        }
        (Ok(_), _) => {
            let message = answer["message"].as_str().unwrap_or_default();
            assert!(
                REFUSED_LATER.iter().any(|words| message.contains(words)),
                "{what}: not refused: {message}"
            );
            tally.refused_later += 1;
        }
        (Err(error), _) => {
            assert_eq!(&status(&error), answer, "{what}: {body}");
            tally.refused += 1;
        }
    }
}

fn type_of(object: &Value) -> Option<TypeId> {
    let version = object["apiVersion"].as_str()?;
    let (group, version) = version.split_once('/').unwrap_or(("core", version));
    let group = group.split('.').next().unwrap_or(group);
    Schema::get().find(&format!("{group}.{version}.{}", object["kind"].as_str()?))
}

fn status(error: &PatchError) -> Value {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": error.to_string(), "code": error.code()
    });
    if let Some(reason) = error.reason() {
        status["reason"] = json!(reason);
    }
    if let Some(details) = error.details() {
        status["details"] = details;
    }
    status
}

fn compare(what: &str, patched: &Value, answer: &Value, only: Option<&[Value]>) {
    let Some(pointers) = only else {
        return same(&format!("{what} "), patched, answer);
    };
    for pointer in pointers.iter().filter_map(Value::as_str) {
        let place = format!("{what} {pointer}");
        match (patched.pointer(pointer), &answer[pointer]) {
            (None, answered) => {
                let is_filled_in = FILLED_IN.iter().any(|name| pointer.ends_with(name));
                assert!(answered == "absent" || is_filled_in, "{place}: absent");
            }
            (Some(patched), answered) => same(&place, patched, answered),
        }
    }
}

fn same(place: &str, patched: &Value, answer: &Value) {
    let is_set_by_servers =
        ["/resourceVersion", "/generation", "/managedFields", "/selfLink", "/creationTimestamp"];
    if is_set_by_servers.iter().any(|name| place.ends_with(name)) {
        return;
    }
    match (patched, answer) {
        (Value::Object(patched), Value::Object(answer)) => {
            for (key, value) in patched {
                let place = format!("{place}/{key}");
                match answer.get(key) {
                    Some(answered) => same(&place, value, answered),
                    None => assert!(is_dropped(&place, value), "{place}: only patched: {value}"),
                }
            }
            for key in answer.keys().filter(|key| !patched.contains_key(*key)) {
                let is_filled_in = FILLED_IN.contains(&key.as_str()) || key == "creationTimestamp";
                assert!(is_filled_in, "{place}/{key}: only answered");
            }
        }
        (Value::Array(patched), Value::Array(answer)) => {
            assert_eq!(patched.len(), answer.len(), "{place}");
            for (index, (patched, answer)) in patched.iter().zip(answer).enumerate() {
                same(&format!("{place}/{index}"), patched, answer);
            }
        }
        (patched, answer) => assert_eq!(patched, answer, "{place}"),
    }
}

/// Servers drop empty maps and lists, unknown fields, and metadata that is theirs.
fn is_dropped(place: &str, value: &Value) -> bool {
    let is_empty =
        value.as_object().is_some_and(|map| map.is_empty()) || value.as_array().is_some_and(Vec::is_empty);
    is_empty
        || ["/spec/nope", "/metadata/selfLink", "/metadata/generation"]
            .iter()
            .any(|name| place.ends_with(name))
}

/// Puts the values of a partial answer into an object.
fn with(mut object: Value, answer: &Value) -> Value {
    for (pointer, value) in answer.as_object().into_iter().flatten() {
        if let Some(place) = object.pointer_mut(pointer) {
            *place = value.clone();
        }
    }
    object
}
