//! When what changed happened: the annotation by which one measures how long a change takes to reach the nodes. Pure.

use crate::object::{Pod, Service, Text};

/// What was known of a Service at the last sync.
#[derive(Debug, Default)]
pub(crate) struct Triggers {
    known: bool,
    service: i64,
    /// Sorted by name.
    pods: Vec<(Text, i64)>,
}

impl Triggers {
    /// Takes what is known now, with pods sorted by name. Answers the earliest moment among those that are new; for a
    /// Service that was not known, when it was created.
    pub(crate) fn take(&mut self, service: &Service, pods: &[&Pod]) -> Option<i64> {
        let before = |pod: &Pod| {
            let at = self.pods.binary_search_by(|(name, _)| name.cmp(&pod.name));
            at.map_or(0, |at| self.pods[at].1)
        };
        let new = pods.iter().filter(|pod| pod.ready_since > before(pod)).map(|pod| pod.ready_since);
        let new_service = (service.created > self.service).then_some(service.created);
        let earliest = new.chain(new_service).min();
        let was_known = std::mem::replace(&mut self.known, true);
        self.service = service.created;
        let timed = pods.iter().filter(|pod| pod.ready_since > 0);
        self.pods = timed.map(|pod| (pod.name.clone(), pod.ready_since)).collect();
        if was_known { earliest } else { (service.created > 0).then_some(service.created) }
    }
}
