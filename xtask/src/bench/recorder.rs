//! Keeps the batches that are written, to be written again: the kernel's own time for them is the floor.

use model::Family;
use sys::Error;
use sys::nftables::{Batch, CommitError, Element, KernelExpression, NftSocket, Nftables, TableDump};

/// A kernel whose batches are kept while `keep` says so.
pub(super) struct Recorder {
    nft: NftSocket,
    /// Whether to keep batches from now on.
    pub(super) keep: bool,
    /// The batches so far.
    pub(super) batches: Vec<Batch>,
}

impl Recorder {
    /// Opens the kernel of the calling thread's network namespace.
    pub(super) fn open() -> Result<Self, Error> {
        Ok(Self { nft: NftSocket::open()?, keep: false, batches: Vec::new() })
    }
}

impl Nftables for Recorder {
    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        if self.keep && !batch.is_empty() {
            self.batches.push(batch.clone());
        }
        self.nft.commit(batch)
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
