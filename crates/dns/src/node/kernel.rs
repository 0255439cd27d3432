//! What the kernel has for addresses that this node answers at: a local route to each, and a table that keeps packets to and
//! from port 53 of them out of connection tracking, and so away from rules that rewrite addresses.
//!
//! Without the table everything is as if nobody here answered. It belongs to a socket, with which the kernel removes it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use model::{Family, IpNet, Protocol};
use sys::link::Links;
use sys::nftables::{Batch, CommitError, Field, Hook, HookKind, NftSocket, Nftables, Rule};
use tracing::warn;

use super::cluster::PORT;

/// The table's name, in both families.
pub const TABLE: &str = "signalbox-dns";
/// Whose the local routes are. Nobody else is known to use the number.
const PROTOCOL: u8 = 153;
/// Before connection tracking, which is at -200.
const RAW: i32 = -300;
const CHAINS: [(&str, HookKind); 2] = [("prerouting", HookKind::Prerouting), ("output", HookKind::Output)];

/// The kernel of one network namespace.
pub(super) struct Kernel {
    links: Links,
    nft: NftSocket,
    /// This node's own addresses: with one of them it speaks to an address that it answers at.
    sources: Vec<IpAddr>,
    /// What the table says of each family, in the order of [`Family::BOTH`]; `None`: there is no table.
    tables: [Option<BTreeSet<IpAddr>>; 2],
    /// Whether the kernel removes the table by itself.
    owns: bool,
    /// How many transactions there were.
    writes: Arc<AtomicU32>,
}

impl Kernel {
    /// Opens the network namespace of the calling thread, and removes the table that an older kernel may have kept.
    pub(super) fn open(sources: Vec<IpAddr>, writes: Arc<AtomicU32>) -> Result<Self, CommitError> {
        let mut nft = NftSocket::open()?;
        let removed = remove_tables(&mut nft)?;
        writes.fetch_add(removed, Ordering::AcqRel);
        Ok(Self { links: Links::open()?, nft, sources, tables: [None, None], owns: true, writes })
    }

    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        self.nft.commit(batch)?;
        self.writes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Has exactly these addresses answered here. Of two steps the first one never leads packets to nowhere.
    pub(super) fn set(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), CommitError> {
        let there = self.links.locals(PROTOCOL)?;
        for address in addresses.iter().filter(|address| !there.contains(address)) {
            let source = self.sources.iter().find(|source| source.is_ipv4() == address.is_ipv4());
            self.links.add_local(*address, source.copied(), PROTOCOL)?;
        }
        for (at, family) in Family::BOTH.into_iter().enumerate() {
            let of_family: BTreeSet<IpAddr> =
                addresses.iter().copied().filter(|address| Family::of(*address) == family).collect();
            self.set_table((at, family), of_family)?;
        }
        for address in there.into_iter().filter(|address| !addresses.contains(address)) {
            self.links.delete_local(address, PROTOCOL)?;
        }
        Ok(())
    }

    fn set_table(
        &mut self,
        (at, family): (usize, Family),
        addresses: BTreeSet<IpAddr>,
    ) -> Result<(), CommitError> {
        if self.tables[at].as_ref() == Some(&addresses) || (self.tables[at].is_none() && addresses.is_empty())
        {
            return Ok(());
        }
        if addresses.is_empty() {
            let mut batch = Batch::new(family, TABLE);
            batch.delete_table();
            self.commit(batch)?;
            self.tables[at] = None;
            return Ok(());
        }
        if let Err(error) = self.commit(table(family, &addresses, self.owns)) {
            if !self.owns || !is_unsupported(&error) {
                return Err(error);
            }
            self.owns = false;
            warn!(
                "this kernel (before Linux 5.12) keeps rules of processes that are killed: names will not be answered then until the next start"
            );
            self.commit(table(family, &addresses, false))?;
        }
        self.tables[at] = Some(addresses);
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Err(error) = self.set(&BTreeSet::new()) {
            warn!(%error, "what the kernel has for the DNS of this node may still be there");
        }
    }
}

fn is_unsupported(error: &CommitError) -> bool {
    /// `EINVAL` and `EOPNOTSUPP`, of flags that the kernel does not know.
    const UNKNOWN: [i32; 2] = [22, 95];
    match error {
        CommitError::Refused { refused } => refused.iter().all(|refused| UNKNOWN.contains(&refused.errno)),
        CommitError::Failed(_) => false,
    }
}

/// The whole table anew.
fn table(family: Family, addresses: &BTreeSet<IpAddr>, owns: bool) -> Batch {
    const COMMENT: &str = "signalbox: what this node's DNS answers";
    let mut batch = Batch::new(family, TABLE);
    if owns {
        batch.add_own_table(COMMENT)
    } else {
        batch.add_table(COMMENT)
    }
    for (chain, kind) in CHAINS {
        batch.add_chain(chain, Some(Hook { kind, nat: false, priority: RAW }));
        batch.flush_chain(chain);
    }
    for address in addresses {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let at = |field, is_destination| {
                let rule = Rule::new(family).prefix(field, IpNet::from(*address), true).l4proto(protocol);
                // Where the route is missing, the Service's rules go on.
                rule.port(is_destination, PORT).fib_local(field).no_track()
            };
            batch.add_rule("prerouting", &at(Field::Daddr, true));
            batch.add_rule("output", &at(Field::Daddr, true));
            batch.add_rule("output", &at(Field::Saddr, false));
        }
    }
    batch
}

fn remove_tables(nft: &mut NftSocket) -> Result<u32, CommitError> {
    let mut count = 0;
    for family in Family::BOTH {
        if nft.tables(family)?.iter().any(|name| name == TABLE) {
            let mut batch = Batch::new(family, TABLE);
            batch.delete_table();
            nft.commit(batch)?;
            count += 1;
        }
    }
    Ok(count)
}

/// Removes what a process that was killed may have left. Answers how many tables and routes that were. The table of one that runs
/// is not ours to remove.
pub fn cleanup() -> Result<usize, CommitError> {
    let tables = remove_tables(&mut NftSocket::open()?)?;
    let mut links = Links::open()?;
    let left = links.locals(PROTOCOL)?;
    for address in &left {
        links.delete_local(*address, PROTOCOL)?;
    }
    Ok(tables as usize + left.len())
}

#[cfg(test)]
mod tests {
    use sys::testing::in_new_network_namespace;

    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// What is there, without our own eyes.
    fn tables() -> usize {
        let mut nft = NftSocket::open().unwrap();
        let mut has = |family| nft.tables(family).unwrap().iter().any(|name| name == TABLE);
        Family::BOTH.into_iter().filter(|family| has(*family)).count()
    }

    fn locals() -> BTreeSet<IpAddr> {
        Links::open().unwrap().locals(PROTOCOL).unwrap().into_iter().collect()
    }

    #[test]
    fn the_kernel_has_what_is_wanted_and_nothing_else() {
        in_new_network_namespace(|| {
            Links::open().unwrap().set_up("lo").unwrap();
            let mut kernel = Kernel::open(vec!["127.0.0.1".parse().unwrap()], Arc::default()).unwrap();
            for (wanted, count) in [
                (addresses(&["169.254.20.10"]), 1),
                (addresses(&["10.96.0.10", "169.254.20.10", "fd00::a"]), 2),
                (addresses(&["10.96.0.10"]), 1),
                (addresses(&["fd00::a"]), 1),
                (addresses(&[]), 0),
                (addresses(&["10.96.0.10", "fd00::a"]), 2),
            ] {
                kernel.set(&wanted).unwrap();
                assert_eq!((locals(), tables()), (wanted, count));
            }
            // A route that somebody took away comes back; a second one of us is kept from the table.
            Links::open().unwrap().delete_local("10.96.0.10".parse().unwrap(), PROTOCOL).unwrap();
            kernel.set(&addresses(&["10.96.0.10", "fd00::a"])).unwrap();
            assert_eq!(locals(), addresses(&["10.96.0.10", "fd00::a"]));
            assert!(Kernel::open(Vec::new(), Arc::default()).is_err());
            // As after a kill: the socket is closed without a word.
            let Kernel { links, nft, .. } = &mut kernel;
            (*links, *nft) = (Links::open().unwrap(), NftSocket::open().unwrap());
            let begun = std::time::Instant::now();
            while tables() > 0 {
                assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the table stays");
            }
            assert_eq!(cleanup().unwrap(), 2);
            assert_eq!(locals(), addresses(&[]));
            kernel.tables = [None, None];
        });
    }
}
