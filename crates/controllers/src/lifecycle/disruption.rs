//! How much of the cluster is silent, and how fast Pods may be put away then: what concerns many nodes at once is rather
//! the network's trouble, or one's own, than theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::moment::Moment;
use crate::trimmed::Node;

/// The share of a zone that has to be ill, and the number of nodes, for the zone to count as disrupted.
const ILL_SHARE: f64 = 0.55;
const ILL_NODES: usize = 2;
/// A zone larger than this has its Pods put away slowly when it is disrupted, a smaller one not at all.
const LARGE: usize = 50;
/// How long it takes from one node to the next, usually and in a disrupted zone.
const USUAL: Duration = Duration::from_secs(10);
const SLOW: Duration = Duration::from_secs(100);
/// A node with this label counts for nothing.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// When a node may get the taint that puts Pods away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Now.
    Now,
    /// Not before then.
    From(Moment),
    /// Never while the whole cluster is ill; what is there goes.
    Never,
}

/// What is remembered of the past.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When a node of a zone was last given the taint.
    last: BTreeMap<String, Moment>,
    is_all_ill: bool,
}

impl Pace {
    /// Looks at the nodes as they are now; answers whether that changes what may be done with any of them.
    pub(crate) fn look(&mut self, nodes: &[&Node], now: Moment) -> bool {
        let mut counted = nodes.iter().filter(|node| !is_excluded(node)).peekable();
        let is_all_ill = counted.peek().is_some() && !counted.any(|node| node.is_ready());
        let was_all_ill = std::mem::replace(&mut self.is_all_ill, is_all_ill);
        if was_all_ill && !is_all_ill {
            // The others are about to come back, too.
            self.last = nodes.iter().map(|node| (zone(node), now)).collect();
        }
        was_all_ill != is_all_ill
    }

    /// When a node may get the taint.
    pub(crate) fn leave(&self, node: &Node, nodes: &[&Node], now: Moment) -> Leave {
        if self.is_all_ill {
            return Leave::Never;
        }
        let own = zone(node);
        let (mut ill, mut all) = (0_usize, 0_usize);
        for other in nodes.iter().filter(|other| !is_excluded(other) && zone(other) == own) {
            all += 1;
            ill += usize::from(!other.is_ready());
        }
        let is_disrupted = ill > ILL_NODES && ill < all && ill as f64 / all as f64 >= ILL_SHARE;
        let wait = match (is_disrupted, all > LARGE) {
            (false, _) => USUAL,
            (true, true) => SLOW,
            (true, false) => return Leave::From(now.plus(USUAL)),
        };
        match self.last.get(&own).map(|last| last.plus(wait)).filter(|next| *next > now) {
            Some(next) => Leave::From(next),
            None => Leave::Now,
        }
    }

    /// Notes that a node was given the taint.
    pub(crate) fn used(&mut self, node: &Node, now: Moment) {
        self.last.insert(zone(node), now);
    }
}

fn is_excluded(node: &Node) -> bool {
    node.metadata.labels.contains_key(EXCLUDED)
}

fn zone(node: &Node) -> String {
    let label = |name: &str| node.metadata.labels.get(name).map_or("", String::as_str);
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// So many nodes in zones: `a3` are three that are ready, `a!2` two that are not.
    fn nodes(text: &str) -> Vec<Node> {
        let mut all = Vec::new();
        for part in text.split_whitespace() {
            let (zone, rest) = part.split_at(1);
            let (status, many) = rest.strip_prefix('!').map_or(("True", rest), |many| ("Unknown", many));
            for _ in 0..many.parse().unwrap() {
                let object = json!({
                    "metadata": {"name": format!("n{}", all.len()), "labels": {"topology.kubernetes.io/zone": zone}},
                    "status": {"conditions": [{"type": "Ready", "status": status}]},
                });
                all.push(serde_json::from_value(object).unwrap());
            }
        }
        all
    }

    #[test]
    fn many_silent_nodes_keep_their_pods() {
        // The first node that is not ready, at 0 s, 5 s after another of its zone had been given the taint.
        let check = |text: &str, expected: Leave| {
            let nodes = nodes(text);
            let ill = nodes.iter().find(|node| !node.is_ready()).unwrap();
            let mut pace = Pace::default();
            pace.used(ill, Moment(-5000));
            let nodes: Vec<&Node> = nodes.iter().collect();
            pace.look(&nodes, Moment(0));
            assert_eq!(pace.leave(ill, &nodes, Moment(0)), expected, "{text}");
        };
        let at = |seconds: i64| Leave::From(Moment(seconds * 1000));
        check("a2 a!1", at(5));
        check("a1 a!2", at(5));
        check("a2 a!3", at(10));
        check("a3 a!2", at(5));
        check("a!1", Leave::Never);
        check("a!3", Leave::Never);
        check("a!3 b1", at(5));
        check("a!3 b!1", Leave::Never);
        check("a20 a!31", at(95));
        check("a20 a!30", at(10));
    }

    #[test]
    fn who_comes_back_first_gives_the_others_time() {
        let mut pace = Pace::default();
        let (before, after) = (nodes("a!2"), nodes("a1 a!1"));
        let (before, after): (Vec<&Node>, Vec<&Node>) = (before.iter().collect(), after.iter().collect());
        assert!(pace.look(&before, Moment(0)));
        assert!(!pace.look(&before, Moment(1)));
        assert!(pace.look(&after, Moment(2000)));
        let leave = |now: i64| pace.leave(after[1], &after, Moment(now));
        assert_eq!(leave(2000), Leave::From(Moment(12_000)));
        assert_eq!(leave(12_000), Leave::Now);
    }
}
