//! Ways to the kernel that time their transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use model::Family;
use sys::Error;
use sys::ipset;
use sys::iptables::{RestoreError, Xtables};
use sys::nftables::{Batch, CommitError, Element, KernelExpression, Nftables, TableDump};
use telemetry::{Histogram, HistogramVec, Metrics, exponential_bounds};

/// How long transactions take, for both families.
#[derive(Debug, Clone)]
pub struct TransactionTimes(HistogramVec);

impl TransactionTimes {
    /// Adds the metric.
    pub fn register(metrics: &Metrics) -> Self {
        let name = "signalbox_transaction_duration_seconds";
        let help = "How long the kernel took for one transaction, in seconds.";
        Self(metrics.histogram((name, help), &["ip_family"], exponential_bounds(0.0001, 2.0, 16)))
    }
}

/// How many transactions were carried out. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transactions(Arc<AtomicU32>);

impl Transactions {
    /// Answers the number itself, for those who write other tables in the same process.
    pub(crate) fn counter(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.0)
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// An nftables, or an iptables, whose transactions are timed and counted.
pub struct Timed<N> {
    kernel: N,
    times: Histogram,
    done: Transactions,
}

impl<N> Timed<N> {
    pub(crate) fn new(kernel: N, family: Family, times: &TransactionTimes, done: Transactions) -> Self {
        Self { kernel, times: times.0.with_label_values(&[&family.to_string()]), done }
    }
}

impl<N: Nftables> Nftables for Timed<N> {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        let result = self.kernel.commit(batch);
        self.times.observe(begin.elapsed().as_secs_f64());
        if result.is_ok() {
            self.done.0.fetch_add(1, Ordering::Release);
        }
        result
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Error> {
        self.kernel.tables(family)
    }

    fn read_table(&mut self, family: Family, name: &str) -> Result<Option<TableDump>, Error> {
        self.kernel.read_table(family, name)
    }

    fn read_elements(
        &mut self,
        family: Family,
        table_and_set: (&str, &str),
        each: &mut dyn FnMut(Element<'_>),
    ) -> Result<(), Error> {
        self.kernel.read_elements(family, table_and_set, each)
    }

    fn read_rules(
        &mut self,
        family: Family,
        table: &str,
        each: &mut dyn FnMut(&str, &[KernelExpression<'_>]),
    ) -> Result<(), Error> {
        self.kernel.read_rules(family, table, each)
    }

    fn can_destroy(&self) -> bool {
        self.kernel.can_destroy()
    }
}

impl<X: Xtables> Xtables for Timed<X> {
    fn save(&mut self) -> Result<String, Error> {
        self.kernel.save()
    }

    fn restore(&mut self, text: &str) -> Result<(), RestoreError> {
        let begin = Instant::now();
        let result = self.kernel.restore(text);
        self.times.observe(begin.elapsed().as_secs_f64());
        result
    }

    fn changes_single_rules(&self) -> bool {
        self.kernel.changes_single_rules()
    }

    fn entries(&mut self) -> Option<u32> {
        self.kernel.entries()
    }

    fn elements(&mut self, set: &str) -> Result<Option<Vec<ipset::Element>>, Error> {
        self.kernel.elements(set)
    }

    fn make_set(&mut self, set: &str) -> Result<(), Error> {
        self.kernel.make_set(set)
    }

    fn change_set(
        &mut self,
        set: &str,
        added: &[ipset::Element],
        removed: &[ipset::Element],
    ) -> Result<(), Error> {
        self.kernel.change_set(set, added, removed)
    }

    fn remove_set(&mut self, set: &str) -> Result<(), Error> {
        self.kernel.remove_set(set)
    }

    fn counts(&self) -> bool {
        self.kernel.counts()
    }

    fn counters(&mut self) -> Result<Vec<String>, Error> {
        self.kernel.counters()
    }

    fn make_counter(&mut self, name: &str) -> Result<(), Error> {
        self.kernel.make_counter(name)
    }
}
