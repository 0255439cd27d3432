//! Metrics: made by those who have something to count, shown in the text format 0.0.4 of Prometheus.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};

use crate::counted::{Counted, Counts};

/// The media type of [`Metrics::text`].
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of one process. Clones see the same.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Registry,
    /// Locked for a scrape, or when a part of the program starts; never on the way of an event.
    before: Arc<Mutex<Vec<Update>>>,
}

type Update = Box<dyn Fn() + Send>;

impl Metrics {
    /// Makes a counter. `name` must be new.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.add(CounterVec::new(Opts::new(name, help), labels))
    }

    /// Makes a gauge. `name` must be new.
    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    /// Makes a histogram. `name` must be new, the bounds must ascend.
    pub fn histogram(&self, (name, help): (&str, &str), labels: &[&str], bounds: Vec<f64>) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds), labels))
    }

    /// Makes a histogram whose counts are read at each scrape: what is counted a million times a second is counted by
    /// each core for itself. `name` must be new, the bounds must ascend.
    pub fn counted_histogram(
        &self,
        name_and_help: (&str, &str),
        (labels, bounds): (&[&str], Vec<f64>),
        read: impl Fn() -> Vec<Counts> + Send + Sync + 'static,
    ) {
        let made = Counted::new(name_and_help, labels, bounds, Box::new(read));
        let collector = made.expect("names and labels are constants of this program");
        let added = self.registry.register(Box::new(collector));
        added.expect("each name is used once in this program");
    }

    /// Has `update` called before each scrape, to set what would be too dear to keep up to date.
    pub fn before_scrape(&self, update: impl Fn() + Send + 'static) {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(update));
    }

    /// Answers everything in the text format, sorted by name.
    pub fn text(&self) -> String {
        for update in self.before.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            update();
        }
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("names, labels and bounds are constants of this program");
        let added = self.registry.register(Box::new(collector.clone()));
        added.expect("each name is used once in this program");
        collector
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Answers `count` bounds, each `factor` times the one before.
pub fn exponential_bounds(first: f64, factor: f64, count: i32) -> Vec<f64> {
    (0..count).map(|power| first * factor.powi(power)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = Metrics::default();
        let gauge = metrics.gauge("b_gauge", "A gauge.", &["family"]);
        metrics.counter("a_total", "A counter.", &[]).with_label_values::<&str>(&[]).inc();
        let histogram =
            metrics.histogram(("c_seconds", "A histogram."), &[], exponential_bounds(0.001, 2.0, 2));
        histogram.with_label_values::<&str>(&[]).observe(0.0015);
        let set = gauge.clone();
        metrics.before_scrape(move || set.with_label_values(&["IPv4"]).set(1.5));
        let counts =
            || vec![Counts { labels: vec!["b".into(), "a".into()], buckets: vec![1, 2, 3], sum: 4.5 }];
        metrics.counted_histogram(("d", "Counted."), (&["y", "x"], vec![1.0, 2.0]), counts);
        let wanted = "# HELP a_total A counter.\n# TYPE a_total counter\na_total 1\n\
            # HELP b_gauge A gauge.\n# TYPE b_gauge gauge\nb_gauge{family=\"IPv4\"} 1.5\n\
            # HELP c_seconds A histogram.\n# TYPE c_seconds histogram\nc_seconds_bucket{le=\"0.001\"} 0\n\
            c_seconds_bucket{le=\"0.002\"} 1\nc_seconds_bucket{le=\"+Inf\"} 1\nc_seconds_sum 0.0015\nc_seconds_count 1\n\
            # HELP d Counted.\n# TYPE d histogram\nd_bucket{x=\"a\",y=\"b\",le=\"1\"} 1\n\
            d_bucket{x=\"a\",y=\"b\",le=\"2\"} 3\nd_bucket{x=\"a\",y=\"b\",le=\"+Inf\"} 6\n\
            d_sum{x=\"a\",y=\"b\"} 4.5\nd_count{x=\"a\",y=\"b\"} 6\n";
        assert_eq!(metrics.text(), wanted);
    }
}
