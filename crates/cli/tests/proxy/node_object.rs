//! This node's own Node object, and the other objects and settings that say what is local: changes take effect at once.

use serde_json::json;

use crate::apiserver::{WEB, start};
use crate::node::{Mode, Node, in_modes, service, slice};

in_modes! {
    addresses_pod_ranges_and_service_ranges_are_followed: Nftables Legacy;
    pods_are_known_by_their_interfaces: Nftables Legacy;
}

/// The client's address as the server saw it.
fn source(node: &Node, from: &str) -> String {
    let answered = node.ask_from(from, WEB, 1).pop().unwrap();
    answered.src.map_or(answered.verdict, |address| address.ip().to_string())
}

#[track_caller]
fn await_source(node: &Node, from: &str, wanted: &str) {
    let begin = std::time::Instant::now();
    loop {
        let seen = source(node, from);
        if seen == wanted {
            return;
        }
        assert!(begin.elapsed() < crate::node::PATIENCE, "{from}: {seen}, not {wanted}");
    }
}

#[track_caller]
fn await_from_outside(node: &Node, target: &str, wanted: &str) {
    let begin = std::time::Instant::now();
    loop {
        let answered = node.ask_from("outside", target, 1).pop().unwrap();
        let seen = if answered.is_ok() { answered.name } else { answered.verdict };
        if seen == wanted {
            return;
        }
        assert!(begin.elapsed() < crate::node::PATIENCE, "{target}: {seen}, not {wanted}");
    }
}

fn addresses_pod_ranges_and_service_ranges_are_followed(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = start(&node);
    server.merge_patch(
        ("Service", "shop", "web"),
        &json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}),
        false,
    );
    let kubeconfig = node.folder.join("kubeconfig").display().to_string();
    // What nftables mode does by itself.
    let primary = "--nodeport-addresses=primary";
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig, "--detect-local-mode=NodeCIDR", primary]);
    proxy.await_log(&["IPv6", "in step"]);

    // The node gets another primary address; NodePorts move with it.
    node.run("ip", &["address", "add", "192.168.77.12/24", "dev", "uplink"]);
    await_from_outside(&node, "tcp/192.168.77.11:30080", "pod1");
    assert_eq!(node.ask_from("outside", "tcp/192.168.77.12:30080", 1)[0].verdict, "refused");
    let address =
        |address: &str| json!({"status": {"addresses": [{"type": "InternalIP", "address": address}]}});
    server.merge_patch(("Node", "", "node"), &address("192.168.77.12"), true);
    await_from_outside(&node, "tcp/192.168.77.12:30080", "pod1");
    await_from_outside(&node, "tcp/192.168.77.11:30080", "refused");
    server.merge_patch(("Node", "", "node"), &address("192.168.77.11"), true);
    await_from_outside(&node, "tcp/192.168.77.11:30080", "pod1");

    // Which pods are its own is not known yet: nobody is masqueraded. Then all who are not.
    assert_eq!(source(&node, "client"), "10.244.1.10");
    server.merge_patch(("Node", "", "node"), &json!({"spec": {"podCIDRs": ["10.99.0.0/16"]}}), false);
    await_source(&node, "client", "192.168.77.11");
    server.merge_patch(("Node", "", "node"), &json!({"spec": {"podCIDRs": ["10.244.1.0/24"]}}), false);
    await_source(&node, "client", "10.244.1.10");

    if mode != Mode::Nftables {
        return;
    }
    // An address for Services that none has is nobody's: silence instead of a way out of the cluster.
    let unknown = "tcp/10.111.0.1:80";
    let outside = node
        .world
        .world()
        .command("outside", "ip".as_ref())
        .args(["address", "add", "10.111.0.1/32", "dev", "eth0"])
        .status();
    assert!(outside.unwrap().success());
    assert_eq!(node.answers(unknown), ["refused"], "somebody outside has it, and no server");
    server.apply(
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"},
                        "spec": {"cidrs": ["10.111.0.0/16"]}}),
    );
    node.await_answers(unknown, &["timeout"]);
}

fn pods_are_known_by_their_interfaces(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    node.write("service.yaml", &service("web", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
    node.write("slice.yaml", &slice("web", &["10.244.1.11"]));
    let manifests = node.folder.join("manifests").display().to_string();
    // Whatever the range of the pods says.
    for (mode, client, pod2) in [
        ("InterfaceNamePrefix --pod-interface-name-prefix=pod-cl", "10.244.1.10", "192.168.77.11"),
        ("InterfaceNamePrefix --pod-interface-name-prefix=pod-", "10.244.1.10", "10.244.1.12"),
        ("BridgeInterface --pod-bridge-interface=pod-pod2", "192.168.77.11", "10.244.1.12"),
        ("ClusterCIDR", "10.244.1.10", "10.244.1.12"),
    ] {
        let mode = format!("--manifests {manifests} --detect-local-mode={mode}");
        let proxy = node.proxy_with(&mode.split(' ').collect::<Vec<_>>());
        proxy.await_log(&["IPv6", "in step"]);
        assert_eq!(
            (source(&node, "client"), source(&node, "pod2")),
            (client.to_owned(), pod2.to_owned()),
            "{mode}"
        );
        proxy.terminate();
    }
}
