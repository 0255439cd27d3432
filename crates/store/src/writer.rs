//! The one thread that writes: it takes what waits, lets each write see those before it, and asks the disk once for all
//! of them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use tracing::error;

use crate::disk::{Disk, Facts};
use crate::state::{Entry, State};
use crate::view::{Pending, Written};
use crate::{OpenError, Shared, Value, View, WriteError};

/// How many writes wait before those who want to write wait.
const QUEUE: usize = 1024;
/// How many writes share one fsync at most.
const GROUP: usize = 512;

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// The key has this value from now on.
    Put {
        /// The table.
        table: Box<str>,
        /// The key.
        key: Arc<str>,
        /// The value.
        value: Value,
    },
    /// The key has no value from now on.
    Delete {
        /// The table.
        table: Box<str>,
        /// The key.
        key: Arc<str>,
    },
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Running>);

/// The thread. It ends with the last way to it, which waits for that: the file is free then.
struct Running {
    /// `Some` until it is dropped.
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs = None;
        // A panic of it was told on standard error.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Decides what to write, and returns who is to be told what became of it.
type Job = Box<dyn FnOnce(&View<'_>) -> Decided + Send>;

/// What a job decided.
struct Decided {
    writes: Vec<Write>,
    /// Takes the revision, or why the disk did not take it.
    tell: Box<dyn FnOnce(Result<u64, String>) + Send>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(disk: Disk, shared: Arc<Shared>) -> Result<Self, OpenError> {
        let (sender, jobs) = sync_channel(QUEUE);
        let file = disk.file().to_owned();
        let run = move || Thread { disk, shared }.run(&jobs);
        let started = thread::Builder::new().name("store".to_owned()).spawn(run);
        let thread = started.map_err(|source| OpenError::File { file, source })?;
        Ok(Self(Arc::new(Running { jobs: Some(sender), thread: Some(thread) })))
    }

    pub(crate) fn is_running(&self) -> bool {
        self.0.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    pub(crate) async fn write<T: Send + 'static, E: Send + 'static>(
        &self,
        write: impl FnOnce(&View<'_>) -> Result<(Vec<Write>, T), E> + Send + 'static,
    ) -> Result<(u64, T), WriteError<E>> {
        let (told, answer) = oneshot::channel();
        let job: Job = Box::new(move |view| match write(view) {
            Ok((writes, value)) => {
                let tell = |result: Result<u64, String>| {
                    // Who asked may have gone; what was written stays.
                    drop(told.send(result.map(|revision| (revision, value)).map_err(WriteError::Disk)));
                };
                Decided { writes, tell: Box::new(tell) }
            }
            Err(refusal) => {
                drop(told.send(Err(WriteError::Refused(refusal))));
                Decided { writes: Vec::new(), tell: Box::new(|_| {}) }
            }
        });
        self.enqueue(job).await.map_err(|()| WriteError::Closed)?;
        answer.await.unwrap_or(Err(WriteError::Panicked))
    }

    async fn enqueue(&self, mut job: Job) -> Result<(), ()> {
        use std::sync::mpsc::TrySendError;
        use std::time::Duration;
        loop {
            let Some(jobs) = &self.0.jobs else { return Err(()) };
            job = match jobs.try_send(job) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(()),
                Err(TrySendError::Full(job)) => job,
            };
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Thread {
    disk: Disk,
    shared: Arc<Shared>,
}

impl Thread {
    fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let group = std::iter::once(first).chain(jobs.try_iter()).take(GROUP);
            self.carry_out(group);
        }
    }

    fn carry_out(&mut self, group: impl Iterator<Item = Job>) {
        let mut pending = Pending::new();
        let mut revisions: Vec<(u64, Vec<Written>)> = Vec::new();
        let mut waiting = Vec::new();
        let state = self.shared.read();
        let mut last = state.revision;
        for job in group {
            let view = View { state: &state, pending: &pending, last };
            // Nothing of one that panics is carried out, who asked is told, and the others go on.
            let decided = catch_unwind(AssertUnwindSafe(|| job(&view)));
            let Ok(Decided { writes, tell }) = decided else { continue };
            if !writes.is_empty() {
                last += 1;
                revisions.push((last, note(&mut pending, last, writes)));
            }
            waiting.push((last, tell));
        }
        let facts = Facts { revision: last, digest: self.disk.digest_after(&state, &pending) };
        drop(state);
        let written = if revisions.is_empty() { Ok(()) } else { self.disk.write(facts, &pending) };
        if !revisions.is_empty() {
            self.shared.note(&written);
        }
        match written {
            Ok(()) => {
                let mut changed = Vec::new();
                self.shared.change(|state| {
                    for (revision, writes) in revisions {
                        state.apply(revision, writes, &mut changed);
                    }
                });
                changed.iter().for_each(|news| news.send_replace(()));
                waiting.into_iter().for_each(|(revision, tell)| tell(Ok(revision)));
            }
            Err(reason) => {
                error!(reason, "the store's disk does not take writes");
                self.disk.doubt(facts, undo(&self.shared.read(), &pending));
                waiting.into_iter().for_each(|(_, tell)| tell(Err(reason.clone())));
            }
        }
    }
}

/// What takes back the pending writes.
fn undo(state: &State, pending: &Pending) -> Pending {
    let mut undo = Pending::new();
    for (table, keys) in pending {
        let before = |key: &Arc<str>| (key.clone(), state.get(table, key).cloned());
        undo.insert(table.clone(), keys.keys().map(before).collect());
    }
    undo
}

/// Lets the writes that follow see these.
fn note(pending: &mut Pending, revision: u64, writes: Vec<Write>) -> Vec<Written> {
    let mut written = Vec::with_capacity(writes.len());
    for write in writes {
        let (table, key, value) = match write {
            Write::Put { table, key, value } => (table, key, Some(value)),
            Write::Delete { table, key } => (table, key, None),
        };
        let entry = value.clone().map(|value| Entry { revision, value });
        pending.entry(table.clone()).or_default().insert(key.clone(), entry);
        written.push((table, key, value));
    }
    written
}
