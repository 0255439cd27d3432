//! The server as a client sees it, over plain sockets.

use std::io::{Read, Write as _};
use std::net::TcpStream;

use super::*;

/// Sends one request and reads the answer to its end.
fn call(server: &ApiServer, method: &str, path: &str, body: &Value) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, unchunked(body))
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    text
}

fn json_call(server: &ApiServer, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let (code, text) = call(server, method, path, body);
    (code, serde_json::from_str(&text).unwrap())
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"ports": [{"port": 80}]}})
}

fn start() -> ApiServer {
    ApiServer::start(Options::default()).unwrap()
}

#[test]
fn objects_are_created_read_patched_and_deleted() {
    let server = start();
    let path = "/api/v1/namespaces/shop/services";
    let (code, created) = json_call(&server, "POST", path, &service("web"));
    assert_eq!((code, &created["spec"]["clusterIP"]), (201, &json!("10.96.1.0")));
    assert_eq!(json_call(&server, "POST", path, &service("web")).0, 409);
    let one = format!("{path}/web");
    let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}});
    let (_, ignored) = json_call(&server, "PATCH", &one, &patch);
    assert_eq!(ignored["status"], json!({"loadBalancer": {}}));
    let (_, patched) = json_call(&server, "PATCH", &format!("{one}/status"), &patch);
    assert_eq!(patched["status"]["loadBalancer"]["ingress"][0]["ip"], "203.0.113.1");
    assert_eq!(json_call(&server, "GET", &one, &Value::Null), (200, patched));
    assert_eq!(json_call(&server, "DELETE", &one, &Value::Null).0, 200);
    let (code, status) = json_call(&server, "GET", &one, &Value::Null);
    assert_eq!((code, &status["message"]), (404, &json!("services \"web\" not found")));
}

#[test]
fn pages_show_the_state_of_the_first_page() {
    let server = start();
    for name in ["a", "b", "c"] {
        server.apply(service(name));
    }
    let (_, first) = json_call(&server, "GET", "/api/v1/services?limit=2", &Value::Null);
    assert_eq!(first["items"][1]["metadata"]["name"], "b");
    assert_eq!(first["items"][0]["kind"], Value::Null);
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    server.delete("Service", "shop", "c");
    let token = first["metadata"]["continue"].as_str().unwrap();
    let token: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let rest = format!("/api/v1/services?limit=2&continue={token}");
    let (_, second) = json_call(&server, "GET", &rest, &Value::Null);
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    assert_eq!(second["metadata"]["continue"], Value::Null);
    server.compact();
    assert_eq!(json_call(&server, "GET", &rest, &Value::Null).0, 410);
}

#[test]
fn a_watch_sends_initial_events_changes_and_bookmarks() {
    let server = start();
    server.change(|behaviour| behaviour.bookmark_interval = Duration::from_millis(200));
    server.apply(service("a"));
    let mut hidden = service("b");
    hidden["metadata"]["labels"] = json!({"x": "1"});
    server.apply(hidden);
    let path = "/api/v1/services?watch=1&timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=true\
                &resourceVersionMatch=NotOlderThan&labelSelector=%21x";
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| call(&server, "GET", path, &Value::Null).1);
        std::thread::sleep(Duration::from_millis(100));
        server.merge_patch(("Service", "shop", "a"), &json!({"metadata": {"labels": {"x": "1"}}}), false);
        let events: Vec<Value> =
            stream.join().unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds[..4], ["ADDED", "BOOKMARK", "DELETED", "BOOKMARK"]);
        assert_eq!(events[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
        assert_eq!(events[3]["object"]["metadata"]["resourceVersion"], server.revision().to_string());
    });
}

#[test]
fn an_old_watch_is_gone_and_a_stopped_server_comes_back_with_its_data() {
    let mut server = start();
    server.apply(service("a"));
    server.compact();
    let old = "/api/v1/services?watch=1&timeoutSeconds=1&resourceVersion=1";
    assert!(call(&server, "GET", old, &Value::Null).1.contains("\"code\":410"));
    server.stop();
    assert!(TcpStream::connect(server.address()).is_err());
    server.restart().unwrap();
    assert_eq!(json_call(&server, "GET", "/api/v1/namespaces/shop/services/a", &Value::Null).0, 200);
}

#[test]
fn tokens_faults_and_missing_resources() {
    let server = start();
    server.inject(FaultRule::new(Fault::internal_error()).on(Resource::Services).times(1));
    assert_eq!(call(&server, "GET", "/api/v1/services", &Value::Null).0, 500);
    assert_eq!(call(&server, "GET", "/api/v1/services", &Value::Null).0, 200);
    server.change(|behaviour| behaviour.service_cidrs = false);
    assert_eq!(call(&server, "GET", "/apis/networking.k8s.io/v1/servicecidrs", &Value::Null).0, 404);
    server.change(|behaviour| behaviour.token = Some("secret".into()));
    assert_eq!(call(&server, "GET", "/api/v1/services", &Value::Null).0, 401);
    assert!(server.kubeconfig().contains("\"token\": \"secret\""));
    let records = server.take_requests();
    assert_eq!(records.len(), 4);
}

#[test]
fn base64_is_rfc_4648() {
    assert_eq!(base64(b""), "");
    assert_eq!(base64(b"f"), "Zg==");
    assert_eq!(base64(b"fo"), "Zm8=");
    assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
}

/// The client that people use, when it is installed.
#[test]
fn kubectl_works() {
    let behaviour = Behaviour { token: Some("secret".into()), ..Behaviour::default() };
    let server = ApiServer::start(Options { tls: true, behaviour, ..Options::default() }).unwrap();
    server.apply(service("web"));
    let path = std::env::temp_dir().join(format!("sb-kubeconfig-{}", std::process::id()));
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let home = std::env::temp_dir().join(format!("sb-kubectl-home-{}", std::process::id()));
    let run = |arguments: &[&str]| {
        std::process::Command::new("kubectl")
            .env("HOME", &home)
            .env("KUBECONFIG", &path)
            .args(arguments)
            .output()
    };
    match run(&["get", "services", "-A", "-o", "name"]) {
        Err(error) => println!("SKIPPED (needs kubectl): {error}"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(text, "service/web\n", "{}", String::from_utf8_lossy(&output.stderr));
            let patch = r#"{"metadata":{"labels":{"a":"b"}}}"#;
            run(&["patch", "svc", "web", "-n", "shop", "--type=merge", "-p", patch]).unwrap();
            run(&["delete", "service", "web", "-n", "shop", "--wait=false"]).unwrap();
            assert_eq!(server.get("Service", "shop", "web"), None);
        }
    }
    std::fs::remove_file(&path).unwrap();
    if home.exists() {
        std::fs::remove_dir_all(&home).unwrap();
    }
}

#[test]
fn events_are_checked_and_their_series_grows() {
    let server = start();
    let path = "/apis/events.k8s.io/v1/namespaces/shop/events";
    let event = json!({
        "metadata": {"name": "web.1"}, "eventTime": "2026-01-02T03:04:05.000006Z", "type": "Warning", "reason": "R",
        "action": "A", "note": "", "reportingController": "c", "reportingInstance": "c-n1",
        "regarding": {"kind": "Service", "namespace": "shop", "name": "web"}
    });
    assert_eq!(json_call(&server, "POST", path, &without(&event, "action")).0, 422);
    assert_eq!(json_call(&server, "POST", path, &without(&event, "regarding")).0, 422);
    assert_eq!(json_call(&server, "POST", path, &event).0, 201);
    assert_eq!(json_call(&server, "POST", path, &event).0, 409);
    let one = format!("{path}/web.1");
    let series =
        |count: u32| json!({"series": {"count": count, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}});
    assert_eq!(json_call(&server, "PATCH", &one, &series(1)).0, 422);
    assert_eq!(json_call(&server, "PATCH", &one, &json!({"note": "other"})).0, 422);
    assert_eq!(json_call(&server, "PATCH", &one, &series(2)).0, 200);
    assert_eq!(server.list(Resource::Events)[0]["series"]["count"], 2);
    server.inject(FaultRule::new(Fault::internal_error()).on(Resource::Events).verb(Verb::Patch));
    assert_eq!(json_call(&server, "PATCH", &one, &series(3)).0, 500);
    server.inject(FaultRule::new(Fault::internal_error()).on(Resource::Events).verb(Verb::Create));
    assert_eq!(json_call(&server, "POST", path, &event).0, 500);
    assert_eq!(json_call(&server, "GET", &one, &Value::Null).0, 200);
}

fn without(object: &Value, field: &str) -> Value {
    let mut object = object.clone();
    object.as_object_mut().unwrap().remove(field);
    object
}
