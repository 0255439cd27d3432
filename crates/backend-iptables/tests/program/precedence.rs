//! An address of a Service comes before a NodePort of the same number, also for a client whom the Service has nothing for.

use backend_iptables::{Program, render};
use desired::{NodePortAddresses, Options, route};
use model::{Affinity, Family, Origin, Outcome, Packet, Protocol, TrafficPolicy};
use objects::{
    Conditions, EndpointRecord, EndpointSlice, Node, Service, ServicePort, ServiceType, SlicePort,
};
use testkit::generate::{Cluster, sample, service, slice, universe, view};

use crate::specification::{Nowhere, driver, options};

const PORT: u16 = universe::NODE_PORTS[0];
const V4: Family = Family::V4;

fn a_service(name: &'static str) -> Service {
    Service {
        created: 0,
        other_proxy: false,
        service_type: ServiceType::NodePort,
        external_ips: Default::default(),
        load_balancer_ips: Default::default(),
        source_ranges: Default::default(),
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        ..sample(&service(name), 1)
    }
}

/// One endpoint, on another node.
fn far_slice(name: &'static str) -> EndpointSlice {
    let endpoint = EndpointRecord {
        address: universe::pod(V4, 2, 1),
        conditions: Conditions { ready: true, serving: true, terminating: false },
        node: Some("n2".into()),
        hints: None,
    };
    let port = SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 };
    EndpointSlice {
        service: Some(model::ServiceKey::new(universe::NAMESPACE, name)),
        family: Some(V4),
        ports: Box::new([port]),
        endpoints: Box::new([endpoint]),
        ..sample(&slice(name, 0), 1)
    }
}

#[test]
fn who_has_no_endpoint_does_not_meet_a_node_port() {
    let address = universe::node_address(V4, 1);
    let port = |port, node_port| ServicePort { name: "".into(), protocol: Protocol::Tcp, port, node_port };
    let local = Service {
        cluster_ips: vec![universe::cluster_ip(V4, 1)],
        external_ips: vec![address],
        external_policy: TrafficPolicy::Local,
        ports: vec![port(PORT, 0)],
        ..a_service("a")
    };
    let other = Service {
        cluster_ips: vec![universe::cluster_ip(V4, 2)],
        ports: vec![port(80, PORT)],
        ..a_service("b")
    };
    let node = Node {
        name: universe::NODE.into(),
        zone: None,
        addresses: vec![address],
        pod_cidrs: vec![universe::own_pod_range(V4)],
        is_leaving: false,
        problems: Vec::new(),
    };
    let cluster = Cluster {
        node: Some(node),
        service_cidrs: Vec::new(),
        services: vec![local, other],
        slices: vec![far_slice("a"), far_slice("b")],
    };
    let options = Options {
        node_port_addresses: NodePortAddresses::Within(Vec::new()),
        node_addresses: Vec::new(),
        ..sample(&options(), 1)
    };
    let view = view(&options, cluster.events(), V4);
    let items = driver(&view, Nowhere::default()).wanted();
    let packet = Packet {
        origin: Origin::Interface(universe::OUTER_INTERFACE.to_owned()),
        source: universe::outside(V4, 1),
        destination: address,
        protocol: Protocol::Tcp,
        port: PORT,
    };
    let outcomes = Program::new(&items, &[address]).outcomes(&packet);
    assert_eq!(outcomes, [Outcome::Dropped].into(), "{}", render(V4, &items));
    assert_eq!(outcomes, route(&view, &packet));
}
