//! What the program costs: rules in the kernel for a Service, and rules that a new connection meets. An alarm, not a
//! benchmark.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use backend_iptables::{Key, Program, Spot, render};
use model::{
    Affinity, Endpoint, EndpointView, Family, Fate, FrontendKind, FrontendView, IpNet, LocalTraffic, Manners,
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

pub(crate) fn view(services: u32, shape: (u32, bool)) -> View {
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

/// Rules of the chains of one Service and its frontends, without the branches that lead to their leaves, which others share.
fn rules_of(service: &ServiceView) -> usize {
    let node = view(0, (0, false)).node;
    let with = |services: Vec<ServiceView>| size(&View { node: node.clone(), services });
    let (none, one) = (with(Vec::new()), with(vec![service.clone()]));
    // One rule leads to each branch.
    let mut items =
        driver(&View { node: node.clone(), services: vec![service.clone()] }, Nowhere::default()).wanted();
    items.retain(|(key, _)| matches!(key, Key::Branch(_, spot) if *spot != Spot::Root));
    one.0 - none.0 - items.len()
}

/// The same program for both flavours; what each has in the kernel is compared with it elsewhere.
#[test]
fn what_each_kind_of_service_costs() {
    type Change = fn(&mut PortView);
    let cases: [(&str, u32, Change, usize); 10] = [
        ("a ClusterIP over one endpoint", 1, |_| {}, 3),
        ("over ten", 10, |_| {}, 12),
        ("over none: refused", 0, |port| refuse(port), 1),
        ("with a NodePort", 10, |port| external(port, FrontendKind::NodePort, None), 15),
        ("at a load balancer", 10, |port| external(port, FrontendKind::LoadBalancerIp, None), 15),
        ("for two ranges of sources", 10, |port| external(port, FrontendKind::LoadBalancerIp, Some(2)), 22),
        ("clients stick", 10, |port| port.affinity = Affinity::ClientIp { timeout_seconds: 60 }, 22),
        ("internal policy Local", 10, |port| port.internal = local(port), 5),
        ("external policy Local", 10, |port| external_local(port), 20),
        (
            "external policy Local, clients stick",
            10,
            |port| {
                external_local(port);
                port.affinity = Affinity::ClientIp { timeout_seconds: 60 };
            },
            33,
        ),
    ];
    let mut found = Vec::new();
    let mut wanted = Vec::new();
    for (name, endpoints, change, rules) in cases {
        let mut service = service(1, (endpoints, false));
        change(&mut service.ports[0]);
        found.push((name, rules_of(&service)));
        wanted.push((name, rules));
    }
    assert_eq!(found, wanted);
}

pub(crate) fn refuse(port: &mut PortView) {
    port.internal = Route::Reject;
}

fn external(port: &mut PortView, kind: FrontendKind, ranges: Option<u8>) {
    let (address, number) = match kind {
        FrontendKind::NodePort => (None, 30_001),
        FrontendKind::ClusterIp | FrontendKind::ExternalIp | FrontendKind::LoadBalancerIp => {
            (Some(Ipv4Addr::new(203, 0, 113, 7).into()), 80)
        }
    };
    let range = |number: u8| IpNet::new_assert(Ipv4Addr::new(198, 51, number, 0).into(), 24);
    let sources = ranges.map(|ranges| (0..ranges).map(range).collect());
    port.frontends.push(FrontendView { kind, address, port: number, sources, shadowed_by: None });
}

/// Three of the endpoints are on this node.
fn local(port: &PortView) -> Route {
    Route::Balance(Scope::Local, port.endpoints.iter().take(3).map(|view| view.endpoint).collect())
}

fn external_local(port: &mut PortView) {
    external(port, FrontendKind::NodePort, None);
    port.external_policy = TrafficPolicy::Local;
    port.external = local(port);
}

/// Branches are shared: most of 10,000 Services have one or two of their own.
#[test]
fn branches_are_shared() {
    let (rules, chains) = size(&view(10_000, (10, false)));
    assert!(rules / 10_000 <= 13 && chains / 10_000 <= 2, "{rules} rules, {chains} chains");
    let alone = size(&view(1, (10, true)));
    let none = size(&view(0, (10, true)));
    assert_eq!((alone.0 - none.0, alone.1 - none.1), (23, 10));
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
