//! What the server counts, with kube-apiserver's names.

use std::time::Duration;

use telemetry::{CounterVec, GaugeVec, HistogramVec, Metrics, exponential_bounds};

/// The metrics of a server.
#[derive(Clone)]
pub(crate) struct Counts {
    requests: CounterVec,
    durations: HistogramVec,
    inflight: GaugeVec,
    watches: GaugeVec,
    refused: CounterVec,
}

/// One of those that are counted as long as they live.
pub(crate) struct Counted {
    gauge: GaugeVec,
    labels: [String; 1],
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.gauge.with_label_values(&[self.labels[0].as_str()]).dec();
    }
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let bounds = exponential_bounds(0.0005, 2.0, 16);
        Self {
            requests: metrics.counter(
                "apiserver_request_total",
                "Requests that were answered, by verb, resource, subresource and status code.",
                &["verb", "resource", "subresource", "code"],
            ),
            durations: metrics.histogram(
                (
                    "apiserver_request_duration_seconds",
                    "How long answers took, in seconds, watches left out.",
                ),
                &["verb", "resource"],
                bounds,
            ),
            inflight: metrics.gauge(
                "apiserver_current_inflight_requests",
                "Requests that are being answered, watches left out.",
                &["request_kind"],
            ),
            watches: metrics.gauge(
                "apiserver_longrunning_requests",
                "Watches that are open, by resource.",
                &["resource"],
            ),
            refused: metrics.counter(
                "apiserver_rejected_requests_total",
                "Requests that were turned away because too many were being answered.",
                &["reason"],
            ),
        }
    }

    pub(crate) fn answered(&self, labels: (&str, &str, &str), code: u16, took: Option<Duration>) {
        let (verb, resource, part) = labels;
        self.requests.with_label_values(&[verb, resource, part, &code.to_string()]).inc();
        if let Some(took) = took {
            self.durations.with_label_values(&[verb, resource]).observe(took.as_secs_f64());
        }
    }

    pub(crate) fn turned_away(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    pub(crate) fn inflight(&self, kind: &str) -> Counted {
        Self::counted(&self.inflight, kind)
    }

    pub(crate) fn watch(&self, resource: &str) -> Counted {
        Self::counted(&self.watches, resource)
    }

    fn counted(gauge: &GaugeVec, label: &str) -> Counted {
        gauge.with_label_values(&[label]).inc();
        Counted { gauge: gauge.clone(), labels: [label.to_owned()] }
    }
}
