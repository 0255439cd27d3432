//! Pods and nodes in, bindings and refusals out.

use serde_json::{Value, json};

use super::*;

fn node(name: &str, more: Value) -> Node {
    let mut body = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    });
    merge(&mut body, more);
    serde_json::from_value(body).unwrap()
}

fn pod(name: &str, more: Value) -> Pod {
    let mut body = json!({"metadata": {"name": name, "namespace": "shop", "uid": name}, "spec": {}});
    merge(&mut body, more);
    serde_json::from_value(body).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    let Value::Object(from) = from else {
        *into = from;
        return;
    };
    for (key, value) in from {
        merge(&mut into[key], value);
    }
}

fn decided(nodes: &[Node], placed: &[Pod], waiting: &[Pod]) -> String {
    let view = View {
        waiting: waiting.iter().filter(|pod| is_waiting(pod)).collect(),
        placed: placed.iter().collect(),
        nodes: nodes.iter().collect(),
        now: Moment(0),
    };
    let plan = reconcile(&view);
    let line = |action: &Action| match action.verb {
        Verb::Bind => {
            format!("{} -> {}\n", action.place.name, action.body["target"]["name"].as_str().unwrap())
        }
        Verb::Create | Verb::Patch { .. } | Verb::Delete | Verb::Confirm => {
            let message = &action.body["status"]["conditions"][0]["message"];
            format!("{}: {}\n", action.place.name, message.as_str().unwrap())
        }
    };
    plan.steps.iter().flatten().map(line).collect()
}

fn three() -> Vec<Node> {
    ["a", "b", "c"].iter().map(|name| node(name, json!({}))).collect()
}

#[test]
fn a_node_must_be_there_ready_and_open() {
    let check = |nodes: &[Node], waiting: Value, expected: &str| {
        assert_eq!(decided(nodes, &[], &[pod("p", waiting)]).trim_end(), expected);
    };
    check(&[], json!({}), "p: no nodes available to schedule pods");
    check(&three(), json!({}), "p -> a");
    let not_helpful = |count: usize| {
        format!(
            "preemption: 0/{count} nodes are available: {count} Preemption is not helpful for scheduling."
        )
    };
    let closed = [
        node("a", json!({"spec": {"unschedulable": true}})),
        node("b", json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}})),
        node("c", json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}})),
    ];
    let why = "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s).";
    check(&closed, json!({}), &format!("p: {why} {}", not_helpful(3)));
    let tolerating = |toleration: Value| json!({"spec": {"tolerations": [toleration]}});
    check(&closed, tolerating(json!({"operator": "Exists"})), "p -> a");
    check(&closed, tolerating(json!({"key": "k", "value": "v"})), "p -> c");
    check(
        &closed,
        tolerating(json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists"})),
        "p -> b",
    );
    let other = json!({"key": "k", "value": "w", "effect": "NoExecute"});
    check(&closed, tolerating(other), &format!("p: {why} {}", not_helpful(3)));
    let wanted = json!({"spec": {"nodeSelector": {"disk": "fast"}}});
    let why = "p: 0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector.";
    check(&three(), wanted, &format!("{why} {}", not_helpful(3)));
}

#[test]
fn affinity_is_heeded() {
    let affinity = |kind: &str, terms: Value| json!({"spec": {"affinity": {"nodeAffinity": {kind: terms}}}});
    let required = |term: Value| {
        affinity("requiredDuringSchedulingIgnoredDuringExecution", json!({"nodeSelectorTerms": [term]}))
    };
    let check = |waiting: Value, expected: &str| {
        let text = decided(&three(), &[], &[pod("p", waiting)]);
        assert_eq!(text.split(':').next().unwrap().trim_end(), expected);
    };
    let host = |operator: &str, values: &[&str]| json!([{"key": "kubernetes.io/hostname", "operator": operator, "values": values}]);
    check(required(json!({"matchExpressions": host("In", &["b", "z"])})), "p -> b");
    check(required(json!({"matchExpressions": host("NotIn", &["a", "b"])})), "p -> c");
    check(
        required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]})),
        "p -> b",
    );
    check(required(json!({})), "p");
    let preferred = json!([{"weight": 5, "preference": {"matchExpressions": host("In", &["c"])}}]);
    check(affinity("preferredDuringSchedulingIgnoredDuringExecution", preferred), "p -> c");
}

#[test]
fn ports_of_a_node_are_one_pods_alone() {
    let port = |name: &str, port: Value| pod(name, json!({"spec": {"containers": [{"ports": [port]}]}}));
    let http = json!({"hostPort": 80, "protocol": "TCP"});
    let waiting: Vec<Pod> = (0..4).map(|number| port(&format!("p{number}"), http.clone())).collect();
    let why = "0/3 nodes are available: 3 node(s) didn't have free ports for the requested pod ports.";
    let nobody = "preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.";
    let expected = format!("p0 -> a\np1 -> b\np2 -> c\np3: {why} {nobody}\n");
    assert_eq!(decided(&three(), &[], &waiting), expected);
    let one = &three()[..1];
    let check = |a: Value, b: Value, expected: bool| {
        let text = decided(one, &[], &[port("a", a), port("b", b)]);
        assert_eq!(text.contains("b -> a"), expected, "{text}");
    };
    check(http.clone(), json!({"hostPort": 80, "protocol": "UDP"}), true);
    check(http.clone(), json!({"hostPort": 80, "hostIP": "10.0.0.1"}), false);
    check(json!({"hostPort": 80, "hostIP": "10.0.0.2"}), json!({"hostPort": 80, "hostIP": "10.0.0.1"}), true);
}

#[test]
fn a_node_runs_no_more_pods_than_it_says() {
    let nodes = [node("a", json!({"status": {"allocatable": {"pods": "2"}}}))];
    let placed =
        |name: &str, phase: &str| pod(name, json!({"spec": {"nodeName": "a"}, "status": {"phase": phase}}));
    let there = [placed("x", "Running"), placed("y", "Succeeded")];
    let waiting = ["p", "q"].map(|name| pod(name, json!({})));
    let why = "0/1 nodes are available: 1 Too many pods.";
    let nobody = "preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";
    assert_eq!(decided(&nodes, &there, &waiting), format!("p -> a\nq: {why} {nobody}\n"));
}

#[test]
fn pods_of_an_owner_are_spread() {
    let owned = |name: &str, node: &str, uid: &str| {
        let owner = json!([{"kind": "ReplicaSet", "uid": uid, "controller": true}]);
        pod(name, json!({"metadata": {"ownerReferences": owner}, "spec": {"nodeName": node}}))
    };
    let placed = [owned("x", "a", "1"), owned("y", "b", "2"), owned("z", "b", "2")];
    let waiting = [owned("p", "", "1"), owned("q", "", "1"), owned("r", "", "2"), owned("s", "", "3")];
    assert_eq!(decided(&three(), &placed, &waiting), "p -> c\nq -> b\nr -> a\ns -> c\n");
}

#[test]
fn topology_is_a_wish() {
    let zone = |zone: &str| json!({"metadata": {"labels": {"zone": zone}}});
    let nodes = [node("a", zone("1")), node("b", zone("1")), node("c", zone("2")), node("d", json!({}))];
    let spread = json!({
        "metadata": {"labels": {"app": "x"}},
        "spec": {"topologySpreadConstraints": [
            {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "x"}}},
        ]},
    });
    let waiting: Vec<Pod> = (0..4).map(|number| pod(&format!("p{number}"), spread.clone())).collect();
    assert_eq!(decided(&nodes, &[], &waiting), "p0 -> a\np1 -> c\np2 -> b\np3 -> c\n");
}

#[test]
fn what_is_known_is_not_said_again() {
    let why = "no nodes available to schedule pods";
    let known =
        json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}]);
    assert_eq!(decided(&[], &[], &[pod("p", json!({"status": {"conditions": known}}))]), "");
    let others = [
        json!({"spec": {"schedulerName": "mine"}}),
        json!({"spec": {"schedulingGates": [{"name": "x"}]}}),
        json!({"metadata": {"deletionTimestamp": "2026-11-25T00:00:00Z"}}),
        json!({"status": {"phase": "Failed"}}),
    ];
    for other in others {
        assert_eq!(decided(&three(), &[], &[pod("p", other)]), "");
    }
}
