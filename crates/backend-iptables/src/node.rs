//! What is there whatever the Services are, and what follows from the node.

use model::{Family, LocalTraffic, NodeView, TrafficPolicy};

use crate::item::{External, Key, Value, loopback};
use crate::names::{Chain, Hook, Spot, Table, Tree};
use crate::rule::{Counter, Match, Rule, Target};

/// The items that the node wants. `counts`: the kernel has counters.
pub(crate) fn items(node: &NodeView, counts: bool) -> Vec<(Key, Value)> {
    let nat = |chain: Chain, rules: Vec<Rule>| (Key::Chain(Table::Nat, chain), Value::Rules(rules));
    let filter = |chain: Chain, rules: Vec<Rule>| (Key::Chain(Table::Filter, chain), Value::Rules(rules));
    let mut items = vec![
        (Key::HairpinSet, Value::Present),
        nat(Chain::Services, at_addresses_and_node_ports(node, (Tree::Addresses, Tree::NodePorts))),
        nat(Chain::MarkMasq, vec![Rule::new([], mark(node))]),
        nat(Chain::MarkCluster, mark_cluster(node)),
        nat(Chain::Postrouting, postrouting(node, counts)),
        filter(Chain::Services, vec![enter(Tree::Refused)]),
        filter(
            Chain::ExternalServices,
            at_addresses_and_node_ports(node, (Tree::Refused, Tree::RefusedNodePorts)),
        ),
        filter(Chain::HealthPorts, Vec::new()),
        filter(Chain::Forward, forward(node, counts)),
        filter(Chain::Localnet, localnet(node)),
    ];
    items.extend(Tree::ALL.map(|tree| (Key::Branch(tree, Spot::Root), Value::Present)));
    items.extend(entrances());
    if counts {
        items.extend(Counter::ALL.map(|counter| (Key::Counter(counter), Value::Present)));
    }
    items
}

/// The value of an item that several Services may want, or that depends on the node.
pub(crate) fn shared_value(key: &Key, node: &NodeView) -> Value {
    match key {
        Key::External(external) => Value::Rules(external_rules(external, node)),
        Key::Entrance(..)
        | Key::Chain(..)
        | Key::Branch(..)
        | Key::Leaf(..)
        | Key::HealthPort(_)
        | Key::HairpinSet
        | Key::Hairpin(_)
        | Key::Counter(_)
        | Key::Found(..)
        | Key::FoundEntrance(..) => Value::Present,
    }
}

/// In front of everything that others have there.
pub(crate) fn entrances() -> Vec<(Key, Value)> {
    let comment = |text: &str| Match::Comment(text.into());
    let new = || Match::State("NEW", true);
    let plain = |hook, text: &str, chain| (hook, vec![comment(text)], chain);
    let if_new = |hook, text: &str, chain| (hook, vec![new(), comment(text)], chain);
    let guarded = || Chain::Branch(Tree::Guarded, Spot::Root);
    let firewall = "kubernetes load balancer firewall";
    let portals = "kubernetes service portals";
    let external = "kubernetes externally-visible service portals";
    let nat = [
        plain(Hook::Prerouting, portals, Chain::Services),
        plain(Hook::Output, portals, Chain::Services),
        plain(Hook::Postrouting, "kubernetes postrouting rules", Chain::Postrouting),
    ];
    let filter = [
        if_new(Hook::Input, firewall, guarded()),
        plain(Hook::Input, "kubernetes health check service ports", Chain::HealthPorts),
        if_new(Hook::Input, external, Chain::ExternalServices),
        plain(Hook::Input, "kubernetes localnet", Chain::Localnet),
        if_new(Hook::Forward, firewall, guarded()),
        plain(Hook::Forward, "kubernetes forwarding rules", Chain::Forward),
        if_new(Hook::Forward, portals, Chain::Services),
        if_new(Hook::Output, firewall, guarded()),
        if_new(Hook::Output, portals, Chain::Services),
    ];
    let all = nat.map(|entry| (Table::Nat, entry)).into_iter();
    let all = all.chain(filter.map(|entry| (Table::Filter, entry)));
    let mut items = Vec::new();
    for (number, (table, (hook, matches, chain))) in all.enumerate() {
        let rule = Rule::new(matches, Target::Jump(chain));
        items.push((Key::Entrance(table, hook, number as u8), Value::Rules(vec![rule])));
    }
    items
}

fn enter(tree: Tree) -> Rule {
    Rule::new([], Target::Jump(Chain::Branch(tree, Spot::Root)))
}

/// Addresses first: at a node's own address a Service's address wins over a NodePort of that number.
fn at_addresses_and_node_ports(node: &NodeView, (addresses, node_ports): (Tree, Tree)) -> Vec<Rule> {
    let mut rules = vec![enter(addresses)];
    if !answers_on_loopback(node) {
        // An answer could not leave it.
        rules.push(Rule::new([Match::Destination(loopback(node.family), true)], Target::Return));
    }
    for range in &node.node_port_addresses {
        let inside = (range.prefix_len() > 0).then_some(Match::Destination(*range, true));
        let comment = Match::Comment("kubernetes service nodeports".into());
        let matches = inside.into_iter().chain([comment, Match::DestinationLocal]);
        rules.push(Rule::new(matches, Target::Jump(Chain::Branch(node_ports, Spot::Root))));
    }
    rules
}

fn answers_on_loopback(node: &NodeView) -> bool {
    node.manners.localhost_node_ports && node.family == Family::V4
}

fn mark(node: &NodeView) -> Target {
    Target::MarkOr(node.masquerade_mark)
}

/// Marks what is no pod's traffic, so that the answers of pods elsewhere come back through this node.
fn mark_cluster(node: &NodeView) -> Vec<Rule> {
    if node.masquerade_all {
        return vec![Rule::new([], mark(node))];
    }
    from_pods(&node.local_traffic, false)
        .map(|elsewhere| Rule::new([elsewhere], mark(node)))
        .into_iter()
        .collect()
}

/// Matches traffic of pods (or other traffic); `None` when it cannot be told.
fn from_pods(traffic: &LocalTraffic, is: bool) -> Option<Match> {
    match traffic {
        LocalTraffic::Unknown => None,
        LocalTraffic::From(range) => Some(Match::Source(*range, is)),
        LocalTraffic::Interface(name) => Some(Match::Interface(name.clone(), is)),
        LocalTraffic::InterfacePrefix(prefix) => Some(Match::Interface(format!("{prefix}+"), is)),
    }
}

/// Who is asking? Pods and this node go to any endpoint, as if they had left the cluster and come back through a load
/// balancer, which would have chosen a node that has endpoints. Who has no endpoint must not meet a NodePort.
fn external_rules(external: &External, node: &NodeView) -> Vec<Rule> {
    let comment = || Match::Comment(external.port.clone());
    let inside = Target::Jump(Chain::Service(external.hash()));
    let masquerade = || Target::Jump(Chain::MarkMasq);
    if external.policy == TrafficPolicy::Cluster {
        return vec![Rule::new([comment()], masquerade()), Rule::new([comment()], inside)];
    }
    let outside = Target::Jump(Chain::Local(external.hash()));
    let (inside, outside) = (
        if external.inside { inside } else { Target::Accept },
        if external.outside { outside } else { Target::Accept },
    );
    let pods = from_pods(&node.local_traffic, true).map(|pods| Rule::new([pods, comment()], inside.clone()));
    let rest = [
        Rule::new([comment(), Match::SourceLocal], masquerade()),
        Rule::new([comment(), Match::SourceLocal], inside),
        Rule::new([comment()], outside),
    ];
    pods.into_iter().chain(rest).collect()
}

fn postrouting(node: &NodeView, counts: bool) -> Vec<Rule> {
    let bit = node.masquerade_mark;
    // Whoever asks on loopback is masqueraded, and nothing else that carries the mark came from there.
    let counted = (counts && answers_on_loopback(node)).then(|| {
        let first = Match::FirstDestination(loopback(node.family));
        Rule::new([first, Match::Counted(Counter::LocalhostNodePorts)], Target::Nothing)
    });
    let mut rules = vec![
        Rule::new([Match::State("DNAT", true), Match::Hairpin], mark(node)),
        Rule::new([Match::Mark(bit, false)], Target::Return),
    ];
    rules.extend(counted);
    rules.extend([
        // The mark must not mean something to a tunnel that the packet passes later.
        Rule::new([], Target::MarkXor(bit)),
        Rule::new([Match::Comment("kubernetes service traffic requiring SNAT".into())], Target::Masquerade),
    ]);
    rules
}

fn forward(node: &NodeView, counts: bool) -> Vec<Rule> {
    let rule = |question, target| Rule::new([question], target);
    let counted = counts.then_some(Match::Counted(Counter::Invalid));
    let is_invalid = [Match::State("INVALID", true)].into_iter().chain(counted);
    let invalid = node.manners.drops_invalid.then(|| Rule::new(is_invalid, Target::Drop));
    let rest = [
        rule(Match::Mark(node.masquerade_mark, true), Target::Accept),
        rule(Match::State("RELATED,ESTABLISHED", true), Target::Accept),
    ];
    invalid.into_iter().chain(rest).collect()
}

/// With route_localnet a neighbour could reach what listens on loopback only (CVE-2020-8558). Without it this does no harm;
/// and who switched it on, an earlier process perhaps, is not known.
fn localnet(node: &NodeView) -> Vec<Rule> {
    if node.family != Family::V4 {
        return Vec::new();
    }
    let range = loopback(node.family);
    let matches = [
        Match::Source(range, false),
        Match::Destination(range, true),
        Match::Interface("lo".to_owned(), false),
        Match::State("RELATED,ESTABLISHED,DNAT", false),
    ];
    vec![Rule::new(matches, Target::Drop)]
}
