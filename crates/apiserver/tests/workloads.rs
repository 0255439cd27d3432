//! Pods, ReplicaSets and Deployments: the recorded cases that have no other kind, played without HTTP.
//!
//! Who set which field is not looked at.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use apiserver::body::time::Instant;
use apiserver::body::{Expected, Strictness, canonical, decode};
use apiserver::chance::Chance;
use apiserver::kinds::Kind;
use apiserver::rest::change::Change;
use apiserver::rest::delete::Deleted;
use apiserver::rest::{Clock, DeleteOptions, Place, Query, Rest, WriteOptions};
use apiserver::status::Status;
use apiserver::{patch, scale};
use serde_json::{Value, json};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");
const PLURALS: [&str; 3] = ["pods", "replicasets", "deployments"];
const NAMESPACE: &str = "default";
/// 2026-01-01.
const NOW: Instant = Instant { seconds: 1_767_225_600, nanos: 0 };

/// What a request is answered: code, body, warnings.
type Answer = (u64, Value, Vec<String>);

struct World {
    rest: Rest,
    saved: BTreeMap<String, Value>,
}

struct Request<'a> {
    step: &'a Value,
    method: &'a str,
    place: Place,
    query: &'a str,
    body: Value,
}

impl<'a> Request<'a> {
    /// `None`: it is about something else.
    fn parse(step: &'a Value, saved: &BTreeMap<String, Value>) -> Option<Self> {
        let (method, path) = step["request"].as_str()?.split_once(' ')?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path
            .trim_start_matches('/')
            .split('/')
            .map(|part| if part == "$ns" { NAMESPACE } else { part })
            .collect();
        let (group, rest) = match &parts[..] {
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, "v1", rest @ ..] => (*group, rest),
            _ => return None,
        };
        let (rest, part) = match rest {
            [rest @ .., part @ ("binding" | "scale" | "status")] => (rest, *part),
            rest => (rest, ""),
        };
        let mut place = Place::parse(group, "v1", rest)?;
        place.part = part.to_owned();
        if !PLURALS.contains(&place.kind.plural) || query.contains("watch") || step.get("raw").is_some() {
            return None;
        }
        let mut body = match step["from"].as_str() {
            Some(from) => saved.get(from)?.clone(),
            None => step["body"].clone(),
        };
        for (pointer, value) in step["set"].as_object().into_iter().flatten() {
            *body.pointer_mut(pointer)? = value.clone();
        }
        if step.get("unset").is_some() {
            return None;
        }
        Some(Self { step, method, place, query, body })
    }

    fn header(&self, name: &str) -> &str {
        self.step["headers"][name].as_str().unwrap_or_default()
    }
}

impl World {
    async fn new(name: &str) -> Self {
        let file =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("workloads-{}", name.replace('/', "-")));
        let _ = std::fs::remove_file(&file);
        let store = store::Store::open(&file, store::Window::default()).unwrap();
        let rest = Rest { store, clock: Clock { now: || NOW, seed: || [7; 16] } };
        let namespaces = Place::parse("", "v1", &["namespaces"]).unwrap();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        rest.create(namespaces, namespace, WriteOptions::by("test")).await.unwrap();
        Self { rest, saved: BTreeMap::new() }
    }

    async fn answer(&self, request: &Request<'_>) -> Answer {
        let written = match (request.method, request.place.part.as_str()) {
            ("POST", "binding") => {
                let (place, binding) = (request.place.clone(), request.body.clone());
                let bound = self.rest.act(place, binding, WriteOptions::by("test")).await;
                bound.map(|answer| (201, answer, Vec::new()))
            }
            ("POST", _) => self.create(request).await,
            ("PUT" | "PATCH", _) => self.change(request).await,
            ("DELETE", _) => self.delete(request).await,
            ("GET", _) => self.get(request).await,
            other => panic!("{other:?}"),
        };
        written.unwrap_or_else(|status| (status.code.into(), status.json(), Vec::new()))
    }

    async fn create(&self, request: &Request<'_>) -> Result<Answer, Status> {
        let (object, options) = (decoded(request), WriteOptions::by("test"));
        let written = self.rest.create(request.place.clone(), object, options).await?;
        Ok((201, serde_json::from_slice(&written.object).unwrap(), written.warnings))
    }

    async fn change(&self, request: &Request<'_>) -> Result<Answer, Status> {
        let change = match patch::Kind::of_content_type(request.header("Content-Type")) {
            Some(kind) => Change::Patch(kind, request.body.to_string().into()),
            None => Change::Put(decoded(request)),
        };
        let written = self.rest.change(request.place.clone(), change, WriteOptions::by("test")).await?;
        Ok((200, serde_json::from_slice(&written.object).unwrap(), written.warnings))
    }

    async fn delete(&self, request: &Request<'_>) -> Result<Answer, Status> {
        let body = request.body.is_object().then_some(&request.body);
        let options = DeleteOptions::parse(&Query::parse(request.query), body)?;
        match self.rest.delete(request.place.clone(), options).await? {
            Deleted::Object(written) => {
                Ok((200, serde_json::from_slice(&written.object).unwrap(), Vec::new()))
            }
            Deleted::Gone(..) => Ok((200, json!({}), Vec::new())),
        }
    }

    /// Shows objects, or a table with nothing but its columns and cells.
    async fn get(&self, request: &Request<'_>) -> Result<Answer, Status> {
        let (kind, place) = (request.place.kind, request.place.clone());
        let prefix = if place.name.is_empty() { place.prefix() } else { place.key() };
        let found = self.rest.write(true, move |writing| Ok(writing.list(kind.table, &prefix))).await?;
        let found: Vec<Value> =
            found.iter().map(|(_, bytes)| serde_json::from_slice(bytes).unwrap()).collect();
        if request.header("Accept").contains("as=Table") {
            let columns = kind.rules.columns.iter().map(
                |column| json!({"name": column.name, "type": column.shape, "priority": column.priority}),
            );
            let rows = found.iter().map(|object| {
                let mut cells = vec![object["metadata"]["name"].clone()];
                cells.extend((kind.rules.cells)(object, NOW.seconds + 60));
                json!({"cells": cells})
            });
            let (columns, rows): (Value, Value) = (columns.collect(), rows.collect());
            return Ok((200, json!({"columnDefinitions": columns, "rows": rows}), Vec::new()));
        }
        let object = found.into_iter().next().ok_or_else(|| request.place.not_found())?;
        let is_scale = request.place.part == "scale";
        Ok((200, if is_scale { scale::scale_of(&object) } else { object }, Vec::new()))
    }
}

fn decoded(request: &Request<'_>) -> Value {
    let kind = request.place.kind;
    let api_version = kind.api_version();
    let expected = Expected { api_version: &api_version, kind: kind.kind, of: kind.of_type() };
    decode(request.body.to_string().as_bytes(), "application/json", &expected, Strictness::Strict).unwrap().0
}

/// What an answer is compared with: without what cannot be known here.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| *value != "$managed");
            known.map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::String(text) => text.replace("$ns", NAMESPACE).into(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other.clone(),
    }
}

/// Puts what the answer has where anything may be.
fn filled(wanted: &mut Value, answered: &Value) {
    match wanted {
        Value::Object(fields) => {
            fields.iter_mut().for_each(|(name, value)| filled(value, &answered[name.as_str()]));
        }
        Value::Array(values) => {
            values.iter_mut().enumerate().for_each(|(at, value)| filled(value, &answered[at]))
        }
        Value::String(text) => {
            let Some((front, _)) = text.split_once('$') else { return };
            if answered.as_str().is_some_and(|answered| answered.starts_with(front)) {
                *wanted = answered.clone();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A table is compared by its columns, but for the first, and its cells.
fn only_cells(table: &Value) -> Value {
    let columns =
        table["columnDefinitions"].as_array().into_iter().flatten().filter(|column| column["name"] != "Name");
    let columns: Value = columns
        .map(|column| json!({"name": column["name"], "type": column["type"], "priority": column["priority"]}))
        .collect();
    let rows: Value =
        table["rows"].as_array().into_iter().flatten().map(|row| json!({"cells": row["cells"]})).collect();
    json!({"columnDefinitions": columns, "rows": rows})
}

fn compare(case: &str, step: &Value, (code, body, warnings): &Answer) {
    let response = &step["response"];
    let at = format!("{case}: {}", step["request"]);
    let mut wanted = plain(&response["body"]);
    let mut answered = body.clone();
    if let Some(meta) = answered.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    if step.get("only").is_some() {
        answered = wanted
            .as_object()
            .into_iter()
            .flatten()
            .map(|(pointer, _)| (pointer.clone(), body.pointer(pointer).cloned().unwrap_or("absent".into())))
            .collect();
    } else if wanted["kind"] == "Table" {
        wanted = only_cells(&wanted);
    }
    filled(&mut wanted, &answered);
    assert_eq!((json!(code), &answered), (response["code"].clone(), &wanted), "{at}");
    let warned = response["headers"]["Warning"].as_str();
    let said = warnings.iter().map(|warning| format!("299 - \"{warning}\"")).collect::<Vec<_>>().join(", ");
    assert_eq!(said, warned.unwrap_or_default(), "{at}");
}

/// Plays a case; answers whether all of it is about these kinds.
async fn play(case: &Value) -> bool {
    let (name, steps) = (case["case"].as_str().unwrap(), case["steps"].as_array().unwrap());
    let is_ours = |step: &Value| {
        let is_apply = step["headers"]["Content-Type"].as_str().is_some_and(|text| text.contains("apply"));
        let path = step["request"].as_str().unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let is_known = PLURALS.iter().any(|plural| path.contains(&format!("/{plural}")));
        let is_other = path.ends_with("/log") || path.ends_with("/nope") || step.get("raw").is_some();
        is_known
            && !is_apply
            && !is_other
            && step.get("watch").is_none()
            && !step["request"].to_string().contains("Selector")
    };
    if !steps.iter().all(is_ours) || case.get("managed").is_some() {
        return false;
    }
    let mut world = World::new(name).await;
    for step in steps {
        let Some(request) = Request::parse(step, &world.saved) else { return false };
        let answer = world.answer(&request).await;
        compare(name, step, &answer);
        if let Some(save) = step["save"].as_str() {
            world.saved.insert(save.to_owned(), answer.1);
        }
    }
    true
}

#[tokio::test]
async fn recorded_cases() {
    if !Path::new(CASES).is_dir() {
        println!("SKIPPED (needs the recorded cases): conformance/api/cases is not there");
        return;
    }
    let mut files: Vec<_> = std::fs::read_dir(CASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut played = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|name| name == "yaml")) {
        let options = serde_saphyr::options! { strict_booleans: true };
        let text = std::fs::read_to_string(file).unwrap();
        let cases: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
        for case in &cases {
            if play(case).await {
                played.push(case["case"].as_str().unwrap().to_owned());
            }
        }
    }
    println!("{played:?}");
    assert!(played.len() >= 30, "too few could be played: {played:?}");
}

/// An object with a bit of everything, for changes by chance.
fn rich(kind: &Kind) -> Value {
    let container = json!({
        "name": "c", "image": "i:1", "ports": [{"containerPort": 80, "name": "http", "hostIP": "10.0.0.1"}],
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}}],
        "envFrom": [{"configMapRef": {"name": "x"}}],
        "resources": {"limits": {"cpu": "1500m", "memory": "1.5Gi"}, "requests": {"cpu": "1e1"}},
        "livenessProbe": {"httpGet": {"port": "http", "httpHeaders": [{"name": "a", "value": "b"}]}},
        "readinessProbe": {"grpc": {"port": 1}}, "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
        "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a/b"}],
    });
    let spec = json!({
        "containers": [container], "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"}],
        "volumes": [{"name": "v", "projected": {"sources": [{"downwardAPI": {"items": [
            {"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}, {"name": "h", "hostPath": {"path": "/"}}],
        "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a_b.c"], "options": [{"name": "ndots"}]},
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}], "tolerations": [{"key": "a", "operator": "Exists"}],
        "readinessGates": [{"conditionType": "a/b"}], "nodeName": "n", "hostNetwork": true, "serviceAccount": "s",
        "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "a", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}],
    });
    let status = json!({
        "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
        "conditions": [{"type": "Ready", "status": "True"}],
        "initContainerStatuses": [{"name": "i", "ready": true, "started": true, "restartCount": 1, "image": "", "imageID": "",
                                   "state": {"running": {}}}],
        "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "image": "", "imageID": "",
                               "state": {"terminated": {"exitCode": 1}},
                               "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}],
    });
    let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "x", "namespace": "y"}});
    if kind.plural == "pods" {
        object["spec"] = spec;
        object["status"] = status;
    } else {
        let selector =
            json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]});
        let template = json!({"metadata": {"labels": {"a": "b", "c": ""}}, "spec": spec});
        object["spec"] = json!({"replicas": 2, "selector": selector, "template": template});
        object["status"] = json!({"replicas": 1, "readyReplicas": 2});
    }
    object
}

/// Changes something somewhere in a value.
fn shake(value: &mut Value, chance: &mut Chance) {
    const TEXTS: [&str; 8] =
        ["", "Always", "a/b", "..", "10.0.0.1", "99999999999999999999Ei", "1e-999", "ä$(A)"];
    const NUMBERS: [i64; 5] = [0, -1, 80, 2_147_483_647, 65_536];
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let at = chance.below(fields.len() as u64) as usize;
            let name = fields.keys().nth(at).unwrap().clone();
            if chance.below(8) == 0 {
                fields.remove(&name);
            } else {
                shake(&mut fields[&name], chance);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            let at = chance.below(values.len() as u64) as usize;
            match chance.below(8) {
                0 => drop(values.remove(at)),
                1 => values.push(values[at].clone()),
                _ => shake(&mut values[at], chance),
            }
        }
        Value::String(text) => *text = TEXTS[chance.below(8) as usize].to_owned(),
        Value::Number(_) => *value = NUMBERS[chance.below(5) as usize].into(),
        Value::Bool(flag) => *flag = !*flag,
        Value::Null | Value::Object(_) | Value::Array(_) => {}
    }
}

/// Whatever is sent is judged and shown, and completing it twice is completing it once.
#[test]
fn objects_by_chance() {
    let mut chance = Chance::new([3; 16]);
    let mut judged = 0;
    for plural in PLURALS {
        let kind = Kind::find(if plural == "pods" { "" } else { "apps" }, "v1", plural).unwrap();
        let api_version = kind.api_version();
        let expected = Expected { api_version: &api_version, kind: kind.kind, of: kind.of_type() };
        let read = |object: &Value| {
            let text = object.to_string();
            let (mut object, _) =
                decode(text.as_bytes(), "application/json", &expected, Strictness::Ignore).ok()?;
            (kind.rules.defaults)(&mut object);
            canonical(&mut object, kind.of_type());
            Some(object)
        };
        let old = read(&rich(kind)).unwrap();
        for _ in 0..200 {
            let mut shaken = old.clone();
            (0..1 + chance.below(4)).for_each(|_| shake(&mut shaken, &mut chance));
            let Some(new) = read(&shaken) else { continue };
            assert_eq!(read(&new).as_ref(), Some(&new), "{shaken}");
            let rules = &kind.rules;
            let _ =
                ((rules.validate)(&new), (rules.validate_update)(&new, &old), (rules.warnings)(&new, None));
            let _ = ((rules.validate_status)(&new, &old), (rules.cells)(&new, 0), (rules.grace)(&new, None));
            for prepare in [rules.prepare_update, rules.prepare_status] {
                prepare(&mut new.clone(), &old);
            }
            (rules.prepare)(&mut new.clone());
            judged += 1;
        }
    }
    assert!(judged > 250, "{judged}");
}
