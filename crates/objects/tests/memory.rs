//! What the cache costs: 10,000 Services with 10 endpoints each, decoded from JSON as an API server writes it. Alone in its
//! binary, so that the process has nothing else to keep. `cargo test -p objects --test memory -- --nocapture` prints it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;

use objects::{Event, Kind, Names, Objects, decode_json};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;
/// The whole agent may have 48 MiB for this cluster, rules and libraries included. Of the 15 MiB that are measured, 12 are
/// objects; code that is run for the first time and gaps between them are the rest, and differ between machines.
const LIMIT: usize = 20 << 10;

/// KiB that the process has in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// `10.x.y.z` with this number in the last three octets.
fn address(first: u32, number: u32) -> String {
    std::net::Ipv4Addr::from_bits(first + number).to_string()
}

fn service(number: u32) -> String {
    format!(
        r#"{{"metadata": {{"name": "service-{number}", "namespace": "load", "uid": "00000000-0000-4000-8000-{number:012}",
            "resourceVersion": "{number}", "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {{"app": "service-{number}"}}}},
            "spec": {{"type": "ClusterIP", "clusterIP": "{ip}", "clusterIPs": ["{ip}"], "ipFamilies": ["IPv4"],
            "ports": [{{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}}], "selector": {{"app": "service-{number}"}},
            "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}}, "status": {{"loadBalancer": {{}}}}}}"#,
        ip = address(0x0a00_0001, number)
    )
}

fn slice(number: u32) -> String {
    let mut endpoints = String::new();
    for index in 0..ENDPOINTS {
        let pod = number * ENDPOINTS + index;
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            endpoints,
            r#"{comma}{{"addresses": ["{ip}"], "conditions": {{"ready": true, "serving": true, "terminating": false}},
                "targetRef": {{"kind": "Pod", "name": "pod-{pod}"}}, "nodeName": "node-{node}", "zone": "zone-{zone}"}}"#,
            ip = address(0x0a80_0000, pod),
            node = pod % 200,
            zone = pod % 3
        );
    }
    format!(
        r#"{{"metadata": {{"name": "service-{number}-x7k2p", "namespace": "load", "labels": {{"kubernetes.io/service-name": "service-{number}"}}}},
            "addressType": "IPv4", "ports": [{{"name": "http", "protocol": "TCP", "port": 8080}}], "endpoints": [{endpoints}]}}"#
    )
}

#[test]
fn ten_thousand_services_take_little_memory() {
    let (mut objects, mut names) = (Objects::default(), Names::new());
    let before = resident();
    let mut parts = Vec::new();
    for (kind, written) in
        [(Kind::Service, service as fn(u32) -> String), (Kind::EndpointSlice, slice as fn(u32) -> String)]
    {
        objects.apply(Event::ListStarted(kind));
        for number in 0..SERVICES {
            let object = decode_json(kind, written(number).as_bytes(), &mut names).unwrap();
            objects.apply(Event::Applied(object));
        }
        objects.apply(Event::ListFinished(kind));
        parts.push(resident());
    }
    assert_eq!(objects.count(Kind::Service) + objects.count(Kind::EndpointSlice), 2 * SERVICES as usize);
    let taken = parts[1] - before;
    println!(
        "{SERVICES} Services: {} bytes each; their slices of {ENDPOINTS} endpoints: {} bytes each; {taken} KiB in all",
        ((parts[0] - before) << 10) / SERVICES as usize,
        ((parts[1] - parts[0]) << 10) / SERVICES as usize,
    );
    assert!(taken < LIMIT, "{taken} KiB");
}
