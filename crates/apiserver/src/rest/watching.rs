//! Watches: what changed, for one client, by its selectors.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use store::{Change, Entry, Range, Watch};

use crate::kinds::Kind;
use crate::rest::read::{is_selected, selector};
use crate::rest::{self, ListOptions, Place, Rest};
use crate::select::Selector;
use crate::status::Status;

/// How many objects that are there already are told at a time.
const STRIDE: usize = 256;

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An object appeared, or began to be selected.
    Added(Told),
    /// An object changed.
    Modified(Told),
    /// An object is gone, or is not selected any more; as it was, with the revision of the change.
    Deleted(Told),
    /// Nothing else happened up to this revision.
    Bookmark {
        /// The revision.
        revision: u64,
        /// Whether everything that was there at the beginning has been told.
        ends_initial: bool,
    },
    /// The watch cannot go on.
    Error(Status),
}

/// An object as a watch tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// It, as a text.
    pub text: Bytes,
    /// The change that made it what it is, where all watches of its table are told the same.
    change: Option<Arc<Change>>,
}

impl Told {
    /// Answers the object in another encoding, of which there must be only one. Of many watches that are told of a change, one
    /// encodes.
    pub(crate) fn encoded(&self, encode: impl FnOnce(&Bytes) -> Vec<u8>) -> Bytes {
        match &self.change {
            Some(change) => change.made.get_or_init(|| encode(&self.text).into()).clone(),
            None => encode(&self.text).into(),
        }
    }
}

impl From<Bytes> for Told {
    fn from(text: Bytes) -> Self {
        Self { text, change: None }
    }
}

/// A watch of one client.
pub struct Watching {
    watch: Option<Watch>,
    kind: &'static Kind,
    prefix: String,
    selector: Selector,
    /// What was there at the beginning and is not told yet.
    initial: VecDeque<(Arc<str>, Entry)>,
    /// The revision to be told behind it.
    initial_end: Option<u64>,
    /// Up to where everything was told.
    position: u64,
    expired: bool,
}

impl Rest {
    /// Begins a watch.
    pub fn watch(&self, place: &Place, options: &ListOptions) -> Result<Watching, Status> {
        let selector = selector(place, options)?;
        let current = self.store.revision();
        let asked = options.revision()?.filter(|revision| *revision > 0);
        let tells_initial = options.initial_events.unwrap_or(asked.is_none());
        if let Some(asked) = asked.filter(|asked| tells_initial && *asked > current) {
            return Err(Status::too_new(asked, current));
        }
        let mut watching = Watching {
            watch: None,
            kind: place.kind,
            prefix: place.prefix(),
            selector,
            initial: VecDeque::new(),
            initial_end: None,
            position: 0,
            expired: false,
        };
        let mut after = asked.unwrap_or(current);
        if tells_initial {
            let range = Range { prefix: &watching.prefix, ..Range::default() };
            let page =
                self.store.list(place.kind.table, &range, None).map_err(|_| Status::expired("watch"))?;
            after = page.revision;
            watching.initial = page.entries.into();
            watching.initial_end = (options.initial_events == Some(true)).then_some(after);
        }
        watching.position = after;
        match self.store.watch(place.kind.table, after) {
            Ok(watch) => watching.watch = Some(watch),
            Err(_) => watching.expired = true,
        }
        Ok(watching)
    }
}

impl Watching {
    /// Waits for what there is to tell; nothing: only the position moved. `None`: it is over.
    pub async fn next(&mut self) -> Option<Vec<Event>> {
        if self.expired {
            self.watch = None;
            self.expired = false;
            return Some(vec![Event::Error(Status::expired("watch"))]);
        }
        if !self.initial.is_empty() {
            return Some(self.some_initial());
        }
        if let Some(revision) = self.initial_end.take() {
            return Some(vec![Event::Bookmark { revision, ends_initial: true }]);
        }
        match self.watch.as_mut()?.next().await {
            Ok(batch) => {
                self.position = batch.upto;
                Some(batch.changes.iter().filter_map(|change| self.event(change)).collect())
            }
            Err(_) => {
                self.watch = None;
                Some(vec![Event::Error(Status::expired("watch"))])
            }
        }
    }

    /// Answers up to which revision everything was told, also by there being nothing to tell.
    pub fn position(&self) -> u64 {
        let tells_initial = !self.initial.is_empty() || self.initial_end.is_some();
        match &self.watch {
            Some(watch) if !tells_initial => watch.upto(),
            Some(_) | None => self.position,
        }
    }

    fn some_initial(&mut self) -> Vec<Event> {
        let count = self.initial.len().min(STRIDE);
        let entries = self.initial.drain(..count);
        let selected = entries.filter(|(_, entry)| is_selected(self.kind, &self.selector, entry));
        selected.map(|(_, entry)| Event::Added(rest::served(self.kind, &entry.value).into())).collect()
    }

    fn event(&self, change: &Arc<Change>) -> Option<Event> {
        if !change.key.starts_with(&self.prefix) {
            return None;
        }
        let is_selected = |entry: &Entry| is_selected(self.kind, &self.selector, entry);
        let before = change.before.as_ref().filter(|entry| is_selected(entry));
        let after = change.after.clone().map(|value| Entry { revision: change.revision, value });
        let after = after.filter(is_selected);
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(Event::Added(self.told(change, &after))),
            (Some(_), Some(after)) => Some(Event::Modified(self.told(change, &after))),
            (Some(before), None) => {
                let text = rest::served(self.kind, &before.value);
                Some(Event::Deleted(rest::with_revision(&text, change.revision).into()))
            }
        }
    }

    fn told(&self, change: &Arc<Change>, after: &Entry) -> Told {
        let is_as_stored = self.kind.rules.conversion.is_none();
        Told { text: rest::served(self.kind, &after.value), change: is_as_stored.then(|| change.clone()) }
    }
}
