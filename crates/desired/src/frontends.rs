//! Where the ports of a Service are reached, as the Service itself says; conflicts with others aside.

use std::net::IpAddr;

use model::{Family, FrontendKind, Problem, Protocol};
use objects::{Service, ServicePort, ServiceType};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::conflicts::Claim;

/// Answers whether Services of this kind get any traffic from us.
pub(crate) fn is_served(service: &Service) -> bool {
    service.service_type != ServiceType::ExternalName && !service.other_proxy
}

/// The ClusterIP of a family. A Service without one does not exist in that family, its NodePorts included.
pub(crate) fn cluster_ip(service: &Service, family: Family) -> Option<IpAddr> {
    if !is_served(service) {
        return None;
    }
    service.cluster_ips.iter().copied().find(|address| Family::of(*address) == family)
}

/// One entry of `spec.ports` that is in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port<'a> {
    /// Its place in `spec.ports`.
    pub(crate) index: usize,
    /// The entry.
    pub(crate) spec: &'a ServicePort,
}

/// The ports that are in force: of two with the same number and protocol the first.
pub(crate) fn ports(service: &Service) -> impl Iterator<Item = Port<'_>> {
    let mut seen = FxHashSet::default();
    let all = service.ports.iter().enumerate().map(|(index, spec)| Port { index, spec });
    all.filter(move |port| seen.insert((port.spec.protocol, port.spec.port)))
}

/// The problems with ports that are not in force.
pub(crate) fn repeated_ports(service: &Service) -> impl Iterator<Item = Problem> {
    let mut seen = FxHashMap::default();
    service.ports.iter().enumerate().filter_map(move |(index, port)| {
        let first = *seen.entry((port.protocol, port.port)).or_insert(index);
        (first != index).then(|| Problem {
            object: format!("Service {}", service.key),
            field: format!("spec.ports[{index}].port"),
            reason: format!(
                "{}/{} is the number of spec.ports[{first}] already; this port is left out",
                port.protocol, port.port
            ),
        })
    })
}

/// One place where a port is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frontend {
    pub(crate) kind: FrontendKind,
    /// `None` exactly for NodePorts.
    pub(crate) address: Option<IpAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) number: u16,
}

impl Frontend {
    /// What the Service claims by it.
    pub(crate) fn claim(&self, family: Family) -> Claim {
        match self.address {
            Some(address) => Claim::Address(address, self.protocol, self.number),
            None => Claim::NodePort(family, self.protocol, self.number),
        }
    }
}

/// The frontends of a port in the family of `cluster_ip`, sorted by kind and address.
///
/// An address that stands in several lists of the Service is one frontend: first of all a ClusterIP, and rather a
/// load-balancer address than an external IP, because source ranges hold for the former.
pub(crate) fn frontends(service: &Service, port: &ServicePort, cluster_ip: IpAddr) -> Vec<Frontend> {
    let family = Family::of(cluster_ip);
    let at =
        |kind, address| Frontend { kind, address: Some(address), protocol: port.protocol, number: port.port };
    let of_family = |address: &&IpAddr| Family::of(**address) == family && **address != cluster_ip;
    let external = service.external_ips.iter().filter(of_family);
    let external = external.filter(|address| !service.load_balancer_ips.contains(address));
    let load_balancer = service.load_balancer_ips.iter().filter(of_family);

    let mut found = vec![at(FrontendKind::ClusterIp, cluster_ip)];
    found.extend(external.map(|address| at(FrontendKind::ExternalIp, *address)));
    found.extend(load_balancer.map(|address| at(FrontendKind::LoadBalancerIp, *address)));
    if port.node_port != 0 {
        let (kind, number) = (FrontendKind::NodePort, port.node_port);
        found.push(Frontend { kind, address: None, protocol: port.protocol, number });
    }
    found.sort_unstable_by_key(|frontend| (frontend.kind, frontend.address));
    found
}
