//! Nodes by name, and how the processors of the cluster are spread over its zones. Pure.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::object::{Node, Text};

/// All nodes.
#[derive(Debug, Default)]
pub struct Nodes {
    all: FxHashMap<Text, Node>,
    shares: Option<Shares>,
}

/// Each zone's part of all processors; together one.
pub(crate) type Shares = BTreeMap<Text, f64>;

impl Nodes {
    /// Takes a node as it is now. Answers whether that may spread endpoints differently.
    pub fn put(&mut self, node: Node) -> bool {
        let counts = |node: &Node| (node.ready, node.zone.clone());
        let before = self.all.insert(node.name.clone(), node.clone());
        let matters = before.as_ref().map(counts) != Some(counts(&node));
        if matters || before.is_some_and(|before| before != node) {
            self.shares = shares(self.all.values());
        }
        matters
    }

    /// Forgets a node. Answers whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let was = self.all.remove(name).is_some();
        self.shares = shares(self.all.values());
        was
    }

    /// Answers a node.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.all.get(name)
    }

    /// Answers each zone's part of all processors; `None` when too little is known, or there is one zone only.
    pub(crate) fn shares(&self) -> Option<&Shares> {
        self.shares.as_ref()
    }
}

/// A single node that does not say its zone or its processors makes the whole cluster unknown.
fn shares<'a>(nodes: impl Iterator<Item = &'a Node>) -> Option<Shares> {
    let mut zones: BTreeMap<Text, u64> = BTreeMap::new();
    for node in nodes.filter(|node| node.ready && !node.control_plane) {
        let zone = node.zone.as_ref().filter(|_| node.milli_cpu > 0)?;
        *zones.entry(zone.clone()).or_default() += node.milli_cpu;
    }
    let total: u64 = zones.values().sum();
    if zones.len() < 2 || total == 0 {
        return None;
    }
    Some(zones.into_iter().map(|(zone, milli)| (zone, milli as f64 / total as f64)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nodes: &[(&str, u64, bool)], expected: &str) {
        let mut all = Nodes::default();
        for (number, (zone, milli_cpu, ready)) in nodes.iter().enumerate() {
            let zone = (!zone.is_empty()).then(|| Text::from(*zone));
            let name = number.to_string().into();
            all.put(Node { name, zone, ready: *ready, milli_cpu: *milli_cpu, control_plane: false });
        }
        let shares = all.shares().map(|shares| {
            shares.iter().map(|(zone, part)| format!("{zone}={part:.2}")).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(shares.unwrap_or_else(|| "unknown".into()), expected, "{nodes:?}");
    }

    #[test]
    fn zones_have_shares_when_all_is_known() {
        check(&[("a", 1000, true), ("b", 2000, true), ("b", 1000, true)], "a=0.25 b=0.75");
        check(&[("a", 1000, true), ("b", 1000, true), ("c", 9000, false)], "a=0.50 b=0.50");
        check(&[("a", 1000, true), ("a", 1000, true)], "unknown");
        check(&[("a", 1000, true), ("b", 1000, true), ("", 1000, true)], "unknown");
        check(&[("a", 1000, true), ("b", 0, true)], "unknown");
        check(&[], "unknown");
    }
}
