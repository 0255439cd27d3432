//! iptables mode alone: what each flag does to the rules, what NodePorts on 127.0.0.1 do, and what is counted by name.

use sys::nfacct::Nfacct;
use testkit::traffic::{Answered, Injection, Probing, inject, probe};

use crate::node::{Mode, Node, in_modes, service, slice};

in_modes! {
    flags_have_their_effect_on_rules: Legacy;
    node_ports_on_loopback_answer_and_are_counted: Legacy Nft;
    packets_that_belong_to_no_connection_are_dropped_and_counted: Legacy Nft;
}

const METRICS: &str = "127.0.0.1:10249";
const INVALID: &str = "-A KUBE-FORWARD -m conntrack --ctstate INVALID -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts -j DROP";
const ON_LOOPBACK: &str = "-A KUBE-POSTROUTING -m conntrack --ctorigdst 127.0.0.0/8 -m nfacct --nfacct-name  localhost_nps_accepted_pkts";
const NOT_ON_LOOPBACK: &str = "-A KUBE-SERVICES -d 127.0.0.0/8 -j RETURN";
const GUARDED: &str = "-A KUBE-LOCALNET ! -s 127.0.0.0/8 -d 127.0.0.0/8 ! -i lo";
const NODE_PORTS: &str = "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS";

const ROUTE_LOCALNET: &str = "/proc/sys/net/ipv4/conf/all/route_localnet";

/// Flags, rules that must be there because of them, rules that must not, and `route_localnet` afterwards.
type Row<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a str);

const ROWS: [Row<'_>; 10] = [
    (
        &[],
        &[
            INVALID,
            ON_LOOPBACK,
            GUARDED,
            NODE_PORTS,
            "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
            "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
            "-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT",
            "-A KUBE-MARK-CLUSTER ! -s 10.244.0.0/16 -j MARK",
        ],
        &[NOT_ON_LOOPBACK],
        "1",
    ),
    (
        &["--iptables-masquerade-bit=3"],
        &[
            "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x8/0x8",
            "-A KUBE-POSTROUTING -m mark ! --mark 0x8/0x8 -j RETURN",
            "-A KUBE-FORWARD -m mark --mark 0x8/0x8 -j ACCEPT",
        ],
        &["0x4000"],
        "1",
    ),
    (&["--masquerade-bit=3"], &["0x4000/0x4000"], &["0x8/0x8"], "1"),
    (&["--masquerade-all"], &["-A KUBE-MARK-CLUSTER -j MARK"], &["! -s 10.244.0.0/16"], "1"),
    (
        &["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth"],
        &["-A KUBE-MARK-CLUSTER ! -i veth+ -j MARK"],
        &["! -s 10.244.0.0/16"],
        "1",
    ),
    (&["--iptables-localhost-nodeports=false"], &[NOT_ON_LOOPBACK, NODE_PORTS, GUARDED], &[ON_LOOPBACK], "0"),
    (
        &["--nodeport-addresses=192.168.77.0/24"],
        &[
            NOT_ON_LOOPBACK,
            GUARDED,
            "-A KUBE-SERVICES -d 192.168.77.0/24 -m comment --comment \"kubernetes service nodeports\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
        ],
        &[NODE_PORTS, ON_LOOPBACK],
        "0",
    ),
    (
        &["--nodeport-addresses=primary", "--bind-address=192.168.77.11"],
        &[NOT_ON_LOOPBACK, GUARDED, "-A KUBE-SERVICES -d 192.168.77.11/32 -m comment"],
        &[NODE_PORTS, ON_LOOPBACK],
        "0",
    ),
    (
        &["--nodeport-addresses=127.0.0.0/16,192.168.77.0/24"],
        &[ON_LOOPBACK, GUARDED, "-A KUBE-SERVICES -d 127.0.0.0/16 -m comment"],
        &[NOT_ON_LOOPBACK],
        "1",
    ),
    (&["--conntrack-tcp-be-liberal"], &[ON_LOOPBACK], &["INVALID"], "1"),
];

/// Without counters the rules are others.
fn node_that_counts(mode: Mode) -> Option<Node> {
    let node = Node::in_mode(mode)?;
    let counters = || Nfacct::open().unwrap();
    if node.world.world().namespace("node").run(counters).unwrap().is_none() {
        eprintln!("SKIPPED (needs the kernel's nfnetlink_acct): rules that count");
        return None;
    }
    Some(node)
}

fn flags_have_their_effect_on_rules(mode: Mode) {
    let Some(mut node) = node_that_counts(mode) else { return };
    let manifests = node.folder.join("manifests").display().to_string();
    for (flags, wanted, unwanted, route_localnet) in ROWS {
        node.run("sh", &["-c", &format!("echo 0 >{ROUTE_LOCALNET}")]);
        let mut words = vec!["--manifests", &manifests];
        words.extend(flags);
        let proxy = node.proxy_with(&words);
        proxy.await_log(&["IPv6", "in step"]);
        let saved = String::from_utf8(node.run("iptables-save", &[]).stdout).unwrap();
        for rule in wanted {
            assert!(saved.contains(rule), "{flags:?}: without {rule}\n{saved}");
        }
        for rule in unwanted {
            assert!(!saved.contains(rule), "{flags:?}: with {rule}\n{saved}");
        }
        // It follows the rules.
        let begin = std::time::Instant::now();
        while node.run("cat", &[ROUTE_LOCALNET]).stdout != format!("{route_localnet}\n").as_bytes() {
            assert!(begin.elapsed() < crate::node::PATIENCE, "{flags:?}: not {route_localnet}");
        }
        proxy.terminate();
    }
    // The privileged part alone.
    node.run("sh", &["-c", &format!("echo 0 >{ROUTE_LOCALNET}")]);
    let mut proxy = node.proxy_with(&["--init-only"]);
    assert!(proxy.await_end(), "{}", proxy.log());
    assert_eq!(node.run("cat", &[ROUTE_LOCALNET]).stdout, b"1\n");
}

fn count(node: &Node, metric: &str) -> f64 {
    let page = node.page(METRICS, "/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{metric}: {page}")).parse().unwrap()
}

fn node_ports_on_loopback_answer_and_are_counted(mode: Mode) {
    const COUNTED: &str = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total";
    let Some(mut node) = node_that_counts(mode) else { return };
    let spec = "{type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]}";
    node.write("service.yaml", &service("web", spec));
    node.write("slice.yaml", &slice("web", &["10.244.1.11"]));
    let none = "{type: NodePort, clusterIP: 10.96.0.11, ports: [{port: 80, nodePort: 30081}]}";
    node.write("none.yaml", &service("none", none));
    let proxy = node.proxy();
    proxy.await_log(&["IPv4", "in step"]);
    node.await_answers("tcp/10.96.0.10:80", &["pod1"]);
    assert_eq!(count(&node, COUNTED), 0.0);
    // A connection is counted once, however much is said in it; what is no NodePort, or has no endpoint, is not.
    for (from, target, verdict) in [
        ("node", "tcp/127.0.0.1:30080", "pod1"),
        ("node", "tcp/192.168.77.11:30080", "pod1"),
        ("node", "tcp/127.0.0.1:30081", "refused"),
        ("node", "tcp/127.0.0.1:30082", "refused"),
        ("outside", "tcp/192.168.77.11:30080", "pod1"),
    ] {
        for answered in node.ask_from(from, target, 5) {
            let seen = if answered.is_ok() { &answered.name } else { &answered.verdict };
            assert_eq!(seen, verdict, "{from} {target}");
        }
    }
    assert_eq!(count(&node, COUNTED), 5.0);
    // The kernel's counters outlive the process, and go with the rules.
    proxy.terminate();
    let proxy = node.proxy();
    proxy.await_log(&["IPv4", "in step", "added=0 removed=0 replaced=0"]);
    assert_eq!(count(&node, COUNTED), 5.0);
    proxy.terminate();
    let cleaned = node.run(crate::node::signalbox().to_str().unwrap(), &["cleanup"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert_eq!(node.run("cat", &[ROUTE_LOCALNET]).stdout, b"0\n", "what guarded it is gone");
    let counters = || Nfacct::open().unwrap().expect("it was asked for").counters().unwrap();
    assert_eq!(node.world.world().namespace("node").run(counters).unwrap(), []);
}

fn packets_that_belong_to_no_connection_are_dropped_and_counted(mode: Mode) {
    const COUNTED: &str = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total";
    let Some(mut node) = node_that_counts(mode) else { return };
    let proxy = node.proxy();
    proxy.await_log(&["IPv6", "in step"]);
    const RESET: u8 = 4;
    for port in 1..=4 {
        let (from, to) = (([10, 244, 1, 10], port).into(), ([10, 244, 1, 11], 8080).into());
        let stray = Injection { from, to, sequence: 1, ack: 0, flags: RESET, learn: None };
        node.world.world().namespace("client").run(|| inject(&stray, || {})).unwrap().unwrap();
    }
    let begin = std::time::Instant::now();
    while count(&node, COUNTED) < 4.0 {
        assert!(begin.elapsed() < crate::node::PATIENCE, "{}", count(&node, COUNTED));
    }
    let probing = Probing::new("tcp/10.244.1.11:8080".parse().unwrap(), 3);
    let answers = node.world.world().namespace("client").run(|| probe(&probing)).unwrap();
    assert!(answers.iter().all(Answered::is_ok), "{answers:?}");
    assert_eq!(count(&node, COUNTED), 4.0, "good packets are not counted");
}
