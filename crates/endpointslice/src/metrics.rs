//! What the controller counts, by the names of Kubernetes' EndpointSlice controller.

use rustc_hash::FxHashMap;
use telemetry::{Counter, CounterVec, Gauge, Histogram, Metrics, exponential_bounds};

use crate::queue::Key;
use crate::reconcile::{Action, Counts};

/// The metrics.
#[derive(Debug, Clone)]
pub struct SliceMetrics {
    added: Histogram,
    removed: Histogram,
    endpoints: Gauge,
    slices: Gauge,
    desired: Gauge,
    changes: CounterVec,
    success: Counter,
    error: Counter,
    /// What each Service adds to the gauges.
    counted: FxHashMap<Key, Counts>,
}

impl SliceMetrics {
    /// Makes them; once for a process.
    pub fn new(metrics: &Metrics) -> Self {
        let name = |name: &str| format!("endpoint_slice_controller_{name}");
        let gauge =
            |short: &str, help: &str| metrics.gauge(&name(short), help, &[]).with_label_values::<&str>(&[]);
        let histogram = |short: &str, help: &str| {
            let bounds = exponential_bounds(2.0, 2.0, 15);
            metrics.histogram((&name(short), help), &[], bounds).with_label_values::<&str>(&[])
        };
        let syncs = metrics.counter(&name("syncs"), "Services worked on, by what came of it.", &["result"]);
        Self {
            added: histogram("endpoints_added_per_sync", "Endpoints added by the work on a Service."),
            removed: histogram("endpoints_removed_per_sync", "Endpoints removed by the work on a Service."),
            endpoints: gauge("endpoints_desired", "Endpoints of all Services with a selector."),
            slices: gauge("num_endpoint_slices", "EndpointSlices of all Services with a selector."),
            desired: gauge("desired_endpoint_slices", "EndpointSlices there would be if all were full."),
            changes: metrics.counter(&name("changes"), "Writes of EndpointSlices.", &["operation"]),
            success: syncs.with_label_values(&["success"]),
            error: syncs.with_label_values(&["error"]),
            counted: FxHashMap::default(),
        }
    }

    /// The same for a controller that knows nothing yet.
    pub(crate) fn fresh(&self) -> Self {
        [&self.endpoints, &self.slices, &self.desired].iter().for_each(|gauge| gauge.set(0.0));
        Self { counted: FxHashMap::default(), ..self.clone() }
    }

    /// Notes what was decided for a Service.
    pub(crate) fn decided(&mut self, key: &Key, counts: Option<Counts>) {
        let before = match counts {
            Some(counts) => self.counted.insert(key.clone(), counts),
            None => self.counted.remove(key),
        };
        let (before, now) = (before.unwrap_or_default(), counts.unwrap_or_default());
        for (gauge, before, now) in [
            (&self.endpoints, before.endpoints, now.endpoints),
            (&self.slices, before.slices, now.slices),
            (&self.desired, before.desired, now.desired),
        ] {
            gauge.add(now as f64 - before as f64);
        }
        if counts.is_some() {
            self.added.observe(now.added as f64);
            self.removed.observe(now.removed as f64);
        }
    }

    /// Where writes are counted.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.changes.clone())
    }

    /// Notes how the work on a Service ended.
    pub(crate) fn ended(&self, succeeded: bool) {
        if succeeded { self.success.inc() } else { self.error.inc() }
    }
}

/// Counts writes.
#[derive(Debug, Clone)]
pub(crate) struct Changes(CounterVec);

impl Changes {
    /// One that succeeded.
    pub(crate) fn count(&self, operation: &str) {
        self.0.with_label_values(&[operation]).inc();
    }
}

/// What a write does, in one word.
pub(crate) fn operation(action: &Action) -> &'static str {
    match action {
        Action::Create(_) => "create",
        Action::Patch { .. } => "update",
        Action::Delete { .. } => "delete",
    }
}

/// Metrics that nobody sees.
impl Default for SliceMetrics {
    fn default() -> Self {
        Self::new(&Metrics::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_follow_the_services() {
        let metrics = Metrics::default();
        let mut counted = SliceMetrics::new(&metrics);
        let (one, two): (Key, Key) = (("a".into(), "one".into()), ("a".into(), "two".into()));
        let counts = |endpoints, slices| Counts { endpoints, slices, desired: 1, added: 3, removed: 0 };
        counted.decided(&one, Some(counts(5, 1)));
        counted.decided(&two, Some(counts(7, 2)));
        counted.decided(&one, Some(counts(6, 1)));
        counted.decided(&two, None);
        let text = metrics.text();
        for line in [
            "endpoints_desired 6",
            "num_endpoint_slices 1",
            "desired_endpoint_slices 1",
            "endpoints_added_per_sync_sum 9",
        ] {
            let line = format!("endpoint_slice_controller_{line}");
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
