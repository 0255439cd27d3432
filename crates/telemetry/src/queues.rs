//! Work queues, by the metrics that Kubernetes' controllers have.

use std::time::Duration;

use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec};

use crate::{Metrics, exponential_bounds};

/// The metrics of all work queues of a process.
#[derive(Debug, Clone)]
pub struct WorkQueues {
    depth: GaugeVec,
    adds: CounterVec,
    waited: HistogramVec,
    worked: HistogramVec,
    retries: CounterVec,
}

/// Those of one queue.
#[derive(Debug, Clone)]
pub struct WorkQueue {
    depth: Gauge,
    adds: Counter,
    waited: Histogram,
    worked: Histogram,
    retries: Counter,
}

impl WorkQueues {
    /// Makes them; once for a process.
    pub fn new(metrics: &Metrics) -> Self {
        let name = &["name"];
        let bounds = || exponential_bounds(1e-8, 10.0, 12);
        Self {
            depth: metrics.gauge("workqueue_depth", "What waits in a queue.", name),
            adds: metrics.counter("workqueue_adds_total", "What was put into a queue.", name),
            waited: metrics.histogram(
                ("workqueue_queue_duration_seconds", "How long something waited in a queue."),
                name,
                bounds(),
            ),
            worked: metrics.histogram(
                ("workqueue_work_duration_seconds", "How long something out of a queue was worked on."),
                name,
                bounds(),
            ),
            retries: metrics.counter("workqueue_retries_total", "What was put into a queue once more.", name),
        }
    }

    /// Those of the queue of this name.
    pub fn queue(&self, name: &str) -> WorkQueue {
        let label = &[name];
        WorkQueue {
            depth: self.depth.with_label_values(label),
            adds: self.adds.with_label_values(label),
            waited: self.waited.with_label_values(label),
            worked: self.worked.with_label_values(label),
            retries: self.retries.with_label_values(label),
        }
    }
}

/// Metrics that nobody sees.
impl Default for WorkQueues {
    fn default() -> Self {
        Self::new(&Metrics::default())
    }
}

impl WorkQueue {
    /// How many things wait.
    pub fn set_depth(&self, depth: usize) {
        self.depth.set(depth as f64);
    }

    /// Something was put in that was not there.
    pub fn added(&self) {
        self.adds.inc();
    }

    /// Something was taken out to be worked on, that long after it was due.
    pub fn taken(&self, waited: Duration) {
        self.waited.observe(waited.as_secs_f64());
    }

    /// The work on something took so long.
    pub fn done(&self, worked: Duration) {
        self.worked.observe(worked.as_secs_f64());
    }

    /// Something failed and is put in once more.
    pub fn retried(&self) {
        self.retries.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_kubernetes_names() {
        let metrics = Metrics::default();
        let queue = WorkQueues::new(&metrics).queue("door");
        queue.added();
        queue.set_depth(1);
        queue.taken(Duration::from_millis(5));
        queue.done(Duration::from_secs(2));
        queue.retried();
        let text = metrics.text();
        for line in [
            "workqueue_adds_total{name=\"door\"} 1",
            "workqueue_depth{name=\"door\"} 1",
            "workqueue_queue_duration_seconds_count{name=\"door\"} 1",
            "workqueue_work_duration_seconds_sum{name=\"door\"} 2",
            "workqueue_retries_total{name=\"door\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
