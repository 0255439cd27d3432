//! The items' way into the kernel and back: the only part that uses `sys`.

mod decode;
mod encode;
mod read;
mod sticky;
mod write;

use backend::{ApplyError, Delta};
use model::Family;
use sys::Error;
pub(crate) use sys::nftables::Nftables;
use sys::nftables::{Batch, CommitError};

use crate::item::{Key, Value};
pub use encode::Counting;

/// The name of our table, in both families.
pub const TABLE: &str = "signalbox";

/// The comment of the table names the program's version: a table of another version is replaced in one transaction.
const PROGRAM: &str = "signalbox program 1";

/// kube-proxy's table in nftables mode. It goes in the transaction that completes ours.
const KUBE_PROXY: &str = "kube-proxy";

/// One family of a kernel's nftables, with what is known about the tables in it.
pub struct Kernel<N> {
    nft: N,
    family: Family,
    table: Table,
    has_kube_proxy: bool,
    counting: Counting,
}

/// What is in the place of our table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Missing,
    Ours,
    /// Another version, or something that cannot be turned into ours item by item.
    ToReplace,
}

impl<N: Nftables> Kernel<N> {
    pub(crate) fn new(family: Family, nft: N, counting: Counting) -> Self {
        Self { nft, family, table: Table::Missing, has_kube_proxy: false, counting }
    }

    /// Answers the nftables that are written.
    pub fn nft_mut(&mut self) -> &mut N {
        &mut self.nft
    }

    /// Answers whether a table is there that the next transaction deletes.
    pub(crate) fn replaces_everything(&self) -> bool {
        self.table == Table::ToReplace
    }

    pub(crate) fn read(&mut self) -> Result<Vec<(Key, Value)>, Error> {
        self.has_kube_proxy = self.nft.tables(self.family)?.iter().any(|name| name == KUBE_PROXY);
        let found = read::table(&mut self.nft, self.family, self.counting)?;
        let (table, items) = match found {
            read::Found::Nothing => (Table::Missing, Vec::new()),
            read::Found::SomethingElse => (Table::ToReplace, Vec::new()),
            read::Found::Program(items) => (Table::Ours, items),
        };
        self.table = table;
        Ok(items)
    }

    pub(crate) fn apply(&mut self, delta: &Delta<'_, Key, Value>) -> Result<(), ApplyError> {
        let gone = sticky::lost_clients(&mut self.nft, self.family, delta).map_err(backend::Error::new)?;
        let (batch, owners) = self.batch(delta, &gone);
        self.nft.commit(batch).map_err(|error| write::blamed(error, &owners))?;
        self.table = Table::Ours;
        self.has_kube_proxy &= !delta.is_last;
        let leftovers = write::deletions(self.family, delta);
        if !leftovers.is_empty() {
            self.nft.commit(leftovers).map_err(failed)?;
        }
        sticky::sweep(&mut self.nft, self.family, &gone).map_err(backend::Error::new)?;
        Ok(())
    }

    /// The transaction, and which change each of its operations carries out.
    fn batch(
        &self,
        delta: &Delta<'_, Key, Value>,
        gone: &sticky::LostClients,
    ) -> (Batch, Vec<Option<usize>>) {
        let mut writer = write::Writer::new((self.family, self.counting), delta.changes.len());
        match self.table {
            Table::Ours => {}
            Table::Missing => writer.operation(None, |batch| batch.add_table(PROGRAM)),
            Table::ToReplace => {
                writer.operation(None, Batch::delete_table);
                writer.operation(None, |batch| batch.add_table(PROGRAM));
            }
        }
        writer.changes(delta, gone, self.nft.can_destroy());
        if self.has_kube_proxy && delta.is_last {
            writer.operation(None, |batch| batch.delete_other_table(KUBE_PROXY));
        }
        writer.finish()
    }
}

fn failed(error: CommitError) -> ApplyError {
    ApplyError::Failed(backend::Error::new(error))
}

/// What is in the place of our table, sorted by key; empty when there is none, or one of another version.
pub fn installed(nft: &mut impl Nftables, family: Family) -> Result<Vec<(Key, Value)>, Error> {
    let found = match read::table(nft, family, Counting::Nothing)? {
        read::Found::SomethingElse => read::table(nft, family, Counting::Connections)?,
        found @ (read::Found::Nothing | read::Found::Program(_)) => found,
    };
    let mut items = match found {
        read::Found::Nothing | read::Found::SomethingElse => Vec::new(),
        read::Found::Program(items) => items,
    };
    items.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(items)
}

/// What the kernel counted at one frontend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendCount<'a> {
    /// The map of the frontend's element.
    pub map: &'static str,
    /// The key of the element.
    pub key: &'a [u8],
    /// `namespace/name:port` of the Service.
    pub port: String,
    /// How many new connections found the element since it was written.
    pub connections: u64,
}

/// Hands the counters of all frontends on. The program must count [`Counting::Connections`].
pub fn connections(
    nft: &mut impl Nftables,
    family: Family,
    each: &mut dyn FnMut(FrontendCount<'_>),
) -> Result<(), Error> {
    for (set, map) in encode::CONNECTIONS.iter().zip(["frontends", "nodeports"]) {
        debug_assert_eq!(set.name(), map);
        nft.read_elements(family, (TABLE, map), &mut |element| {
            if let (Some(port), Some(connections)) = (element.comment(), element.packets) {
                each(FrontendCount { map, key: element.key, port, connections });
            }
        })?;
    }
    Ok(())
}

/// Removes our tables of these families, and nothing else. Answers which there were.
pub fn cleanup(nft: &mut impl Nftables, families: &[Family]) -> Result<Vec<Family>, CommitError> {
    delete_tables(nft, TABLE, families)
}

/// Answers whether there are tables of ours, or of kube-proxy.
pub fn has_rules(nft: &mut impl Nftables) -> Result<bool, CommitError> {
    let mut tables = Vec::new();
    for family in Family::BOTH {
        tables.extend(nft.tables(family)?);
    }
    Ok(tables.iter().any(|name| [TABLE, KUBE_PROXY].contains(&name.as_str())))
}

/// Removes kube-proxy's tables of these families. Answers which there were.
pub fn cleanup_kube_proxy(nft: &mut impl Nftables, families: &[Family]) -> Result<Vec<Family>, CommitError> {
    delete_tables(nft, KUBE_PROXY, families)
}

fn delete_tables(
    nft: &mut impl Nftables,
    table: &str,
    families: &[Family],
) -> Result<Vec<Family>, CommitError> {
    let mut removed = Vec::new();
    for &family in families {
        if nft.tables(family)?.iter().any(|name| name == table) {
            let mut batch = Batch::new(family, table);
            batch.delete_table();
            nft.commit(batch)?;
            removed.push(family);
        }
    }
    Ok(removed)
}
