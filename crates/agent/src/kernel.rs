//! The kernel as the agent uses it: a driver for each family, and a thread that listens for what others do to our
//! tables.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use backend::Driver;
use backend_iptables::{Counter, HAIRPIN, HAIRPIN_V6, IptablesBackend};
pub use backend_nftables::Counting;
use backend_nftables::{NftablesBackend, TABLE};
use model::Family;
use sys::Error;
use sys::iptables::{Host, Iptables, OwnWrite, Xtables};
use sys::nfacct::Nfacct;
use sys::nftables::{CommitError, Monitor, NftSocket};
use telemetry::Metrics;
use tokio::sync::mpsc::Sender;
use tracing::{error, info, warn};

use crate::counters::watch_counters;
use crate::timed::{Timed, TransactionTimes, Transactions};
use crate::{Event, guard};

/// How long after it failed to listen the kernel is listened to again.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// What is just being written is counted a moment after it is done; somebody else's never is.
pub(crate) const ATTEMPTS: usize = 3;
pub(crate) const UNTIL_COUNTED: Duration = Duration::from_millis(20);

/// The kernel's nftables as a back end.
pub type KernelBackend = NftablesBackend<Timed<NftSocket>>;

/// What [`open_kernel`] opened.
pub struct Kernel {
    /// A driver for each family.
    pub drivers: Vec<(Family, Driver<KernelBackend>)>,
    /// What tells our own writes from those of others.
    pub writes: OwnWrites,
}

/// What tells our own writes from those of others: by the ports that notifications name, and before there are any by
/// their number, since the kernel counts all transactions of a network namespace.
#[derive(Debug)]
pub struct OwnWrites {
    ports: Vec<u32>,
    generation: u32,
    done: Transactions,
}

impl OwnWrites {
    /// Answers where other parts of this process count their transactions, so that they are not taken for somebody else's.
    pub fn counter(&self) -> Arc<AtomicU32> {
        self.done.counter()
    }

    /// Answers whether nobody else wrote since the kernel was opened.
    fn are_all(&self) -> Result<bool, Error> {
        let mut socket = NftSocket::open()?;
        for _ in 0..ATTEMPTS {
            let expected = self.generation.wrapping_add(self.done.count());
            if socket.generation()? == expected {
                return Ok(true);
            }
            std::thread::sleep(UNTIL_COUNTED);
        }
        Ok(false)
    }
}

/// Opens the kernel of the calling thread's network namespace. Fails where nothing could ever be written: without the
/// privileges, or on a kernel without nf_tables.
pub fn open_kernel(counting: Counting, times: &TransactionTimes) -> Result<Kernel, Error> {
    let (generation, done) = (NftSocket::open()?.generation()?, Transactions::default());
    let writes = OwnWrites { ports: Vec::new(), generation, done: done.clone() };
    let mut kernel = Kernel { drivers: Vec::new(), writes };
    for family in Family::BOTH {
        let socket = NftSocket::open()?;
        kernel.writes.ports.push(socket.port());
        let socket = Timed::new(socket, family, times, done.clone());
        kernel.drivers.push((family, Driver::new(NftablesBackend::counting(family, socket, counting))));
    }
    Ok(kernel)
}

/// The host's iptables as a back end.
pub type XtablesBackend = IptablesBackend<Timed<Host>>;

/// What [`open_iptables`] opened.
pub struct IptablesKernel {
    /// A driver for each family that this host has programs for.
    pub drivers: Vec<(Family, Driver<XtablesBackend>)>,
    /// The programs.
    pub programs: Vec<Iptables>,
    /// What is written through them.
    pub writes: Receiver<(Family, OwnWrite)>,
    /// Where other parts of this process count their transactions of nftables, so that they are not taken for somebody else's.
    pub others: Arc<AtomicU32>,
}

/// Finds the host's iptables, and the kernel's sets for the calling thread's network namespace. A host without programs
/// for IPv6, or without IPv6, is left without it.
pub fn open_iptables(metrics: &Metrics) -> Result<IptablesKernel, Error> {
    // Without the privileges the host's programs only seem to be broken.
    Nfacct::open()?;
    let (tell, writes) = channel();
    let mut kernel =
        IptablesKernel { drivers: Vec::new(), programs: Vec::new(), writes, others: Arc::default() };
    let times = TransactionTimes::register(metrics);
    let mut counts = false;
    for family in Family::BOTH {
        let mut host = match (family, Host::open(family)) {
            (_, Ok(host)) => host,
            (Family::V4, Err(error)) => return Err(error),
            (Family::V6, Err(error)) => {
                warn!(%family, %error, "this family is not programmed");
                continue;
            }
        };
        host.tell_writes(tell.clone());
        kernel.programs.push(host.iptables().clone());
        counts |= host.counts();
        let host = Timed::new(host, family, &times, Transactions::default());
        kernel.drivers.push((family, Driver::new(IptablesBackend::new(family, host))));
    }
    if counts {
        watch_counters(metrics)?;
    } else {
        info!(
            "the kernel or the host's iptables has no nfacct; dropped packets and NodePorts on 127.0.0.1 are not counted"
        );
    }
    Ok(kernel)
}

/// Removes what iptables mode has besides chains: ipsets that no rule asks, and counters that no rule counts with.
pub fn cleanup_ipsets() -> Result<(), Error> {
    let mut ipset = sys::ipset::Ipset::open()?;
    let sets = ipset.remove(HAIRPIN).and(ipset.remove(HAIRPIN_V6));
    let Some(mut nfacct) = Nfacct::open()? else { return sets };
    let counters = Counter::ALL.into_iter().try_for_each(|counter| nfacct.remove(counter.name()));
    sets.and(counters)
}

/// Removes everything of ours from the kernel, and nothing else. Answers of which families.
pub fn cleanup() -> Result<Vec<Family>, CommitError> {
    cleanup_of(&Family::BOTH)
}

pub(crate) fn cleanup_of(families: &[Family]) -> Result<Vec<Family>, CommitError> {
    backend_nftables::cleanup(&mut NftSocket::open()?, families)
}

/// Answers whether a proxy has rules here: this one, or kube-proxy with nftables.
pub fn has_rules() -> Result<bool, CommitError> {
    backend_nftables::has_rules(&mut NftSocket::open()?)
}

/// Removes the nftables tables of kube-proxy, and nothing else. Answers of which families.
pub fn cleanup_kube_proxy() -> Result<Vec<Family>, CommitError> {
    cleanup_kube_proxy_of(&Family::BOTH)
}

pub(crate) fn cleanup_kube_proxy_of(families: &[Family]) -> Result<Vec<Family>, CommitError> {
    backend_nftables::cleanup_kube_proxy(&mut NftSocket::open()?, families)
}

/// Listens for changes that somebody else makes to our tables.
///
/// It begins when the tables are complete: the kernel tells about each single element, and telling about the first
/// sync of a large cluster would take longer than that sync.
#[derive(Debug)]
pub struct KernelWatch {
    of: Watched,
    events: Sender<Event>,
}

#[derive(Debug)]
enum Watched {
    Tables(OwnWrites),
    Chains(guard::Watched),
}

impl KernelWatch {
    /// Prepares to report changes that are not our own.
    pub fn new(writes: OwnWrites, events: Sender<Event>) -> Self {
        Self { of: Watched::Tables(writes), events }
    }

    /// Prepares to report when something of our chains in these programs' tables is gone that they did not take
    /// themselves.
    pub fn of_iptables(
        programs: Vec<Iptables>,
        (writes, others): (Receiver<(Family, OwnWrite)>, Arc<AtomicU32>),
        events: Sender<Event>,
    ) -> Self {
        Self { of: Watched::Chains(guard::Watched { programs, writes, others }), events }
    }

    /// Begins to listen, in a thread of its own that ends when nobody takes the events any more.
    pub(crate) fn start(self) {
        let listen = move || {
            let mut is_again = false;
            loop {
                let listened = match &self.of {
                    Watched::Tables(writes) => listen(writes, &self.events),
                    Watched::Chains(chains) => guard::listen(chains, &self.events, is_again),
                };
                // Else nobody takes the events any more.
                let Err(error) = listened else { return };
                error!(%error, again_in = ?LISTEN_AGAIN, "changes that others make to our tables are not noticed for a while");
                std::thread::sleep(LISTEN_AGAIN);
                is_again = true;
            }
        };
        if let Err(error) = std::thread::Builder::new().name("kernel-watch".to_owned()).spawn(listen) {
            warn!(%error, "changes that others make to our tables will not be noticed");
        }
    }
}

fn listen(writes: &OwnWrites, events: &Sender<Event>) -> Result<(), Error> {
    const LONG: Duration = Duration::from_secs(3600);
    let mut monitor = Monitor::open(TABLE, writes.ports.clone())?;
    // What others did until now nobody has told.
    if !writes.are_all()? {
        for family in Family::BOTH {
            if events.blocking_send(Event::KernelChanged(family)).is_err() {
                return Ok(());
            }
        }
    }
    while !events.is_closed() {
        for family in monitor.changed(LONG)? {
            // The loop may be busy with a long write; there is no hurry.
            if events.blocking_send(Event::KernelChanged(family)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::nftables::{Batch, Nftables};
    use sys::testing::in_new_network_namespace;

    #[test]
    fn what_others_did_before_the_watch_began_is_noticed() {
        let add = |nft: &mut dyn FnMut(Batch), name: &str| {
            let mut batch = Batch::new(Family::V4, name);
            batch.add_table("somebody");
            nft(batch);
        };
        in_new_network_namespace(|| {
            let times = TransactionTimes::register(&Metrics::default());
            let Kernel { mut drivers, writes } = open_kernel(Counting::Nothing, &times).expect("root may");
            let (_, driver) = drivers.first_mut().expect("one of each family");
            let own = driver.backend_mut().kernel_mut().nft_mut();
            for number in 0..3 {
                add(&mut |batch| own.commit(batch).expect("a new table"), &format!("own{number}"));
            }
            assert!(writes.are_all().expect("the kernel counts"));
            let mut other = NftSocket::open().expect("root may");
            add(&mut |batch| other.commit(batch).expect("a new table"), "theirs");
            assert!(!writes.are_all().expect("the kernel counts"));
            let (events, mut queue) = tokio::sync::mpsc::channel(8);
            KernelWatch::new(writes, events).start();
            assert_eq!(queue.blocking_recv(), Some(Event::KernelChanged(Family::V4)));
            assert_eq!(queue.blocking_recv(), Some(Event::KernelChanged(Family::V6)));
        });
    }
}
