//! Which Pods go first when there are too many: those that are missed least.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::moment::Moment;
use crate::trimmed::{Phase, Pod};

/// What people write on a Pod to say how much it would be missed.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The Pods to delete, `many` of them. `related`: Pods whose company on a node makes a Pod less missed.
pub(super) fn doomed<'a>(own: &[&'a Pod], related: &[&Pod], many: usize, now: Moment) -> Vec<&'a Pod> {
    let mut crowd: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in related.iter().filter(|pod| pod.is_active()) {
        *crowd.entry(&pod.spec.node_name).or_default() += 1;
    }
    let mut pods = own.to_vec();
    pods.sort_by_cached_key(|pod| {
        let node = pod.spec.node_name.as_str();
        Missed::of(pod, crowd.get(node).copied().unwrap_or(0), now)
    });
    pods.truncate(many);
    pods
}

/// How much a Pod is missed; the fields count in their order.
///
/// Kubernetes compares the identifiers of Pods that have been ready for about as long before it looks at restarts, which
/// is no order: three Pods can each come before the next. Here restarts come first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Missed {
    is_assigned: bool,
    phase: Phase,
    is_ready: bool,
    cost: i32,
    crowd: Reverse<usize>,
    ready_for: Option<Age>,
    restarts: Reverse<i64>,
    age: Age,
    uid: String,
}

impl Missed {
    fn of(pod: &Pod, crowd: usize, now: Moment) -> Self {
        let cost = pod.metadata.annotations.get(COST).and_then(|cost| cost.parse().ok()).unwrap_or(0);
        let restarts = pod.status.container_statuses.iter().map(|status| status.restart_count).max();
        Self {
            is_assigned: !pod.spec.node_name.is_empty(),
            phase: pod.status.phase,
            is_ready: pod.is_ready(),
            cost,
            crowd: Reverse(crowd),
            ready_for: pod.is_ready().then(|| Age::since(pod.ready_since(), now)),
            restarts: Reverse(restarts.unwrap_or(0)),
            age: Age::since(pod.metadata.creation_timestamp, now),
            uid: pod.metadata.uid.clone(),
        }
    }
}

/// About how long: doublings of time, so that Pods of one rollout are picked by chance rather than by the second.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Unknown,
    None,
    Doublings(u32),
}

impl Age {
    fn since(start: Option<Moment>, now: Moment) -> Self {
        let Some(start) = start else { return Self::Unknown };
        now.since(start).as_nanos().checked_ilog2().map_or(Self::None, Self::Doublings)
    }
}
