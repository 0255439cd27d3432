//! The rules: kept, repaired, found again, removed.

use std::time::Duration;

use crate::node::{Node, service, slice};

const WEB: &str = "tcp/10.96.0.10:80";

fn web(node: &Node, addresses: &[&str]) {
    node.write("service.yaml", &service("web", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
    node.write("slice.yaml", &slice("web", addresses));
}

#[test]
fn changes_are_followed_and_both_families_are_served() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11", "10.244.1.12"]);
    let six = "{clusterIPs: ['fd00:10:96::10'], ipFamilies: [IPv6], ports: [{port: 80}]}";
    node.write("six.yaml", &(service("six", six) + "---\n" + &slice("six", &["fd00:10:244:1::13"])));
    let _proxy = node.proxy();
    node.await_answers(WEB, &["pod1", "pod2"]);
    node.await_answers("tcp/[fd00:10:96::10]:80", &["pod3"]);
    node.write("slice.yaml", &slice("web", &["10.244.1.13"]));
    node.await_answers(WEB, &["pod3"]);
    node.write("slice.yaml", &slice("web", &[]));
    node.await_answers(WEB, &["refused"]);
    node.write("slice.yaml", &slice("web", &["10.244.1.11", "10.244.1.12", "10.244.1.13"]));
    node.await_answers(WEB, &["pod1", "pod2", "pod3"]);
    std::fs::remove_file(node.folder.join("manifests/service.yaml")).unwrap();
    node.await_answers(WEB, &["timeout"]);
}

#[test]
fn rules_that_somebody_removes_are_back_within_a_second() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11"]);
    let proxy = node.proxy();
    node.await_answers(WEB, &["pod1"]);
    proxy.await_log(&["IPv6", "in step"]);
    // The thread that listens begins when both families are written.
    std::thread::sleep(Duration::from_millis(200));
    for meddling in [
        "flush ruleset",
        "flush chain ip signalbox services",
        "delete element ip signalbox frontends {10.96.0.10.tcp.80}",
    ] {
        node.nft(&meddling.replace("{10.96.0.10.tcp.80}", "{ 10.96.0.10 . tcp . 80 }"));
        let took = node.await_answers(WEB, &["pod1"]);
        assert!(took < Duration::from_secs(1), "{meddling}: {took:?}");
    }
    proxy.await_log(&["somebody else changed our table"]);
    // Somebody else's tables are their own.
    node.nft("add table ip mine");
    assert!(node.nft("list tables").contains("ip mine"));
}

#[test]
fn the_rules_outlive_the_proxy_and_the_next_one_finds_them_as_it_wants_them() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11", "10.244.1.12"]);
    node.nft("add table ip kube-proxy");
    node.nft("add table ip6 kube-proxy");
    node.nft("add table ip mine");
    let proxy = node.proxy();
    node.await_answers(WEB, &["pod1", "pod2"]);
    proxy.await_log(&["IPv6", "in step"]);
    assert!(!node.nft("list tables").contains("kube-proxy"));
    proxy.terminate();
    assert_eq!(node.answers(WEB), ["pod1", "pod2"]);

    let proxy = node.proxy();
    proxy.await_log(&["IPv4", "in step", "added=0", "removed=0", "replaced=0"]);
    proxy.kill();
    node.write("slice.yaml", &slice("web", &["10.244.1.13"]));
    assert_eq!(node.answers(WEB), ["pod1", "pod2"]);
    let proxy = node.proxy();
    node.await_answers(WEB, &["pod3"]);
    proxy.terminate();

    let cleaned = node.run(crate::node::signalbox().to_str().unwrap(), &["cleanup"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert_eq!(node.nft("list tables"), "table ip mine\n");
    assert_eq!(node.answers(WEB), ["timeout"]);
    let again = node.run(crate::node::signalbox().to_str().unwrap(), &["cleanup"]);
    assert_eq!(String::from_utf8(again.stdout).unwrap(), "nothing of signalbox was here\n");
}
