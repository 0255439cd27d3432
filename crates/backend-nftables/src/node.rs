//! What is there whatever the Services are: sets, base chains, and the rules that depend on the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::{Family, IpNet, LocalTraffic, NodeView, Protocol};

use crate::item::{ChainBody, Key, Value};
use crate::item::{Slots, slot_map};
use crate::names::{At, Chain, Kind, Set};
use crate::rule::{Expression, Rule};

/// The items that do not depend on Services.
pub(crate) fn items(node: &NodeView) -> Vec<(Key, Value)> {
    let sets = Set::FIXED.into_iter().map(|set| (Key::Set(set), Value::Present));
    let protocols = Protocol::ALL.into_iter().map(|protocol| (Key::Protocol(protocol), Value::Present));
    let chains = Chain::FIXED.into_iter().map(|chain| {
        let rules = fixed_chain(&chain, node);
        (Key::Chain(chain.clone()), body(&chain, rules))
    });
    sets.chain(protocols).chain(chains).collect()
}

/// The value of an item that follows from its key and the node.
pub(crate) fn shared_value(key: &Key, node: &NodeView) -> Value {
    let Key::Chain(chain) = key else { return Value::Present };
    let rules = match chain {
        Chain::Balance(kind, at, count) => balance_chain((*kind, *at), *count, node),
        Chain::StickyCluster(name) => {
            let goto = Expression::Goto(Chain::Sticky(name.clone()));
            masquerade_at_cluster_ips(node).into_iter().chain([rule([goto])]).collect()
        }
        Chain::StickyExternal(name) => {
            vec![rule([mark(node)]), rule([Expression::Goto(Chain::Sticky(name.clone()))])]
        }
        Chain::Sticky(_)
        | Chain::Prerouting
        | Chain::Output
        | Chain::Postrouting
        | Chain::FirewallPrerouting
        | Chain::FirewallOutput
        | Chain::FilterInput
        | Chain::FilterForward
        | Chain::FilterOutput
        | Chain::Services
        | Chain::Firewall
        | Chain::NoEndpoints
        | Chain::NoEndpointsNodePorts
        | Chain::NoService
        | Chain::Reject
        | Chain::ExternalLocal
        | Chain::NodePortExternalLocal => Vec::new(),
    };
    body(chain, rules)
}

/// A chain as an item's value.
pub(crate) fn body(chain: &Chain, rules: Vec<Rule>) -> Value {
    Value::Chain(Box::new(ChainBody { hook: chain.hook(), rules }))
}

/// A rule of these expressions.
pub(crate) fn rule(expressions: impl IntoIterator<Item = Expression>) -> Rule {
    Rule(expressions.into_iter().collect())
}

fn fixed_chain(chain: &Chain, node: &NodeView) -> Vec<Rule> {
    let new = |chain| rule([Expression::CtStateNew, Expression::Jump(chain)]);
    match chain {
        Chain::Prerouting | Chain::Output => vec![rule([Expression::Jump(Chain::Services)])],
        Chain::FirewallPrerouting | Chain::FirewallOutput => vec![new(Chain::Firewall)],
        Chain::FilterInput => vec![new(Chain::NoEndpoints), new(Chain::NoEndpointsNodePorts)],
        Chain::FilterForward | Chain::FilterOutput => vec![new(Chain::NoEndpoints), new(Chain::NoService)],
        Chain::Postrouting => postrouting(node),
        Chain::Services => {
            let frontends = rule([Expression::Vmap(Set::Frontends)]);
            [frontends].into_iter().chain(at_node_ports(node, Set::NodePorts)).collect()
        }
        Chain::Firewall => {
            let outside = [Expression::Lookup(Set::Guarded, true), Expression::Lookup(Set::Allowed, false)];
            vec![rule(outside.into_iter().chain([Expression::Drop]))]
        }
        Chain::NoEndpoints => vec![rule([Expression::Vmap(Set::Refused)])],
        Chain::NoEndpointsNodePorts => at_node_ports(node, Set::NodePortRefused),
        Chain::NoService => no_service(node),
        Chain::Reject => vec![rule([Expression::Reject])],
        Chain::ExternalLocal => external_local(node, (Set::Inside, Set::Outside)),
        Chain::NodePortExternalLocal => external_local(node, (Set::NodePortInside, Set::NodePortOutside)),
        Chain::Balance(..) | Chain::Sticky(_) | Chain::StickyCluster(_) | Chain::StickyExternal(_) => {
            Vec::new()
        }
    }
}

/// Balances over the first `count` slots of whatever frontend the packet is at.
fn balance_chain((kind, at): (Kind, At), count: u16, node: &NodeView) -> Vec<Rule> {
    let (mut rules, slots) = match kind {
        Kind::Cluster => (masquerade_at_cluster_ips(node), Slots::All),
        Kind::External => (vec![rule([mark(node)])], Slots::All),
        Kind::Plain => (Vec::new(), Slots::All),
        Kind::Local => (Vec::new(), Slots::Local),
    };
    let dnat = Expression::DnatSlots(slot_map(slots, at), u32::from(count));
    // nft accepts a port in a dnat only behind a protocol that has ports.
    rules.push(rule([Expression::Lookup(Set::Protocols, true), dnat]));
    rules
}

/// Marks what is no pod's traffic, so that the answers of pods elsewhere come back through this node.
fn masquerade_at_cluster_ips(node: &NodeView) -> Vec<Rule> {
    if node.masquerade_all {
        return vec![rule([mark(node)])];
    }
    let from_elsewhere = from_pods(&node.local_traffic, false);
    from_elsewhere.map(|elsewhere| rule([elsewhere, mark(node)])).into_iter().collect()
}

fn mark(node: &NodeView) -> Expression {
    Expression::MarkOr(node.masquerade_mark)
}

/// Matches traffic of pods (or other traffic); `None` when it cannot be told.
fn from_pods(traffic: &LocalTraffic, is: bool) -> Option<Expression> {
    match traffic {
        LocalTraffic::Unknown => None,
        LocalTraffic::From(range) => Some(Expression::Saddr(*range, is)),
        LocalTraffic::Interface(name) => Some(Expression::Interface(name.clone(), is)),
        LocalTraffic::InterfacePrefix(prefix) => Some(Expression::InterfacePrefix(prefix.clone(), is)),
    }
}

/// Who is asking? Pods and this node go to any endpoint, as if they had left the cluster and come back through a load
/// balancer, which would have chosen a node that has endpoints.
fn external_local(node: &NodeView, (inside, outside): (Set, Set)) -> Vec<Rule> {
    let pods =
        from_pods(&node.local_traffic, true).map(|pods| rule([pods, Expression::Vmap(inside.clone())]));
    let own = [
        rule([Expression::SaddrLocal, mark(node)]),
        rule([Expression::SaddrLocal, Expression::Vmap(inside)]),
    ];
    pods.into_iter().chain(own).chain([rule([Expression::Vmap(outside)])]).collect()
}

/// A rule for each prefix in which NodePorts answer. Never on loopback: an answer could not leave it.
fn at_node_ports(node: &NodeView, map: Set) -> Vec<Rule> {
    let loopback = match node.family {
        Family::V4 => IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        Family::V6 => IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
    };
    let there = |prefix: &IpNet| {
        let not_loopback = Expression::Daddr(loopback, false);
        let inside = (prefix.prefix_len() > 0).then_some(Expression::Daddr(*prefix, true));
        let rest = [Expression::DaddrLocal, Expression::Vmap(map.clone())];
        rule([not_loopback].into_iter().chain(inside).chain(rest))
    };
    node.node_port_addresses.iter().map(there).collect()
}

fn no_service(node: &NodeView) -> Vec<Rule> {
    let reject = rule([Expression::Lookup(Set::ClusterIps, true), Expression::Goto(Chain::Reject)]);
    let drop = |range: &IpNet| rule([Expression::Daddr(*range, true), Expression::Drop]);
    [reject].into_iter().chain(node.service_cidrs.iter().map(drop)).collect()
}

fn postrouting(node: &NodeView) -> Vec<Rule> {
    let marked = [
        Expression::MarkHas(node.masquerade_mark),
        // The mark must not mean something to a tunnel that the packet passes later.
        Expression::MarkXor(node.masquerade_mark),
        Expression::Masquerade,
    ];
    let hairpin = [Expression::CtStatusDnat, Expression::Lookup(Set::Hairpin, true), Expression::Masquerade];
    vec![rule(marked), rule(hairpin)]
}
