//! A cluster's life: kills, stops, starts, its end.

use std::time::{Duration, Instant};

use super::stage::{Stage, processes};

const CONTAINERS: &str = "get pods -o jsonpath={.items[*].status.containerStatuses[*].restartCount}";

/// The namespaces of a cluster and its pods.
fn namespaces(stage: &Stage) -> Vec<String> {
    let said = stage.up.said();
    let node = said.split("network namespace ").nth(1).unwrap_or_default();
    let prefix = node.split_whitespace().next().unwrap_or_default().trim_end_matches("node-1");
    sys::netns::names(prefix)
}

#[test]
fn a_kill_harms_no_pod_and_the_next_start_takes_over() {
    let Some(mut stage) = Stage::isolated(&["--nodes=2"]) else { return };
    let service = stage.backend(3);
    let client = stage.sleeper("client");
    stage.up.kill().unwrap();
    // The kernel does the work: nobody is needed for what is set up.
    assert_eq!(super::stage::ask(&client, service).code, Some(200));
    stage.up.start().unwrap();
    stage.answer(&client, service);
    stage.comes_to(CONTAINERS, "0 0 0 0");
    // It is followed again.
    stage.ok("scale deployment/backend --replicas=1");
    stage.comes("get pods -l app=backend -o name", &|pods| pods.lines().count() == 1, "one pod");
}

#[test]
fn ctrl_c_stops_everything_and_the_next_start_goes_on() {
    let Some(mut stage) = Stage::isolated(&[]) else { return };
    let service = stage.backend(2);
    stage.ok("run client --image=none --restart=Always --command -- sleep 86399");
    stage.ok("wait --for=condition=Ready pod/client --timeout=60s");
    stage.answer(&stage.network("client"), service);
    assert!(!namespaces(&stage).is_empty());
    assert!(processes("sleep 86399") > 0);
    let uids = stage.ok("get pods -o jsonpath={.items[*].metadata.uid}");

    let status = stage.up.interrupt().unwrap();
    assert!(status.success(), "{status}\n{}", stage.up.log());
    assert_eq!(namespaces(&stage), [""; 0]);
    let left: Vec<_> = uids.split(' ').flat_map(|uid| sys::netns::names(&format!("sb-{uid}"))).collect();
    assert_eq!(left, [""; 0]);
    assert_eq!(processes("sleep 86399"), 0);

    stage.up.start().unwrap();
    stage.comes_to("get deployment backend -o jsonpath={.status.availableReplicas}", "2");
    stage.ok("wait --for=condition=Ready pod/client --timeout=60s");
    assert_eq!(stage.ok("get pods -o jsonpath={.items[*].metadata.uid}"), uids);
    stage.answer(&stage.network("client"), service);
    // Again and again: a pod that was stopped did not fail, and has no pause before it is started.
    for _ in 0..2 {
        stage.up.interrupt().unwrap();
        stage.up.start().unwrap();
    }
    let reasons = "get pods -o jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}";
    assert_eq!(stage.ok(reasons).replace("ContainerCreating", "").trim(), "");
    stage.comes_to("get deployment backend -o jsonpath={.status.availableReplicas}", "2");
}

#[test]
fn ctrl_c_comes_at_any_moment() {
    let Some(mut stage) = Stage::prepared(&["--isolated", "--listen=127.0.0.1:0", "--nodes=20"], None) else {
        return;
    };
    stage.up.begin().unwrap();
    let record = stage.up.data().join("up.json");
    let end = Instant::now() + Duration::from_secs(20);
    // The network is being made.
    let names = loop {
        if let Ok(Some(record)) = site::Record::read(&record) {
            break record.namespaces;
        }
        assert!(Instant::now() < end, "{}", stage.up.log());
    };
    let status = stage.up.interrupt().unwrap();
    assert!(status.success(), "{status}\n{}", stage.up.log());
    let left: Vec<_> = names.iter().flat_map(|name| sys::netns::names(name)).collect();
    assert_eq!((names.len(), left), (21, Vec::<String>::new()));
}

#[test]
fn a_closed_terminal_ends_it_too() {
    let Some(mut stage) = Stage::isolated(&[]) else { return };
    assert_eq!(namespaces(&stage).len(), 2);
    let status = stage.up.hang_up().unwrap();
    assert!(status.success(), "{status}\n{}", stage.up.log());
    assert_eq!(namespaces(&stage), [""; 0]);
}

#[test]
fn who_removes_the_directory_loses_the_objects_and_nothing_stays() {
    let Some(mut stage) = Stage::isolated(&["--nodes=2"]) else { return };
    assert_eq!(namespaces(&stage).len(), 3);
    std::fs::remove_dir_all(stage.up.data()).unwrap();
    stage.up.interrupt().unwrap();
    assert_eq!(namespaces(&stage), [""; 0]);
}

#[test]
fn down_removes_every_trace() {
    let Some(mut stage) = Stage::isolated(&["--nodes=2"]) else { return };
    stage.backend(3);
    let before = namespaces(&stage);
    assert_eq!(before.len(), 3, "{before:?}");
    let uids = stage.ok("get pods -o jsonpath={.items[*].metadata.uid}");
    let said = stage.up.down().unwrap();
    assert!(said.contains("stopped the cluster") && said.contains("removed 3 pods"), "{said}");
    assert_eq!(namespaces(&stage), [""; 0]);
    for uid in uids.split(' ') {
        assert_eq!(sys::netns::names(&format!("sb-{uid}")), [""; 0]);
        assert!(!std::path::Path::new("/sys/fs/cgroup/signalbox").join(uid).exists());
    }
    assert!(!stage.up.data().exists());
    // Once more: there is nothing to do, and that is said.
    let said = stage.up.down().unwrap();
    assert!(said.contains("nothing of `signalbox up`"), "{said}");
}

#[test]
fn down_removes_what_a_kill_has_left() {
    let Some(mut stage) = Stage::isolated(&[]) else { return };
    stage.backend(2);
    stage.ok("run client --image=none --command -- sleep 86398");
    stage.ok("wait --for=condition=Ready pod/client --timeout=60s");
    stage.up.kill().unwrap();
    assert!(processes("sleep 86398") > 0);
    let said = stage.up.down().unwrap();
    assert!(said.contains("removed 3 pods"), "{said}");
    assert_eq!(namespaces(&stage), [""; 0]);
    assert_eq!(processes("sleep 86398"), 0);
    // Also where somebody has removed a part of the directory.
    stage.up.start().unwrap();
    stage.up.kill().unwrap();
    std::fs::remove_file(stage.up.data().join("up.lock")).unwrap();
    stage.up.down().unwrap();
    assert_eq!(namespaces(&stage), [""; 0]);
    assert!(!stage.up.data().exists());
}

#[test]
fn a_node_that_is_not_wanted_any_more_goes_with_its_pods() {
    let Some(mut stage) = Stage::prepared(&["--isolated", "--listen=127.0.0.1:0", "--nodes=2"], None) else {
        return;
    };
    stage.up.start().unwrap();
    stage.backend(4);
    stage.comes(
        "get pods -o jsonpath={.items[*].spec.nodeName}",
        &|nodes| nodes.contains("node-1") && nodes.contains("node-2"),
        "both nodes",
    );
    stage.up.interrupt().unwrap();
    stage.up.set_words(&["--isolated", "--listen=127.0.0.1:0", "--nodes=1"]);
    stage.up.start().unwrap();
    stage.comes_to("get nodes -o name", "node/node-1");
    stage.comes_to("get deployment backend -o jsonpath={.status.availableReplicas}", "4");
    stage.comes_to("get pods -o jsonpath={.items[*].spec.nodeName}", "node-1 node-1 node-1 node-1");
}

/// Two seconds on a machine that does nothing else; here many do. What can be said is that it is not minutes.
#[test]
fn it_is_ready_soon() {
    let Some(mut stage) = Stage::prepared(&["--isolated", "--listen=127.0.0.1:0"], None) else { return };
    let took = stage.up.start().unwrap();
    println!("ready after {took:?}");
    assert!(took < Duration::from_secs(30), "{took:?}");
    let said = stage.up.said();
    for expected in ["export KUBECONFIG=", "kubectl create deployment", "node-1", "signalbox down --data"] {
        assert!(said.contains(expected), "{said}");
    }
}

/// A kill while the network was made leaves a record that does not say it is complete.
#[test]
fn a_network_that_was_not_finished_is_made_anew() {
    let Some(mut stage) = Stage::isolated(&[]) else { return };
    let service = stage.backend(1);
    stage.up.kill().unwrap();
    let file = stage.up.data().join("up.json");
    let record = std::fs::read_to_string(&file).unwrap();
    assert!(record.contains("\"is_complete\": true"), "{record}");
    std::fs::write(&file, record.replace("\"is_complete\": true", "\"is_complete\": false")).unwrap();
    // What the kill may have prevented: the node's way out.
    let node = stage.up.node("node-1").unwrap();
    let sever = || sys::link::Links::open()?.delete("eth0");
    node.run(sever).unwrap().unwrap();
    stage.up.start().unwrap();
    stage.answer(&stage.up.node("node-1").unwrap(), service);
}
