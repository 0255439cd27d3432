//! Every recorded request about a Service, a ServiceCIDR or an IPAddress is sent again, and the answer has to be the same.

use std::collections::BTreeMap;
use std::path::Path;

use apiserver::allocate::NodePorts;
use apiserver::kinds::Kind;
use serde_json::{Value, json};

use crate::server::{Answer, NOW, Server, Target};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");

/// Files that are played, and how their cases begin.
const PLAYED: &[(&str, &str)] = &[
    ("ipaddress", ""),
    ("patch-json", "patch-json/array"),
    ("patch-merge", "patch-merge/immutable-meta"),
    ("patch-strategic", "patch-strategic/ports"),
    ("service-clusterip", ""),
    ("service-defaults", ""),
    ("service-dualstack", ""),
    ("service-nodeport", ""),
    ("service-types", ""),
    ("service-validation", ""),
    ("servicecidr", ""),
    ("subresources", "subresources/service-status"),
    ("table", "table/service"),
    ("table", "table/ipaddresses"),
];

/// Where Kubernetes' answer is a fault, and we do better.
struct Better {
    case: &'static str,
    step: usize,
    /// Where in our answer, and what is there.
    answer: (&'static str, &'static str),
}

const BETTER: &[Better] = &[
    Better {
        case: "service-nodeport/healthcheck-requested",
        step: 1,
        answer: (
            "/message",
            "Service \"b\" is invalid: spec.healthCheckNodePort: Invalid value: 30022: provided port is already allocated",
        ),
    },
    Better { case: "table/ipaddresses", step: 1, answer: ("/columnDefinitions/2/name", "Age") },
];

#[derive(Default)]
struct World {
    saved: BTreeMap<String, Value>,
    /// What placeholders stand for.
    known: BTreeMap<String, Value>,
}

#[test]
fn recorded_answers() {
    let (mut played, mut left_out) = (0, Vec::new());
    let mut files: Vec<&str> = PLAYED.iter().map(|(file, _)| *file).collect();
    files.dedup();
    for file in files {
        let options = serde_saphyr::options! { strict_booleans: true };
        let text = std::fs::read_to_string(Path::new(CASES).join(file).with_extension("yaml")).unwrap();
        let cases: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
        for case in &cases {
            let name = case["case"].as_str().unwrap();
            let is_played = |(of, begin): &(&str, &str)| *of == file && name.starts_with(begin);
            if PLAYED.iter().any(is_played) && name != "table/serviceaccounts" {
                play(name, case, &mut played, &mut left_out);
            }
        }
    }
    println!("{played} requests; left out: {left_out:#?}");
    assert!(played >= 180, "only {played} were played");
}

fn play(name: &str, case: &Value, played: &mut usize, left_out: &mut Vec<String>) {
    let mut server = Server::new(&["10.96.0.0/12", "fd00:10:96::/112"], NodePorts::default(), 1);
    let mut world = World::default();
    for (at, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let what = format!("{name}, step {at}");
        let Some(answer) = send(&mut server, &world, step) else {
            left_out.push(what);
            continue;
        };
        *played += 1;
        let better = BETTER.iter().find(|better| (better.case, better.step) == (name, at));
        if let Some(Better { answer: (pointer, wanted), .. }) = better {
            assert_eq!(answer.body.pointer(pointer), Some(&json!(wanted)), "{what}: {:#}", answer.body);
            continue;
        }
        compare(&what, step, &answer, &mut world);
        if let Some(saved) = step["save"].as_str() {
            world.saved.insert(saved.to_owned(), answer.body);
        }
    }
}

/// `None`: it is about something else.
fn send(server: &mut Server, world: &World, step: &Value) -> Option<Answer> {
    let (method, path) = step["request"].as_str()?.split_once(' ')?;
    let path = path.replace("$ns", "ns").replace("%3D", "=");
    let (path, query) = path.split_once('?').unwrap_or((&path, ""));
    let mut target = target(path)?;
    target.is_dry_run = query.contains("dryRun=All");
    let body = body(world, step);
    match method {
        "POST" if !target.is_status => Some(server.post(&target, &body)),
        "PUT" => Some(server.put(&target, &body)),
        "PATCH" => {
            let content_type = step["headers"]["Content-Type"].as_str().unwrap();
            server.patch(&target, content_type, &body)
        }
        "DELETE" => Some(server.delete(&target)),
        "GET" if query.is_empty() => {
            let is_table = step["headers"]["Accept"].as_str().is_some_and(|accept| accept.contains("Table"));
            if is_table { table(server, &target) } else { Some(get(server, &target)) }
        }
        _ => None,
    }
}

fn target(path: &str) -> Option<Target<'_>> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, version, rest) = match &parts[..] {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let kind = Kind::find(group, version, rest.first()?)?;
    if !["services", "servicecidrs", "ipaddresses"].contains(&kind.plural) {
        return None;
    }
    let (name, part) = (rest.get(1).copied().unwrap_or_default(), rest.get(2).copied());
    Some(Target { kind, namespace, name, is_status: part == Some("status"), is_dry_run: false })
}

fn body(world: &World, step: &Value) -> String {
    let mut body = match step["from"].as_str() {
        Some(name) => world.saved[name].clone(),
        None => step.get("body").cloned().unwrap_or(json!({})),
    };
    for (pointer, value) in step["set"].as_object().into_iter().flatten() {
        let (place, key) = pointer.rsplit_once('/').unwrap();
        let place = body.pointer_mut(place).unwrap();
        match place.as_array_mut() {
            Some(list) if key == "-" => list.push(value.clone()),
            Some(list) => list[key.parse::<usize>().unwrap()] = value.clone(),
            None => place[key] = value.clone(),
        }
    }
    for pointer in step["unset"].as_array().into_iter().flatten() {
        let (place, key) = pointer.as_str().unwrap().rsplit_once('/').unwrap();
        let place = body.pointer_mut(place).unwrap();
        match place.as_array_mut() {
            Some(list) => drop(list.remove(key.parse::<usize>().unwrap())),
            None => drop(place.as_object_mut().unwrap().remove(key)),
        }
    }
    body.to_string().replace("$ns", "ns")
}

fn get(server: &Server, target: &Target<'_>) -> Answer {
    match server.get(target.kind, target.namespace, target.name) {
        Some(body) => Answer { code: 200, body, warnings: Vec::new() },
        None => {
            let status = apiserver::status::Status::not_found(target.kind, target.name);
            Answer { code: 404, body: status.json(), warnings: Vec::new() }
        }
    }
}

fn table(server: &Server, target: &Target<'_>) -> Option<Answer> {
    let kind = target.kind;
    let objects: Vec<Value> = match target.name {
        "" => {
            let all = server.list(kind.table).into_iter();
            let all = all.map(|(_, bytes)| serde_json::from_slice::<Value>(&bytes).unwrap());
            all.filter(|object| object["metadata"]["namespace"] == target.namespace).collect()
        }
        name => vec![server.get(kind, target.namespace, name)?],
    };
    let mut columns =
        vec![json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0})];
    columns.extend(kind.rules.columns.iter().map(|column| {
        json!({"name": column.name, "type": column.shape, "format": "", "description": column.description, "priority": column.priority})
    }));
    let row = |object: &Value| {
        let mut cells = vec![object["metadata"]["name"].clone()];
        cells.extend((kind.rules.cells)(object, NOW.seconds + 5));
        assert_eq!(cells.len(), columns.len());
        json!({"cells": cells, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}})
    };
    let rows: Vec<Value> = objects.iter().map(row).collect();
    let body = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": "1"},
                      "columnDefinitions": columns, "rows": rows});
    Some(Answer { code: 200, body, warnings: Vec::new() })
}

fn compare(what: &str, step: &Value, answer: &Answer, world: &mut World) {
    let wanted = &step["response"];
    assert_eq!(json!(answer.code), wanted["code"], "{what}: {:#}", answer.body);
    if let Some(pointers) = step["only"].as_array() {
        for pointer in pointers.iter().filter_map(Value::as_str) {
            let is = answer.body.pointer(pointer).cloned().unwrap_or_default();
            same(&format!("{what} {pointer}"), &wanted["body"][pointer], &is, world);
        }
    } else {
        same(what, &wanted["body"], &answer.body, world);
    }
    // The bodies that are sent here have sorted fields, and the warnings come in the order of the fields.
    let mut warned: Vec<String> = answer
        .warnings
        .iter()
        .map(|warning| format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    let wanted = &wanted["headers"]["Warning"];
    let mut wanted: Vec<&str> = match wanted.as_str() {
        Some(one) => vec![one],
        None => wanted.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    warned.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(warned, wanted, "{what}: warnings");
}

fn same(place: &str, wanted: &Value, is: &Value, world: &mut World) {
    match (wanted, is) {
        (Value::Object(wanted), Value::Object(is)) => {
            for (key, wanted) in wanted.iter().filter(|(_, wanted)| *wanted != "$managed") {
                let is = is.get(key).unwrap_or_else(|| panic!("{place}/{key}: not answered: {is:?}"));
                same(&format!("{place}/{key}"), wanted, is, world);
            }
            let more: Vec<&String> =
                is.keys().filter(|key| !wanted.contains_key(*key) && *key != "managedFields").collect();
            assert!(more.is_empty(), "{place}: also answered: {more:?}");
        }
        (Value::Array(wanted), Value::Array(is)) => {
            assert_eq!(wanted.len(), is.len(), "{place}: {wanted:?} {is:?}");
            for (at, (wanted, is)) in wanted.iter().zip(is).enumerate() {
                same(&format!("{place}/{at}"), wanted, is, world);
            }
        }
        (Value::String(text), is) if text.starts_with('$') && !text[1..].contains(['$', ' ', '/']) => {
            if text == "$any" || text == "$age" {
                return;
            }
            let known = world.known.entry(text.clone()).or_insert_with(|| match &text[..] {
                "$ns" => "ns".into(),
                _ => is.clone(),
            });
            assert_eq!(known, is, "{place}: {text}");
            world.known.insert(text.clone(), is.clone());
        }
        (Value::String(wanted), Value::String(is)) => {
            let mut text = wanted.clone();
            for (name, value) in &world.known {
                text = text.replace(name, value.as_str().unwrap_or_default());
            }
            let text = text.replace("$ns", "ns");
            assert!(is_like(&text, is), "{place}:\n  {text}\n  {is}");
        }
        (wanted, is) => assert_eq!(wanted, is, "{place}"),
    }
}

/// Whether a text is as wanted; what is still open in it can be any word.
fn is_like(wanted: &str, is: &str) -> bool {
    let Some((before, after)) = wanted.split_once('$') else { return wanted == is };
    let after = after.trim_start_matches(|char: char| char.is_ascii_alphanumeric());
    let Some(rest) = is.strip_prefix(before) else { return false };
    is_like(after, rest.trim_start_matches(|char: char| char.is_ascii_alphanumeric()))
}
