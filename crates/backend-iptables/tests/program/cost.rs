//! What the program costs: rules in the kernel for a Service, and rules that a new connection meets. An alarm, not a
//! benchmark.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use backend_iptables::{Program, render};
use model::{
    Affinity, Endpoint, EndpointView, Family, Fate, FrontendKind, FrontendView, LocalTraffic, Manners,
    NodeView, Origin, Packet, PortView, Protocol, Route, Scope, ServiceKey, ServiceView, TrafficPolicy, View,
};

use crate::specification::{Nowhere, driver};

const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

/// The address of a ClusterIP, spread over a /12 as an allocator spreads them.
fn cluster_ip(number: u32) -> IpAddr {
    let spread = number.wrapping_mul(2_654_435_761) >> 12;
    Ipv4Addr::from(0x0a60_0000 | spread).into()
}

fn service(number: u32, (endpoints, node_port): (u32, bool)) -> ServiceView {
    let endpoint = |at: u32| Endpoint {
        address: Ipv4Addr::from(0x0af4_0000 + (number * endpoints + at) % 0xffff).into(),
        port: 8080,
    };
    let endpoints: Vec<Endpoint> = (0..endpoints).map(endpoint).collect();
    let route = Route::Balance(Scope::Cluster, endpoints.clone());
    let frontend =
        |kind, address, port| FrontendView { kind, address, port, sources: None, shadowed_by: None };
    let mut frontends = vec![frontend(FrontendKind::ClusterIp, Some(cluster_ip(number)), 80)];
    if node_port {
        frontends.push(frontend(FrontendKind::NodePort, None, 20_000 + (number % 40_000) as u16));
    }
    let view = |endpoint: &Endpoint| EndpointView {
        endpoint: *endpoint,
        node: None,
        local: false,
        serving: true,
        cluster: Fate::Used,
        in_local: Fate::ScopeUnused,
    };
    let port = PortView {
        name: Arc::from(""),
        protocol: Protocol::Tcp,
        port: 80,
        frontends,
        internal: route.clone(),
        external: route.clone(),
        external_from_cluster: route,
        external_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        endpoints: endpoints.iter().map(view).collect(),
    };
    let key = ServiceKey::new("shop", &format!("web-{number}"));
    ServiceView { key, ports: vec![port], health_check_node_port: 0, problems: Vec::new() }
}

fn view(services: u32, shape: (u32, bool)) -> View {
    let node = NodeView {
        name: Arc::from("n1"),
        family: Family::V4,
        addresses: vec![NODE],
        local_traffic: LocalTraffic::From("10.244.0.0/16".parse().unwrap()),
        masquerade_all: false,
        masquerade_mark: 0x4000,
        node_port_addresses: vec!["0.0.0.0/0".parse().unwrap()],
        service_cidrs: Vec::new(),
        manners: Manners { guards_service_addresses: false, localhost_node_ports: true, drops_invalid: true },
    };
    View { node, services: (0..services).map(|number| service(number, shape)).collect() }
}

/// Rules and chains of a program.
fn size(view: &View) -> (usize, usize) {
    let text = render(Family::V4, &driver(view, Nowhere::default()).wanted());
    let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
    (count("-A "), count(":"))
}

#[test]
fn a_service_costs_few_rules() {
    for (shape, rules_of_one, chains_of_one) in
        [((10, false), 18, 7), ((10, true), 23, 10), ((1, false), 9, 7), ((0, false), 8, 7)]
    {
        let (none, one) = (size(&view(0, shape)), size(&view(1, shape)));
        let cost = (one.0 - none.0, one.1 - none.1);
        assert!(cost.0 <= rules_of_one && cost.1 <= chains_of_one, "{shape:?}: {cost:?}");
    }
    // Branches are shared: most of 10,000 Services have one or two of their own.
    let many = size(&view(10_000, (10, false)));
    let (rules, chains) = (many.0 / 10_000, many.1 / 10_000);
    assert!(rules <= 13 && chains <= 2, "{many:?}");
}

#[test]
fn a_new_connection_meets_few_rules() {
    let view = view(10_000, (1, true));
    let items = driver(&view, Nowhere::default()).wanted();
    let program = Program::new(&items, &[NODE]);
    let met = |destination: IpAddr, port: u16| {
        program.rules_met(&Packet {
            origin: Origin::Interface("cni0".to_owned()),
            source: Ipv4Addr::new(10, 244, 0, 9).into(),
            destination,
            protocol: Protocol::Tcp,
            port,
        })
    };
    let to_services: Vec<usize> = (0..10_000).step_by(97).map(|number| met(cluster_ip(number), 80)).collect();
    let (most, mean) =
        (to_services.iter().max().unwrap(), to_services.iter().sum::<usize>() / to_services.len());
    assert!(*most <= 80 && mean <= 50, "{most} at most, {mean} on average");
    // Straight to a pod, and to a NodePort.
    assert!(met(Ipv4Addr::new(10, 244, 7, 7).into(), 8080) <= 40);
    assert!(met(NODE, 27_777) <= 150, "{}", met(NODE, 27_777));
}
