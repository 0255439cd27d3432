//! Histograms whose counts are kept by somebody else, such as one set for each core, and read when somebody scrapes.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// The counts of one histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    /// The values of its labels, in their order.
    pub labels: Vec<String>,
    /// How many are in each bucket and in no other; the last is beyond all bounds.
    pub buckets: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

/// Answers the counts as they are.
pub(crate) type Read = Box<dyn Fn() -> Vec<Counts> + Send + Sync>;

/// Reads counts when it is asked for them.
pub(crate) struct Counted {
    pub(crate) desc: Desc,
    pub(crate) bounds: Vec<f64>,
    pub(crate) read: Read,
}

impl Counted {
    pub(crate) fn new(
        (name, help): (&str, &str),
        labels: &[&str],
        bounds: Vec<f64>,
        read: Read,
    ) -> prometheus::Result<Self> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())?;
        Ok(Self { desc, bounds, read })
    }

    fn metric(&self, counts: Counts) -> Metric {
        let pair = |(name, value): (&String, String)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value);
            pair
        };
        let mut labels: Vec<LabelPair> =
            self.desc.variable_labels.iter().zip(counts.labels).map(pair).collect();
        // The text format has them in this order, as the library's own collectors do.
        labels.sort();
        let mut total = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, count) in self.bounds.iter().zip(&counts.buckets) {
            total += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.buckets.iter().sum());
        histogram.set_sample_sum(counts.sum);
        let mut metric = Metric::from_label(labels);
        metric.set_histogram(histogram);
        metric
    }
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric((self.read)().into_iter().map(|counts| self.metric(counts)).collect());
        vec![family]
    }
}
