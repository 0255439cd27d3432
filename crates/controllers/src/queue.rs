//! What is due when: a change makes a thing due at once, a failure later, each time twice as late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::moment::Moment;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_millis(20);
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(60);

/// Things that are due at some time; one that is worked on does not come up again until that is done.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    due: BTreeMap<K, Moment>,
    order: BTreeSet<(Moment, K)>,
    /// What is worked on, and since when.
    running: BTreeMap<K, Moment>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Default for Queue<K> {
    fn default() -> Self {
        Self {
            due: BTreeMap::new(),
            order: BTreeSet::new(),
            running: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Makes a thing due then, or earlier if it was.
    pub(crate) fn add(&mut self, key: K, when: Moment) {
        if let Some(known) = self.due.get(&key) {
            if *known <= when {
                return;
            }
            self.order.remove(&(*known, key.clone()));
        }
        self.due.insert(key.clone(), when);
        self.order.insert((when, key));
    }

    /// What is due although it is worked on.
    pub(crate) fn overdue(&self, now: Moment) -> impl Iterator<Item = &K> {
        self.order.iter().take_while(move |(when, _)| *when <= now).map(|(_, key)| key)
    }

    /// Takes what is due and not worked on, and since when it is due; from then on it is worked on.
    pub(crate) fn take(&mut self, now: Moment) -> Option<(K, Moment)> {
        let mut due = self.order.iter().take_while(|(when, _)| *when <= now);
        let (when, key) = due.find(|(_, key)| !self.running.contains_key(key))?.clone();
        self.order.remove(&(when, key.clone()));
        self.due.remove(&key);
        self.running.insert(key.clone(), now);
        Some((key, when))
    }

    /// Ends the work on a thing; one that failed comes up again. Answers how long the work took.
    pub(crate) fn done(&mut self, key: K, is_failed: bool, now: Moment) -> Duration {
        let took = now.since(self.running.remove(&key).unwrap_or(now));
        if !is_failed {
            self.failures.remove(&key);
            return took;
        }
        let failures = self.failures.entry(key.clone()).or_default();
        let wait = FIRST.saturating_mul(1 << (*failures).min(20)).min(LONGEST);
        *failures += 1;
        self.add(key, now.plus(wait));
        took
    }

    /// When the next thing is due that is not worked on.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.order.iter().find(|(_, key)| !self.running.contains_key(key)).map(|(when, _)| *when)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worked_on_waits() {
        let mut queue = Queue::default();
        queue.add("a", Moment(0));
        queue.add("a", Moment(5));
        queue.add("b", Moment(3));
        assert_eq!(queue.take(Moment(0)), Some(("a", Moment(0))));
        queue.add("a", Moment(0));
        assert_eq!((queue.take(Moment(0)), queue.next()), (None, Some(Moment(3))));
        assert_eq!(queue.overdue(Moment(3)).collect::<Vec<_>>(), [&"a", &"b"]);
        assert_eq!(queue.done("a", false, Moment(1)), Duration::from_millis(1));
        let both = (Some(("a", Moment(0))), Some(("b", Moment(3))));
        assert_eq!((queue.take(Moment(3)), queue.take(Moment(3))), both);
    }

    #[test]
    fn failures_wait_longer_each_time_but_news_does_not() {
        let mut queue = Queue::default();
        let mut waits = Vec::new();
        queue.add("a", Moment(0));
        for _ in 0..14 {
            let now = queue.next().unwrap();
            queue.take(now);
            queue.done("a", true, now);
            waits.push(queue.next().unwrap().since(now).as_millis());
        }
        assert_eq!((waits[0], waits[1], waits[2], waits[13]), (20, 40, 80, 60_000));
        queue.add("a", Moment(1));
        assert_eq!(queue.next(), Some(Moment(1)));
    }
}
