//! Random packets to the places where something may happen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Family, Origin, Packet, Protocol};
use proptest::collection::vec;
use proptest::prelude::Just;
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::{prop_compose, prop_oneof};

use super::objects::{Cluster, cluster};
use super::universe::{self as u, NODE_PORTS, OUTER_INTERFACE, POD_INTERFACE, PORTS};

/// A cluster and packets of one family for it, two thirds of them to frontends that its Services ask for.
pub fn cluster_and_packets(family: Family, count: usize) -> impl Strategy<Value = (Cluster, Vec<Packet>)> {
    cluster().prop_flat_map(move |cluster| {
        let packets = match frontends(&cluster, family) {
            frontends if frontends.is_empty() => packet(family).boxed(),
            frontends => prop_oneof![1 => packet(family), 2 => packet_to(frontends, family)].boxed(),
        };
        (Just(cluster), vec(packets, count))
    })
}

prop_compose! {
    /// A packet of this family: from a pod, this node, another node or outside, to an address and port that Services
    /// of the universe contend for, or close by.
    pub fn packet(family: Family)(
        (origin, source) in source(family),
        destination in select(destinations(family)),
        protocol in prop_oneof![4 => Just(Protocol::Tcp), 5 => select(Protocol::ALL.to_vec())],
        port in select(numbers()),
    ) -> Packet {
        Packet { origin, source, destination, protocol, port }
    }
}

prop_compose! {
    /// A packet to one of these places.
    fn packet_to(places: Vec<(IpAddr, Protocol, u16)>, family: Family)(
        (origin, source) in source(family),
        (destination, protocol, port) in select(places),
    ) -> Packet {
        Packet { origin, source, destination, protocol, port }
    }
}

/// Where the Services of a cluster ask to be reached in a family, NodePorts at all addresses of this node.
fn frontends(cluster: &Cluster, family: Family) -> Vec<(IpAddr, Protocol, u16)> {
    let own = [u::node_address(family, 1), u::second_node_address(family, 1)];
    let mut places = Vec::new();
    for service in &cluster.services {
        let addresses =
            service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips);
        let addresses: Vec<IpAddr> =
            addresses.copied().filter(|address| Family::of(*address) == family).collect();
        for port in &service.ports {
            places.extend(addresses.iter().map(|address| (*address, port.protocol, port.port)));
            if port.node_port != 0 {
                places.extend(own.map(|address| (address, port.protocol, port.node_port)));
            }
        }
    }
    places
}

/// Whatever this node itself sends has an address that is local to it: its own, loopback, or a load balancer's that
/// was assigned to it. Nothing else has.
fn source(family: Family) -> impl Strategy<Value = (Origin, IpAddr)> {
    let own = vec![
        u::node_address(family, 1),
        u::second_node_address(family, 1),
        loopback(family),
        u::load_balancer_ip(family, 1),
    ];
    let pods = (1..4).map(|number| u::pod(family, 1, number)).collect::<Vec<_>>();
    let others = vec![
        u::pod(family, 2, 1),
        u::node_address(family, 2),
        u::outside(family, 7),
        u::outside(family, 200),
    ];
    let through = |name: &str| Origin::Interface(name.to_owned());
    prop_oneof![
        2 => select(own).prop_map(|address| (Origin::ThisNode, address)),
        3 => select(pods).prop_map(move |address| (through(POD_INTERFACE), address)),
        3 => select(others).prop_map(move |address| (through(OUTER_INTERFACE), address)),
    ]
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

fn destinations(family: Family) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = (1..5).map(|number| u::cluster_ip(family, number)).collect();
    all.extend([9, 77].map(|number| u::cluster_ip(family, number)));
    all.extend([1, 2].map(|number| u::external_ip(family, number)));
    all.extend([1, 2].map(|number| u::load_balancer_ip(family, number)));
    all.extend([1, 1, 1, 2].map(|node| u::node_address(family, node)));
    all.extend([
        u::second_node_address(family, 1),
        loopback(family),
        u::pod(family, 1, 1),
        u::outside(family, 7),
    ]);
    all
}

fn numbers() -> Vec<u16> {
    PORTS.into_iter().chain(NODE_PORTS).chain([80, 80, 8080]).collect()
}
