//! Watches: each reads the history at its own pace.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use crate::state::Change;
use crate::{Expired, Shared};

/// How many changes are handed out at a time.
const BATCH: usize = 256;

/// The changes of one table, in order, each once. Writes to other tables do not wake it.
pub struct Watch {
    shared: Arc<Shared>,
    news: Receiver<()>,
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
        let known = shared.read().news(table);
        let news = known.unwrap_or_else(|| shared.change(|state| state.begin_news(table)));
        drop(shared.read().changes_after(table, after)?);
        Ok(Self { shared, news, table: table.into(), position: after })
    }

    /// Waits for the next changes. If other tables changed since it was asked last, it answers at once that there are
    /// none up to some revision.
    pub async fn next(&mut self) -> Result<Batch, Expired> {
        loop {
            self.news.mark_unchanged();
            let batch = self.take()?;
            if batch.upto > self.position {
                self.position = batch.upto;
                return Ok(batch);
            }
            // The store is part of this watch: its sender outlives it.
            drop(self.news.changed().await);
        }
    }

    /// Answers the next changes if there are any, without waiting.
    pub fn ready(&mut self) -> Result<Option<Batch>, Expired> {
        self.news.mark_unchanged();
        let batch = self.take()?;
        self.position = self.position.max(batch.upto);
        Ok((!batch.changes.is_empty()).then_some(batch))
    }

    /// Answers up to which revision everything was handed out when it was asked last.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Answers up to which revision everything was handed out, by looking at the store: time goes on in other tables.
    pub fn upto(&self) -> u64 {
        self.shared.read().handed_out(&self.table, self.position)
    }

    fn take(&self) -> Result<Batch, Expired> {
        let state = self.shared.read();
        let mut all = state.next_changes(&self.table, self.position)?;
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
