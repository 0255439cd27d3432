//! A way to the kernel that times its transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use model::Family;
use sys::Error;
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

/// An nftables whose transactions are timed and counted.
pub struct Timed<N> {
    nft: N,
    times: Histogram,
    done: Transactions,
}

impl<N> Timed<N> {
    pub(crate) fn new(nft: N, family: Family, times: &TransactionTimes, done: Transactions) -> Self {
        Self { nft, times: times.0.with_label_values(&[&family.to_string()]), done }
    }
}

impl<N: Nftables> Nftables for Timed<N> {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        let result = self.nft.commit(batch);
        self.times.observe(begin.elapsed().as_secs_f64());
        if result.is_ok() {
            self.done.0.fetch_add(1, Ordering::Release);
        }
        result
    }

    fn tables(&mut self, family: Family) -> Result<Vec<String>, Error> {
        self.nft.tables(family)
    }

    fn read_table(&mut self, family: Family, name: &str) -> Result<Option<TableDump>, Error> {
        self.nft.read_table(family, name)
    }

    fn read_elements(
        &mut self,
        family: Family,
        table_and_set: (&str, &str),
        each: &mut dyn FnMut(Element<'_>),
    ) -> Result<(), Error> {
        self.nft.read_elements(family, table_and_set, each)
    }

    fn read_rules(
        &mut self,
        family: Family,
        table: &str,
        each: &mut dyn FnMut(&str, &[KernelExpression<'_>]),
    ) -> Result<(), Error> {
        self.nft.read_rules(family, table, each)
    }

    fn can_destroy(&self) -> bool {
        self.nft.can_destroy()
    }
}
