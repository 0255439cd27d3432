//! All recorded histories of slices, with the controller against the API server, as `cargo xtask conformance --slices` plays
//! them.

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testkit::answers::{self, Call, Client, Lists, OwnController, OwnServer, Setup, Tell};

use super::machine::{Folder, ROOT, SIGNALBOX};

#[test]
fn recorded_histories_give_the_recorded_slices() {
    let cases = answers::load(&Path::new(ROOT).join("conformance/slices")).unwrap();
    let folder = Folder::new();
    let server = OwnServer::for_recorded(Path::new(SIGNALBOX), &folder.path().join("data")).unwrap();
    // The nodes of these histories say nothing, and are not to be missed.
    let _controller = OwnController::start(&server, &["--controllers=*,-node-lifecycle-controller"]).unwrap();
    let access = server.access().clone();
    let setup = Setup { access, kubectl: None, compact: None, home: folder.path().join("home") };
    let mut told = Vec::new();
    let mut tell = Tell { to: &mut |line| told.push(line.to_owned()), verbose: false };
    let summary = answers::run(&cases, &setup, &Lists::default(), &mut tell).unwrap();
    println!("{}\n{summary}", told.join("\n"));
    assert_eq!(summary.failures, [""; 0], "{summary}");
    assert_eq!((summary.passed, summary.skipped), (cases.len(), 0));
}

/// Asks the server; answers the body.
async fn ask(client: &mut Client, call: Call) -> Value {
    let answer = client.call(&call).await.unwrap();
    assert!(answer.code < 300, "{}: {}", call.path, answer.json());
    answer.json()
}

/// Waits until a condition holds for the slices of the namespace; answers them.
async fn until(client: &mut Client, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let begin = Instant::now();
    loop {
        let list = ask(client, Call::new(Method::GET, SLICES)).await;
        let slices = list["items"].as_array().unwrap().clone();
        if holds(&slices) {
            return slices;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "never: {what}: {slices:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

fn service(name: &str) -> Call {
    let object =
        json!({"metadata": {"name": name}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}});
    Call::json(Method::POST, "/api/v1/namespaces/default/services", &object)
}

fn of<'a>(slices: &'a [Value], service: &str) -> Vec<&'a Value> {
    let is_of = |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == service;
    slices.iter().filter(is_of).collect()
}

#[tokio::test]
async fn a_second_controller_takes_over_and_writes_nothing_that_is_right() {
    let folder = Folder::new();
    let server = OwnServer::start(Path::new(SIGNALBOX), &folder.path().join("data"), &[]).unwrap();
    let mut client = Client::new(server.access());
    let first = OwnController::start(&server, &[]).unwrap();
    ask(&mut client, service("one")).await;
    let before = until(&mut client, "slices of the first", |slices| of(slices, "one").len() == 1).await;

    let _second = OwnController::start(&server, &[]).unwrap();
    let id = rustix::process::Pid::from_raw(first.id().cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    ask(&mut client, service("two")).await;
    let after = until(&mut client, "slices of the second", |slices| of(slices, "two").len() == 1).await;
    assert_eq!(of(&before, "one"), of(&after, "one"));

    // A slice that somebody deletes comes back, also when another process had made it.
    let name = of(&after, "one")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    ask(&mut client, Call::new(Method::DELETE, &format!("{SLICES}/{name}"))).await;
    let again = until(&mut client, "the slice again", |slices| of(slices, "one").len() == 1).await;
    assert_ne!(of(&again, "one")[0]["metadata"]["name"], name);
}
