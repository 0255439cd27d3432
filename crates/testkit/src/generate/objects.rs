//! Random objects, and histories of them.

use std::net::IpAddr;

use model::{Affinity, Family, Protocol, ServiceKey, TrafficPolicy};
use objects::{
    Conditions, EndpointRecord, EndpointSlice, Event, Hints, Kind, Name, Node, Object, ObjectKey, Service,
    ServiceCidr, ServicePort, ServiceType, SlicePort,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, any};
use proptest::sample::{select, subsequence};
use proptest::strategy::{BoxedStrategy, Strategy};
use proptest::{prop_compose, prop_oneof};

use super::universe::{
    self as u, ENDPOINT_PORTS, NAMESPACE, NODE, NODE_PORTS, NODES, PORT_NAMES, PORTS, SERVICES, ZONES,
};

/// Everything that a node's view depends on; no two objects of a kind have the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// This node's object; it may not be known yet.
    pub node: Option<Node>,
    /// Ranges of ClusterIPs.
    pub service_cidrs: Vec<ServiceCidr>,
    /// Services.
    pub services: Vec<Service>,
    /// Their slices, up to two of each family for a Service, and some that belong to nobody.
    pub slices: Vec<EndpointSlice>,
}

impl Cluster {
    /// All objects, as one list each.
    pub fn events(&self) -> Vec<Event> {
        let nodes = self.node.iter().cloned().map(Object::Node);
        let cidrs = self.service_cidrs.iter().cloned().map(Object::ServiceCidr);
        let services = self.services.iter().cloned().map(Object::Service);
        let slices = self.slices.iter().cloned().map(Object::EndpointSlice);
        let objects = nodes.chain(cidrs).chain(services).chain(slices).map(Event::Applied);
        let starts = Kind::ALL.into_iter().map(Event::ListStarted);
        let ends = Kind::ALL.into_iter().map(Event::ListFinished);
        starts.chain(objects).chain(ends).collect()
    }
}

prop_compose! {
    /// A cluster of up to five Services.
    pub fn cluster()(
        node in option::weighted(0.9, node()),
        service_cidrs in option::weighted(0.9, service_cidr()),
        names in subsequence(SERVICES.to_vec(), 1..=SERVICES.len()),
    )(
        services in names.iter().map(|name| service(name)).collect::<Vec<_>>(),
        slices in names.iter().flat_map(|name| slices_of(name)).collect::<Vec<_>>(),
        node in Just(node),
        service_cidrs in Just(service_cidrs),
    ) -> Cluster {
        let (service_cidrs, slices) = (service_cidrs.into_iter().collect(), slices.into_iter().flatten().collect());
        Cluster { node, service_cidrs, services, slices }
    }
}

/// Events in random order about few objects: new ones, changed ones, deleted ones, also some that never existed, and
/// complete lists in between that forget everything they do not repeat.
pub fn history(length: usize) -> impl Strategy<Value = Vec<Event>> {
    let apply = prop_oneof![
        4 => select(SERVICES.to_vec()).prop_flat_map(service).prop_map(Object::Service),
        8 => any_slice().prop_map(Object::EndpointSlice),
        1 => node().prop_map(Object::Node),
        1 => service_cidr().prop_map(Object::ServiceCidr),
    ];
    let gone = prop_oneof![
        4 => select(SERVICES.to_vec()).prop_map(|name| (Kind::Service, service_key(name).as_str().into())),
        6 => slice_name().prop_map(|(service, number, _)| (Kind::EndpointSlice, slice_key(service, number))),
        1 => Just((Kind::Node, Name::from(NODE))),
        1 => Just((Kind::ServiceCidr, Name::from("kubernetes"))),
    ];
    let step: BoxedStrategy<Vec<Event>> = prop_oneof![
        12 => apply.prop_map(|object| vec![Event::Applied(object)]),
        5 => gone.prop_map(|(kind, name)| vec![Event::Deleted(ObjectKey { kind, name })]),
        1 => cluster().prop_map(|cluster| cluster.events()),
    ]
    .boxed();
    vec(step, 1..=length).prop_map(|steps| steps.into_iter().flatten().collect())
}

prop_compose! {
    /// This node, with addresses of none, one or both families, in any order.
    pub fn node()(
        zone in option::of(select(ZONES.to_vec())),
        addresses in subsequence(own_addresses(), 0..=4).prop_shuffle(),
        pod_cidrs in subsequence(Family::BOTH.map(u::own_pod_range).to_vec(), 0..=2),
    ) -> Node {
        Node { name: NODE.into(), zone: zone.map(Name::from), addresses, pod_cidrs, is_leaving: false, problems: Vec::new() }
    }
}

fn own_addresses() -> Vec<IpAddr> {
    let of = |family| [u::node_address(family, 1), u::second_node_address(family, 1)];
    Family::BOTH.into_iter().flat_map(of).collect()
}

prop_compose! {
    /// The one ServiceCIDR, of one or both families.
    pub fn service_cidr()(cidrs in subsequence(Family::BOTH.map(u::service_range).to_vec(), 1..=2)) -> ServiceCidr {
        ServiceCidr { name: "kubernetes".into(), cidrs, problems: Vec::new() }
    }
}

fn service_key(name: &str) -> ServiceKey {
    ServiceKey::new(NAMESPACE, name)
}

prop_compose! {
    /// A Service of this name. Some are headless, aliases or another proxy's; many contend with others.
    pub fn service(name: &'static str)(
        (created, other_proxy, service_type) in (0..3_i64, chance(0.05), service_type()),
        cluster_ips in (option::weighted(0.9, 1..5_u8), option::weighted(0.6, 1..5_u8)),
        external_ips in addresses(external_addresses),
        load_balancer_ips in addresses(|family| vec![u::load_balancer_ip(family, 1), u::load_balancer_ip(family, 2)]),
        source_ranges in option::weighted(0.4, source_ranges()),
        (internal_policy, external_policy) in (policy(), policy()),
        affinity in affinity(),
        ports in ports(),
    ) -> Service {
        let v4 = cluster_ips.0.map(|number| u::cluster_ip(Family::V4, number));
        let v6 = cluster_ips.1.map(|number| u::cluster_ip(Family::V6, number));
        Service {
            key: service_key(name),
            created,
            uid: "".into(),
            other_proxy,
            service_type,
            cluster_ips: v4.into_iter().chain(v6).collect(),
            external_ips,
            load_balancer_ips,
            source_ranges: source_ranges.unwrap_or_default(),
            internal_policy,
            external_policy,
            affinity,
            health_check_node_port: 0,
            ports,
            problems: Vec::new(),
        }
    }
}

fn chance(probability: f64) -> impl Strategy<Value = bool> {
    proptest::bool::weighted(probability)
}

fn service_type() -> impl Strategy<Value = ServiceType> {
    prop_oneof![
        8 => Just(ServiceType::ClusterIp),
        8 => Just(ServiceType::NodePort),
        8 => Just(ServiceType::LoadBalancer),
        1 => Just(ServiceType::ExternalName),
    ]
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn affinity() -> impl Strategy<Value = Affinity> {
    prop_oneof![
        3 => Just(Affinity::None),
        1 => (1..=86_400_u32).prop_map(|timeout_seconds| Affinity::ClientIp { timeout_seconds }),
    ]
}

/// The usual one, or rarely any other.
fn protocol(usual: Protocol) -> impl Strategy<Value = Protocol> {
    prop_oneof![9 => Just(usual), 1 => select(Protocol::ALL.to_vec())]
}

/// Addresses of the node, of another Service and of the service range are among them.
fn external_addresses(family: Family) -> Vec<IpAddr> {
    vec![
        u::external_ip(family, 1),
        u::external_ip(family, 2),
        u::node_address(family, 1),
        u::load_balancer_ip(family, 1),
        u::cluster_ip(family, 1),
        u::cluster_ip(family, 9),
    ]
}

/// None, or a few of both families; sorted, as decoders make them.
fn addresses(of: fn(Family) -> Vec<IpAddr>) -> impl Strategy<Value = Vec<IpAddr>> {
    let mut all: Vec<IpAddr> = Family::BOTH.into_iter().flat_map(of).collect();
    all.sort_unstable();
    prop_oneof![Just(Vec::new()), subsequence(all, 0..=4)]
}

fn source_ranges() -> impl Strategy<Value = Vec<model::IpNet>> {
    let mut all: Vec<_> = Family::BOTH.into_iter().flat_map(u::source_ranges).collect();
    all.sort_unstable();
    // The last of each family is everybody: rare, or no Service would be restricted.
    let narrow: Vec<_> = all.iter().copied().filter(|range| range.prefix_len() != 0).collect();
    prop_oneof![5 => subsequence(narrow, 1..=3), 1 => subsequence(all, 1..=4)]
}

/// Names are unique in a Service, as the API server demands; numbers and NodePorts are not, as in manifests that
/// nobody checked.
fn ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let named = subsequence(PORT_NAMES[1..].to_vec(), 1..=3);
    let unnamed = Just(vec![PORT_NAMES[0]]);
    prop_oneof![2 => named, 1 => unnamed].prop_flat_map(|names| {
        names.into_iter().map(|(name, usual)| service_port(name, usual)).collect::<Vec<_>>()
    })
}

fn service_port(name: &'static str, usual: Protocol) -> impl Strategy<Value = ServicePort> {
    let node_port = prop_oneof![1 => Just(0), 2 => select(NODE_PORTS.to_vec())];
    let number = prop_oneof![2 => Just(PORTS[0]), 1 => select(PORTS.to_vec())];
    (protocol(usual), number, node_port).prop_map(move |(protocol, port, node_port)| ServicePort {
        name: name.into(),
        protocol,
        port,
        node_port,
    })
}

fn slice_key(service: &str, number: u8) -> Name {
    format!("{NAMESPACE}/{service}-{number}").into()
}

/// The Service, number and family of a slice. Even numbers are IPv4.
fn slice_name() -> impl Strategy<Value = (&'static str, u8, Family)> {
    (select(SERVICES.to_vec()), 0..4_u8).prop_map(|(service, number)| (service, number, slice_family(number)))
}

fn slice_family(number: u8) -> Family {
    if number.is_multiple_of(2) { Family::V4 } else { Family::V6 }
}

fn any_slice() -> impl Strategy<Value = EndpointSlice> {
    slice_name().prop_flat_map(|(service, number, _)| slice(service, number))
}

/// Most Services have a slice of each family, some two or none.
fn slices_of(service: &'static str) -> Vec<BoxedStrategy<Option<EndpointSlice>>> {
    let odds = [0.9, 0.7, 0.3, 0.2];
    (0..4).zip(odds).map(|(number, odds)| option::weighted(odds, slice(service, number)).boxed()).collect()
}

prop_compose! {
    /// The slice `service-number`, of IPv4 when the number is even. Rarely it has no family or belongs to nobody.
    pub fn slice(service: &'static str, number: u8)(
        has_family in chance(0.97),
        is_labelled in chance(0.97),
        ports in slice_ports(),
        endpoints in vec(endpoint(slice_family(number)), 0..=6),
        are_hinted in chance(0.5),
    ) -> EndpointSlice {
        let hints = |record: EndpointRecord| {
            if are_hinted { record } else { EndpointRecord { hints: None, ..record } }
        };
        EndpointSlice {
changed_at: None,
            key: slice_key(service, number),
            service: is_labelled.then(|| service_key(service)),
            family: has_family.then(|| slice_family(number)),
            ports,
            endpoints: endpoints.into_iter().map(hints).collect(),
            problems: Vec::new(),
        }
    }
}

/// Most slices have every port that a Service may ask for.
fn slice_ports() -> impl Strategy<Value = Box<[SlicePort]>> {
    let ports = PORT_NAMES.map(|(name, usual)| {
        let port = (protocol(usual), select(ENDPOINT_PORTS.to_vec()))
            .prop_map(move |(protocol, port)| SlicePort { name: name.into(), protocol, port });
        option::weighted(0.85, port)
    });
    ports.prop_map(|ports| ports.into_iter().flatten().collect())
}

prop_compose! {
    /// An endpoint; its address says on which node it is.
    fn endpoint(family: Family)(
        (node, number) in (select(vec![1, 1, 2, 3, 9_u8]), 1..4_u8),
        is_on_host in chance(0.1),
        conditions in conditions(),
        zone_hints in option::weighted(0.95, hints(ZONES.to_vec())),
        node_hints in option::weighted(0.6, hints(NODES.to_vec())),
    ) -> EndpointRecord {
        let name = NODES.get(usize::from(node) - 1).map(|name| Name::from(*name));
        let is_on_host = is_on_host && name.is_some();
        let address = if is_on_host { u::node_address(family, node) } else { u::pod(family, node, number) };
        let hints = Hints { zones: zone_hints, nodes: node_hints }.boxed();
        EndpointRecord { address, conditions, node: name, hints }
    }
}

fn conditions() -> impl Strategy<Value = Conditions> {
    let usual = Conditions { ready: true, serving: true, terminating: false };
    let ending = Conditions { ready: false, serving: true, terminating: true };
    let any = (any::<bool>(), any::<bool>(), any::<bool>());
    prop_oneof![
        4 => Just(usual),
        2 => Just(ending),
        2 => any.prop_map(|(ready, serving, terminating)| Conditions { ready, serving, terminating }),
    ]
}

/// One or two names; rarely none, which is no hint although one is there.
fn hints(names: Vec<&'static str>) -> impl Strategy<Value = Box<[Name]>> {
    let some = btree_set(select(names), 1..=2);
    let hints = prop_oneof![19 => some, 1 => Just(Default::default())];
    hints.prop_map(|names| names.into_iter().map(Name::from).collect())
}
