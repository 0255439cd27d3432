//! Node IPAM: every node gets a range of addresses for its Pods, of each family, and no two the same.
//!
//! Nothing is remembered but the Node objects themselves.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_json::json;

use crate::action::{Action, Kind, Plan, STRATEGIC, Said};
use crate::trimmed::Node;

/// The prefix of a node's range of IPv4.
const PREFIX_V4: u8 = 24;
/// The prefix of a node's range of IPv6.
const PREFIX_V6: u8 = 64;
/// No more nodes than this get a range.
const MOST: u64 = 1 << 16;

/// What is to be done so that every node has a range. `cluster`: the ranges of all Pods, the usual one first.
pub(crate) fn reconcile(cluster: &[IpNet], nodes: &[&Node]) -> Plan {
    let mut plan = Plan::default();
    let given = nodes.iter().flat_map(|node| node.ranges());
    let mut taken: Vec<IpNet> = given.filter_map(|range| range.parse().ok()).collect();
    let mut patches = Vec::new();
    let mut pools: Vec<Pool> = cluster.iter().map(|range| Pool::new(*range, &taken)).collect();
    for node in nodes.iter().filter(|node| node.ranges().next().is_none() && !node.metadata.is_leaving()) {
        let ranges: Option<Vec<IpNet>> = pools.iter_mut().map(Pool::take).collect();
        let Some(ranges) = ranges.filter(|ranges| !ranges.is_empty()) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", node.metadata.name);
            let said = Said::of(Kind::Node, &node.metadata, "cidrAllocator");
            plan.said.push(said.that("CIDRNotAvailable", message).warning().once());
            continue;
        };
        let texts: Vec<String> = ranges.iter().map(IpNet::to_string).collect();
        let body = json!({
            // Somebody else may have given it one meanwhile.
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "spec": {"podCIDR": texts[0], "podCIDRs": texts},
        });
        patches.push(Action::on(STRATEGIC, Kind::Node, &node.metadata, body));
        taken.extend(ranges);
    }
    if !patches.is_empty() {
        plan.steps.push(patches);
    }
    plan
}

/// A cluster's range and which parts of it are taken.
struct Pool {
    range: IpNet,
    prefix: u8,
    taken: BTreeSet<u64>,
    next: u64,
}

impl Pool {
    fn new(range: IpNet, taken: &[IpNet]) -> Self {
        let usual = if matches!(range, IpNet::V4(_)) { PREFIX_V4 } else { PREFIX_V6 };
        let prefix = usual.max(range.prefix_len());
        let mut pool = Self { range: range.trunc(), prefix, taken: BTreeSet::new(), next: 0 };
        for other in taken {
            pool.mark(*other);
        }
        pool
    }

    /// Notes that a range is taken, also if it is larger or smaller than a node's.
    fn mark(&mut self, other: IpNet) {
        if self.range.contains(&other) {
            let first = self.number(other.network());
            let last = self.number(other.broadcast());
            self.taken.extend(first..=last.min(MOST));
        } else if other.contains(&self.range) {
            self.next = MOST;
        }
    }

    /// Which part of the range an address is in.
    fn number(&self, address: IpAddr) -> u64 {
        let offset = bits(address).saturating_sub(bits(self.range.network()));
        u64::try_from(offset >> self.shift()).unwrap_or(u64::MAX)
    }

    fn shift(&self) -> u32 {
        u32::from(self.range.max_prefix_len() - self.prefix)
    }

    /// Takes the first part that is free.
    fn take(&mut self) -> Option<IpNet> {
        let all =
            1_u64.checked_shl(u32::from(self.prefix - self.range.prefix_len())).unwrap_or(MOST).min(MOST);
        let free = (self.next..all).find(|number| !self.taken.contains(number))?;
        self.next = free + 1;
        let first = bits(self.range.network()) + (u128::from(free) << self.shift());
        let address = match self.range {
            IpNet::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(first).ok()?)),
            IpNet::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(first)),
        };
        IpNet::new(address, self.prefix).ok()
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(cluster: &[&str], nodes: &[(&str, &[&str])]) -> Vec<String> {
        let cluster: Vec<IpNet> = cluster.iter().map(|range| range.parse().unwrap()).collect();
        let nodes: Vec<Node> = nodes
            .iter()
            .map(|(name, ranges)| {
                let body = json!({
                    "metadata": {"name": name},
                    "spec": {"podCIDR": ranges.first().unwrap_or(&""), "podCIDRs": ranges},
                });
                serde_json::from_value(body).unwrap()
            })
            .collect();
        let plan = reconcile(&cluster, &nodes.iter().collect::<Vec<_>>());
        let line = |action: &Action| format!("{} {}", action.place.name, action.body["spec"]["podCIDRs"]);
        let lines = plan.steps.iter().flatten().map(line);
        lines.chain(plan.said.iter().map(|said| said.message.clone())).collect()
    }

    #[test]
    fn nodes_get_ranges() {
        let check = |cluster: &[&str], nodes: &[(&str, &[&str])], expected: &[&str]| {
            assert_eq!(given(cluster, nodes), expected, "{cluster:?} {nodes:?}");
        };
        let both = ["10.244.0.0/16", "fd00:10:244::/56"];
        check(&both, &[("a", &[])], &[r#"a ["10.244.0.0/24","fd00:10:244::/64"]"#]);
        check(
            &both,
            &[("a", &[]), ("b", &["10.244.0.0/24", "fd00:10:244:1::/64"]), ("c", &[])],
            &[r#"a ["10.244.1.0/24","fd00:10:244::/64"]"#, r#"c ["10.244.2.0/24","fd00:10:244:2::/64"]"#],
        );
        // One that has a range keeps it, even if it is of one family only or of another cluster.
        check(&both, &[("a", &["10.1.0.0/24"])], &[]);
        // Larger and smaller ranges than usual are taken as well.
        check(&["10.0.0.0/16"], &[("a", &["10.0.0.0/23"]), ("b", &[])], &[r#"b ["10.0.2.0/24"]"#]);
        check(&["10.0.0.0/16"], &[("a", &["10.0.0.128/25"]), ("b", &[])], &[r#"b ["10.0.1.0/24"]"#]);
        check(
            &["10.0.0.0/24"],
            &[("a", &[]), ("b", &[])],
            &[r#"a ["10.0.0.0/24"]"#, "Node b status is now: CIDRNotAvailable"],
        );
        check(
            &["10.0.0.0/24"],
            &[("a", &["10.0.0.0/8"]), ("b", &[])],
            &["Node b status is now: CIDRNotAvailable"],
        );
        check(&["10.0.0.0/28"], &[("a", &[])], &[r#"a ["10.0.0.0/28"]"#]);
        check(&[], &[("a", &[])], &["Node a status is now: CIDRNotAvailable"]);
    }
}
