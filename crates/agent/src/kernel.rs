//! The kernel as the agent uses it: a driver for each family, and a thread that listens for what others do to our
//! tables.

use std::time::Duration;

use backend::Driver;
pub use backend_nftables::Counting;
use backend_nftables::{NftablesBackend, TABLE};
use model::Family;
use sys::Error;
use sys::nftables::{CommitError, Monitor, NftSocket};
use tokio::sync::mpsc::Sender;
use tracing::{error, warn};

use crate::Event;
use crate::timed::{Timed, TransactionTimes};

/// The kernel's nftables as a back end.
pub type KernelBackend = NftablesBackend<Timed<NftSocket>>;

/// What [`open_kernel`] opened.
pub struct Kernel {
    /// A driver for each family.
    pub drivers: Vec<(Family, Driver<KernelBackend>)>,
    /// The ports by which the kernel's notifications name our own writes.
    pub writers: Vec<u32>,
}

/// Opens the kernel of the calling thread's network namespace. Fails where nothing could ever be written: without the
/// privileges, or on a kernel without nf_tables.
pub fn open_kernel(counting: Counting, times: &TransactionTimes) -> Result<Kernel, Error> {
    let mut kernel = Kernel { drivers: Vec::new(), writers: Vec::new() };
    for family in Family::BOTH {
        let socket = NftSocket::open()?;
        kernel.writers.push(socket.port());
        let socket = Timed::new(socket, family, times);
        kernel.drivers.push((family, Driver::new(NftablesBackend::counting(family, socket, counting))));
    }
    Ok(kernel)
}

/// Removes everything of ours from the kernel, and nothing else. Answers of which families.
pub fn cleanup() -> Result<Vec<Family>, CommitError> {
    backend_nftables::cleanup(&mut NftSocket::open()?)
}

/// Removes the nftables tables of kube-proxy, and nothing else. Answers of which families.
pub fn cleanup_kube_proxy() -> Result<Vec<Family>, CommitError> {
    backend_nftables::cleanup_kube_proxy(&mut NftSocket::open()?)
}

/// Listens for changes that somebody else makes to our tables.
///
/// It begins when the tables are complete: the kernel tells about each single element, and telling about the first
/// sync of a large cluster would take longer than that sync.
#[derive(Debug)]
pub struct KernelWatch {
    writers: Vec<u32>,
    events: Sender<Event>,
}

impl KernelWatch {
    /// Prepares to report changes that were not made through the sockets with these ports.
    pub fn new(writers: Vec<u32>, events: Sender<Event>) -> Self {
        Self { writers, events }
    }

    /// Begins to listen, in a thread of its own that ends when nobody takes the events any more.
    pub(crate) fn start(self) {
        let listen = move || {
            if let Err(error) = self.listen() {
                error!(%error, "changes that others make to our tables are not noticed any more");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("kernel-watch".to_owned()).spawn(listen) {
            warn!(%error, "changes that others make to our tables will not be noticed");
        }
    }

    fn listen(self) -> Result<(), Error> {
        const LONG: Duration = Duration::from_secs(3600);
        let mut monitor = Monitor::open(TABLE, self.writers)?;
        while !self.events.is_closed() {
            for family in monitor.changed(LONG)? {
                // The loop may be busy with a long write; there is no hurry.
                if self.events.blocking_send(Event::KernelChanged(family)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
