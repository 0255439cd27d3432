//! A durable key-value store with revisions, for one machine.
//!
//! Every write is a function that one thread runs over the state and everything it has just written, so that two writes
//! never see the same thing as free. What it answers is on the disk before anybody is told or can read it; writes that
//! arrive together share one fsync. All values are kept in memory, and of each table the last changes, which watches
//! read at their own pace: one that cannot keep up is told so and never costs memory.
//!
//! What this crate does *not* do: know what the values are.

#![deny(missing_docs)]

mod disk;
mod error;
mod state;
mod view;
mod watch;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;

pub use error::{Expired, OpenError, WriteError};
pub use state::{Change, Entry, Page, Range, Window};
pub use view::View;
pub use watch::{Batch, Watch};
pub use writer::Write;

use state::State;
use writer::Writer;

/// The store, open. Clones are the same store; it is closed with the last of them.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Writer,
}

/// What readers see: locked for a copy of pointers, see docs/decisions/0002.
pub(crate) struct Shared {
    state: RwLock<State>,
    /// Whether the disk did not take the last write.
    fails: AtomicBool,
}

impl Shared {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while it was held for writing cannot happen between two changes: publishing does not fail.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note(&self, written: &Result<(), String>) {
        self.fails.store(written.is_err(), Ordering::Relaxed);
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store {
    /// Opens the file, or makes a new one. Everything in it is read and its checksums are compared: what is not as it
    /// was written is an error, and nothing is served.
    pub fn open(file: &Path, window: Window) -> Result<Self, OpenError> {
        let (disk, loaded) = disk::Disk::open(file)?;
        let state = State::new(loaded, window);
        let shared = Arc::new(Shared { state: RwLock::new(state), fails: AtomicBool::new(false) });
        let writer = Writer::start(disk, shared.clone())?;
        Ok(Self { shared, writer })
    }

    /// Answers whether it takes writes, as far as the last one tells.
    pub fn is_writable(&self) -> bool {
        !self.shared.fails.load(Ordering::Relaxed) && self.writer.is_running()
    }

    /// Answers the revision of the last write.
    pub fn revision(&self) -> u64 {
        self.shared.read().revision
    }

    /// Answers the value of a key, with the revision of all that was seen.
    pub fn get(&self, table: &str, key: &str) -> (Option<Entry>, u64) {
        let state = self.shared.read();
        (state.get(table, key).cloned(), state.revision)
    }

    /// Answers a page of a table as it was at a revision; `None`: as it is. A revision that is yet to come is answered
    /// as if it had come: the caller knows [`revision`](Self::revision).
    pub fn list(&self, table: &str, range: &Range<'_>, at: Option<u64>) -> Result<Page, Expired> {
        self.shared.read().list(table, range, at)
    }

    /// Answers how many values a table has.
    pub fn count(&self, table: &str) -> usize {
        self.shared.read().count(table)
    }

    /// Watches the changes of a table after a revision, which may be yet to come.
    pub fn watch(&self, table: &str, after: u64) -> Result<Watch, Expired> {
        Watch::begin(self.shared.clone(), table, after)
    }

    /// Runs `write` over everything that is written by then, and carries out what it answers: as a whole, under one
    /// revision, and durably. Answers that revision; nothing to write is the last one.
    ///
    /// `write` runs on the thread that all writes share. It must not wait for anything.
    pub async fn write<T: Send + 'static, E: Send + 'static>(
        &self,
        write: impl FnOnce(&View<'_>) -> Result<(Vec<Write>, T), E> + Send + 'static,
    ) -> Result<(u64, T), WriteError<E>> {
        self.writer.write(write).await
    }

    /// Forgets the changes up to a revision: watches and lists from before it are answered with [`Expired`].
    pub fn compact(&self, upto: u64) {
        self.shared.change(|state| state.compact(upto));
    }
}

/// The value of a key that was written.
pub(crate) type Value = Bytes;
