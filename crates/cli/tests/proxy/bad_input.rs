//! Bad input: one clear message that names object and field, and everything else works on.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::node::{Mode, Node, in_modes, service, signalbox, signalbox_says, slice};

in_modes! {
    a_broken_manifest_is_named_and_the_rest_is_in_force: Nftables Legacy;
    a_thousand_endpoints_are_balanced_over: Nftables Legacy;
    missing_privileges_are_named: Nftables Legacy;
}

fn a_broken_manifest_is_named_and_the_rest_is_in_force(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    node.write("a.yaml", &service("good", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
    node.write("b.yaml", &slice("good", &["10.244.1.11", "300.1.2.3", "fd00::1"]));
    node.write("c.yaml", &(slice("none", &[]) + "---\nkind: [broken\n"));
    node.write(
        "d.yaml",
        &service("odd", "{clusterIP: 10.96.0.11, ports: [{port: 99999}, {port: 81, protocol: ICMP}, {port: 82}, {port: 82}]}"),
    );
    node.write(
        "e.yaml",
        &service("thief", "{clusterIP: 10.96.0.10, ports: [{port: 80}, {name: b, port: 85}]}"),
    );
    node.write("f.yaml", &slice("thief", &["10.244.1.12"]));
    node.write("g.yaml", &slice("odd", &["10.244.1.13"]));
    let proxy = node.proxy();
    node.await_answers("tcp/10.96.0.10:80", &["pod1"]);
    node.await_answers("tcp/10.96.0.10:85", &["refused"]);
    node.await_answers("tcp/10.96.0.11:82", &["pod3"]);
    proxy.await_log(&["b.yaml", "shop/good-IPv4", "endpoints[1].addresses[0]", "300.1.2.3"]);
    proxy.await_log(&["shop/good-IPv4", "endpoints[2].addresses[0]", "fd00::1"]);
    proxy.await_log(&["c.yaml"]);
    proxy.await_log(&["Service shop/odd", "spec.ports[0].port", "99999"]);
    proxy.await_log(&["Service shop/odd", "spec.ports[1].protocol", "ICMP"]);
    proxy.await_log(&["Service shop/odd", "spec.ports[3]"]);
    proxy.await_log(&["Service shop/thief", "spec.clusterIP", "shop/good"]);
    node.write("c.yaml", &slice("none", &[]));
    node.write("b.yaml", &slice("good", &["10.244.1.12"]));
    node.await_answers("tcp/10.96.0.10:80", &["pod2"]);
}

fn a_thousand_endpoints_are_balanced_over(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let spec = "{clusterIP: 10.96.0.10, sessionAffinity: None, ports: [{port: 80}]}";
    node.write("service.yaml", &service("many", spec));
    // Three that answer, the rest does not.
    let addresses: Vec<String> = (0..1000_u32)
        .map(|number| {
            if number < 3 {
                format!("10.244.1.1{}", number + 1)
            } else {
                format!("10.244.{}.{}", 2 + number / 250, number % 250)
            }
        })
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    node.write("slice.yaml", &slice("many", &addresses));
    let proxy = node.proxy();
    proxy.await_log(&["IPv4", "in step"]);
    let listed = node.run(signalbox().to_str().unwrap(), &["--version"]);
    assert!(listed.status.success());
    let goes_to_thousand = || match mode {
        Mode::Nftables => node.program().contains("goto cluster-1000"),
        Mode::Legacy | Mode::Nft => node.program().contains("--probability 0.00100000016 "),
    };
    assert!(goes_to_thousand());
    node.write("slice.yaml", &slice("many", &addresses[..3]));
    node.await_answers("tcp/10.96.0.10:80", &["pod1", "pod2", "pod3"]);
    assert!(!goes_to_thousand());
}

fn missing_privileges_are_named(mode: Mode) {
    let Some(node) = Node::in_mode(mode) else { return };
    // Nobody may read the folder that the binary is in; it gets a copy.
    let copy = node.folder.join("signalbox");
    // Not by this process: children of other tests would have it open for writing until they are programs of their own.
    assert!(Command::new("cp").arg(signalbox()).arg(&copy).status().unwrap().success());
    let mut command = Command::new(copy);
    let mode = format!("--proxy-mode={}", mode.name());
    command.args(["proxy", "--manifests", "/tmp", &mode]).uid(65_534).gid(65_534);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(text.contains("needs root or the capability CAP_NET_ADMIN"), "{text}");
}

#[test]
fn mistakes_in_flags_are_listed_at_once_and_need_no_root() {
    let (ok, text) =
        signalbox_says(&["proxy", "--cluster-cidr=x,y", "--masquerade-bit=40", "--manifests=/tmp"]);
    assert!(!ok);
    for part in ["--cluster-cidr: `x`", "--cluster-cidr: `y`", "--masquerade-bit: 40"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (ok, text) = signalbox_says(&["proxy"]);
    assert!(!ok && text.contains("--kubeconfig FILE") && text.contains("--manifests DIR"), "{text}");
}
