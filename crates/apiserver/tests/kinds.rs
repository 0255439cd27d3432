//! What kinds do with their objects, against what a real API server answered: single writes and rows of tables, without
//! a server. What the machinery of requests does is imitated here as far as the kinds need it, and not tested.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use apiserver::body::time::Instant;
use apiserver::body::{Expected, Strictness, canonical, decode};
use apiserver::kinds::{Kind, Scope, namespace};
use apiserver::meta;
use apiserver::mistake::{Mistake, refuse};
use apiserver::patch;
use apiserver::schema::{Schema, TypeId};
use apiserver::status::Status;
use serde_json::{Value, json};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/api/cases");
const FILES: [&str; 8] =
    ["namespace", "node", "endpointslice", "endpoints", "simple-kinds", "update", "delete", "table"];
const PLURALS: [&str; 9] = [
    "namespaces",
    "nodes",
    "endpointslices",
    "endpoints",
    "configmaps",
    "secrets",
    "serviceaccounts",
    "leases",
    "events",
];
const NOW: &str = "2026-01-01T00:00:00Z";

/// Where a request goes.
struct Place {
    kind: &'static Kind,
    name: Option<String>,
    part: Option<String>,
}

impl Place {
    /// `None`: it is none of the kinds that are looked at here.
    fn of(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('?').next()?.trim_start_matches('/').split('/').collect();
        let (group, version, mut rest) = match &parts[..] {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        if let ["namespaces", "$ns", within @ ..] = rest {
            rest = within;
        }
        let [plural, rest @ ..] = rest else { return None };
        let kind = Kind::find(group, version, plural).filter(|kind| PLURALS.contains(&kind.plural))?;
        let text = |at: usize| rest.get(at).map(|text| (*text).to_owned());
        Some(Self { kind, name: text(0), part: text(1) })
    }
}

/// What is answered: the code, the body, the warnings.
type Answer = (u64, Value, Vec<String>);

#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    revision: u64,
}

impl World {
    fn play(&mut self, method: &str, place: &Place, body: Option<(Vec<u8>, String)>) -> Answer {
        let kind = place.kind;
        let of = Schema::get().find(kind.type_name).unwrap();
        let played = match (method, body) {
            ("POST", Some((bytes, _))) => {
                self.decoded(kind, of, &bytes).and_then(|new| self.create(kind, new))
            }
            ("PUT", Some((bytes, _))) => {
                self.decoded(kind, of, &bytes).and_then(|new| self.update(place, of, new))
            }
            ("PATCH", Some((bytes, content_type))) => self.old(place).and_then(|old| {
                let patched =
                    patch::apply(patch::Kind::of_content_type(&content_type).unwrap(), &bytes, &old, of)
                        .unwrap();
                let new = self.decoded(kind, of, patched.to_string().as_bytes())?;
                self.update(place, of, new)
            }),
            ("DELETE", _) => self.delete(place),
            ("GET", _) => self.old(place).map(|old| (200, shown(kind, old), Vec::new())),
            other => panic!("{other:?}"),
        };
        played.unwrap_or_else(|status| (status.code.into(), status.json(), Vec::new()))
    }

    fn key(place: &Place) -> String {
        format!("{}/{}", place.kind.table, place.name.as_deref().unwrap_or_default())
    }

    fn old(&self, place: &Place) -> Result<Value, Status> {
        let name = place.name.as_deref().unwrap_or_default();
        self.objects.get(&Self::key(place)).cloned().ok_or_else(|| Status::not_found(place.kind, name))
    }

    fn decoded(&self, kind: &Kind, of: TypeId, bytes: &[u8]) -> Result<Value, Status> {
        let api_version = kind.api_version();
        let expected = Expected { api_version: &api_version, kind: kind.kind, of };
        let (mut new, _) = decode(bytes, "application/json", &expected, Strictness::Warn)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        if kind.scope == Scope::Namespaced {
            new["metadata"]["namespace"] = "$ns".into();
        }
        (kind.rules.defaults)(&mut new);
        Ok(new)
    }

    fn create(&mut self, kind: &Kind, mut new: Value) -> Result<Answer, Status> {
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = format!("{}/{name}", kind.table);
        new["metadata"]["uid"] = format!("uid-{key}").into();
        new["metadata"]["creationTimestamp"] = NOW.into();
        (kind.rules.prepare)(&mut new);
        // A namespace of this test has a name that no namespace can have.
        let named: Value = serde_json::from_str(&new.to_string().replace("$ns", "ns")).unwrap();
        let mut found = meta::check(&named, kind, kind.rules.name);
        found.extend((kind.rules.validate)(&named));
        self.refuse(kind, &name, &found)?;
        if self.objects.contains_key(&key) {
            return Err(Status::already_exists(kind, &name));
        }
        let warnings = (kind.rules.warnings)(&new, None);
        Ok((201, self.keep(kind, key, new), warnings))
    }

    fn update(&mut self, place: &Place, of: TypeId, mut new: Value) -> Result<Answer, Status> {
        let (kind, rules) = (place.kind, &place.kind.rules);
        let name = place.name.clone().unwrap_or_default();
        let old = match self.old(place) {
            Ok(old) => old,
            Err(_) if rules.is_created_by_update => return self.create(kind, new),
            Err(missing) => return Err(missing),
        };
        let given = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        if !given.is_empty() && old["metadata"]["resourceVersion"] != given {
            return Err(Status::modified(kind, &name));
        }
        for field in ["uid", "creationTimestamp", "resourceVersion", "generation"] {
            new["metadata"][field] = old["metadata"][field].clone();
        }
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            if !old["metadata"][field].is_null() {
                new["metadata"][field] = old["metadata"][field].clone();
            }
        }
        match place.part.as_deref() {
            Some("status") => (rules.prepare_status)(&mut new, &old),
            Some("finalize") => namespace::prepare_finalize(&mut new, &old),
            Some(other) => panic!("{other}"),
            None => (rules.prepare_update)(&mut new, &old),
        }
        let mut found = [meta::check_update(&new, &old), meta::check_update(&new, &old)].concat();
        found.extend(meta::finalizers(&new, kind));
        found.extend(match place.part.as_deref() {
            Some("status") => (rules.validate_status)(&new, &old),
            Some("finalize") => namespace::validate_finalize(&new),
            Some(_) | None => (rules.validate_update)(&new, &old),
        });
        self.refuse(kind, &name, &found)?;
        let warnings = (rules.warnings)(&new, Some(&old));
        canonical(&mut new, of);
        if (rules.is_finished)(&new) {
            self.objects.remove(&Self::key(place));
            return Ok((200, new, warnings));
        }
        Ok((200, self.keep(kind, Self::key(place), new), warnings))
    }

    fn delete(&mut self, place: &Place) -> Result<Answer, Status> {
        let (kind, old) = (place.kind, self.old(place)?);
        let mut marked = old.clone();
        let now = Instant { seconds: 1_767_225_600, nanos: 0 };
        if (kind.rules.mark_deleted)(&mut marked, now) {
            let answer = if marked == old { old } else { self.keep(kind, Self::key(place), marked) };
            return Ok((200, answer, Vec::new()));
        }
        if old["metadata"]["finalizers"].is_array() {
            marked["metadata"]["deletionTimestamp"] = NOW.into();
            marked["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            return Ok((200, self.keep(kind, Self::key(place), marked), Vec::new()));
        }
        self.objects.remove(&Self::key(place));
        if kind.rules.is_answered_when_deleted {
            return Ok((200, old, Vec::new()));
        }
        let mut details = json!({"name": place.name, "kind": kind.plural, "uid": old["metadata"]["uid"]});
        if !kind.group.is_empty() {
            details["group"] = kind.group.into();
        }
        let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
        Ok((200, status, Vec::new()))
    }

    fn refuse(&self, kind: &Kind, name: &str, found: &[Mistake]) -> Result<(), Status> {
        if found.is_empty() { Ok(()) } else { Err(refuse(kind, name, found)) }
    }

    /// Keeps an object and answers it as it is read again.
    fn keep(&mut self, kind: &Kind, key: String, mut object: Value) -> Value {
        let of = Schema::get().find(kind.type_name).unwrap();
        self.revision += 1;
        object["metadata"]["resourceVersion"] = (100 + self.revision).to_string().into();
        canonical(&mut object, of);
        let stored =
            kind.rules.conversion.map_or(object.clone(), |conversion| (conversion.to_stored)(object));
        self.objects.insert(key, stored.clone());
        shown(kind, stored)
    }
}

fn shown(kind: &Kind, stored: Value) -> Value {
    match kind.rules.conversion {
        Some(conversion) => (conversion.from_stored)(stored),
        None => stored,
    }
}

/// The table of one object, without what the table says of the object itself.
fn table(kind: &Kind, object: &Value) -> Value {
    let column = |name: &str, shape: &str, priority: u8| {
        let format = if name == "Name" { "name" } else { "" };
        json!({"name": name, "type": shape, "format": format, "description": "$any", "priority": priority})
    };
    let columns = kind.rules.columns.iter().map(|one| column(one.name, one.shape, one.priority));
    let columns: Vec<Value> = std::iter::once(column("Name", "string", 0)).chain(columns).collect();
    let mut cells = vec![object["metadata"]["name"].clone()];
    cells.extend((kind.rules.cells)(object, 1_767_225_600));
    json!({"kind": "Table", "columnDefinitions": columns, "rows": [{"cells": cells}]})
}

/// Whether an answer is what was recorded; names after `$` stand for anything.
fn is_as_recorded(answer: &Value, recorded: &Value) -> bool {
    match (answer, recorded) {
        (_, Value::String(text)) if text.starts_with('$') => true,
        (Value::String(answer), Value::String(recorded)) => {
            let mut rest = answer.as_str();
            let mut parts = recorded.split("$uid1");
            let first = parts.next().unwrap_or_default();
            rest.starts_with(first) && {
                rest = &rest[first.len()..];
                parts.all(|part| rest.ends_with(part))
            }
        }
        (Value::Object(answer), Value::Object(recorded)) => {
            let known = |name: &&String| *name != "managedFields" && *name != "selfLink";
            let names = |fields: &serde_json::Map<String, Value>| -> Vec<String> {
                fields.keys().filter(known).cloned().collect()
            };
            names(answer) == names(recorded)
                && names(answer).iter().all(|name| is_as_recorded(&answer[name], &recorded[name]))
        }
        (Value::Array(answer), Value::Array(recorded)) => {
            answer.len() == recorded.len() && answer.iter().zip(recorded).all(|(a, r)| is_as_recorded(a, r))
        }
        (answer, recorded) => answer == recorded,
    }
}

fn body_of(step: &Value, saved: &BTreeMap<String, Value>) -> Option<Vec<u8>> {
    if let Some(raw) = step["raw"].as_str() {
        return Some(raw.as_bytes().to_vec());
    }
    let mut body = match step["from"].as_str() {
        Some(name) => saved[name].clone(),
        None => step.get("body")?.clone(),
    };
    for (pointer, value) in step["set"].as_object().into_iter().flatten() {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    if let Some(pad) = step.get("pad") {
        let size = usize::try_from(pad["bytes"].as_u64().unwrap()).unwrap();
        *body.pointer_mut(pad["at"].as_str().unwrap()).unwrap() = "x".repeat(size).into();
    }
    Some(body.to_string().into_bytes())
}

/// Requests that are refused before a kind has a say.
const NOT_THE_KINDS: [&str; 9] = [
    "delete/body-malformed",
    "delete/grace-zero-precondition",
    "create-in-missing",
    "namespace-mismatch",
    "kind-mismatch",
    "create-with-rv",
    "uid-mismatch",
    "policy-errors",
    "lease-update-without-rv",
];

fn play(case: &Value) -> usize {
    let name = case["case"].as_str().unwrap();
    let (mut world, mut saved, mut checked) = (World::default(), BTreeMap::new(), 0);
    for (at, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let Some((method, path)) = step["request"].as_str().and_then(|request| request.split_once(' '))
        else {
            continue;
        };
        let Some(place) = Place::of(path).filter(|_| !path.contains('?')) else { continue };
        let is_list = method == "GET" && place.name.is_none() || method == "DELETE" && place.name.is_none();
        let is_without_version = method == "PUT" && place.kind.plural == "leases" && step["from"].is_null();
        if is_list || is_without_version {
            continue;
        }
        let content_type = step["headers"]["Content-Type"].as_str().unwrap_or_default().to_owned();
        let (code, mut answer, warnings) =
            world.play(method, &place, body_of(step, &saved).map(|body| (body, content_type)));
        if let Some(name) = step["save"].as_str() {
            saved.insert(name.to_owned(), answer.clone());
        }
        let response = &step["response"];
        let mut recorded = response["body"].clone();
        if step["headers"]["Accept"].as_str().is_some_and(|accept| accept.contains("as=Table")) && code == 200
        {
            answer = table(place.kind, &answer);
            let cells = recorded["rows"][0]["cells"].clone();
            recorded = json!({"kind": "Table", "columnDefinitions": recorded["columnDefinitions"], "rows": [{"cells": cells}]});
        }
        if let Some(only) = step["only"].as_array() {
            answer = only
                .iter()
                .filter_map(Value::as_str)
                .map(|pointer| (pointer.to_owned(), answer.pointer(pointer).cloned().unwrap_or_default()))
                .collect();
            recorded = response["body"].clone();
        }
        assert_eq!(response["code"], code, "{name} {at}: {answer:#}");
        assert!(is_as_recorded(&answer, &recorded), "{name} {at}: {answer:#}\n{recorded:#}");
        let header = place.kind.rules.deprecation.map(str::to_owned).into_iter().chain(warnings);
        let header: Vec<String> = header.map(|warning| format!("299 - {warning:?}")).collect();
        let wanted = response["headers"]["Warning"].as_str().map(str::to_owned);
        assert_eq!(header, wanted.into_iter().collect::<Vec<_>>(), "{name} {at}");
        checked += 1;
    }
    checked
}

#[test]
fn recorded_answers() {
    let mut checked = 0;
    for file in FILES {
        let options = serde_saphyr::options! { strict_booleans: true };
        let text = std::fs::read_to_string(format!("{CASES}/{file}.yaml")).unwrap();
        let cases: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
        let is_the_kinds =
            |case: &&Value| !NOT_THE_KINDS.iter().any(|name| case["case"].as_str().unwrap().ends_with(name));
        checked += cases.iter().filter(is_the_kinds).map(play).sum::<usize>();
    }
    assert!(checked > 100, "{checked} answers were checked");
}

/// Nodes as `kubectl get nodes -o wide` showed them.
#[test]
fn rows_have_a_cell_for_each_column() {
    for kind in apiserver::kinds::KINDS.iter().filter(|kind| PLURALS.contains(&kind.plural)) {
        let cells = (kind.rules.cells)(&json!({"metadata": {}}), 0);
        assert_eq!(cells.len(), kind.rules.columns.len(), "{}", kind.kind);
        let is_sound = |shape: &str| ["string", "integer", "date"].contains(&shape);
        assert!(kind.rules.columns.iter().all(|column| is_sound(column.shape) && column.priority < 2));
    }
    let node = json!({
        "metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}, "creationTimestamp": NOW},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.36.2", "osImage": "Os 1", "kernelVersion": "6.1",
                         "containerRuntimeVersion": "c://1", "architecture": "amd64"},
        },
    });
    let kind = Kind::find("", "v1", "nodes").unwrap();
    let wanted = json!([
        "Ready",
        "control-plane",
        "5s",
        "v1.36.2",
        "10.0.0.1",
        "<none>",
        "Os 1",
        "6.1 (amd64)",
        "c://1"
    ]);
    assert_eq!(Value::Array((kind.rules.cells)(&node, 1_767_225_605)), wanted);
    let unknown = (kind.rules.cells)(&json!({"metadata": {"creationTimestamp": NOW}}), 1_767_225_605);
    let wanted =
        json!(["Unknown", "<none>", "5s", "", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]);
    assert_eq!(Value::Array(unknown), wanted);
}
