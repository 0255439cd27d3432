//! Watches: each reads the history at its own pace.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use crate::state::Change;
use crate::{Expired, Shared};

/// How many changes are handed out at a time.
const BATCH: usize = 256;

/// The changes of one table, in order, each once.
pub struct Watch {
    shared: Arc<Shared>,
    published: Receiver<u64>,
    table: Box<str>,
    /// Everything up to here was handed out.
    position: u64,
}

/// What a watch hands out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Changes, oldest first; may be none.
    pub changes: Vec<Arc<Change>>,
    /// There are no others up to this revision.
    pub upto: u64,
}

impl Watch {
    pub(crate) fn begin(shared: Arc<Shared>, table: &str, after: u64) -> Result<Self, Expired> {
        let published = shared.published.subscribe();
        drop(shared.read().changes_after(table, after)?);
        Ok(Self { shared, published, table: table.into(), position: after })
    }

    /// Waits for the next changes, or at least for news that there are none up to some revision.
    pub async fn next(&mut self) -> Result<Batch, Expired> {
        loop {
            self.published.mark_unchanged();
            let batch = self.take()?;
            if batch.upto > self.position {
                self.position = batch.upto;
                return Ok(batch);
            }
            // The store is part of this watch: its sender outlives it.
            drop(self.published.changed().await);
        }
    }

    /// Answers up to which revision everything was handed out.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn take(&self) -> Result<Batch, Expired> {
        let state = self.shared.read();
        let mut all = state.changes_after(&self.table, self.position)?;
        let mut changes: Vec<Arc<Change>> = all.by_ref().take(BATCH).cloned().collect();
        // A revision is handed out as a whole.
        let last = changes.last().map(|change| change.revision);
        let mut more = false;
        for change in all {
            if Some(change.revision) != last {
                more = true;
                break;
            }
            changes.push(change.clone());
        }
        let upto = last.filter(|_| more).unwrap_or(state.revision);
        Ok(Batch { changes, upto })
    }
}
