//! What readers see: every table as it is, and the last changes of each.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch::{Receiver, Sender};

use crate::{Expired, Value};

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The revision in which it was written.
    pub revision: u64,
    /// The value.
    pub value: Value,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision that made it.
    pub revision: u64,
    /// The key.
    pub key: Arc<str>,
    /// What was there; `None`: nothing.
    pub before: Option<Entry>,
    /// What is there; `None`: nothing any more.
    pub after: Option<Value>,
    /// What one reader made of it for all the others, and which goes with it. The store puts nothing here.
    pub made: OnceLock<Value>,
}

/// How much of the history is kept, for each table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The most changes.
    pub changes: usize,
    /// The most bytes of values.
    pub bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { changes: 16_384, bytes: 16 << 20 }
    }
}

/// Which keys of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range<'a> {
    /// How they begin.
    pub prefix: &'a str,
    /// The key after which to begin.
    pub after: Option<&'a str>,
    /// How many at most; 0: all.
    pub limit: usize,
}

/// Some entries of a table at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The revision at which they were.
    pub revision: u64,
    /// They, by key.
    pub entries: Vec<(Arc<str>, Entry)>,
    /// How many more there are behind the last.
    pub remaining: usize,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) revision: u64,
    tables: BTreeMap<Box<str>, Table>,
    window: Window,
    /// Of tables without changes: from where on their history is known.
    oldest: u64,
}

#[derive(Debug, Default)]
struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
    changes: VecDeque<Arc<Change>>,
    bytes: usize,
    /// The history is known from this revision on.
    oldest: u64,
    /// The last change that was forgotten; compaction moves `oldest` also where nothing was.
    forgotten: u64,
    /// The last revision that changed it.
    newest: u64,
    /// Says that it changed, to those who watch it.
    news: Sender<()>,
}

/// What was on the disk.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) revision: u64,
    pub(crate) entries: Vec<(Box<str>, Arc<str>, Entry)>,
}

impl State {
    pub(crate) fn new(loaded: Loaded, window: Window) -> Self {
        let revision = loaded.revision;
        let mut state = Self { revision, tables: BTreeMap::new(), window, oldest: revision };
        for (table, key, entry) in loaded.entries {
            state.table(&table).entries.insert(key, entry);
        }
        state
    }

    fn table(&mut self, name: &str) -> &mut Table {
        if !self.tables.contains_key(name) {
            let (oldest, newest) = (self.oldest, self.oldest);
            self.tables.insert(name.into(), Table { oldest, newest, ..Table::default() });
        }
        self.tables.get_mut(name).expect("it was made if it was missing")
    }

    pub(crate) fn get(&self, table: &str, key: &str) -> Option<&Entry> {
        self.tables.get(table)?.entries.get(key)
    }

    pub(crate) fn count(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, |table| table.entries.len())
    }

    /// Answers the entries of a table whose keys begin so, from a key on.
    pub(crate) fn entries<'a>(
        &'a self,
        table: &str,
        prefix: &'a str,
        from: Bound<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Entry)> + use<'a> {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) if key >= prefix => from,
            Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => Bound::Included(prefix),
        };
        let start = start.map(str::to_owned);
        let entries = self.tables.get(table).map(|table| {
            table.entries.range::<str, _>((start.as_ref().map(String::as_str), Bound::Unbounded))
        });
        entries.into_iter().flatten().take_while(move |(key, _)| key.starts_with(prefix))
    }

    pub(crate) fn list(&self, table: &str, range: &Range<'_>, at: Option<u64>) -> Result<Page, Expired> {
        let revision = at.unwrap_or(self.revision).min(self.revision);
        let undone = self.undone(table, range.prefix, revision)?;
        let from = range.after.map_or(Bound::Unbounded, Bound::Excluded);
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let is_behind = |key: &str| range.after.is_none_or(|after| key > after);
        let now = self.entries(table, range.prefix, from).filter(|(key, _)| !undone.contains_key(*key));
        let mut page = Page { revision, entries: Vec::new(), remaining: 0 };
        if undone.is_empty() {
            let mut now = now;
            page.entries.extend(now.by_ref().take(limit).map(|(key, entry)| (key.clone(), entry.clone())));
            page.remaining = now.count();
            return Ok(page);
        }
        let then = undone.iter().filter(|(key, _)| is_behind(key));
        let then = then.filter_map(|(key, entry)| Some((key, entry.as_ref()?)));
        let mut all: Vec<(&Arc<str>, &Entry)> = now.chain(then).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        page.remaining = all.len().saturating_sub(limit);
        page.entries = all.into_iter().take(limit).map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Ok(page)
    }

    /// What the keys that changed after a revision had then.
    fn undone(
        &self,
        table: &str,
        prefix: &str,
        revision: u64,
    ) -> Result<BTreeMap<Arc<str>, Option<Entry>>, Expired> {
        let mut undone = BTreeMap::new();
        if revision == self.revision {
            return Ok(undone);
        }
        for change in self.changes_after(table, revision)? {
            if change.key.starts_with(prefix) {
                undone.entry(change.key.clone()).or_insert_with(|| change.before.clone());
            }
        }
        Ok(undone)
    }

    /// Answers the changes of a table after a revision, oldest first.
    pub(crate) fn changes_after<'a>(
        &'a self,
        table: &str,
        revision: u64,
    ) -> Result<impl Iterator<Item = &'a Arc<Change>> + use<'a>, Expired> {
        let found = self.tables.get(table);
        let oldest = found.map_or(self.oldest, |table| table.oldest);
        if revision < oldest {
            return Err(Expired { asked: revision, oldest });
        }
        Ok(found.map(|table| table.changes_after(revision)).into_iter().flatten())
    }

    /// Answers the changes of a table after a revision, oldest first, to somebody who was told all of them up to it.
    pub(crate) fn next_changes<'a>(
        &'a self,
        table: &str,
        revision: u64,
    ) -> Result<impl Iterator<Item = &'a Arc<Change>> + use<'a>, Expired> {
        let found = self.tables.get(table);
        if let Some(oldest) = found.map(|table| table.forgotten).filter(|forgotten| revision < *forgotten) {
            return Err(Expired { asked: revision, oldest });
        }
        Ok(found.map(|table| table.changes_after(revision)).into_iter().flatten())
    }

    /// Answers what tells when a table changes. `None`: the table is not known yet.
    pub(crate) fn news(&self, table: &str) -> Option<Receiver<()>> {
        self.tables.get(table).map(|table| table.news.subscribe())
    }

    /// Answers what tells when a table changes, which may be yet to come.
    pub(crate) fn begin_news(&mut self, table: &str) -> Receiver<()> {
        self.table(table).news.subscribe()
    }

    /// Answers up to which revision everything has been handed out to somebody who has it up to `position`: if the table
    /// did not change since, there is nothing more.
    pub(crate) fn handed_out(&self, table: &str, position: u64) -> u64 {
        let newest = self.tables.get(table).map_or(self.oldest, |table| table.newest);
        if position >= newest { position.max(self.revision) } else { position }
    }

    /// Carries out what is on the disk already, and adds to `changed` whom to tell.
    pub(crate) fn apply(
        &mut self,
        revision: u64,
        writes: Vec<(Box<str>, Arc<str>, Option<Value>)>,
        changed: &mut Vec<Sender<()>>,
    ) {
        let window = self.window;
        for (name, key, after) in writes {
            let table = self.table(&name);
            let before = match &after {
                Some(value) => table.entries.insert(key.clone(), Entry { revision, value: value.clone() }),
                None => table.entries.remove(&key),
            };
            table.remember(Change { revision, key, before, after, made: OnceLock::new() }, window);
            if table.newest != revision {
                table.newest = revision;
                changed.push(table.news.clone());
            }
        }
        self.revision = revision;
    }

    pub(crate) fn compact(&mut self, upto: u64) {
        let upto = upto.min(self.revision);
        self.oldest = self.oldest.max(upto);
        for table in self.tables.values_mut() {
            while table.changes.front().is_some_and(|change| change.revision <= upto) {
                table.forget_one();
            }
            table.oldest = table.oldest.max(upto);
        }
    }
}

impl Table {
    fn changes_after(&self, revision: u64) -> impl Iterator<Item = &Arc<Change>> {
        let start = self.changes.partition_point(|change| change.revision <= revision);
        self.changes.range(start..)
    }

    fn remember(&mut self, change: Change, window: Window) {
        self.bytes += weight(&change);
        self.changes.push_back(Arc::new(change));
        while self.changes.len() > window.changes || self.bytes > window.bytes {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let Some(change) = self.changes.pop_front() else { return };
        self.bytes -= weight(&change);
        self.oldest = self.oldest.max(change.revision);
        self.forgotten = change.revision;
    }
}

/// What a change keeps alive that would be gone otherwise: mostly what was there before.
fn weight(change: &Change) -> usize {
    const FIXED: usize = 128;
    let before = change.before.as_ref().map_or(0, |entry| entry.value.len());
    FIXED + before + change.after.as_ref().map_or(0, Value::len)
}
