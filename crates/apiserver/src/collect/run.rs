//! The task that follows every table, decides, and has actions carried out, some at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::mem::take;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use store::{Batch, Change, Expired, Range, Watch};
use tokio::sync::watch::Receiver;
use tokio::task::{JoinSet, yield_now};
use tracing::{debug, trace, warn};

use super::decide::{self, Known};
use super::graph::Graph;
use super::{Action, Look, Meta, Object, kinds, namespace};
use crate::allocate;
use crate::kinds::Kind;
use crate::rest::{self, Rest};
use crate::status::Status;

/// How many decisions are made between two looks at what happens.
const STRIDE: usize = 128;
/// How many of them are carried out at a time.
const RUNNING: usize = 32;
/// How many actions of one decision are carried out at a time.
const ACTIONS: usize = 64;
/// The first pause after a failure; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Follows the objects and does what is to be done, until it is told to stop.
///
/// It may be ended at any moment: the next one reads everything and goes on from there.
pub async fn run(rest: Rest, mut stopping: Receiver<bool>) {
    while !*stopping.borrow() {
        let Ok(mut collector) = Collector::begin(&rest).await else { continue };
        loop {
            tokio::select! {
                turn = collector.turn() => if turn.is_err() {
                    debug!("the collector starts over");
                    break;
                },
                _ = stopping.wait_for(|stops| *stops) => return,
            }
        }
    }
}

/// Everything that the task knows.
pub(super) struct Collector {
    rest: Rest,
    graph: Graph,
    watches: Vec<(&'static Kind, Watch)>,
    /// What is to be looked at.
    queue: BTreeSet<Look>,
    /// What is being done.
    busy: BTreeSet<Look>,
    running: JoinSet<(Look, Result<(), Status>)>,
    /// What failed and waits.
    resting: JoinSet<Look>,
    /// How often it failed.
    failures: BTreeMap<Look, u32>,
}

impl Collector {
    /// Reads everything.
    pub(super) async fn begin(rest: &Rest) -> Result<Self, Expired> {
        let mut collector = Self {
            rest: rest.clone(),
            graph: Graph::default(),
            watches: Vec::new(),
            queue: BTreeSet::new(),
            busy: BTreeSet::new(),
            running: JoinSet::new(),
            resting: JoinSet::new(),
            failures: BTreeMap::new(),
        };
        for kind in kinds() {
            let page = rest.store.list(kind.table, &Range::default(), None)?;
            collector.watches.push((kind, rest.store.watch(kind.table, page.revision)?));
            for (count, (key, entry)) in page.entries.into_iter().enumerate() {
                let after = Meta::read(&entry.value);
                let looks = collector.graph.change(&Object { kind, key }, None, Some(&after));
                collector.queue.extend(looks);
                if count % STRIDE == STRIDE - 1 {
                    yield_now().await;
                }
            }
        }
        Ok(collector)
    }

    /// Does what can be done now, and waits for what comes.
    pub(super) async fn turn(&mut self) -> Result<(), Expired> {
        self.follow()?;
        if self.decide_some() {
            // Others have a turn.
            while let Some(done) = self.running.try_join_next() {
                self.done(done.ok());
            }
            yield_now().await;
            return Ok(());
        }
        tokio::select! {
            news = next(&mut self.watches) => {
                let (kind, batch) = news?;
                self.note(kind, &batch.changes);
            }
            Some(done) = self.running.join_next() => self.done(done.ok()),
            Some(Ok(look)) = self.resting.join_next() => drop(self.queue.insert(look)),
        }
        Ok(())
    }

    /// Takes all changes that are there.
    fn follow(&mut self) -> Result<(), Expired> {
        for at in 0..self.watches.len() {
            let Some((kind, watch)) = self.watches.get_mut(at) else { continue };
            let kind = *kind;
            if let Some(batch) = watch.ready()? {
                self.note(kind, &batch.changes);
            }
        }
        Ok(())
    }

    fn note(&mut self, kind: &'static Kind, changes: &[std::sync::Arc<Change>]) {
        for change in changes {
            let before = change.before.as_ref().map(|entry| Meta::read(&entry.value));
            let after = change.after.as_deref().map(Meta::read);
            let object = Object { kind, key: change.key.clone() };
            self.queue.extend(self.graph.change(&object, before.as_ref(), after.as_ref()));
        }
    }

    /// Decides about some of what is to be looked at. Answers whether there is more that can be done at once.
    fn decide_some(&mut self) -> bool {
        let free = |look: &&Look| !self.busy.contains(look);
        let looks: Vec<Look> = self.queue.iter().filter(free).take(STRIDE).cloned().collect();
        let is_full = looks.len() == STRIDE;
        for look in looks {
            if self.busy.len() >= RUNNING {
                return false;
            }
            self.queue.remove(&look);
            if look == Look::Ranges {
                self.busy.insert(look);
                self.running.spawn(settle_ranges(self.rest.clone()));
                continue;
            }
            let actions = self.decide(&look);
            if !actions.is_empty() {
                trace!(?look, count = actions.len(), "something is to be done");
                self.busy.insert(look.clone());
                self.running.spawn(carry_out(self.rest.clone(), look, actions));
            } else {
                self.failures.remove(&look);
            }
        }
        is_full
    }

    fn decide(&self, look: &Look) -> Vec<Action> {
        let store = &self.rest.store;
        match look {
            Look::Object(object) => {
                let read = |object: &Object| {
                    store.get(object.kind.table, &object.key).0.map(|entry| Meta::read(&entry.value))
                };
                decide::decide(object, &Known { graph: &self.graph, read: &read })
            }
            Look::Namespace(name) => {
                let kind = Kind::find("", "v1", "namespaces").expect("namespaces are served");
                let Some(found) = store.get(kind.table, name).0 else { return Vec::new() };
                let found = rest::object(&found.value);
                let prefix = format!("{name}/");
                let content = |kind: &Kind| self.content(kind, &prefix);
                namespace::decide(&Object { kind, key: name.clone() }, &found, &content)
            }
            // What is to be done there is decided where it is done.
            Look::Ranges => Vec::new(),
        }
    }

    fn content(&self, kind: &Kind, prefix: &str) -> Vec<(Object, Meta)> {
        let range = Range { prefix, ..Range::default() };
        // The present is always known.
        let entries =
            self.rest.store.list(kind.table, &range, None).map(|page| page.entries).unwrap_or_default();
        let kept = kinds().into_iter().find(|kept| kept.table == kind.table);
        let read = |(key, entry): (std::sync::Arc<str>, store::Entry)| {
            Some((Object { kind: kept?, key }, Meta::read(&entry.value)))
        };
        entries.into_iter().filter_map(read).collect()
    }

    fn done(&mut self, done: Option<(Look, Result<(), Status>)>) {
        // `None`: it panicked, which was told on standard error; what it was about stays busy.
        let Some((look, result)) = done else { return };
        self.busy.remove(&look);
        let Err(status) = result else {
            self.failures.remove(&look);
            return;
        };
        let failures = self.failures.entry(look.clone()).or_default();
        let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(20)).min(LONGEST_PAUSE);
        *failures += 1;
        // An object that changed since it was looked at is no failure.
        if status.code != 409 {
            warn!(?look, message = status.message, ?pause, "failed to collect; it is tried again");
        }
        self.resting.spawn(async move {
            tokio::time::sleep(pause).await;
            look
        });
    }

    /// Goes on until nothing is left to do.
    #[cfg(test)]
    pub(super) async fn settle(&mut self) {
        loop {
            self.follow().expect("the window is large");
            if self.decide_some() {
                continue;
            }
            tokio::select! {
                Some(done) = self.running.join_next() => self.done(done.ok()),
                Some(Ok(look)) = self.resting.join_next() => drop(self.queue.insert(look)),
                else => {
                    let revision = self.rest.store.revision();
                    assert!(self.queue.is_empty() && self.watches.iter().all(|(_, watch)| watch.upto() == revision));
                    return;
                }
            }
        }
    }
}

/// Waits for changes of any table.
async fn next(watches: &mut [(&'static Kind, Watch)]) -> Result<(&'static Kind, Batch), Expired> {
    type Next<'a> = Pin<Box<dyn Future<Output = Result<Batch, Expired>> + Send + 'a>>;
    let mut all: Vec<(&'static Kind, Next<'_>)> =
        watches.iter_mut().map(|(kind, watch)| (*kind, Box::pin(watch.next()) as Next<'_>)).collect();
    poll_fn(|context| {
        for (kind, next) in &mut all {
            if let Poll::Ready(news) = next.as_mut().poll(context) {
                return Poll::Ready(news.map(|batch| (*kind, batch)));
            }
        }
        Poll::Pending
    })
    .await
}

async fn settle_ranges(rest: Rest) -> (Look, Result<(), Status>) {
    let settled = rest.write(false, |writing| Ok(allocate::settle(writing))).await;
    (Look::Ranges, settled.map(|what| trace!(?what, "ranges of addresses are settled")))
}

/// Carries actions out, the last one after those before it.
async fn carry_out(rest: Rest, look: Look, mut actions: Vec<Action>) -> (Look, Result<(), Status>) {
    let last = actions.pop();
    let mut running = JoinSet::new();
    let mut waiting = take(&mut actions).into_iter();
    let mut result = Ok(());
    loop {
        while result.is_ok()
            && running.len() < ACTIONS
            && let Some(action) = waiting.next()
        {
            let rest = rest.clone();
            running.spawn(async move { action.carry_out(&rest).await });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(done)) => result = result.and(done),
            Some(Err(_)) => result = result.and(Err(Status::internal("an action panicked"))),
        }
    }
    if let (Ok(()), Some(last)) = (&result, last) {
        result = last.carry_out(&rest).await;
    }
    (look, result)
}
