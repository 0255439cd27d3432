//! Nodes: where Pods go, which addresses they get, what is left of lost ones.

use std::time::Duration;

use super::kubelet;
use super::stage::Stage;

#[test]
fn pods_wait_for_a_node_and_say_why() {
    let Some(stage) = Stage::new(&[]) else { return };
    stage.ok("run waiting --image=door:1");
    let why = "get pod waiting -o jsonpath={.status.conditions[0].reason}:{.status.conditions[0].message}";
    stage.comes_to(why, "Unschedulable:no nodes available to schedule pods");
    stage.runtime.block_on(kubelet::register(&stage.client, "one"));
    stage.ok("wait --for=condition=Ready pod/waiting --timeout=30s");

    stage.ok("cordon one");
    stage.ok("run second --image=door:1");
    let expected = "0/1 nodes are available: 1 node(s) were unschedulable. \
        preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    stage.comes_to("get pod second -o jsonpath={.status.conditions[0].message}", expected);
    let event = "get events --field-selector involvedObject.name=second,reason=FailedScheduling -o jsonpath={.items[*].message}";
    stage.comes_to(event, expected);
    stage.ok("uncordon one");
    stage.ok("wait --for=condition=Ready pod/second --timeout=30s");
    stage.prints("get pod second -o jsonpath={.spec.nodeName}", "one");
}

#[test]
fn nodes_have_ranges_and_namespaces_what_they_need() {
    let Some(stage) = Stage::new(&["one", "two"]) else { return };
    let ranges = "get nodes -o jsonpath={.items[*].spec.podCIDRs[*]}";
    stage.comes_to(ranges, "10.244.0.0/24 fd00:10:244::/64 10.244.1.0/24 fd00:10:244:1::/64");
    stage.ok("delete node one");
    stage.restart();
    stage.runtime.block_on(kubelet::register(&stage.client, "three"));
    stage.comes_to(ranges, "10.244.0.0/24 fd00:10:244::/64 10.244.1.0/24 fd00:10:244:1::/64");

    stage.ok("create namespace shop");
    stage.comes_to("-n shop get sa,cm -o name", "serviceaccount/default\nconfigmap/kube-root-ca.crt");
    stage.prints("-n shop get cm kube-root-ca.crt -o jsonpath={.data.ca\\.crt}", "it is me");
    stage.ok("-n shop delete sa default");
    stage.comes_to("-n shop get sa -o name", "serviceaccount/default");
    stage.ok("delete namespace shop --timeout=30s");
}

#[test]
fn a_silent_node_loses_its_pods_and_gets_them_back() {
    let Some(stage) = Stage::with(&["one", "two", "three"], Duration::from_secs(15)) else { return };
    let deployment = r#"{"spec":{"template":{"spec":{"nodeSelector":{"kind":"b"},"tolerations":[{"operator":"Exists","effect":"NoExecute","tolerationSeconds":1}]}}}}"#;
    stage.ok("label node one kind=a");
    stage.ok("label node two three kind=b");
    stage.ok("create deployment door --image=door:1 --replicas=2");
    stage.ok(&format!("patch deployment door -p {deployment}"));
    stage.ok("rollout status deployment/door --timeout=30s");
    let nodes = "get pods -l app=door --field-selector=status.phase=Running -o jsonpath={.items[*].spec.nodeName} --sort-by=.spec.nodeName";
    stage.comes_to(nodes, "three two");
    stage.ok("run patient --image=door:1 --overrides={\"spec\":{\"nodeName\":\"two\"}}");
    stage.ok("wait --for=condition=Ready pod/patient --timeout=30s");

    stage.ok("label node two silent=yes");
    let ready =
        |what: &str| format!("get {what} -o jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}");
    stage.comes_to(&ready("node two"), "Unknown");
    stage.comes_to(&ready("pod patient"), "False");
    let ready_nodes = "get nodes --no-headers -o custom-columns=N:.metadata.name,T:.spec.taints[*].effect";
    stage.comes_to(ready_nodes, "one     <none>\nthree   <none>\ntwo     NoSchedule,NoExecute");
    // The Pod that has no more patience goes, and is replaced elsewhere; nobody ends it there.
    stage.comes_to("get deploy door -o jsonpath={.status.availableReplicas}", "2");
    stage.prints(
        "get pods -l app=door -o jsonpath={.items[*].spec.nodeName} --sort-by=.spec.nodeName",
        "three three",
    );
    stage.prints(&ready("pod patient"), "False");
    let events =
        stage.ok("get events -A --no-headers -o custom-columns=R:.reason,M:.message,C:.source.component");
    let events = events.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let events = events.collect::<Vec<_>>().join("\n");
    for expected in [
        "RegisteredNode Registered Node two in Controller node-controller",
        "NodeNotReady Node two status is now: NodeNotReady node-controller",
        "NodeNotReady Node is not ready node-controller",
        "TaintManagerEviction Marking for deletion Pod default/door-",
    ] {
        assert!(events.contains(expected), "{expected}\n{events}");
    }

    stage.ok("label node two silent-");
    stage.comes_to(&ready("node two"), "True");
    stage.comes_to(ready_nodes, "one     <none>\nthree   <none>\ntwo     <none>");
    stage.prints("get pod patient -o jsonpath={.metadata.deletionTimestamp}", "");
}
