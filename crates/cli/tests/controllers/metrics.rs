//! What a running `signalbox controller` tells about itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use testkit::answers::{Call, Client, OwnController, OwnServer};

use super::machine::{Folder, SIGNALBOX};

fn get(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let request = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn work_is_counted_and_shown() {
    let folder = Folder::new();
    let server = OwnServer::start(Path::new(SIGNALBOX), &folder.path().join("data"), &[]).unwrap();
    // Nobody else takes a port that was just given back.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let flag = format!("--metrics-bind-address={address}");
    let _controller = OwnController::start(&server, &[&flag]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let object =
        json!({"metadata": {"name": "door"}, "spec": {"selector": {"app": "door"}, "ports": [{"port": 80}]}});
    let create = Call::json(http::Method::POST, "/api/v1/namespaces/default/services", &object);
    let answer = runtime.block_on(async { Client::new(server.access()).call(&create).await }).unwrap();
    assert_eq!(answer.code, 201);

    let expected = [
        "endpoint_slice_controller_changes{operation=\"create\"} 1",
        "endpoint_slice_controller_num_endpoint_slices 1",
        "endpoint_slice_controller_desired_endpoint_slices 1",
        "endpoint_slice_controller_syncs{result=\"success\"}",
        "endpoint_slice_controller_endpoints_added_per_sync_count",
        "workqueue_adds_total{name=\"endpoint_slice\"}",
        "workqueue_depth{name=\"endpoint_slice\"} 0",
        "workqueue_work_duration_seconds_count{name=\"serviceaccount\"}",
        "process_resident_memory_bytes",
    ];
    let begin = Instant::now();
    loop {
        let metrics = get(address, "/metrics");
        let missing: Vec<_> = expected.iter().filter(|line| !metrics.contains(**line)).collect();
        if missing.is_empty() {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{missing:?}\n{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let health = get(address, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200") && health.ends_with("ok"), "{health}");
    assert!(get(address, "/elsewhere").starts_with("HTTP/1.1 404"));
}
