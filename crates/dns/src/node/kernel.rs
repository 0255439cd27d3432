//! What the kernel has for addresses that this node answers at: a local route to each, and a table that keeps packets to and
//! from port 53 of them out of connection tracking, and so away from rules that rewrite addresses.
//!
//! Without the table everything is as if nobody here answered. It belongs to a socket, with which the kernel removes it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use model::{Family, IpNet, Protocol};
use sys::link::Links;
use sys::nftables::{Batch, CommitError, Field, Hook, HookKind, NftSocket, Nftables, Rule};
use tracing::warn;

use super::Node;
use super::cluster::PORT;

/// The table's name, in both families.
pub const TABLE: &str = "signalbox-dns";
/// Whose the local routes are. Nobody else is known to use the number.
const PROTOCOL: u8 = 153;
/// Before connection tracking, which is at -200.
const RAW: i32 = -300;
const CHAINS: [(&str, HookKind); 3] =
    [("prerouting", HookKind::Prerouting), ("output", HookKind::Output), ("input", HookKind::Input)];

/// The kernel of one network namespace.
pub(super) struct Kernel {
    links: Links,
    nft: NftSocket,
    /// Which addresses are answered at in any case, and with which this node speaks.
    node: Node,
    /// What the table says of each family, in the order of [`Family::BOTH`]; `None`: there is no table.
    tables: [Option<BTreeSet<IpAddr>>; 2],
    /// Whether the kernel removes the table by itself.
    owns: bool,
}

/// Why the kernel does not have what is wanted. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The kernel would take the address itself, and so would what no process answers to any more.
    #[error("find an address of this node with which to speak to {0}")]
    NoSource(IpAddr),
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        Self::Commit(error.into())
    }
}

impl Kernel {
    /// Opens the network namespace of the calling thread, and removes the table that an older kernel may have kept.
    pub(super) fn open(node: Node) -> Result<Self, Error> {
        let mut nft = NftSocket::open()?;
        let removed = remove_tables(&mut nft)?;
        node.writes.fetch_add(removed, Ordering::AcqRel);
        Ok(Self { links: Links::open()?, nft, node, tables: [None, None], owns: true })
    }

    /// Answers which addresses are answered here.
    pub(super) fn answered(&self) -> BTreeSet<IpAddr> {
        self.tables.iter().flatten().flatten().copied().collect()
    }

    fn commit(&mut self, batch: Batch) -> Result<(), CommitError> {
        self.nft.commit(batch)?;
        self.node.writes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Has exactly these of the family's addresses answered here. Of two steps the first one never leads packets to nowhere, and
    /// what fails for one address keeps no other one out.
    pub(super) fn set(&mut self, family: Family, addresses: &BTreeSet<IpAddr>) -> Result<(), Error> {
        let wanted: BTreeSet<IpAddr> =
            addresses.iter().copied().filter(|address| Family::of(*address) == family).collect();
        let mut there = self.links.locals(PROTOCOL)?;
        there.retain(|address| Family::of(*address) == family);
        let (mut routed, mut failed) = (wanted.clone(), None);
        for address in wanted.iter().filter(|address| !there.contains(address)) {
            if let Err(error) = self.route(*address) {
                routed.remove(address);
                failed.get_or_insert(error);
            }
        }
        self.set_table(family, routed)?;
        for address in there.into_iter().filter(|address| !wanted.contains(address)) {
            self.links.delete_local(address, PROTOCOL)?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// Leaves the addresses to others. What this process sends from them still goes out.
    pub(super) fn leave(&mut self) -> Result<(), CommitError> {
        Family::BOTH.into_iter().try_for_each(|family| self.set_table(family, BTreeSet::new()))
    }

    fn route(&mut self, address: IpAddr) -> Result<(), Error> {
        /// The address is local without us, be it on a link or by somebody else's route.
        const EXISTS: Option<i32> = Some(17);
        let is_own = self.node.addresses.contains(&address);
        let sources = self.sources(Family::of(address)).into_iter().map(Some);
        let mut result = Err(Error::NoSource(address));
        // Nobody else answers at an address that is only this node's, whoever asks from it.
        for source in sources.chain(is_own.then_some(None)) {
            match self.links.add_local(address, source, PROTOCOL) {
                Ok(()) => return Ok(()),
                Err(error) if error.errno() == EXISTS => return Ok(()),
                // An address that has left the node is no source.
                Err(error) => result = Err(error.into()),
            }
        }
        result
    }

    /// Addresses with which this node may speak, the best first.
    fn sources(&mut self, family: Family) -> Vec<IpAddr> {
        let mut found = self.node.own.clone();
        found.extend((self.node.find_own)());
        let is_alone = |net: &IpNet| *net == IpNet::from(net.addr());
        let is_usable = |address: IpAddr| match address {
            IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
            IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
        };
        // One that has a link for itself may be a Service's.
        let on_links = self.links.addresses().unwrap_or_default().into_iter().filter(|net| !is_alone(net));
        found.extend(on_links.map(|net| net.addr()).filter(|address| is_usable(*address)));
        found.retain(|address| Family::of(*address) == family);
        found
    }

    fn set_table(&mut self, family: Family, addresses: BTreeSet<IpAddr>) -> Result<(), CommitError> {
        let at = usize::from(family == Family::V6);
        // Others can take away what is not this process' own.
        if self.tables[at].is_some() && !self.nft.tables(family)?.iter().any(|name| name == TABLE) {
            self.tables[at] = None;
        }
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
        if let Err(error) = self.commit(table((family, &addresses), &self.node.addresses, self.owns)) {
            if !self.owns || !is_unsupported(&error) {
                return Err(error);
            }
            self.commit(table((family, &addresses), &self.node.addresses, false))?;
            self.owns = false;
            warn!(
                "this kernel (before Linux 5.12) keeps rules of processes that are killed: names will not be answered then until the next start"
            );
        }
        self.tables[at] = Some(addresses);
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for family in Family::BOTH {
            if let Err(error) = self.set(family, &BTreeSet::new()) {
                warn!(%error, "what the kernel has for the DNS of this node may still be there");
            }
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

/// The whole table anew. `own` are addresses that are answered at in any case.
fn table((family, addresses): (Family, &BTreeSet<IpAddr>), own: &[IpAddr], owns: bool) -> Batch {
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
        if !own.contains(address) {
            // What the Service has has another destination here, and port 53 is not tracked: the rest is for nobody, least of all
            // for who listens at all of the node's addresses.
            let to = Rule::new(family).prefix(Field::Daddr, IpNet::from(*address), true);
            batch.add_rule("input", &to.ct_state_new().reject());
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
    use std::sync::Arc;

    use sys::testing::in_new_network_namespace;

    use super::*;
    use crate::object::Key;

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

    fn node(own: &[&str], listens: &[&str]) -> Node {
        Node {
            service: Key::new("kube-system", "kube-dns"),
            addresses: addresses(listens).into_iter().collect(),
            own: addresses(own).into_iter().collect(),
            find_own: Vec::new,
            threads: 1,
            writes: Arc::default(),
        }
    }

    impl Kernel {
        fn set_both(&mut self, wanted: &BTreeSet<IpAddr>) -> Vec<String> {
            let set = |family| self.set(family, wanted).err().map(|error| error.to_string());
            Family::BOTH.into_iter().filter_map(set).collect()
        }
    }

    const NONE: [String; 0] = [];

    #[test]
    fn the_kernel_has_what_is_wanted_and_nothing_else() {
        in_new_network_namespace(|| {
            Links::open().unwrap().set_up("lo").unwrap();
            let mut kernel = Kernel::open(node(&["127.0.0.1", "::1"], &[])).unwrap();
            for (wanted, count) in [
                (addresses(&["169.254.20.10"]), 1),
                (addresses(&["10.96.0.10", "169.254.20.10", "fd00::a"]), 2),
                (addresses(&["10.96.0.10"]), 1),
                (addresses(&["fd00::a"]), 1),
                (addresses(&[]), 0),
                (addresses(&["10.96.0.10", "fd00::a"]), 2),
            ] {
                assert_eq!(kernel.set_both(&wanted), NONE);
                assert_eq!((locals(), tables(), kernel.answered()), (wanted.clone(), count, wanted));
            }
            // A route that somebody took away comes back; a second one of us is kept from the table.
            Links::open().unwrap().delete_local("10.96.0.10".parse().unwrap(), PROTOCOL).unwrap();
            assert_eq!(kernel.set_both(&addresses(&["10.96.0.10", "fd00::a"])), NONE);
            assert_eq!(locals(), addresses(&["10.96.0.10", "fd00::a"]));
            assert!(Kernel::open(node(&[], &[])).is_err());
            // As after a kill: the socket is closed without a word.
            let Kernel { links, nft, .. } = &mut kernel;
            (*links, *nft) = (Links::open().unwrap(), NftSocket::open().unwrap());
            let begun = std::time::Instant::now();
            while tables() > 0 {
                assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the table stays");
            }
            // It is noticed, as on kernels that do not know whose a table is.
            let wanted = addresses(&["10.96.0.10", "fd00::a"]);
            assert_eq!((kernel.set_both(&wanted), tables()), (NONE.to_vec(), 2));
            // The routes stay as long as answers are sent.
            kernel.leave().unwrap();
            assert_eq!((locals(), tables()), (wanted, 0));
            assert_eq!(cleanup().unwrap(), 2);
            assert_eq!(locals(), addresses(&[]));
        });
    }

    #[test]
    fn what_fails_keeps_no_other_address_out() {
        in_new_network_namespace(|| {
            let mut links = Links::open().unwrap();
            links.set_up("lo").unwrap();
            links.add_address("lo", "10.96.0.10/32".parse().unwrap(), true).unwrap();
            // Of two sources the first is not there; the address of a Service, on a link, is none.
            let mut kernel = Kernel::open(node(&["192.0.2.9", "127.0.0.1"], &["fd00::10"])).unwrap();
            let wanted = addresses(&["10.96.0.10", "10.96.0.11", "fd00::a", "fd00::10"]);
            let failed = kernel.set_both(&wanted);
            assert_eq!(failed, ["find an address of this node with which to speak to fd00::a"]);
            assert_eq!(locals(), addresses(&["10.96.0.11", "fd00::10"]));
            assert_eq!(kernel.answered(), addresses(&["10.96.0.10", "10.96.0.11", "fd00::10"]));
        });
    }
}
