//! When each node was last heard of: a Lease that is renewed, or a heartbeat in its condition `Ready`.
//!
//! What counts is when the sign arrived here, not what time it says: clocks differ.

use std::collections::BTreeMap;

use watch::client::Told;

use crate::moment::Moment;
use crate::trimmed::Node;
use crate::world::News;

/// The last sign of each node.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    signs: BTreeMap<String, Sign>,
}

#[derive(Debug)]
struct Sign {
    at: Moment,
    /// What the Lease says, as text.
    renewed: Option<String>,
    /// What the condition says; `None` where there is no condition.
    beat: Option<Option<Moment>>,
}

impl Signs {
    /// Takes what was seen, whatever it is about.
    pub(crate) fn hear(&mut self, news: &News, now: Moment) {
        match news {
            News::Node(Told::Put(node)) => self.see_node(node, now),
            News::Node(Told::Gone { name, .. }) => drop(self.signs.remove(name)),
            News::Lease(Told::Put(lease)) => {
                self.see_lease(&lease.metadata.name, &lease.spec.renew_time, now)
            }
            News::Node(Told::Synced)
            | News::Lease(Told::Gone { .. } | Told::Synced)
            | News::Pod(_)
            | News::ReplicaSet(_)
            | News::Deployment(_)
            | News::Namespace(_)
            | News::Account(_)
            | News::Root(_) => {}
        }
    }

    fn see_node(&mut self, node: &Node, now: Moment) {
        let meta = &node.metadata;
        // One that has never said anything has had time since it was made.
        let at = meta.creation_timestamp.unwrap_or(now);
        let fresh = || Sign { at, renewed: None, beat: None };
        let sign = self.signs.entry(meta.name.clone()).or_insert_with(fresh);
        let beat = node.ready().map(|ready| ready.last_heartbeat_time);
        if sign.beat != beat {
            sign.beat = beat;
            sign.at = now;
        }
    }

    fn see_lease(&mut self, name: &str, renewed: &str, now: Moment) {
        let fresh = || Sign { at: now, renewed: None, beat: None };
        let sign = self.signs.entry(name.to_owned()).or_insert_with(fresh);
        if sign.renewed.as_deref() != Some(renewed) {
            sign.renewed = Some(renewed.to_owned());
            sign.at = now;
        }
    }

    /// When the node was last heard of.
    pub(crate) fn last(&self, node: &str) -> Option<Moment> {
        self.signs.get(node).map(|sign| sign.at)
    }

    /// Who could not listen cannot say that others were silent: everybody has all the time again.
    pub(crate) fn restart(&mut self, now: Moment) {
        self.signs.values_mut().for_each(|sign| sign.at = sign.at.max(now));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changes_is_a_sign() {
        let mut signs = Signs::default();
        let node = |beat: &str| {
            let conditions = match beat {
                "" => json!([]),
                beat => json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": beat}]),
            };
            let object = json!({
                "metadata": {"name": "one", "creationTimestamp": "1970-01-01T00:00:05Z"},
                "status": {"conditions": conditions},
            });
            News::Node(Told::Put(serde_json::from_value(object).unwrap()))
        };
        let lease = |renewed: &str| {
            let object = json!({"metadata": {"name": "one"}, "spec": {"renewTime": renewed}});
            News::Lease(Told::Put(serde_json::from_value(object).unwrap()))
        };
        let first = "2026-01-01T00:00:00Z";
        let history = [
            (node(""), 10, 5),
            (node(""), 20, 5),
            (node(first), 30, 30),
            (node(first), 40, 30),
            (lease("a"), 50, 50),
            (lease("a"), 60, 50),
            (lease("b"), 70, 70),
            (node("2026-01-01T00:05:00Z"), 80, 80),
        ];
        for (news, now, expected) in history {
            signs.hear(&news, Moment(now * 1000));
            assert_eq!(signs.last("one"), Some(Moment(expected * 1000)), "at {now}");
        }
        signs.restart(Moment(90_000));
        assert_eq!(signs.last("one"), Some(Moment(90_000)));
        signs.hear(&News::Node(Told::Gone { namespace: String::new(), name: "one".to_owned() }), Moment(0));
        assert_eq!(signs.last("one"), None);
    }
}
