//! kubectl and a node that is made up: what the server passes on to it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, mpsc};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::kubectl::Desk;

/// Answers each request with what a function makes of its first line, and tells it.
fn kubelet(answer: fn(&str) -> String) -> (u16, mpsc::Receiver<String>) {
    let made = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (told, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let line = serve(StreamOwned::new(connection, stream.unwrap()), answer);
            // The test may be over.
            drop(told.send(line));
        }
    });
    (port, lines)
}

fn serve(stream: StreamOwned<ServerConnection, TcpStream>, answer: fn(&str) -> String) -> String {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).unwrap();
    let mut line = String::from("x");
    while !line.trim().is_empty() {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    let body = answer(&first);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let stream = stream.get_mut();
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    stream.flush().unwrap();
    stream.conn.send_close_notify();
    drop(stream.flush());
    first.trim().to_owned()
}

const OBJECTS: &str = "\
apiVersion: v1
kind: Node
metadata: {name: node1}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  nodeName: node1
  containers:
  - {name: a, image: x}
  - {name: b, image: x}
";

#[test]
fn logs_and_pages_of_a_node_come_through_the_server() {
    let Some(desk) = Desk::new() else { return };
    let (port, lines) = kubelet(|line| match line {
        line if line.contains("/containerLogs/") => "one\ntwo\n".to_owned(),
        _ => "a page".to_owned(),
    });
    desk.ok("create -f -", OBJECTS);
    let addresses = r#"[{"type":"InternalIP","address":"127.0.0.1"}]"#;
    let status =
        format!(r#"{{"addresses":{addresses},"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{port}}}}}}}"#);
    let node =
        format!(r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"node1"}},"status":{status}}}"#);
    desk.ok("replace --raw /api/v1/nodes/node1/status -f -", &node);
    assert_eq!(desk.ok("logs p -c b --tail=2", ""), "one\ntwo\n");
    assert_eq!(lines.recv().unwrap(), "GET /containerLogs/default/p/b?tailLines=2 HTTP/1.1");
    assert_eq!(desk.ok("logs p --all-containers --follow", ""), "one\ntwo\none\ntwo\n");
    for _ in 0..2 {
        assert!(lines.recv().unwrap().ends_with("?follow=true HTTP/1.1"));
    }
    assert_eq!(desk.ok("get --raw /api/v1/nodes/node1/proxy/pods?x=y", ""), "a page");
    assert_eq!(lines.recv().unwrap(), "GET /pods?x=y HTTP/1.1");
    for (line, wanted) in [
        ("logs p -c c", "container c is not valid for pod p"),
        ("exec p -c a -- true", "invalid upgrade response: status code 200"),
        ("get --raw /api/v1/namespaces/default/pods/p/proxy/", "address not allowed"),
        ("get --raw /api/v1/namespaces/default/services/http:x:80/proxy/", "services \"x\" not found"),
    ] {
        let said = desk.fails(line, "");
        assert!(said.contains(wanted), "{line}: {said}");
    }
}

#[test]
fn a_node_is_drained_and_a_pod_evicted() {
    let Some(desk) = Desk::new() else { return };
    desk.ok("create -f -", OBJECTS);
    let eviction = r#"{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"},"deleteOptions":{"gracePeriodSeconds":0}}"#;
    let path = "/api/v1/namespaces/default/pods/p/eviction";
    assert!(desk.ok(&format!("create --raw {path} -f -"), eviction).contains("\"Success\""));
    assert_eq!(desk.ok("get pods -o name", ""), "");
    desk.ok("create -f -", OBJECTS.split("---").nth(1).unwrap());
    let (is_success, said, warned) = desk.tries("drain node1 --force --grace-period=0");
    assert!(is_success && said.contains("node/node1 drained"), "{said}{warned}");
    assert_eq!(desk.ok("get pods -o name", ""), "");
}
