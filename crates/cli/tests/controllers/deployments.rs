//! Deployments, by the commands that people know.

use super::stage::Stage;

const NUMBERS: &str =
    "get deploy door -o jsonpath={.status.replicas}/{.status.updatedReplicas}/{.status.availableReplicas}";

#[test]
fn a_deployment_is_made_scaled_and_deleted() {
    let Some(stage) = Stage::new(&["one", "two"]) else { return };
    stage.prints("create deployment door --image=door:1 --replicas=3", "deployment.apps/door created");
    stage.ok("wait --for=condition=Available deployment/door --timeout=30s");
    stage.prints(
        "rollout status deployment/door --timeout=30s",
        "deployment \"door\" successfully rolled out",
    );
    stage.prints("get deploy door --no-headers -o custom-columns=A:.status.readyReplicas,B:.status.unavailableReplicas", "3     <none>");
    // Spread over both nodes.
    let nodes = stage.ok("get pods -l app=door -o jsonpath={.items[*].spec.nodeName}");
    assert!(nodes.contains("one") && nodes.contains("two"), "{nodes}");

    stage.prints("scale deployment/door --replicas=5", "deployment.apps/door scaled");
    stage.comes_to(NUMBERS, "5/5/5");
    stage.ok("scale deployment/door --replicas=1");
    stage.comes_to(NUMBERS, "1/1/1");
    stage.comes_to("get pods -l app=door -o jsonpath={.items[*].status.phase}", "Running");
    stage.prints("expose deployment door --port=80", "service/door exposed");

    // A Pod that goes is replaced.
    let pod = stage.ok("get pods -l app=door -o name");
    stage.ok(&format!("delete {pod} --wait=false"));
    stage.comes_to(NUMBERS, "1/1/1");
    let events = stage.ok("describe deployment door");
    for expected in [
        "Scaled up replica set door-",
        "from 0 to 3",
        "from 3 to 5",
        "Scaled down replica set door-",
        "from 5 to 1",
        "MinimumReplicasAvailable",
        "NewReplicaSetAvailable",
    ] {
        assert!(events.contains(expected), "{expected}\n{events}");
    }
    let events = stage.ok("get events --no-headers -o custom-columns=R:.reason,C:.source.component");
    let events = events.split_whitespace().collect::<Vec<_>>().join(" ");
    for expected in [
        "SuccessfulCreate replicaset-controller",
        "SuccessfulDelete replicaset-controller",
        "Scheduled default-scheduler",
    ] {
        assert!(events.contains(expected), "{expected}\n{events}");
    }

    stage.ok("delete deployment door");
    stage.comes_to("get rs,pods -o name", "");
}

#[test]
fn versions_are_rolled_out_and_back() {
    let Some(stage) = Stage::new(&["one"]) else { return };
    stage.ok("create deployment door --image=door:1 --replicas=4");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.ok("annotate deployment door kubernetes.io/change-cause=second");
    stage.prints("set image deployment/door door=door:2", "deployment.apps/door image updated");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.comes_to(NUMBERS, "4/4/4");
    let images = "get pods -l app=door -o jsonpath={.items[*].spec.containers[0].image}";
    stage.comes_to(images, "door:2 door:2 door:2 door:2");
    stage.comes_to("get rs -o jsonpath={.items[*].spec.replicas} --sort-by={.spec.replicas}", "0 4");
    let history = stage.ok("rollout history deployment/door");
    assert!(history.contains("2         second"), "{history}");

    stage.prints("rollout undo deployment/door", "deployment.apps/door rolled back");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.comes_to(images, "door:1 door:1 door:1 door:1");
    let history = stage.ok("rollout history deployment/door");
    assert!(history.contains("\n2 ") && history.contains("\n3 ") && !history.contains("\n1 "), "{history}");
    stage.ok("rollout undo deployment/door --to-revision=2");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.comes_to(images, "door:2 door:2 door:2 door:2");
    stage.prints(
        "get deploy door -o jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}",
        "4",
    );

    let before = stage.ok("get pods -l app=door -o name");
    stage.prints("rollout restart deployment/door", "deployment.apps/door restarted");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.comes_to(NUMBERS, "4/4/4");
    let after = stage.ok("get pods -l app=door -o name");
    assert!(before.lines().all(|pod| !after.contains(pod)), "{before}\n{after}");
}

#[test]
fn a_rollout_is_paused_resumed_and_gets_stuck() {
    let Some(stage) = Stage::new(&["one"]) else { return };
    stage.ok("create deployment door --image=door:1 --replicas=2");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.prints("rollout pause deployment/door", "deployment.apps/door paused");
    let progress = |field: &str| {
        format!("get deploy door -o jsonpath={{.status.conditions[?(@.type==\"Progressing\")].{field}}}")
    };
    stage.comes_to(&progress("reason"), "DeploymentPaused");
    stage.ok("set image deployment/door door=broken");
    stage.ok("scale deployment/door --replicas=3");
    stage.comes_to(NUMBERS, "3//3");
    stage.comes_to("get rs -o jsonpath={.items[*].spec.replicas}", "3");

    stage.ok(r#"patch deployment door -p {"spec":{"progressDeadlineSeconds":2}}"#);
    stage.prints("rollout resume deployment/door", "deployment.apps/door resumed");
    let (is_done, _, complaint) = stage.kubectl("rollout status deployment/door --timeout=30s");
    assert!(!is_done && complaint.contains("exceeded its progress deadline"), "{complaint}");
    stage.prints(&progress("status"), "False");
    stage.prints(&progress("reason"), "ProgressDeadlineExceeded");
    let message = stage.ok(&progress("message"));
    assert!(message.ends_with("\" has timed out progressing."), "{message}");
    // The old version is there meanwhile.
    stage.prints("get deploy door -o jsonpath={.status.readyReplicas}", "3");
    stage.ok("wait --for=condition=Available deployment/door --timeout=1s");
    // Another size in the middle is shared, and the way back is open.
    stage.ok("scale deployment/door --replicas=6");
    stage.comes_to("get deploy door -o jsonpath={.status.readyReplicas}", "5");
    stage.ok("rollout undo deployment/door");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.comes_to(NUMBERS, "6/6/6");
}

#[test]
fn a_version_is_recreated_and_old_ones_are_forgotten() {
    let Some(stage) = Stage::new(&["one"]) else { return };
    stage.ok("create deployment door --image=door:1 --replicas=2");
    stage.ok(r#"patch deployment door -p {"spec":{"strategy":{"type":"Recreate","rollingUpdate":null},"revisionHistoryLimit":1}}"#);
    for version in 2..5 {
        stage.ok(&format!("set image deployment/door door=door:{version}"));
        stage.ok("rollout status deployment/door --timeout=30s");
    }
    stage.comes_to("get rs -o jsonpath={.items[*].spec.replicas} --sort-by={.spec.replicas}", "0 2");
    stage.comes_to(NUMBERS, "2/2/2");
    stage.restart();
    stage.ok("scale deployment/door --replicas=3");
    stage.comes_to(NUMBERS, "3/3/3");
}

#[test]
fn pods_are_taken_over_and_let_go() {
    let Some(stage) = Stage::new(&["one"]) else { return };
    stage.ok("run lonely --image=door:1 --labels=app=door");
    stage.ok("create deployment door --image=door:1 --replicas=2");
    stage.ok("rollout status deployment/door --timeout=30s");
    // The Pod has no label of the version, so it is nobody's.
    stage.prints("get pod lonely -o jsonpath={.metadata.ownerReferences}", "");
    let hash = stage.ok("get rs -o jsonpath={.items[0].metadata.labels.pod-template-hash}");
    stage.ok(&format!("label pod lonely pod-template-hash={hash}"));
    stage.comes_to("get pods -l app=door -o jsonpath={.items[*].status.phase}", "Running Running");
    // One of them is let go, and replaced.
    let pod = stage.ok("get pods -l app=door -o jsonpath={.items[0].metadata.name}");
    stage.ok(&format!("label pod {pod} app=other --overwrite"));
    stage.comes_to("get pods -l app=door -o jsonpath={.items[*].status.phase}", "Running Running");
    stage.comes_to(&format!("get pod {pod} -o jsonpath={{.metadata.ownerReferences}}"), "");
    // ReplicaSets outlive a Deployment that is deleted without them, and are found again.
    stage.ok("delete deployment door --cascade=orphan");
    stage.comes_to("get rs -o jsonpath={.items[*].metadata.ownerReferences}", "");
    let before = stage.ok("get pods -l app=door -o name");
    stage.ok("create deployment door --image=door:1 --replicas=2");
    stage.ok("rollout status deployment/door --timeout=30s");
    stage.prints("get pods -l app=door -o name", &before);
    stage.prints("get rs -o jsonpath={.items[*].metadata.ownerReferences[0].kind}", "Deployment");
}
