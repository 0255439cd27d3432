//! From what `iptables-save` printed to items.
//!
//! A chain that we would not have written like that becomes an item whose value nobody wants, and is written anew.

use std::collections::{BTreeMap, BTreeSet};

use model::{Endpoint, Family, Protocol, TrafficPolicy};

use super::parse::{Scene, chain, rule};
use super::saved::Saved;
use crate::item::{self, Balance, External, Key, Leaf, Place, Value};
use crate::names::{Chain, Hash, Spot, Table, Tree};
use crate::rule::{Match, Rule, Target};

/// The items that chains amount to.
pub(super) fn items(saved: &Saved, family: Family) -> Vec<(Key, Value)> {
    let mut reading = Reading { saved, family, items: Vec::new() };
    let mut unread: BTreeSet<(Table, String)> = saved.chains.iter().cloned().collect();
    for tree in Tree::ALL {
        reading.branch(tree, Spot::Root, &mut unread);
    }
    for (table, name) in unread {
        reading.chain(table, &name);
    }
    reading.items
}

struct Reading<'a> {
    saved: &'a Saved,
    family: Family,
    items: Vec<(Key, Value)>,
}

impl Reading<'_> {
    fn rules(&self, scene: Scene, name: &str) -> Option<Vec<Rule>> {
        let lines = self.saved.rules.get(&(scene.table, name.to_owned()));
        lines.into_iter().flatten().map(|line| rule(line, scene)).collect()
    }

    /// Reads a branch and what it leads to, if all of it is as we write it.
    fn branch(&mut self, tree: Tree, spot: Spot, unread: &mut BTreeSet<(Table, String)>) {
        let (table, name) = (tree.table(), Chain::Branch(tree, spot).to_string());
        let chain = (table, name.clone());
        if !unread.contains(&chain) {
            return;
        }
        let scene = Scene { family: self.family, table, tree: Some(tree) };
        let Some(rules) = self.rules(scene, &name) else { return };
        let mut parts: BTreeMap<Key, Value> = BTreeMap::new();
        for rule in &rules {
            if let Target::Goto(Chain::Branch(_, below)) = &rule.target {
                parts.insert(Key::Branch(tree, *below), Value::Present);
            } else if let Some((place, comment)) = place(rule) {
                let leaf = parts.entry(Key::Leaf(tree, place));
                let leaf =
                    leaf.or_insert_with(|| Value::Leaf(Box::new(Leaf { comment, then: Box::default() })));
                if let Value::Leaf(leaf) = leaf {
                    leaf.then = leaf.then.iter().chain([&rule.target]).cloned().collect();
                }
            } else {
                return;
            }
        }
        let here = (table, Chain::Branch(tree, spot));
        let are_here = parts.keys().all(|key| key.chain().as_ref() == Some(&here));
        if !are_here || parts.iter().flat_map(|(key, value)| item::rules(key, value)).ne(rules) {
            return;
        }
        unread.remove(&chain);
        self.items.push((Key::Branch(tree, spot), Value::Present));
        let is_branch = |key: &Key| if let Key::Branch(_, below) = key { Some(*below) } else { None };
        let below: Vec<Spot> = parts.keys().filter_map(is_branch).collect();
        self.items.extend(parts.into_iter().filter(|(key, _)| is_branch(key).is_none()));
        for spot in below {
            self.branch(tree, spot, unread);
        }
    }

    fn chain(&mut self, table: Table, name: &str) {
        let found = || Key::Found(table, name.into());
        let known = chain(name, table).filter(|chain| !matches!(chain, Chain::Branch(..)));
        let Some(chain) = known else {
            self.items.push((found(), Value::Present));
            return;
        };
        let scene = Scene { family: self.family, table, tree: None };
        let rules = self.rules(scene, name);
        let odd = rules.is_none();
        let rules = rules.unwrap_or_default();
        let key = Key::Chain(table, chain.clone());
        match chain {
            Chain::HealthPorts => match health_ports(&rules).filter(|_| !odd) {
                Some(ports) => {
                    self.items.push((key, Value::Rules(Vec::new())));
                    let ports = ports.into_iter().map(|port| (Key::HealthPort(port), Value::Present));
                    self.items.extend(ports);
                }
                None => self.items.push((key, Value::Present)),
            },
            Chain::Service(_) | Chain::Local(_) => {
                let balance = balance(&rules).map(|balance| Value::Balance(Box::new(balance)));
                self.items.push((key, balance.unwrap_or(Value::Present)));
            }
            Chain::External(hash) => match external(&rules, &hash) {
                Some(external) => {
                    self.items.push((Key::External(Box::new(external)), Value::Rules(rules)));
                }
                None => self.items.push((found(), Value::Present)),
            },
            Chain::Services
            | Chain::ExternalServices
            | Chain::Forward
            | Chain::Localnet
            | Chain::Postrouting
            | Chain::MarkMasq
            | Chain::MarkCluster
            | Chain::Ranges(_)
            | Chain::BuiltIn(_)
            | Chain::Branch(..) => {
                self.items.push((key, if odd { Value::Present } else { Value::Rules(rules) }));
            }
        }
    }
}

/// The frontend of a leaf's rule, and its comment.
fn place(rule: &Rule) -> Option<(Place, Box<str>)> {
    let (address, rest) = match rule.matches.as_slice() {
        [Match::Destination(net, true), rest @ ..] => (Some(net.addr()), rest),
        rest => (None, rest),
    };
    let [Match::Protocol(protocol), Match::Comment(comment), Match::Port(_, port, _)] = rest else {
        return None;
    };
    Some((Place { address, protocol: *protocol, port: *port }, comment.clone()))
}

/// The ports that health checks are let in at; `None`: there is something else.
fn health_ports(found: &[Rule]) -> Option<BTreeSet<u16>> {
    let port = |rule: &Rule| match rule.matches.as_slice() {
        [_, _, Match::Port(_, port, _)] => Some(*port),
        _ => None,
    };
    let ports: BTreeSet<u16> = found.iter().map(port).collect::<Option<_>>()?;
    let written = ports.iter().flat_map(|port| item::rules(&Key::HealthPort(*port), &Value::Present));
    written.eq(found.iter().cloned()).then_some(ports)
}

fn balance(rules: &[Rule]) -> Option<Balance> {
    let first = rules.first()?;
    let [Match::Protocol(protocol), Match::Comment(comment), ..] = first.matches.as_slice() else {
        return None;
    };
    let known = |rule: &Rule| {
        rule.matches
            .iter()
            .find_map(|question| if let Match::Known(_, seconds) = question { Some(*seconds) } else { None })
    };
    let sticky = rules.iter().find_map(known);
    let chosen = rules.iter().filter(|rule| known(rule).is_none());
    let endpoint = |rule: &Rule| if let Target::Dnat(endpoint) = rule.target { Some(endpoint) } else { None };
    let endpoints: Vec<Endpoint> = chosen.map(endpoint).collect::<Option<_>>()?;
    let balance =
        Balance { comment: comment.clone(), protocol: *protocol, sticky, endpoints: endpoints.into() };
    (balance.rules() == rules).then_some(balance)
}

/// Whose rules these are; whether they are right for this node is another question.
fn external(rules: &[Rule], hash: &Hash) -> Option<External> {
    let comment = |rule: &Rule| {
        rule.matches
            .iter()
            .find_map(|question| if let Match::Comment(text) = question { Some(text.clone()) } else { None })
    };
    let port = comment(rules.last()?)?;
    let protocol: Protocol =
        Protocol::ALL.into_iter().find(|protocol| Hash::of_port(&port, *protocol) == *hash)?;
    let leads = |rule: &Rule| matches!(rule.target, Target::Jump(_));
    let (policy, inside, outside) = match rules {
        [_, _] => (TrafficPolicy::Cluster, true, true),
        [.., _, inside, outside] => (TrafficPolicy::Local, leads(inside), leads(outside)),
        _ => return None,
    };
    Some(External { port, protocol, policy, inside, outside })
}
