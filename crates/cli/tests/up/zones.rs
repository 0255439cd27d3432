//! Several nodes with zones: traffic stays where it was told to stay.

use std::net::SocketAddr;

use super::stage::{Stage, ask};

#[test]
fn traffic_policies_can_be_tried_on_one_machine() {
    let Some(stage) = Stage::isolated(&["--nodes=3", "--zones=a,b,c"]) else { return };
    let zones = "get nodes -o jsonpath={.items[*].metadata.labels.topology\\.kubernetes\\.io/zone}";
    assert_eq!(stage.ok(zones), "a b c");
    let service = stage.backend(3);
    // One on each node, as the scheduler spreads them.
    stage.comes(
        "get pods -l app=backend -o jsonpath={.items[*].spec.nodeName}",
        &|nodes| ["node-1", "node-2", "node-3"].iter().all(|node| nodes.contains(node)),
        "one pod on each node",
    );
    let node = stage.up.node("node-2").unwrap();
    stage.answer(&node, service);
    let local = stage.ok(
        "get pods -l app=backend --field-selector=spec.nodeName=node-2 -o jsonpath={.items[0].metadata.name}",
    );
    let answers = |from: &sys::netns::Namespace, to: SocketAddr| -> Vec<String> {
        (0..30).map(|_| ask(from, to).body).collect()
    };
    assert!(answers(&node, service).iter().any(|body| !body.starts_with(&local)), "all nodes answer");

    // The same zone, then the same node only.
    for patch in [
        r#"{"spec":{"trafficDistribution":"PreferSameZone"}}"#,
        r#"{"spec":{"trafficDistribution":null,"internalTrafficPolicy":"Local"}}"#,
    ] {
        stage.ok(&format!("patch service backend -p '{patch}'"));
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !answers(&node, service).iter().all(|body| body.starts_with(&local)) {
            assert!(std::time::Instant::now() < end, "{patch}\n{}", stage.everything());
        }
    }
    stage.ok(r#"patch service backend -p '{"spec":{"internalTrafficPolicy":"Cluster"}}'"#);

    // From outside of the nodes: a NodePort whose policy is Local shows the client's address.
    stage.ok(r#"patch service backend -p '{"spec":{"type":"NodePort","externalTrafficPolicy":"Local"}}'"#);
    let port: u16 = stage.ok("get service backend -o jsonpath={.spec.ports[0].nodePort}").parse().unwrap();
    let lan = stage.up.lan().unwrap();
    let body = stage.answer(&lan, SocketAddr::new("10.243.0.2".parse().unwrap(), port));
    assert!(body.starts_with(&local) && body.trim_end().ends_with("from 10.243.0.254"), "{body}");
}

#[test]
fn both_families_work() {
    let Some(stage) = Stage::isolated(&["--nodes=2", "--dual-stack"]) else { return };
    stage.backend(2);
    stage.ok(r#"patch service backend -p '{"spec":{"ipFamilyPolicy":"RequireDualStack"}}'"#);
    let addresses = stage.ok("get service backend -o jsonpath={.spec.clusterIPs[*]}");
    let client = stage.sleeper("client");
    let mut families = Vec::new();
    for address in addresses.split(' ') {
        let address: std::net::IpAddr = address.parse().unwrap();
        families.push(address.is_ipv4());
        // From a pod and from a node.
        for from in [&client, &stage.up.node("node-1").unwrap()] {
            let body = stage.answer(from, SocketAddr::new(address, 80));
            assert!(body.starts_with("backend-"), "{body}");
        }
    }
    assert_eq!(families, [true, false]);
    // Pods of different nodes reach each other.
    let peers = stage.ok("get pods -l app=backend -o jsonpath={.items[*].status.podIPs[*].ip}");
    for address in peers.split(' ') {
        stage.answer(&client, SocketAddr::new(address.parse().unwrap(), 8080));
    }
}
