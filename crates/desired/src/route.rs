//! The executable specification: what becomes of a packet.
//!
//! Written to be read, not to be fast. It says *what* a node does; how the kernel is made to do it is the back ends'
//! business, and each of their simulators must agree with this file for every packet. A packet here is the first of
//! its connection: later ones follow it without being looked at.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{
    Endpoint, Family, FrontendKind, FrontendView, LocalTraffic, NodeView, Origin, Outcome, Packet, PortView,
    Route, TrafficPolicy, View,
};

/// Every outcome that is possible for a packet; more than one exactly where the choice of an endpoint is random.
///
/// A client that sticks to an endpoint ([`model::Affinity`]) keeps one of them.
pub fn route(view: &View, packet: &Packet) -> BTreeSet<Outcome> {
    if Family::of(packet.destination) != view.node.family {
        return BTreeSet::from([Outcome::Untouched]);
    }
    let at_address = address_frontend(view, packet);
    let at_node_port = node_port_frontend(view, packet);

    // 1. Source ranges come before everything else, also before the question whether there are endpoints.
    if at_address.is_some_and(|place| !place.admits(packet.source)) {
        return BTreeSet::from([Outcome::Dropped]);
    }

    // 2. Addresses, then NodePorts: at a node's own address a Service's address wins over a NodePort of that number.
    //    A frontend that has endpoints for no client at all does not stand in the way of a NodePort.
    let places = at_address.into_iter().chain(at_node_port);
    if let Some(place) = places.clone().find(|place| place.has_endpoints()) {
        return outcomes(place, &view.node, packet);
    }

    // 3. Frontends without endpoints refuse, or are silent when the policy keeps them from endpoints elsewhere.
    if let Some(place) = { places }.next() {
        return outcomes(place, &view.node, packet);
    }

    // 4. Addresses that belong to Services, but not with this port. Packets *for* this node from elsewhere are its
    //    own business.
    let is_elsewhere = !view.node.addresses.contains(&packet.destination);
    if view.node.manners.guards_service_addresses && (packet.origin == Origin::ThisNode || is_elsewhere) {
        if is_cluster_ip(view, packet.destination) {
            return BTreeSet::from([Outcome::Rejected]);
        }
        if view.node.service_cidrs.iter().any(|cidr| cidr.contains(&packet.destination)) {
            return BTreeSet::from([Outcome::Dropped]);
        }
    }
    BTreeSet::from([Outcome::Untouched])
}

/// A frontend and the port it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The port.
    pub port: &'a PortView,
    /// One of its frontends.
    pub frontend: &'a FrontendView,
}

impl<'a> Place<'a> {
    /// Answers whether this source may use it at all.
    pub fn admits(&self, source: IpAddr) -> bool {
        let sources = self.frontend.sources.as_ref();
        sources.is_none_or(|sources| sources.iter().any(|range| range.contains(&source)))
    }

    /// Answers whether there are endpoints for at least some clients.
    fn has_endpoints(&self) -> bool {
        let balances = |route: &Route| matches!(route, Route::Balance(..));
        match self.frontend.kind {
            FrontendKind::ClusterIp => balances(&self.port.internal),
            FrontendKind::ExternalIp | FrontendKind::LoadBalancerIp | FrontendKind::NodePort => {
                balances(&self.port.external) || balances(&self.port.external_from_cluster)
            }
        }
    }

    /// The route that this packet takes.
    pub fn route(&self, node: &NodeView, packet: &Packet) -> &'a Route {
        let port = self.port;
        if self.frontend.kind == FrontendKind::ClusterIp {
            return &port.internal;
        }
        match port.external_policy {
            TrafficPolicy::Cluster => &port.external,
            // To pods and the node itself it must look as if the packet had left the cluster and come back through
            // the load balancer, which would have picked a node with endpoints.
            TrafficPolicy::Local if is_from_pod(node, packet) || is_from_node(node, packet) => {
                &port.external_from_cluster
            }
            TrafficPolicy::Local => &port.external,
        }
    }

    /// Answers whether the answer has to come back through this node, whichever endpoint is chosen.
    fn masquerades(&self, node: &NodeView, packet: &Packet) -> bool {
        let is_from_pod = is_from_pod(node, packet);
        if self.frontend.kind == FrontendKind::ClusterIp {
            return node.masquerade_all || (node.local_traffic != LocalTraffic::Unknown && !is_from_pod);
        }
        match self.port.external_policy {
            TrafficPolicy::Cluster => true,
            // Outside clients keep their address: that is what the policy is for. The node's own packets may carry
            // the load balancer's address as their source.
            TrafficPolicy::Local => is_from_node(node, packet) && !is_from_pod,
        }
    }

    /// Answers whether the endpoint is the client itself, which would otherwise get its own packet from itself.
    fn is_hairpin(&self, endpoint: Endpoint, packet: &Packet) -> bool {
        let is_local = |view: &model::EndpointView| view.endpoint == endpoint && view.local;
        endpoint.address == packet.source && self.port.endpoints.iter().any(is_local)
    }
}

fn outcomes(place: Place<'_>, node: &NodeView, packet: &Packet) -> BTreeSet<Outcome> {
    let masquerades = place.masquerades(node, packet);
    let reaches = |endpoint: &Endpoint| {
        let masqueraded = masquerades || place.is_hairpin(*endpoint, packet);
        Outcome::Reaches { endpoint: *endpoint, masqueraded }
    };
    match place.route(node, packet) {
        Route::Balance(_, endpoints) => endpoints.iter().map(reaches).collect(),
        Route::Drop => BTreeSet::from([Outcome::Dropped]),
        Route::Reject => BTreeSet::from([Outcome::Rejected]),
    }
}

/// The frontend at the packet's destination address, if it is programmed at all.
pub fn address_frontend<'v>(view: &'v View, packet: &Packet) -> Option<Place<'v>> {
    frontend(view, packet, |frontend| frontend.address == Some(packet.destination))
}

/// The NodePort that the packet is for: on an address of the node where NodePorts answer; on loopback only where the
/// mode can do it.
pub fn node_port_frontend<'v>(view: &'v View, packet: &Packet) -> Option<Place<'v>> {
    let (node, address) = (&view.node, packet.destination);
    let is_own = if address.is_loopback() {
        node.manners.localhost_node_ports && node.family == Family::V4
    } else {
        node.addresses.contains(&address)
    };
    let answers = is_own && node.node_port_addresses.iter().any(|range| range.contains(&address));
    if !answers {
        return None;
    }
    frontend(view, packet, |frontend| frontend.kind == FrontendKind::NodePort)
}

fn frontend<'v>(
    view: &'v View,
    packet: &Packet,
    is_there: impl Fn(&FrontendView) -> bool,
) -> Option<Place<'v>> {
    let ports = view.services.iter().flat_map(|service| &service.ports);
    let mut places = ports
        .filter(|port| port.protocol == packet.protocol)
        .flat_map(|port| port.frontends.iter().map(move |frontend| Place { port, frontend }));
    places.find(|Place { frontend, .. }| {
        frontend.port == packet.port && frontend.shadowed_by.is_none() && is_there(frontend)
    })
}

/// Answers whether some Service has this ClusterIP, with whatever ports.
fn is_cluster_ip(view: &View, address: IpAddr) -> bool {
    let frontends = view.services.iter().flat_map(|service| &service.ports).flat_map(|port| &port.frontends);
    { frontends }.any(|f| f.kind == FrontendKind::ClusterIp && f.address == Some(address))
}

fn is_from_pod(node: &NodeView, packet: &Packet) -> bool {
    match (&node.local_traffic, &packet.origin) {
        (LocalTraffic::Unknown, _) => false,
        (LocalTraffic::From(range), _) => range.contains(&packet.source),
        (LocalTraffic::Interface(wanted), Origin::Interface(name)) => name == wanted,
        (LocalTraffic::InterfacePrefix(wanted), Origin::Interface(name)) => name.starts_with(wanted.as_str()),
        (LocalTraffic::Interface(_) | LocalTraffic::InterfacePrefix(_), Origin::ThisNode) => false,
    }
}

fn is_from_node(node: &NodeView, packet: &Packet) -> bool {
    packet.origin == Origin::ThisNode
        || packet.source.is_loopback()
        || node.addresses.contains(&packet.source)
}
