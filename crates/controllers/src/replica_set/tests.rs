//! Pods in, actions out.

use serde_json::{Value, json};

use super::*;
use crate::action::Verb;

const NOW: Moment = Moment(1_795_000_000_000);

fn ago(seconds: i64) -> String {
    NOW.plus_seconds(-seconds).text()
}

fn set(more: Value) -> ReplicaSet {
    let mut body = json!({
        "metadata": {"name": "door", "namespace": "shop", "uid": "set", "generation": 2},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": "door"}},
            "template": {
                "metadata": {"labels": {"app": "door", "tier": "1"}, "annotations": {"a": "b"}},
                "spec": {"containers": []},
            },
        },
    });
    body["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

/// A Pod of the set in words: `node`, `running`, `ready=SECONDS`, `cost=COST`, `restarts=COUNT`, `age=SECONDS`, `leaving`,
/// `failed`, `orphan`, `foreign`, `other` for labels that are not meant, `tier` for all labels of the template.
fn pod(name: &str, words: &str) -> Pod {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name, "labels": {"app": "door"}, "creationTimestamp": ago(1),
            "ownerReferences": [{"kind": "ReplicaSet", "name": "door", "uid": "set", "controller": true}],
        },
    });
    for word in words.split_whitespace() {
        let (word, value) = word.split_once('=').unwrap_or((word, "0"));
        let number: i64 = value.parse().unwrap_or(0);
        match word {
            "node" => pod["spec"]["nodeName"] = if value == "0" { "one" } else { value }.into(),
            "running" => pod["status"]["phase"] = "Running".into(),
            "ready" => {
                let since = ago(number);
                pod["status"]["conditions"] =
                    json!([{"type": "Ready", "status": "True", "lastTransitionTime": since}]);
            }
            "cost" => {
                pod["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = value.into()
            }
            "restarts" => pod["status"]["containerStatuses"] = json!([{"restartCount": number}]),
            "age" => pod["metadata"]["creationTimestamp"] = ago(number).into(),
            "leaving" => pod["metadata"]["deletionTimestamp"] = ago(0).into(),
            "failed" => pod["status"]["phase"] = "Failed".into(),
            "orphan" => pod["metadata"]["ownerReferences"] = json!([]),
            "foreign" => pod["metadata"]["ownerReferences"][0]["uid"] = "other".into(),
            "other" => pod["metadata"]["labels"] = json!({}),
            "tier" => pod["metadata"]["labels"]["tier"] = "1".into(),
            word => panic!("{word}"),
        }
    }
    serde_json::from_value(pod).unwrap()
}

fn plan(set: &ReplicaSet, pods: &[Pod], failure: Option<&str>) -> Plan {
    let pods: Vec<&Pod> = pods.iter().collect();
    reconcile(&View { set, related: pods.clone(), pods, failure, now: NOW })
}

/// The steps without those about the status, one line each.
fn lines(plan: &Plan) -> Vec<String> {
    let word = |action: &Action| match &action.verb {
        Verb::Create => "create".to_owned(),
        Verb::Delete => format!("delete {}", action.place.name),
        Verb::Confirm => "confirm".to_owned(),
        Verb::Bind => "bind".to_owned(),
        Verb::Patch { .. } if action.body["metadata"]["ownerReferences"][0]["$patch"] == "delete" => {
            format!("release {}", action.place.name)
        }
        Verb::Patch { .. } => format!("adopt {}", action.place.name),
    };
    let is_status = |step: &&Vec<Action>| step.iter().all(|action| !action.body["status"].is_null());
    let steps = plan.steps.iter().filter(|step| !is_status(step));
    steps.map(|step| step.iter().map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn pods_are_made_slowly() {
    let steps = |replicas: i64, pods: &[Pod]| -> Vec<usize> {
        let plan = plan(&set(json!({"replicas": replicas})), pods, None);
        lines(&plan).iter().map(|line| line.matches("create").count()).collect()
    };
    assert_eq!(steps(1, &[]), [1]);
    assert_eq!(steps(10, &[]), [1, 2, 4, 3]);
    assert_eq!(steps(1000, &[]).iter().sum::<usize>(), 500);
    assert_eq!(
        steps(3, &[pod("a", ""), pod("b", "leaving"), pod("c", "failed"), pod("d", "foreign")]),
        [1, 1]
    );
}

#[test]
fn a_pod_is_what_the_template_says() {
    let expected = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "generateName": "door-", "namespace": "shop", "labels": {"app": "door", "tier": "1"},
            "annotations": {"a": "b"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "door", "uid": "set",
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"containers": []},
    });
    assert_eq!(super::pod(&set(json!({}))), expected);
}

#[test]
fn what_is_missed_least_goes_first() {
    let check = |first: &str, second: &str| {
        for pods in [[pod("a", first), pod("b", second)], [pod("b", second), pod("a", first)]] {
            let plan = plan(&set(json!({"replicas": 1})), &pods, None);
            assert_eq!(lines(&plan), ["delete a"], "{first} before {second}");
        }
    };
    check("", "node");
    check("node", "node running");
    check("node running", "node running ready=5");
    check("node running ready=5 cost=-1", "node running ready=5");
    check("node running ready=500 cost=1", "node running ready=5 cost=2");
    check("node running ready=5", "node running ready=500");
    check("node running ready=5 restarts=3 age=900", "node running ready=5 restarts=1");
    check("node running ready=5 age=9", "node running ready=5 age=900");
    // Two of three on one node: one of them goes.
    let pods = [pod("a", "node=x ready=9"), pod("b", "node=y ready=1"), pod("c", "node=x ready=900")];
    assert_eq!(lines(&plan(&set(json!({"replicas": 2})), &pods, None)), ["delete a"]);
}

#[test]
fn pods_are_claimed() {
    let check = |words: &str, expected: &[&str]| {
        let plan = plan(&set(json!({"replicas": 1})), &[pod("a", "node running"), pod("p", words)], None);
        assert_eq!(lines(&plan), expected, "{words}");
    };
    check("orphan", &["confirm", "adopt p", "delete p"]);
    check("orphan other", &[]);
    check("orphan leaving", &[]);
    check("other", &["release p"]);
    check("foreign", &[]);
    let mut leaving = set(json!({"replicas": 3}));
    leaving.metadata.deletion_timestamp = Some(NOW);
    assert_eq!(lines(&plan(&leaving, &[pod("p", "orphan"), pod("q", "other")], None)), [""; 0]);
}

#[test]
fn the_status_counts() {
    let check = |words: &[&str], failure: Option<&str>, expected: Value| {
        let pods: Vec<Pod> =
            words.iter().enumerate().map(|(number, words)| pod(&number.to_string(), words)).collect();
        let plan = plan(&set(json!({"replicas": 2, "minReadySeconds": 10})), &pods, failure);
        let status =
            plan.steps.iter().flatten().map(|action| &action.body["status"]).find(|status| !status.is_null());
        let status = status.unwrap();
        let fields =
            ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "terminatingReplicas"];
        let numbers: Vec<&Value> = fields.iter().map(|field| &status[field]).collect();
        assert_eq!(json!([numbers, status["conditions"]]), expected, "{words:?}");
        assert_eq!(status["observedGeneration"], 2);
    };
    check(&[], None, json!([[0, 0, 0, 0, 0], []]));
    check(&["ready=9", "ready=11 tier", "leaving ready=99", "failed"], None, json!([[2, 1, 2, 1, 1], []]));
    let failed = json!([{
        "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "no room",
        "lastTransitionTime": NOW.text(),
    }]);
    check(&[], Some("no room"), json!([[0, 0, 0, 0, 0], failed]));
}

#[test]
fn time_makes_pods_available() {
    let set = set(json!({"replicas": 1, "minReadySeconds": 10}));
    assert_eq!(
        plan(&set, &[pod("a", "ready=4")], None).again,
        Some(NOW.plus_seconds(6).plus(std::time::Duration::from_millis(1)))
    );
    assert_eq!(plan(&set, &[pod("a", "ready=40")], None).again, None);
}
