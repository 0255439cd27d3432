//! A large cluster in memory, and a node agent that follows it.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Result, anyhow};
use backend::{Backend, Driver};
use desired::{Desired, DetectLocal, NodePortAddresses, Options};
use model::{Affinity, Family, Protocol, ServiceKey, TrafficPolicy};
use objects::{
    Conditions, EndpointRecord, EndpointSlice, Event, Kind, Name, Node, Object, Objects, Service,
    ServicePort, ServiceType, SlicePort, Touched,
};

use super::Size;

/// How many nodes the pods are on; `n0` is this one.
const NODES: u32 = 200;

/// The options of a node agent in this cluster.
pub(super) fn options() -> Options {
    Options {
        node_name: "n0".into(),
        node_addresses: Vec::new(),
        fallback_addresses: Vec::new(),
        detect_local: DetectLocal::ClusterCidr(vec!["10.128.0.0/9".parse().expect("a range")]),
        masquerade_all: false,
        masquerade_bit: 14,
        node_port_addresses: NodePortAddresses::Primary,
        manners: model::Manners::default(),
    }
}

/// Names and addresses are shared as a decoder would share them.
pub(super) struct Cluster {
    size: Size,
    nodes: Vec<Name>,
    port_name: Name,
}

impl Cluster {
    pub(super) fn new(size: Size) -> Self {
        let nodes = (0..NODES).map(|node| Name::from(format!("n{node}"))).collect();
        Self { size, nodes, port_name: "http".into() }
    }

    /// Every object, as complete lists.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let starts = Kind::ALL.into_iter().map(Event::ListStarted);
        let ends = Kind::ALL.into_iter().map(Event::ListFinished);
        let node = std::iter::once(Event::Applied(Object::Node(self.node())));
        let services =
            (0..self.size.services).map(|index| Event::Applied(Object::Service(self.service(index))));
        let slices = (0..self.size.services).map(|index| self.slice(index, 0));
        starts.chain(node).chain(services).chain(slices).chain(ends)
    }

    /// The slice of a Service; each generation replaces one endpoint.
    pub(super) fn slice(&self, service: u32, generation: u32) -> Event {
        let key = format!("load/s{service}");
        let endpoints = (0..self.size.endpoints).map(|index| {
            let moved = if index == generation % self.size.endpoints.max(1) { generation } else { 0 };
            self.endpoint(service, index, moved)
        });
        let port = SlicePort { name: self.port_name.clone(), protocol: Protocol::Tcp, port: 8080 };
        Event::Applied(Object::EndpointSlice(EndpointSlice {
            changed_at: None,
            key: format!("{key}-x7k2p").into(),
            service: Some(ServiceKey::new("load", &format!("s{service}"))),
            family: Some(Family::V4),
            ports: [port].into(),
            endpoints: endpoints.collect(),
            problems: Vec::new(),
        }))
    }

    /// The address of a Service.
    pub(super) fn cluster_ip(&self, service: u32) -> IpAddr {
        // 10.0.0.0/10.
        Ipv4Addr::from_bits(0x0a00_0001 + service).into()
    }

    /// The address of an endpoint that was never replaced.
    pub(super) fn endpoint_address(&self, service: u32, index: u32) -> IpAddr {
        pod(self.number(service, index))
    }

    fn number(&self, service: u32, index: u32) -> u32 {
        service.wrapping_mul(self.size.endpoints).wrapping_add(index)
    }

    fn endpoint(&self, service: u32, index: u32, generation: u32) -> EndpointRecord {
        let number = self.number(service, index) + generation * 104_729;
        EndpointRecord {
            address: pod(number),
            conditions: Conditions { ready: true, serving: true, terminating: false },
            node: Some(self.nodes[(number % NODES) as usize].clone()),
            hints: None,
        }
    }

    fn service(&self, index: u32) -> Service {
        Service {
            key: ServiceKey::new("load", &format!("s{index}")),
            created: 1_700_000_000 + i64::from(index),
            uid: format!("00000000-0000-4000-8000-{index:012}").into(),
            other_proxy: false,
            service_type: ServiceType::ClusterIp,
            cluster_ips: vec![self.cluster_ip(index)],
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            affinity: Affinity::None,
            health_check_node_port: 0,
            ports: vec![ServicePort {
                name: self.port_name.clone(),
                protocol: Protocol::Tcp,
                port: 80,
                node_port: 0,
            }],
            problems: Vec::new(),
        }
    }

    fn node(&self) -> Node {
        Node {
            name: self.nodes[0].clone(),
            zone: None,
            addresses: vec![Ipv4Addr::new(192, 168, 77, 11).into()],
            pod_cidrs: Vec::new(),
            is_leaving: false,
            problems: Vec::new(),
        }
    }
}

/// In 10.128.0.0/9.
fn pod(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a80_0000 | (number % (1 << 23))).into()
}

/// A node agent without its shell.
pub(super) struct Agent<B: Backend> {
    objects: Objects,
    desired: Desired,
    pub(super) driver: Driver<B>,
}

impl<B: Backend> Agent<B> {
    pub(super) fn new(backend: B, options: Options) -> Self {
        Self { objects: Objects::default(), desired: Desired::new(options), driver: Driver::new(backend) }
    }

    pub(super) fn apply(&mut self, events: impl IntoIterator<Item = Event>) -> Touched {
        let mut touched = Touched::default();
        for event in events {
            touched.merge(self.objects.apply(event));
        }
        touched
    }

    pub(super) fn decide(&mut self, touched: &Touched) {
        let changes = self.desired.changed(&self.objects, touched);
        if changes.node {
            self.driver.set_node(&self.desired.node_view(&self.objects, Family::V4));
        }
        for key in &changes.services {
            let view = self.desired.service_view(&self.objects, key, Family::V4);
            self.driver.set_service(key, view.as_ref());
        }
    }

    pub(super) fn sync(&mut self) -> Result<()> {
        let synced = self.driver.sync().map_err(|error| anyhow!("failed to {error}"))?;
        anyhow::ensure!(synced.refused.is_empty(), "the kernel refused {:?}", synced.refused);
        Ok(())
    }
}
