//! When to write to the kernel: the one pacing rule.
//!
//! A change is written at once when the kernel has rested long enough since the last write, that is
//! [`REST_FACTOR`] times as long as that write took (at most `minSyncPeriod`). So an idle node follows within
//! milliseconds, and a busy one spends at most a fifth of its time writing while everything that arrives meanwhile
//! is written together. A failed write is tried again after [`FIRST_RETRY`], doubling up to [`LONGEST_RETRY`], or each
//! [`LOCK_RETRY`] while somebody else holds a lock.

use std::time::{Duration, Instant};

/// How many times as long as a write the rest after it lasts.
const REST_FACTOR: u32 = 4;
/// The wait after the first failure of a row.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The wait while somebody else holds a lock; to ask costs next to nothing.
const LOCK_RETRY: Duration = Duration::from_millis(200);
/// The longest wait between two failures.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The pace of one family's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    not_before: Option<Instant>,
    failures: u32,
    /// No change waits longer for the pace alone.
    longest_rest: Duration,
}

impl Pace {
    pub(crate) fn new(longest_rest: Duration) -> Self {
        Self { not_before: None, failures: 0, longest_rest }
    }

    /// The rest that goes on is not made shorter.
    pub(crate) fn set_longest_rest(&mut self, longest_rest: Duration) {
        self.longest_rest = longest_rest;
    }

    /// Answers how long a write that is wanted now must wait; zero: not at all.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// Answers whether the last write failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn succeeded(&mut self, started: Instant, ended: Instant) {
        let rest = (ended.saturating_duration_since(started) * REST_FACTOR).min(self.longest_rest);
        *self = Self { not_before: Some(ended + rest), failures: 0, ..*self };
    }

    /// A part was written, and the rest needs no other pace.
    pub(crate) fn succeeded_partly(&mut self, started: Instant, ended: Instant) {
        let failures = self.failures.max(1);
        self.succeeded(started, ended);
        self.failures = failures;
    }

    /// Nothing was tried, as somebody else held a lock.
    pub(crate) fn met_a_lock(&mut self, ended: Instant) {
        *self = Self { not_before: Some(ended + LOCK_RETRY), failures: self.failures.max(1), ..*self };
    }

    pub(crate) fn failed(&mut self, ended: Instant) {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        *self = Self { not_before: Some(ended + wait), failures: self.failures + 1, ..*self };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace::new(Duration::from_secs(1))
    }

    #[test]
    fn the_first_write_waits_for_nothing() {
        assert_eq!(pace().wait(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn a_write_is_followed_by_four_times_its_length_of_rest_and_the_longest_rest_at_most() {
        let start = Instant::now();
        let mut pace = pace();
        pace.succeeded(start, start + 3 * MS);
        assert_eq!(pace.wait(start + 3 * MS), 12 * MS);
        assert_eq!(pace.wait(start + 20 * MS), Duration::ZERO);
        pace.succeeded(start, start + 900 * MS);
        assert_eq!(pace.wait(start + 900 * MS), Duration::from_secs(1));
        pace.set_longest_rest(Duration::ZERO);
        pace.succeeded(start, start + 900 * MS);
        assert_eq!(pace.wait(start + 900 * MS), Duration::ZERO);
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_and_a_success_ends_that() {
        let now = Instant::now();
        let mut pace = pace();
        let waits: Vec<_> = (0..12)
            .map(|_| {
                pace.failed(now);
                pace.wait(now).as_millis()
            })
            .collect();
        assert_eq!(waits[..5], [50, 100, 200, 400, 800]);
        assert_eq!(waits[11], 10_000);
        assert!(pace.is_failing());
        pace.succeeded_partly(now, now + 3 * MS);
        assert_eq!(pace.wait(now + 3 * MS), 12 * MS);
        assert!(pace.is_failing());
        pace.succeeded(now, now);
        assert!(!pace.is_failing());
    }
}
