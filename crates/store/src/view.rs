//! What a write sees: the state, and what was written on top of it and is not published yet.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::Value;
use crate::state::{Entry, State};

/// Everything that is written by now.
pub struct View<'a> {
    pub(crate) state: &'a State,
    pub(crate) pending: &'a Pending,
    /// The revision of the last write, published or not.
    pub(crate) last: u64,
}

/// What is written and not published, by table and key; `None`: deleted.
pub(crate) type Pending = BTreeMap<Box<str>, BTreeMap<Arc<str>, Option<Entry>>>;

impl View<'_> {
    /// Answers the value of a key.
    pub fn get(&self, table: &str, key: &str) -> Option<&Entry> {
        match self.pending.get(table).and_then(|keys| keys.get(key)) {
            Some(written) => written.as_ref(),
            None => self.state.get(table, key),
        }
    }

    /// Answers the entries of a table whose keys begin so, sorted by key.
    pub fn list<'v>(&'v self, table: &str, prefix: &'v str) -> Vec<(&'v str, &'v Entry)> {
        let pending = self.pending.get(table);
        let untouched = |key: &str| pending.is_none_or(|keys| !keys.contains_key(key));
        let known = self.state.entries(table, prefix, Bound::Unbounded);
        let mut all: Vec<(&str, &Entry)> =
            known.map(|(key, entry)| (&**key, entry)).filter(|(key, _)| untouched(key)).collect();
        let written = pending.into_iter().flatten().filter(|(key, _)| key.starts_with(prefix));
        let before = all.len();
        all.extend(written.filter_map(|(key, entry)| Some((&**key, entry.as_ref()?))));
        if all.len() > before {
            all.sort_unstable_by_key(|(key, _)| *key);
        }
        all
    }

    /// Answers the revision that a write would get now.
    pub fn next_revision(&self) -> u64 {
        self.last + 1
    }
}

/// A value as it was written, for the disk and for readers.
pub(crate) type Written = (Box<str>, Arc<str>, Option<Value>);
