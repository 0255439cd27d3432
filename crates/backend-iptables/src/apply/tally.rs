//! How many rules of ours the tables hold, and what those have counted.

use std::collections::BTreeMap;

use backend::{Delta, RuleCount};

use crate::item::{Key, Value, rule_count};
use crate::names::Table;

/// Rules of ours in each table, and those of the last write.
#[derive(Debug, Default)]
pub(super) struct Tally {
    held: BTreeMap<Table, usize>,
    written: BTreeMap<Table, usize>,
}

impl Tally {
    /// These are there.
    pub(super) fn read(&mut self, items: &[(Key, Value)]) {
        self.held.clear();
        for (key, value) in items {
            if let Some(table) = key.table() {
                *self.held.entry(table).or_default() += rule_count(key, value);
            }
        }
    }

    /// This was carried out with a text of so many rules.
    pub(super) fn wrote(&mut self, delta: &Delta<'_, Key, Value>, written: BTreeMap<Table, usize>) {
        let (mut more, mut less) = (BTreeMap::new(), BTreeMap::new());
        for change in &delta.changes {
            let Some(table) = change.key.table() else { continue };
            for (sum, value) in [(&mut more, change.after), (&mut less, change.before)] {
                *sum.entry(table).or_insert(0) += value.map_or(0, |value| rule_count(change.key, value));
            }
        }
        for table in Table::BOTH {
            let of = |sum: &BTreeMap<Table, usize>| sum.get(&table).copied().unwrap_or_default();
            let held = (of(&self.held) + of(&more)).saturating_sub(of(&less));
            self.held.insert(table, held);
        }
        self.written = written;
    }

    pub(super) fn rules(&self) -> Vec<RuleCount> {
        let of = |sum: &BTreeMap<Table, usize>, table| sum.get(&table).copied().unwrap_or_default();
        let count = |table: Table| RuleCount {
            table: table.name(),
            held: of(&self.held, table),
            written: of(&self.written, table),
        };
        Table::BOTH.map(count).to_vec()
    }
}

/// What a chain that balances has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainCount<'a> {
    /// The chain.
    pub chain: &'a str,
    /// `namespace/name:port` of the Service.
    pub port: &'a str,
    /// How many new connections got an endpoint since it was written.
    pub connections: u64,
}

/// Answers what the chains that balance have counted, from what `iptables-save -c` printed.
pub fn connections(saved: &str) -> Vec<ChainCount<'_>> {
    let mut counts: Vec<ChainCount<'_>> = Vec::new();
    for (chain, port, packets) in saved.lines().filter_map(counted) {
        match counts.last_mut() {
            Some(last) if last.chain == chain => last.connections += packets,
            _ => counts.extend(port.map(|port| ChainCount { chain, port, connections: packets })),
        }
    }
    counts
}

/// Chain, comment and packets of a line such as `[7:420] -A KUBE-SVC-X -p tcp -m comment --comment "a/b:c" -j DNAT ..`. Only the first
/// rule of a chain has a comment.
fn counted(line: &str) -> Option<(&str, Option<&str>, u64)> {
    let (counters, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
    let (chain, rest) = rule.split_once(' ')?;
    if !(chain.starts_with("KUBE-SVC-") || chain.starts_with("KUBE-SVL-")) {
        return None;
    }
    let port = rest.split_once("--comment \"").and_then(|(_, rest)| rest.split('"').next());
    Some((chain, port, counters.split(':').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_summed_for_each_chain_that_balances() {
        let saved = "*nat\n:KUBE-SVC-ABCDEFGHIJKLMNOP - [0:0]\n[9:9] -A PREROUTING -j KUBE-SERVICES\n\
            [3:180] -A KUBE-SVC-ABCDEFGHIJKLMNOP -p tcp -m comment --comment \"a/b:c\" -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.0.0.1:80\n\
            [4:240] -A KUBE-SVC-ABCDEFGHIJKLMNOP -p tcp -j DNAT --to-destination 10.0.0.2:80\n\
            [5:300] -A KUBE-SVL-ABCDEFGHIJKLMNOP -p tcp -m comment --comment \"a/b:c\" -j DNAT --to-destination 10.0.0.2:80\n\
            [6:360] -A KUBE-EXT-ABCDEFGHIJKLMNOP -m comment --comment \"a/b:c\" -j KUBE-SVC-ABCDEFGHIJKLMNOP\n\
            [1:60] -A KUBE-SVC-QRSTUVWXYZ234567 -p udp -m comment --comment \"a/d\" -j DNAT --to-destination 10.0.0.2:80\nCOMMIT\n";
        let count = |chain, port, connections| ChainCount { chain, port, connections };
        assert_eq!(
            connections(saved),
            [
                count("KUBE-SVC-ABCDEFGHIJKLMNOP", "a/b:c", 7),
                count("KUBE-SVL-ABCDEFGHIJKLMNOP", "a/b:c", 5),
                count("KUBE-SVC-QRSTUVWXYZ234567", "a/d", 1)
            ]
        );
    }
}
