//! What is to be done for which Service, and when. Pure: time is an argument.
//!
//! A Service is worked on once at a time; what comes meanwhile waits. Failures are repeated with waits that double.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use telemetry::WorkQueue;

use crate::object::Text;

/// Namespace and name of a Service.
pub(crate) type Key = (Text, Text);

const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// What is to be done for a Service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// The slices and Endpoints that its selector makes.
    pub(crate) select: bool,
    /// The slices of its hand-made Endpoints.
    pub(crate) mirror: bool,
    /// Its Endpoints go with it.
    pub(crate) orphan: bool,
}

impl Work {
    pub(crate) const SELECT: Self = Self { select: true, mirror: false, orphan: false };
    pub(crate) const MIRROR: Self = Self { select: false, mirror: true, orphan: false };
    pub(crate) const ORPHAN: Self = Self { select: false, mirror: true, orphan: true };

    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            select: self.select || other.select,
            mirror: self.mirror || other.mirror,
            orphan: self.orphan || other.orphan,
        }
    }
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: FxHashMap<Key, (Work, Instant)>,
    order: BTreeSet<(Instant, Key)>,
    /// What is being worked on, and since when.
    busy: FxHashMap<Key, (Work, Instant)>,
    failures: FxHashMap<Key, u32>,
    metrics: WorkQueue,
}

impl Queue {
    /// An empty one.
    pub(crate) fn new(metrics: WorkQueue) -> Self {
        Self {
            waiting: FxHashMap::default(),
            order: BTreeSet::new(),
            busy: FxHashMap::default(),
            failures: FxHashMap::default(),
            metrics,
        }
    }

    /// Adds work, due at a moment; work that waits already is due at the earlier one.
    pub(crate) fn add(&mut self, key: Key, work: Work, due: Instant) {
        let waits = self.waiting.remove(&key);
        if waits.is_none() {
            self.metrics.added();
        }
        let (before, was_due) = waits.unwrap_or((Work::default(), due));
        self.order.remove(&(was_due, key.clone()));
        let due = due.min(was_due);
        self.waiting.insert(key.clone(), (before.and(work), due));
        if !self.busy.contains_key(&key) {
            self.order.insert((due, key));
        }
    }

    /// Takes what is due and not being worked on.
    pub(crate) fn take(&mut self, now: Instant) -> Option<(Key, Work)> {
        let (due, key) = self.order.first()?;
        if *due > now {
            return None;
        }
        let key = key.clone();
        self.order.pop_first();
        let (work, due) = self.waiting.remove(&key)?;
        self.metrics.taken(now.saturating_duration_since(due));
        self.metrics.set_depth(self.order.len());
        self.busy.insert(key.clone(), (work, now));
        Some((key, work))
    }

    /// Answers whether a Service is being worked on.
    pub(crate) fn is_busy(&self, key: &Key) -> bool {
        self.busy.contains_key(key)
    }

    /// Notes that the work on a Service is over.
    pub(crate) fn done(&mut self, key: &Key, succeeded: bool, now: Instant) -> Option<Duration> {
        let (work, since) = self.busy.remove(key)?;
        self.metrics.done(now.saturating_duration_since(since));
        if let Some((_, due)) = self.waiting.get(key) {
            self.order.insert((*due, key.clone()));
        }
        if succeeded {
            self.failures.remove(key);
            return None;
        }
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = FIRST_RETRY.saturating_mul(1 << (*failures).min(16)).min(LAST_RETRY);
        *failures = failures.saturating_add(1);
        self.metrics.retried();
        self.add(key.clone(), work, now + wait);
        Some(wait)
    }

    /// Answers when the next work is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(due, _)| *due)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn work_is_joined_waits_and_is_repeated() {
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let key: Key = ("a".into(), "b".into());
        let mut queue = Queue::new(telemetry::WorkQueues::default().queue("test"));
        queue.add(key.clone(), Work::SELECT, at(1000));
        queue.add(key.clone(), Work::MIRROR, at(500));
        assert_eq!(queue.take(at(499)), None);
        let both = Work::SELECT.and(Work::MIRROR);
        assert_eq!(queue.take(at(500)), Some((key.clone(), both)));
        queue.add(key.clone(), Work::SELECT, at(500));
        assert_eq!((queue.take(at(900)), queue.next()), (None, None));
        assert_eq!(queue.done(&key, true, at(900)), None);
        assert_eq!(queue.take(at(900)), Some((key.clone(), Work::SELECT)));
        assert_eq!(queue.done(&key, false, at(1000)), Some(FIRST_RETRY));
        assert_eq!((queue.take(at(1049)), queue.next()), (None, Some(at(1050))));
        assert_eq!(queue.take(at(1050)), Some((key.clone(), Work::SELECT)));
        assert_eq!(queue.done(&key, false, at(1050)), Some(FIRST_RETRY * 2));
        queue.add(key.clone(), Work::MIRROR, at(1051));
        assert_eq!(queue.take(at(1051)), Some((key.clone(), both)));
        queue.done(&key, true, at(1051));
        assert_eq!(queue.next(), None);
    }
}
