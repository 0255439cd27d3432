//! Nodes: where Pods go, which addresses they get, what is left of lost ones.

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
