//! Deployments and ReplicaSets in, the next stage out.

use serde_json::{Value, json};

use super::*;
use crate::action::Verb;
use crate::trimmed::condition;

const NOW: Moment = Moment(1_795_000_000_000);

fn deployment(spec: Value) -> Deployment {
    let mut body = json!({
        "metadata": {"name": "door", "namespace": "shop", "uid": "deployment", "generation": 1},
        "spec": {
            "replicas": 10, "selector": {"matchLabels": {"app": "door"}},
            "template": template(1),
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
        },
    });
    body["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

fn template(version: u32) -> Value {
    json!({"metadata": {"labels": {"app": "door"}}, "spec": {"version": version}})
}

/// A ReplicaSet of a version: how many Pods are wanted, are there and are available; for how many Pods it was told.
fn set(version: u32, (wanted, there, available): (i64, i64, i64), (desired, max): (i64, i64)) -> ReplicaSet {
    let body = json!({
        "metadata": {
            "name": format!("door-{version}"), "namespace": "shop", "uid": format!("uid-{version}"), "generation": 1,
            "labels": {"app": "door"},
            "creationTimestamp": NOW.plus_seconds(-i64::from(version) * 100).text(),
            "annotations": {
                "deployment.kubernetes.io/revision": (100 - version).to_string(),
                draft::DESIRED: desired.to_string(), draft::MAX: max.to_string(),
            },
            "ownerReferences": [{"kind": "Deployment", "name": "door", "uid": "deployment", "controller": true}],
        },
        "spec": {"replicas": wanted, "template": template(version)},
        "status": {"replicas": there, "readyReplicas": available, "availableReplicas": available, "observedGeneration": 1},
    });
    serde_json::from_value(body).unwrap()
}

fn planned(deployment: &Deployment, sets: &[ReplicaSet], failure: Option<&str>) -> Plan {
    let view = View {
        deployment,
        sets: sets.iter().collect(),
        taken: sets.iter().map(|set| set.metadata.name.as_str()).collect(),
        busy: sets
            .iter()
            .filter(|set| set.status.replicas > 0)
            .map(|set| set.metadata.uid.as_str())
            .collect(),
        failure,
        now: NOW,
    };
    reconcile(&view)
}

/// What happens to ReplicaSets, in words.
fn happens(deployment: &Deployment, sets: &[ReplicaSet]) -> String {
    let plan = planned(deployment, sets, None);
    let word = |action: &Action| match (&action.verb, action.kind) {
        (Verb::Create, Kind::ReplicaSet) => format!("new={}", action.body["spec"]["replicas"]),
        (Verb::Delete, Kind::ReplicaSet) => format!("-{}", action.place.name),
        (_, Kind::ReplicaSet) if action.body["spec"]["replicas"].is_number() => {
            format!("{}={}", action.place.name, action.body["spec"]["replicas"])
        }
        (_, _) => String::new(),
    };
    let words: Vec<String> = plan.steps.iter().flatten().map(word).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[test]
fn percentages_are_rounded_as_in_kubernetes() {
    let check = |replicas: i64, (surge, unavailable): (Value, Value), expected: (i64, i64)| {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let deployment = deployment(json!({"replicas": replicas, "strategy": rolling}));
        assert_eq!((draft::max_surge(&deployment), draft::max_unavailable(&deployment)), expected);
    };
    check(10, (json!("25%"), json!("25%")), (3, 2));
    check(1, (json!("25%"), json!("25%")), (1, 0));
    check(1, (json!("0%"), json!("25%")), (0, 1));
    check(3, (json!(5), json!(5)), (5, 3));
    check(0, (json!("25%"), json!("25%")), (0, 0));
    check(4, (json!("100%"), json!("0%")), (4, 0));
}

#[test]
fn stages_of_a_rolling_update() {
    let told = (10, 13);
    let check =
        |sets: &[ReplicaSet], expected: &str| assert_eq!(happens(&deployment(json!({})), sets), expected);
    check(&[], "new=10");
    check(&[set(2, (10, 10, 10), told)], "new=3");
    // Old Pods go as far as availability allows.
    check(&[set(2, (10, 10, 10), told), set(1, (3, 3, 0), told)], "door-2=8");
    check(&[set(2, (8, 8, 8), told), set(1, (3, 3, 0), told)], "door-1=5");
    check(&[set(2, (8, 8, 8), told), set(1, (5, 5, 0), told)], "");
    check(&[set(2, (8, 8, 8), told), set(1, (5, 5, 5), told)], "door-2=3");
    // Broken ones first, from the oldest on.
    check(&[set(3, (4, 4, 1), told), set(2, (6, 6, 6), told), set(1, (3, 3, 0), told)], "door-3=2");
    check(&[set(2, (0, 0, 0), told), set(1, (10, 10, 10), told)], "");
    // One that shall have fewer Pods than it has, and has not said so yet, is waited for.
    let mut unseen = set(2, (8, 10, 10), told);
    unseen.metadata.generation = 2;
    check(&[unseen, set(1, (5, 5, 3), told)], "");
}

#[test]
fn another_size_is_shared() {
    let check = |replicas: i64, sets: &[ReplicaSet], expected: &str| {
        assert_eq!(happens(&deployment(json!({"replicas": replicas})), sets), expected);
    };
    let told = (10, 13);
    check(5, &[set(1, (10, 10, 10), told)], "door-1=5");
    check(20, &[set(2, (8, 8, 8), told), set(1, (5, 5, 0), told)], "door-2=15 door-1=10");
    check(5, &[set(2, (8, 8, 8), told), set(1, (5, 5, 0), told)], "door-2=4 door-1=3");
    check(0, &[set(2, (8, 8, 8), told), set(1, (5, 5, 0), told)], "door-2=0 door-1=0");
    // Paused, nothing is rolled out, but the size is the size.
    let paused = deployment(json!({"replicas": 5, "paused": true}));
    assert_eq!(happens(&paused, &[set(2, (10, 10, 10), told)]), "door-2=5");
    assert_eq!(happens(&deployment(json!({"paused": true})), &[set(2, (10, 10, 10), told)]), "");
    assert_eq!(happens(&paused, &[]), "");
}

#[test]
fn recreating_waits_for_the_last_pod() {
    let recreate = deployment(json!({"strategy": {"type": "Recreate"}}));
    let told = (10, 10);
    assert_eq!(happens(&recreate, &[]), "new=10");
    assert_eq!(happens(&recreate, &[set(2, (10, 10, 10), told)]), "door-2=0");
    assert_eq!(happens(&recreate, &[set(2, (0, 1, 0), told)]), "");
    assert_eq!(happens(&recreate, &[set(2, (0, 0, 0), told)]), "new=10");
    assert_eq!(happens(&recreate, &[set(2, (0, 0, 0), told), set(1, (0, 0, 0), told)]), "door-1=10");
}

#[test]
fn old_versions_are_forgotten() {
    let told = (10, 13);
    let mut done = deployment(json!({"revisionHistoryLimit": 1}));
    let sets = [
        set(4, (0, 0, 0), told),
        set(3, (0, 1, 0), told),
        set(2, (0, 0, 0), told),
        set(1, (10, 10, 10), told),
    ];
    assert_eq!(happens(&done, &sets), "");
    let status =
        json!({"replicas": 10, "updatedReplicas": 10, "availableReplicas": 10, "observedGeneration": 1});
    done.status = serde_json::from_value(status).unwrap();
    // One that still has Pods stays.
    assert_eq!(happens(&done, &sets), "-door-4");
    done.spec.revision_history_limit = Some(0);
    assert_eq!(happens(&done, &sets), "-door-4 -door-2");
    done.spec.revision_history_limit = None;
    assert_eq!(happens(&done, &sets), "");
}

/// The condition `Progressing` that is written, in words.
fn progress(deployment: &Deployment, sets: &[ReplicaSet], failure: Option<&str>) -> String {
    let plan = planned(deployment, sets, failure);
    let written =
        plan.steps.iter().flatten().find(|action| action.kind == Kind::Deployment).expect("a status");
    let status: DeploymentStatus = serde_json::from_value(written.body["status"].clone()).unwrap();
    let known = condition(&status.conditions, "Progressing");
    known.map(|one| format!("{} {}: {}", one.status, one.reason, one.message)).unwrap_or_default()
}

#[test]
fn progress_is_told() {
    let told = (10, 13);
    let with = |reason: &str, age: i64| {
        let mut deployment = deployment(json!({}));
        let mut known =
            crate::trimmed::Condition::new("Progressing", "True", (reason, ""), NOW.plus_seconds(-age));
        known.last_transition_time = known.last_update_time;
        deployment.status.conditions = vec![known];
        let numbers =
            json!({"replicas": 11, "updatedReplicas": 3, "readyReplicas": 8, "availableReplicas": 8});
        let conditions = std::mem::take(&mut deployment.status.conditions);
        deployment.status = DeploymentStatus { conditions, ..serde_json::from_value(numbers).unwrap() };
        deployment
    };
    let new = deployment(json!({}));
    let hash = version::hash(&template(1), 0);
    assert_eq!(
        progress(&new, &[], None),
        format!("True NewReplicaSetCreated: Created new replica set \"door-{hash}\"")
    );
    assert_eq!(
        progress(&new, &[], Some("no room")),
        format!("False ReplicaSetCreateError: Failed to create new replica set \"door-{hash}\": no room")
    );
    let half = [set(2, (8, 8, 8), told), set(1, (5, 3, 0), told)];
    assert_eq!(
        progress(&new, &half[1..], None),
        "True ReplicaSetUpdated: ReplicaSet \"door-1\" is progressing."
    );
    assert_eq!(progress(&with("ReplicaSetUpdated", 600), &half, None), "True ReplicaSetUpdated: ");
    assert_eq!(
        progress(&with("ReplicaSetUpdated", 601), &half, None),
        "False ProgressDeadlineExceeded: ReplicaSet \"door-1\" has timed out progressing."
    );
    assert_eq!(
        progress(&with("ReplicaSetUpdated", 5), &[set(1, (10, 10, 10), told)], None),
        "True NewReplicaSetAvailable: ReplicaSet \"door-1\" has successfully progressed."
    );
    let mut paused = with("ReplicaSetUpdated", 5);
    paused.spec.paused = true;
    assert_eq!(progress(&paused, &half, None), "Unknown DeploymentPaused: Deployment is paused");
    assert_eq!(
        progress(&with("DeploymentPaused", 5), &half, None),
        "Unknown DeploymentResumed: Deployment is resumed"
    );
    assert_eq!(progress(&deployment(json!({"progressDeadlineSeconds": 2_147_483_647})), &half, None), "");
}

#[test]
fn a_name_that_is_taken_is_not_fought_for() {
    let deployment = deployment(json!({}));
    let mut other = set(2, (0, 0, 0), (10, 13));
    other.metadata.name = format!("door-{}", version::hash(&template(1), 0));
    std::sync::Arc::make_mut(&mut other.metadata.owner_references)[0].uid = "another".to_owned();
    let plan = planned(&deployment, &[other], None);
    assert_eq!(
        plan.steps
            .concat()
            .iter()
            .map(|action| action.body["status"]["collisionCount"].clone())
            .collect::<Vec<_>>(),
        [1]
    );
}
