//! What the agent says about itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use model::{Family, IpNet, ServiceKey};

/// The state of one node agent at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// A change that waits longer than this is a failure: twice `syncPeriod`.
    pub patience: Duration,
    /// How each family's kernel is doing.
    pub families: BTreeMap<Family, FamilyHealth>,
    /// Whether the Node object exists and is going to stay.
    pub is_node_eligible: bool,
    /// The health-check node ports, by family and number.
    pub ports: BTreeMap<(Family, u16), HealthPort>,
    /// Where they are served: the node's addresses inside these ranges.
    pub node_port_addresses: BTreeMap<Family, Vec<IpNet>>,
}

/// How one family's kernel is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilyHealth {
    /// Since when a change waits to be written; `None`: none does.
    pub waiting_since: Option<Instant>,
    /// When the kernel was last brought in step; `None`: not yet.
    pub last_synced: Option<SystemTime>,
}

/// What a health-check node port answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthPort {
    /// Whose port it is.
    pub service: ServiceKey,
    /// How many ready endpoints of it are on this node, by address.
    pub local_endpoints: usize,
}

impl FamilyHealth {
    /// Answers whether no change waits for too long. An agent that has not written anything yet is healthy.
    pub fn is_healthy(&self, now: Instant, patience: Duration) -> bool {
        self.waiting_since.is_none_or(|since| now.saturating_duration_since(since) <= patience)
    }
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(60),
            families: BTreeMap::new(),
            is_node_eligible: false,
            ports: BTreeMap::new(),
            node_port_addresses: BTreeMap::new(),
        }
    }
}

impl Snapshot {
    /// Answers whether all families are.
    pub fn is_healthy(&self, now: Instant) -> bool {
        self.families.values().all(|family| family.is_healthy(now, self.patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_waits_too_long_in_one_family_is_ill_health() {
        let now = Instant::now() + Duration::from_secs(1000);
        let since = |seconds| now.checked_sub(Duration::from_secs(seconds));
        let mut snapshot = Snapshot::default();
        assert!(snapshot.is_healthy(now), "before anything was written");
        snapshot.families.insert(Family::V4, FamilyHealth { waiting_since: since(59), last_synced: None });
        snapshot.families.insert(Family::V6, FamilyHealth::default());
        assert!(snapshot.is_healthy(now));
        snapshot.families.insert(Family::V6, FamilyHealth { waiting_since: since(61), last_synced: None });
        assert!(!snapshot.is_healthy(now));
    }
}
