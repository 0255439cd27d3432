//! What is refused because it is too much or in the wrong form: requests, and what they are answered.

use apiserver::body::protobuf;
use apiserver::kinds::Kind;
use apiserver::rest::change::Change;
use apiserver::rest::{Place, WriteOptions};
use apiserver::schema::Schema;
use apiserver::status::Status;
use serde_json::{Value, json};

use crate::requests::{Asked, Played};

/// Sends a request; answers the code and the message or nothing.
fn send(played: &Played, line: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let head = format!("{line}\ncontent-type: {content_type}\n\n");
    let (code, answer) = played.ask(Asked::read(&[head.as_bytes(), body].concat()).unwrap());
    let message = serde_json::from_slice::<Value>(&answer).unwrap_or_default();
    (code, message["message"].as_str().unwrap_or_default().to_owned())
}

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn pod(name: &str, value: &str) -> Vec<u8> {
    let container = json!({"name": "c", "image": "i", "env": [{"name": "E", "value": value}]});
    json!({"metadata": {"name": name}, "spec": {"containers": [container]}}).to_string().into_bytes()
}

#[test]
fn objects_that_etcd_could_not_store_are_refused() {
    let played = Played::start();
    let path = "/api/v1/namespaces/default/pods";
    let most = "x".repeat(1_560_000);
    let more = "x".repeat(1_580_000);
    assert_eq!(send(&played, &format!("POST {path}"), JSON, &pod("a", &most)).0, 201);
    let (code, message) = send(&played, &format!("POST {path}"), JSON, &pod("b", &more));
    let is_clear = message.starts_with("Request entity too large: the object would have 158")
        && message.ends_with(" bytes, limit is 1572864");
    assert!(code == 413 && is_clear, "{code} {message}");
    // Patches make no way around, and what was refused is not there.
    let patch = json!({"metadata": {"annotations": {"a": "x".repeat(200_000)}}}).to_string();
    let merge = "application/merge-patch+json";
    assert_eq!(send(&played, &format!("PATCH {path}/a"), merge, patch.as_bytes()).0, 413);
    assert_eq!(send(&played, &format!("GET {path}/b"), JSON, b"").0, 404);
    assert_eq!(send(&played, &format!("DELETE {path}/a"), JSON, b"").0, 200);
    played.check(false);
}

#[test]
fn what_parts_are_sent_is_decoded_by_its_type() {
    let played = Played::start();
    let pods = "/api/v1/namespaces/default/pods";
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(send(&played, &format!("POST {accounts}"), JSON, br#"{"metadata":{"name":"p"}}"#).0, 201);
    let sealed = |api_version: &str, kind: &str, of: &str, object: Value| {
        let message = protobuf::encode(&object, Schema::get().find(of).unwrap());
        protobuf::Envelope::seal(api_version, kind, &message)
    };
    let of_token = |audience: &str| json!({"spec": {"audiences": [audience]}});
    let authentication = "authentication.k8s.io/v1";
    let text = |text: &str| text.as_bytes().to_vec();
    let to_n = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    for (part, content_type, body, wanted, words) in [
        ("binding", JSON, text(&to_n.to_string()), 201, ""),
        ("binding", YAML, text("metadata: {name: p}\ntarget: {name: n1}\n"), 201, ""),
        ("binding", PROTOBUF, sealed("v1", "Binding", "core.v1.Binding", to_n.clone()), 201, ""),
        ("binding", "text/plain", text("{}"), 415, "the body of the request was in an unknown format"),
        (
            "binding",
            JSON,
            text(r#"{"kind":"Pod","apiVersion":"v1"}"#),
            400,
            "Pod in version \"v1\" cannot be handled as a Binding",
        ),
        (
            "binding",
            JSON,
            text(r#"{"target":{"name":7}}"#),
            400,
            "Binding in version \"v1\" cannot be handled as a Binding: json: ",
        ),
        (
            "binding",
            JSON,
            text(r#"{"metadata":{"namespace":"x"}}"#),
            400,
            "the namespace of the provided object does not match",
        ),
        (
            "binding",
            JSON,
            text(r#"{"metadata":{"name":"p","labels":{"a":"-"}},"target":{"name":"n"}}"#),
            422,
            "Binding \"p\" is invalid: metadata.labels: Invalid value: \"-\": ",
        ),
        ("token", JSON, text(&of_token("a").to_string()), 201, ""),
        ("token", YAML, text("spec: {audiences: [a]}\n"), 201, ""),
        (
            "token",
            PROTOBUF,
            sealed(authentication, "TokenRequest", "authentication.v1.TokenRequest", of_token("a")),
            201,
            "",
        ),
        ("token", "text/plain", text("{}"), 415, "the body of the request was in an unknown format"),
        ("token", JSON, text(r#"{"spec":{"audiences":"a"}}"#), 400, "TokenRequest in version \"v1\" cannot"),
    ] {
        if part == "binding" {
            assert_eq!(send(&played, &format!("POST {pods}"), JSON, &pod("p", "")).0, 201);
        }
        let place = if part == "binding" { pods } else { accounts };
        let (code, message) = send(&played, &format!("POST {place}/p/{part}"), content_type, &body);
        assert_eq!(code, wanted, "{part} {content_type} {words}: {message}");
        assert!(message.starts_with(words), "{message}");
        if part == "binding" {
            assert_eq!(send(&played, &format!("DELETE {pods}/p?gracePeriodSeconds=0"), JSON, b"").0, 200);
        }
    }
    played.check(false);
}

#[test]
fn what_cannot_be_read_is_not_hidden_and_can_be_deleted() {
    let played = Played::start();
    let path = "/api/v1/namespaces/default/configmaps/deep";
    let text = format!("{{\"data\":{}{}}}", "[".repeat(200), "]".repeat(200));
    played.store("configmaps", "default/deep", &text);
    let wanted =
        "Internal error occurred: what is stored as configmaps default/deep cannot be read: recursion limit";
    let apply = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"deep"}}"#;
    for (line, content_type, body) in [
        (format!("PUT {path}"), JSON, r#"{"metadata":{"name":"deep"}}"#),
        (format!("PATCH {path}"), "application/merge-patch+json", "{}"),
        (format!("PATCH {path}?fieldManager=m"), "application/apply-patch+yaml", apply),
        (format!("DELETE {path}"), JSON, r#"{"preconditions":{"uid":"u"}}"#),
    ] {
        let (code, message) = send(&played, &line, content_type, body.as_bytes());
        assert!(code == 500 && message.starts_with(wanted), "{line}: {code} {message}");
    }
    assert_eq!(send(&played, &format!("DELETE {path}"), JSON, b"").0, 200);
    assert_eq!(send(&played, &format!("GET {path}"), JSON, b"").0, 404);
    played.check(false);
}

#[test]
fn what_a_client_may_not_create_it_cannot_create_by_changing_it() {
    let played = Played::start();
    let kind = Kind::find("coordination.k8s.io", "v1", "leases").unwrap();
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                       "metadata": {"name": "l", "namespace": "default"}, "spec": {}});
    let refusal = Status::forbidden(kind, "l", "why");
    for (may, change, wanted) in [
        (false, Change::Put(lease.clone()), Err(refusal.clone())),
        (false, Change::Apply(lease.clone()), Err(refusal.clone())),
        (true, Change::Apply(lease.clone()), Ok(201)),
        // Now it is there.
        (false, Change::Apply(lease.clone()), Ok(200)),
    ] {
        let (namespace, name, part) = ("default".to_owned(), "l".to_owned(), String::new());
        let place = Place { kind, namespace, name, part, is_old_watch: false };
        let create_refusal = (!may).then(|| Box::new(refusal.clone()));
        let options = WriteOptions { create_refusal, force: true, ..WriteOptions::by("m") };
        let changed = played.runtime.block_on(played.rest.change(place, change, options));
        assert_eq!(changed.map(|written| written.code), wanted);
    }
}

/// What takes long if it takes the square of its size. Answers the requests, the last of which counts.
type Heavy = (&'static str, fn(usize) -> Vec<(String, &'static str, Value)>);

const HEAVY: [Heavy; 6] = [
    ("a PUT of ports", |many| {
        let path = "/api/v1/namespaces/default/services";
        vec![
            (format!("POST {path}"), JSON, service("ClusterIP", 0..many)),
            (format!("PUT {path}/s"), JSON, service("ClusterIP", 1..many)),
        ]
    }),
    ("a patch of ports", |many| {
        let path = "/api/v1/namespaces/default/services";
        vec![
            (format!("POST {path}"), JSON, service("ClusterIP", 0..many)),
            (
                format!("PATCH {path}/s"),
                "application/strategic-merge-patch+json",
                service("ClusterIP", 1..many),
            ),
        ]
    }),
    ("an apply of ports", |many| {
        let path = "/api/v1/namespaces/default/services/s?fieldManager=m";
        vec![(format!("PATCH {path}"), "application/apply-patch+yaml", service("ClusterIP", 0..many))]
    }),
    ("a create that asks for too many ports of the nodes", |many| {
        vec![("POST /api/v1/namespaces/default/services".to_owned(), JSON, service("NodePort", 0..many))]
    }),
    ("an apply of variables", |many| {
        let path = "/api/v1/namespaces/default/pods/p?fieldManager=m";
        let env: Vec<Value> = (0..many).map(|at| json!({"name": format!("E{at}"), "value": "v"})).collect();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                         "spec": {"containers": [{"name": "c", "image": "i", "env": env}]}});
        vec![(format!("PATCH {path}"), "application/apply-patch+yaml", pod)]
    }),
    ("a create with the same mistake everywhere", |many| {
        let ports: Vec<Value> = (0..many).map(|at| json!({"name": format!("P{at}"), "port": 0})).collect();
        let service = json!({"metadata": {"name": "t"}, "spec": {"ports": ports}});
        vec![("POST /api/v1/namespaces/default/services".to_owned(), JSON, service)]
    }),
];

fn service(of: &str, ports: std::ops::Range<usize>) -> Value {
    let ports: Vec<Value> = ports.map(|at| json!({"name": format!("p{at}"), "port": at + 1})).collect();
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": of, "ports": ports}})
}

/// Each of these took ten seconds and more, and every other write with it, when its work grew with the square of its size.
#[test]
fn very_much_at_a_time_is_answered() {
    for (what, requests) in HEAVY {
        let played = Played::start();
        for (line, content_type, body) in requests(8_000) {
            let (code, message) = send(&played, &line, content_type, body.to_string().as_bytes());
            assert!([200, 201, 422, 500].contains(&code), "{what}: {code} {message}");
        }
    }
}

#[test]
fn patches_that_move_much_again_and_again_are_refused() {
    let played = Played::start();
    let path = "/api/v1/namespaces/default/configmaps";
    let data: serde_json::Map<String, Value> = (0..20_000).map(|at| (format!("k{at}"), "".into())).collect();
    let object = json!({"metadata": {"name": "m"}, "data": data}).to_string();
    assert_eq!(send(&played, &format!("POST {path}"), JSON, object.as_bytes()).0, 201);
    for (moves, wanted) in [(50, 200), (1_000, 422)] {
        let there = json!({"op": "move", "from": "/data", "path": "/binaryData"});
        let back = json!({"op": "move", "from": "/binaryData", "path": "/data"});
        let patch: Vec<&Value> = (0..moves).flat_map(|_| [&there, &back]).collect();
        let (code, message) = send(
            &played,
            &format!("PATCH {path}/m"),
            "application/json-patch+json",
            json!(patch).to_string().as_bytes(),
        );
        assert_eq!(code, wanted, "{message}");
    }
}
