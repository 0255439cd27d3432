//! Who owns what in the answers of a real API server: the recorded requests are made again, one after the other, and the
//! `managedFields` and conflicts that come of them have to be the same.
//!
//! Defaults and what the kinds' rules fill in are not made here: where an answer shows the whole object, that is what the
//! server made of it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use apiserver::allocate::{Cluster, NodePorts};
use apiserver::body::time::Instant;
use apiserver::body::{Expected, Strictness, decode};
use apiserver::kinds::Kind;
use apiserver::manage::{ApplyError, Configuration, Manager, apply, resets, scale, update};
use apiserver::patch;
use apiserver::range::Range;
use apiserver::rest::change::Change;
use apiserver::rest::{Clock, Place, Rest, WriteOptions};
use apiserver::schema::{Schema, TypeId};
use apiserver::start;
use apiserver::status::Status;
use serde_json::{Value, json};

const TIME: &str = "2026-01-01T00:00:00Z";
const NOW: Instant = Instant { seconds: 1_767_225_600, nanos: 0 };

/// What servers fill in after it was recorded who set what.
const FILLED_IN: &[(&str, &[&str])] = &[
    ("Node", &["/spec/taints"]),
    ("Pod", &["/spec/tolerations", "/spec/priority", "/spec/preemptionPolicy"]),
    ("Service", &["/spec/clusterIPs", "/spec/ipFamilies", "/spec/ipFamilyPolicy"]),
];

struct Request<'a> {
    method: &'a str,
    path: &'a str,
    kind: &'static Kind,
    subresource: &'a str,
    manager: String,
    force: bool,
    step: &'a Value,
}

fn cases(text: &str) -> Vec<Value> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

/// Gives placeholders the values that they stand for.
fn typed(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), typed(value))).collect(),
        Value::Array(list) => list.iter().map(typed).collect(),
        Value::String(text) if text.starts_with("$nodeport") => 30_000.into(),
        Value::String(text) if text == "$time" => TIME.into(),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => plain.clone(),
    }
}

impl<'a> Request<'a> {
    fn of(step: &'a Value) -> Option<Self> {
        let (method, target) = step["request"].as_str()?.split_once(' ')?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut parts: Vec<&str> = path.split('/').skip(1).collect();
        let group = if parts.remove(0) == "api" { "" } else { parts.remove(0) };
        let version = parts.remove(0);
        if parts[0] == "namespaces" && parts.len() > 2 {
            parts.drain(..2);
        }
        let kind = Kind::find(group, version, parts[0])?;
        let field = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value)
        };
        let manager = field("fieldManager").unwrap_or("apirecord").to_owned();
        let subresource = parts.get(2).copied().unwrap_or_default();
        Some(Self { method, path, kind, subresource, manager, force: field("force") == Some("true"), step })
    }

    fn of_type(&self) -> TypeId {
        Schema::get().find(self.kind.type_name).unwrap()
    }

    fn is_apply(&self) -> bool {
        self.step["headers"]["Content-Type"] == "application/apply-patch+yaml"
    }

    fn body(&self) -> Value {
        self.step["raw"]
            .as_str()
            .map_or_else(|| typed(&self.step["body"]), |raw| serde_saphyr::from_str(raw).unwrap())
    }

    /// The object at a path, without its subresource.
    fn key(&self, body: &Value) -> String {
        let path = self.path.strip_suffix(&format!("/{}", self.subresource)).unwrap_or(self.path);
        match self.method {
            "POST" => format!("{path}/{}", body["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        }
    }

    fn decode(&self, object: &Value) -> Value {
        let api_version = self.kind.api_version();
        let expected = Expected { api_version: &api_version, kind: self.kind.kind, of: self.of_type() };
        decode(object.to_string().as_bytes(), "application/json", &expected, Strictness::Ignore).unwrap().0
    }

    /// What the server makes of an object before it records who set what.
    fn completed(&self, object: &Value) -> Value {
        let answer = typed(&self.step["response"]["body"]);
        let mut completed = self.decode(object);
        if answer["kind"] == self.kind.kind {
            completed = answer;
            completed["metadata"]["managedFields"] = object["metadata"]["managedFields"].clone();
            if self.method == "POST" || self.is_apply() {
                self.undo(&mut completed);
            }
        } else {
            (self.kind.rules.defaults)(&mut completed);
        }
        // The two fields of a pod's addresses are one.
        if let Some(first) = completed.pointer("/status/podIPs/0/ip").cloned() {
            completed["status"]["podIP"] = first;
        }
        self.decode(&completed)
    }

    fn undo(&self, object: &mut Value) {
        let fields =
            FILLED_IN.iter().filter(|(kind, _)| *kind == self.kind.kind).flat_map(|(_, fields)| *fields);
        for field in fields {
            let (parent, name) = field.rsplit_once('/').unwrap();
            object.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name);
        }
        for port in
            object["spec"]["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut)
        {
            port.remove("nodePort");
        }
    }
}

#[derive(Default)]
struct World {
    objects: BTreeMap<String, Value>,
    recorded: usize,
    refused: usize,
}

impl World {
    fn play(&mut self, case: &str, request: &Request<'_>) {
        let body = request.body();
        let key = request.key(&body);
        let live = self.objects.get(&key).cloned();
        let code = request.step["response"]["code"].as_u64().unwrap();
        let made = match request.method {
            "GET" => Ok(live.clone().unwrap_or_default()),
            _ if request.subresource == "scale" => scaled(request, &body, live.as_ref().unwrap()),
            _ if request.is_apply() => applied(request, &body, live.as_ref()),
            _ if code >= 300 => return,
            _ => Ok(updated(request, &body, live.as_ref())),
        };
        let answer = typed(&request.step["response"]["body"]);
        match made {
            Ok(_) if code >= 300 => {
                // What is refused by others: by its name, or since it is not there.
                let message = answer["message"].as_str().unwrap();
                let words = ["fieldManager", "the name of the object", "uid mismatch", "not found"];
                assert!(words.iter().any(|words| message.contains(words)), "{case}: {message}");
            }
            Ok(object) => {
                let is_answered = answer["kind"] != "Scale";
                self.check(case, &object, is_answered.then_some(&answer));
                self.objects.insert(key, object);
            }
            Err(error) => {
                let mut wanted = answer;
                let shown = Status::from(error).json();
                wanted["status"] = "Failure".into();
                assert_eq!(shown, wanted, "{case}");
                self.refused += 1;
            }
        }
    }

    fn check(&mut self, case: &str, object: &Value, answer: Option<&Value>) {
        let whole = answer.and_then(|answer| answer["metadata"].get("managedFields"));
        let Some(wanted) = whole.or_else(|| answer?.get("/metadata/managedFields")) else { return };
        if *wanted != "$managed" {
            let owners = &object["metadata"]["managedFields"];
            assert_eq!(owners, wanted, "{case}: {owners:#}\n{wanted:#}");
            self.recorded += 1;
        }
    }
}

fn updated(request: &Request<'_>, body: &Value, live: Option<&Value>) -> Value {
    let of = request.of_type();
    let patched = match request.method {
        "PATCH" => {
            let content_type = request.step["headers"]["Content-Type"].as_str().unwrap();
            let kind = patch::Kind::of_content_type(content_type).unwrap();
            patch::apply(kind, body.to_string().as_bytes(), live.unwrap(), of).unwrap()
        }
        _ => body.clone(),
    };
    let mut new = request.completed(&patched);
    let api_version = request.kind.api_version();
    let ignored = resets(request.kind, request.subresource);
    let manager = Manager {
        name: &request.manager,
        api_version: &api_version,
        subresource: request.subresource,
        time: TIME,
        ignored,
    };
    update(of, live, &mut new, &manager);
    with_the_rest(request, new)
}

/// What was filled in afterwards is there from now on.
fn with_the_rest(request: &Request<'_>, object: Value) -> Value {
    let mut answer = typed(&request.step["response"]["body"]);
    if answer["kind"] != request.kind.kind {
        return object;
    }
    answer["metadata"]["managedFields"] = object["metadata"]["managedFields"].clone();
    request.decode(&answer)
}

fn applied(request: &Request<'_>, body: &Value, live: Option<&Value>) -> Result<Value, ApplyError> {
    let of = request.of_type();
    let api_version = request.kind.api_version();
    let manager = Manager {
        name: &request.manager,
        api_version: &api_version,
        subresource: request.subresource,
        time: TIME,
        ignored: resets(request.kind, request.subresource),
    };
    let applied = apply(of, live, Configuration { object: body, force: request.force }, &manager)?;
    let answer = typed(&request.step["response"]["body"]);
    if answer["kind"] == request.kind.kind {
        within(&applied.object, &answer, "");
    }
    let mut new = request.completed(&applied.object);
    applied.finish(&mut new, live);
    Ok(with_the_rest(request, new))
}

/// Everything that was merged has to be in the answer.
fn within(part: &Value, whole: &Value, path: &str) {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            for (name, part) in part {
                within(part, &whole[name], &format!("{path}.{name}"));
            }
        }
        (Value::Array(part), Value::Array(whole)) => {
            assert_eq!(part.len(), whole.len(), "{path}");
            for (part, whole) in part.iter().zip(whole) {
                within(part, whole, path);
            }
        }
        _ if path == ".metadata.resourceVersion" => {}
        _ => assert_eq!(part, whole, "{path}"),
    }
}

fn scaled(request: &Request<'_>, body: &Value, live: &Value) -> Result<Value, ApplyError> {
    let of = Schema::get().find("autoscaling.v1.Scale").unwrap();
    let api_version = request.kind.api_version();
    let was = &live["metadata"]["managedFields"];
    let shown = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
                       "metadata": {"name": "d", "managedFields": scale::of_object(was, &api_version)},
                       "spec": {"replicas": live["spec"]["replicas"]}, "status": {"replicas": 0}});
    let manager = Manager {
        name: &request.manager,
        api_version: "autoscaling/v1",
        subresource: "scale",
        time: TIME,
        ignored: &[],
    };
    let applied = apply(of, Some(&shown), Configuration { object: body, force: request.force }, &manager)?;
    let mut new = applied.object.clone();
    applied.finish(&mut new, Some(&shown));
    let mut object = live.clone();
    object["spec"]["replicas"] = new["spec"]["replicas"].clone();
    object["metadata"]["managedFields"] =
        scale::to_object(was, &new["metadata"]["managedFields"], &api_version);
    Ok(object)
}

#[test]
fn recorded_owners() {
    let mut world = World::default();
    for text in [
        include_str!("../../../conformance/api/cases/managed-fields.yaml"),
        include_str!("../../../conformance/api/cases/apply.yaml"),
    ] {
        for case in cases(text) {
            world.objects.clear();
            let name = case["case"].as_str().unwrap();
            for step in case["steps"].as_array().unwrap() {
                let request = Request::of(step).unwrap_or_else(|| panic!("{name}: {}", step["request"]));
                world.play(name, &request);
            }
        }
    }
    assert!(world.recorded >= 25 && world.refused >= 7, "{} {}", world.recorded, world.refused);
}

/// The same through the server's own rules, on a store.
#[tokio::test]
async fn recorded_owners_of_stored_objects() {
    let mut seen = 0;
    for text in [
        include_str!("../../../conformance/api/cases/managed-fields.yaml"),
        include_str!("../../../conformance/api/cases/apply.yaml"),
    ] {
        for case in cases(text).into_iter().filter(|case| case["managed"] == true) {
            let name = case["case"].as_str().unwrap();
            let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name.replace('/', "-"));
            let _ = std::fs::remove_file(&file);
            let store = store::Store::open(&file, store::Window::default()).unwrap();
            let rest = Rest { store, clock: Clock { now: || NOW, seed: || [7; 16] } };
            let cluster = Cluster {
                service_ranges: vec![Range::parse("10.96.0.0/12").unwrap()],
                node_ports: NodePorts::default(),
                server: vec!["192.0.2.1".parse().unwrap()],
                server_port: 6443,
            };
            assert!(start::prepare(&rest, cluster).await.unwrap().is_empty());
            let mut revisions: BTreeMap<String, Value> = BTreeMap::new();
            for step in case["steps"].as_array().unwrap() {
                let request = Request::of(step).unwrap();
                let answered = serve(&rest, &request).await;
                let wanted = typed(&step["response"]["body"]);
                let (owners, which) = match wanted.get("/metadata/managedFields") {
                    Some(owners) => (owners, "/metadata/managedFields"),
                    None if wanted["kind"] == "Status" => (&wanted["message"], "/message"),
                    None => (&wanted["metadata"]["managedFields"], "/metadata/managedFields"),
                };
                let found = answered.pointer(which).cloned().unwrap_or_default();
                assert_eq!(found, *owners, "{name}: {}\n{answered:#}\n{owners:#}", step["request"]);
                seen += 1;
                // What changes nothing is not stored again.
                if let Some(revision) = wanted["metadata"]["resourceVersion"].as_str() {
                    let answered = answered["metadata"]["resourceVersion"].clone();
                    assert_eq!(
                        revisions.entry(revision.to_owned()).or_insert(answered.clone()),
                        &answered,
                        "{name}"
                    );
                }
            }
        }
    }
    assert!(seen >= 30, "{seen}");
}

async fn serve(rest: &Rest, request: &Request<'_>) -> Value {
    let (_, path) = request.path.split_once(request.kind.plural).unwrap();
    let mut names = path.split('/').skip(1).map(str::to_owned);
    let (name, part) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let is_namespaced = request.path.contains("/namespaces/");
    let namespace = if is_namespaced { "default" } else { "" }.to_owned();
    let place = Place { kind: request.kind, namespace, name, part, is_old_watch: false };
    let options = WriteOptions { force: request.force, ..WriteOptions::by(&request.manager) };
    let body = request.body();
    let content_type = request.step["headers"]["Content-Type"].as_str().unwrap_or_default();
    let written = match request.method {
        "POST" => rest.create(place, request.decode(&body), options).await,
        "PATCH" => {
            let change = match patch::Kind::of_content_type(content_type) {
                Some(kind) => Change::Patch(kind, body.to_string().into()),
                None => Change::Apply(body),
            };
            rest.change(place, change, options).await
        }
        _ => {
            let (kind, key) = (place.kind, place.key());
            let found = rest.write(true, move |writing| Ok(writing.object(kind, &key))).await;
            return found.unwrap().unwrap();
        }
    };
    written.map_or_else(|status| status.json(), |written| serde_json::from_slice(&written.object).unwrap())
}

/// What kubectl does when it applies on the server what it applied on the client's side before (case kubectl/apply-migrate):
/// its requests were not recorded, the end was.
#[test]
fn kubectl_migrates() {
    const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let of = Schema::get().find("core.v1.ConfigMap").unwrap();
    let manager =
        |name: &'static str| Manager { name, api_version: "v1", subresource: "", time: TIME, ignored: &[] };
    let configuration = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": value}});
    let mut live = configuration("v");
    live["metadata"]["annotations"] = json!({LAST: format!("{}\n", configuration("v"))});
    update(of, None, &mut live, &manager("kubectl-client-side-apply"));
    live["metadata"]["uid"] = "u".into();
    let apply_as = |live: &Value, name, object: &Value| {
        let applied = apply(of, Some(live), Configuration { object, force: false }, &manager(name)).unwrap();
        let mut new = applied.object.clone();
        applied.finish(&mut new, Some(live));
        new
    };
    let other =
        apply(of, Some(&live), Configuration { object: &configuration("w"), force: false }, &manager("x"));
    assert!(
        matches!(other, Err(ApplyError::Conflicts(_))),
        "only kubectl may take over what kubectl applied"
    );
    let live = apply_as(&live, "kubectl", &configuration("w"));
    let annotation = format!("{}\n", configuration("w"));
    assert_eq!(live["metadata"]["annotations"][LAST], annotation);
    let keep = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "annotations": {LAST: annotation}}});
    let live = apply_as(&live, "kubectl-last-applied", &keep);
    // Its own entries become one.
    let mut migrated = live.clone();
    let mut owners = live["metadata"]["managedFields"].as_array().unwrap().clone();
    let client = owners.iter().position(|entry| entry["manager"] == "kubectl-client-side-apply").unwrap();
    let client = owners.remove(client);
    let kubectl = owners.iter_mut().find(|entry| entry["manager"] == "kubectl").unwrap();
    let fields = kubectl["fieldsV1"].as_object_mut().unwrap();
    fields.insert("f:metadata".to_owned(), client["fieldsV1"]["f:metadata"].clone());
    migrated["metadata"]["managedFields"] = owners.into();
    update(of, Some(&live), &mut migrated, &manager("kubectl"));
    let live = apply_as(&migrated, "kubectl", &configuration("w"));
    assert_eq!(live["metadata"]["annotations"][LAST], annotation);
    let wanted = yaml_of(
        "- {manager: kubectl-last-applied, operation: Apply, apiVersion: v1, fieldsType: FieldsV1,
            fieldsV1: {'f:metadata': {'f:annotations': {'f:kubectl.kubernetes.io/last-applied-configuration': {}}}}}
         - {manager: kubectl, operation: Apply, apiVersion: v1, time: '2026-01-01T00:00:00Z', fieldsType: FieldsV1,
            fieldsV1: {'f:data': {'f:k': {}}}}",
    );
    assert_eq!(live["metadata"]["managedFields"], wanted);
}

fn yaml_of(text: &str) -> Value {
    cases(&text.replace("\n         -", "\n-")).into()
}
