//! What one node's program must know besides Services.

use std::net::IpAddr;

use model::{Family, IpNet, LocalTraffic, Manners, NodeView};
use objects::{Name, Node};

use crate::ranges;
use crate::topology::Here;

/// What the operator decides. The rest is in the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// This node's name.
    pub node_name: Name,
    /// This node's primary addresses, where the Node object shall not decide; at most one of each family.
    pub node_addresses: Vec<IpAddr>,
    /// This node's addresses in families of which neither `node_addresses` nor the Node object has one.
    pub fallback_addresses: Vec<IpAddr>,
    /// How traffic of pods is recognised.
    pub detect_local: DetectLocal,
    /// Whether all traffic to ClusterIPs is masqueraded.
    pub masquerade_all: bool,
    /// The bit of the packet mark that says "masquerade this", 0 to 31.
    pub masquerade_bit: u8,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddresses,
    /// What else differs by mode.
    pub manners: Manners,
}

/// `detectLocalMode` with its setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DetectLocal {
    /// By source address: the cluster's pod ranges, at most one of each family. A family without one cannot tell.
    ClusterCidr(Vec<IpNet>),
    /// By source address: the Node object's `spec.podCIDRs`. Until they are known the node cannot tell.
    NodeCidr,
    /// By arrival through the interface of this name.
    BridgeInterface(String),
    /// By arrival through an interface whose name begins so.
    InterfaceNamePrefix(String),
}

/// `nodePortAddresses`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// The node's primary address of each family.
    Primary,
    /// All local addresses inside these prefixes. A family of which none is given answers on all.
    Within(Vec<IpNet>),
}

/// The node as its programs must know it, for one family. `node` is its Node object, once that is known.
pub fn node_view<'a>(
    options: &Options,
    node: Option<&Node>,
    service_cidrs: impl IntoIterator<Item = &'a IpNet>,
    family: Family,
) -> NodeView {
    let in_order = addresses_in_order(options, node, family);
    let node_port_addresses = node_port_addresses(options, in_order.first().copied(), family);
    let mut addresses = in_order;
    addresses.sort_unstable();
    addresses.dedup();
    NodeView {
        name: options.node_name.clone(),
        family,
        addresses,
        local_traffic: local_traffic(options, node, family),
        masquerade_all: options.masquerade_all,
        masquerade_mark: 1 << (options.masquerade_bit % 32),
        node_port_addresses,
        service_cidrs: ranges::of_family(service_cidrs, family),
        manners: options.manners,
    }
}

/// Where the node is, for topology hints and Local policies.
pub fn here(options: &Options, node: Option<&Node>) -> Here {
    Here { node: options.node_name.clone(), zone: node.and_then(|node| node.zone.clone()) }
}

/// The primary address first.
fn addresses_in_order(options: &Options, node: Option<&Node>, family: Family) -> Vec<IpAddr> {
    let given = options.node_addresses.iter().chain(node.into_iter().flat_map(|node| &node.addresses));
    let is_one = |address: &IpAddr| Family::of(*address) == family && !address.is_unspecified();
    let given: Vec<IpAddr> = given.copied().filter(is_one).collect();
    if given.is_empty() { options.fallback_addresses.iter().copied().filter(is_one).collect() } else { given }
}

fn local_traffic(options: &Options, node: Option<&Node>, family: Family) -> LocalTraffic {
    let first_of = |prefixes: &[IpNet]| {
        let found = prefixes.iter().find(|net| Family::of(net.addr()) == family);
        found.map_or(LocalTraffic::Unknown, |net| LocalTraffic::From(net.trunc()))
    };
    match &options.detect_local {
        DetectLocal::ClusterCidr(prefixes) => first_of(prefixes),
        DetectLocal::NodeCidr => first_of(node.map_or(&[], |node| &node.pod_cidrs)),
        DetectLocal::BridgeInterface(name) => LocalTraffic::Interface(name.clone()),
        DetectLocal::InterfaceNamePrefix(prefix) => LocalTraffic::InterfacePrefix(prefix.clone()),
    }
}

fn node_port_addresses(options: &Options, primary: Option<IpAddr>, family: Family) -> Vec<IpNet> {
    match &options.node_port_addresses {
        NodePortAddresses::Primary => primary.map(IpNet::from).into_iter().collect(),
        NodePortAddresses::Within(prefixes) => {
            let within = ranges::of_family(prefixes, family);
            if within.is_empty() { vec![ranges::everything(family)] } else { within }
        }
    }
}
