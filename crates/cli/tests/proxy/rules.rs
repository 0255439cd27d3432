//! The rules: kept, repaired, found again, removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use testkit::traffic::{Probing, probe};

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
        // A second, and what a busy machine needs to ask.
        assert!(took < Duration::from_secs(4), "{meddling}: {took:?}");
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

/// Asks all the time, from a thread of its own, until it is told to end; answers how often, and what was not answered.
fn ask_always(node: &Node) -> (Arc<AtomicBool>, JoinHandle<(usize, Vec<String>)>) {
    let client = node.world.world().namespace("client");
    let ends = Arc::new(AtomicBool::new(false));
    let is_over = ends.clone();
    let ask = move || {
        // Shorter than the second after which TCP tries again.
        let timeout = Duration::from_millis(900);
        let probing = Probing { timeout, parallel: 5, ..Probing::new(WEB.parse().unwrap(), 5) };
        let (mut asked, mut failed) = (0, Vec::new());
        while !is_over.load(Ordering::Relaxed) {
            for answered in client.run(|| probe(&probing)).unwrap() {
                asked += 1;
                if !answered.is_ok() {
                    failed.push(answered.verdict);
                }
            }
        }
        (asked, failed)
    };
    (ends, std::thread::spawn(ask))
}

#[test]
fn modes_are_switched_without_gap_and_remains() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11"]);
    let proxy = node.proxy();
    node.await_answers(WEB, &["pod1"]);
    proxy.terminate();
    let (ends, asking) = ask_always(&node);
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
        assert!(has_ipsets(&node));
        proxy.terminate();
        let proxy = node.proxy();
        proxy.await_log(&["removed kube-proxy's chains of another mode", "/iptables"]);
        proxy.await_log(&["removed kube-proxy's chains of another mode", "/ip6tables"]);
        assert_eq!(node.answers(WEB), ["pod1"]);
        proxy.terminate();
        for flavour in ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save"] {
            assert!(!saved(&node, flavour).contains("KUBE-"), "{flavour}: {}", saved(&node, flavour));
        }
        assert!(!has_ipsets(&node));
    }
    ends.store(true, Ordering::Relaxed);
    let (asked, failed) = asking.join().unwrap();
    // Those of one moment are five; a machine that is busy elsewhere may lose one.
    assert!(asked > 100 && failed.len() < 5, "{} of {asked} failed: {failed:?}", failed.len());
}

/// Answers whether the ipsets of iptables mode are there.
fn has_ipsets(node: &Node) -> bool {
    let find = || {
        let mut sets = sys::ipset::Ipset::open().unwrap();
        ["KUBE-LOOP-BACK", "KUBE-6-LOOP-BACK"].iter().any(|name| sets.elements(name).unwrap().is_some())
    };
    node.world.world().namespace("node").run(find).unwrap()
}

#[test]
fn cleanup_leaves_nothing_of_iptables_mode() {
    let Some(mut node) = Node::build() else { return };
    web(&node, &["10.244.1.11"]);
    let manifests = node.folder.join("manifests").display().to_string();
    let words: [&[&str]; 2] = [&["cleanup"], &["proxy", "--cleanup"]];
    for cleanup in words {
        let proxy = node.proxy_with(&["--manifests", &manifests, "--proxy-mode=iptables"]);
        proxy.await_log(&["IPv6", "in step"]);
        node.await_answers(WEB, &["pod1"]);
        proxy.terminate();
        assert!(has_ipsets(&node));
        node.nft("add table ip signalbox");
        let cleaned = node.run(crate::node::signalbox().to_str().unwrap(), cleanup);
        assert!(cleaned.status.success(), "{cleaned:?}");
        assert!(String::from_utf8_lossy(&cleaned.stdout).contains("chains of"), "{cleaned:?}");
        for flavour in ["iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save"] {
            assert!(!saved(&node, flavour).contains("KUBE-"));
        }
        assert!(!has_ipsets(&node));
        assert!(!node.nft("list tables").contains("signalbox"));
    }
}
