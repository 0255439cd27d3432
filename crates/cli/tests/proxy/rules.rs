//! The rules: kept, repaired, found again, removed.

use std::time::{Duration, Instant};

use crate::node::{Mode, Node, in_modes, service, slice};

in_modes! {
    changes_are_followed_and_both_families_are_served: Nftables Legacy Nft;
}

const WEB: &str = "tcp/10.96.0.10:80";

fn web(node: &Node, addresses: &[&str]) {
    node.write("service.yaml", &service("web", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
    node.write("slice.yaml", &slice("web", addresses));
}

fn changes_are_followed_and_both_families_are_served(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
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

/// kube-proxy's rules in iptables mode, for both flavours; the foreign ones must stay.
fn leave_kube_proxys_rules(node: &Node, program: &str) {
    let rules = "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-ABC - [0:0]\n:FOREIGN - [0:0]\n\
        -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n-A PREROUTING -j FOREIGN\n\
        -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ABC\n\
        -A KUBE-SVC-ABC -p tcp -j DNAT --to-destination 10.244.1.13:8080\nCOMMIT\n";
    let file = node.folder.join(program);
    std::fs::write(&file, rules).unwrap();
    let output = node.run(program, &["--noflush", file.to_str().unwrap()]);
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn saved(node: &Node, program: &str) -> String {
    String::from_utf8(node.run(program, &[]).stdout).unwrap()
}

#[test]
fn a_kube_proxy_of_another_mode_is_taken_over_from() {
    let Some(mut node) = Node::build() else { return };
    leave_kube_proxys_rules(&node, "iptables-nft-restore");
    leave_kube_proxys_rules(&node, "iptables-legacy-restore");
    node.nft("add table ip kube-proxy");
    assert_eq!(node.answers(WEB), ["pod3"], "kube-proxy's rules work");
    web(&node, &["10.244.1.11"]);
    let proxy = node.proxy();
    for flavour in ["iptables-nft-save", "iptables-legacy-save"] {
        proxy.await_log(&["removed kube-proxy's chains of another mode", flavour]);
        let saved = saved(&node, flavour);
        assert!(!saved.contains("KUBE-") && saved.contains("-A PREROUTING -j FOREIGN"), "{flavour}: {saved}");
    }
    node.await_answers(WEB, &["pod1"]);
    assert!(!node.nft("list tables").contains("kube-proxy"));
    proxy.terminate();

    // The same at the operator's word, with our own table.
    leave_kube_proxys_rules(&node, "iptables-legacy-restore");
    node.nft("add table ip6 kube-proxy");
    let mut cleaner = node.proxy_with(&["--cleanup"]);
    assert!(cleaner.await_end(), "{}", cleaner.log());
    assert!(!saved(&node, "iptables-legacy-save").contains("KUBE-"));
    let tables = node.nft("list tables");
    assert!(!tables.contains("kube-proxy") && !tables.contains("signalbox"), "{tables}");
}

#[test]
fn modes_are_switched_without_remains() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11"]);
    let manifests = node.folder.join("manifests").display().to_string();
    let iptables = ["--manifests", &manifests, "--proxy-mode=iptables"];
    for _ in 0..2 {
        let proxy = node.proxy();
        node.await_answers(WEB, &["pod1"]);
        proxy.await_log(&["IPv6", "in step"]);
        proxy.terminate();
        let proxy = node.proxy_with(&iptables);
        proxy.await_log(&["IPv4", "in step"]);
        proxy.await_log(&["removed the nftables table of another mode"]);
        assert!(!node.nft("list tables").contains("signalbox"));
        assert_eq!(node.answers(WEB), ["pod1"]);
        proxy.terminate();
        let proxy = node.proxy();
        proxy.await_log(&["removed kube-proxy's chains of another mode", "/iptables"]);
        proxy.await_log(&["removed kube-proxy's chains of another mode", "/ip6tables"]);
        assert_eq!(node.answers(WEB), ["pod1"]);
        proxy.terminate();
        for flavour in ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save"] {
            assert!(!saved(&node, flavour).contains("KUBE-"), "{flavour}: {}", saved(&node, flavour));
        }
    }
}

#[test]
fn a_flush_by_others_is_repaired_and_cleanup_leaves_nothing_in_iptables_mode() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11"]);
    let manifests = node.folder.join("manifests").display().to_string();
    let _proxy = node.proxy_with(&["--manifests", &manifests, "--proxy-mode=iptables"]);
    node.await_answers(WEB, &["pod1"]);
    for flush in [&["-t", "nat", "-F"][..], &["-t", "filter", "-F"], &["-t", "nat", "-F", "PREROUTING"]] {
        // The first look must have been taken.
        std::thread::sleep(Duration::from_millis(1200));
        for program in ["iptables-nft", "iptables-legacy"] {
            assert!(node.run(program, flush).status.success());
        }
        let begin = Instant::now();
        let is_back = || {
            let all =
                ["iptables-nft-save", "iptables-legacy-save"].map(|program| saved(&node, program)).concat();
            all.contains("-j KUBE-FORWARD") && all.contains("-A PREROUTING") && all.contains("-A KUBE-SVC-")
        };
        while !is_back() {
            assert!(begin.elapsed() < Duration::from_secs(3), "{flush:?} was not repaired");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(node.answers(WEB), ["pod1"]);
    }
    drop(_proxy);
    let cleaned = node.run(crate::node::signalbox().to_str().unwrap(), &["cleanup"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert!(String::from_utf8_lossy(&cleaned.stdout).contains("chains of signalbox"), "{cleaned:?}");
    for flavour in ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save"] {
        assert!(!saved(&node, flavour).contains("KUBE-"));
    }
}
