//! When to write to the kernel: the one pacing rule.
//!
//! A change is written at once when the kernel has rested long enough since the last write, that is
//! [`REST_FACTOR`] times as long as that write took (at most [`LONGEST_REST`]). So an idle node follows within
//! milliseconds, and a busy one spends at most a fifth of its time writing while everything that arrives meanwhile
//! is written together. A failed write is tried again after [`FIRST_RETRY`], doubling up to [`LONGEST_RETRY`].

use std::time::{Duration, Instant};

/// How many times as long as a write the rest after it lasts.
const REST_FACTOR: u32 = 4;
/// The longest rest: no change waits longer for the pace alone.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// The wait after the first failure of a row.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// The longest wait between two failures.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The pace of one family's writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    not_before: Option<Instant>,
    failures: u32,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { not_before: None, failures: 0 }
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
        let rest = (ended.saturating_duration_since(started) * REST_FACTOR).min(LONGEST_REST);
        *self = Self { not_before: Some(ended + rest), failures: 0 };
    }

    pub(crate) fn failed(&mut self, ended: Instant) {
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        *self = Self { not_before: Some(ended + wait), failures: self.failures + 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_write_waits_for_nothing() {
        assert_eq!(Pace::new().wait(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn a_write_is_followed_by_four_times_its_length_of_rest_and_a_second_at_most() {
        let start = Instant::now();
        let mut pace = Pace::new();
        pace.succeeded(start, start + 3 * MS);
        assert_eq!(pace.wait(start + 3 * MS), 12 * MS);
        assert_eq!(pace.wait(start + 20 * MS), Duration::ZERO);
        pace.succeeded(start, start + 900 * MS);
        assert_eq!(pace.wait(start + 900 * MS), Duration::from_secs(1));
    }

    #[test]
    fn failures_wait_twice_as_long_each_time_and_a_success_ends_that() {
        let now = Instant::now();
        let mut pace = Pace::new();
        let waits: Vec<_> = (0..12)
            .map(|_| {
                pace.failed(now);
                pace.wait(now).as_millis()
            })
            .collect();
        assert_eq!(waits[..5], [50, 100, 200, 400, 800]);
        assert_eq!(waits[11], 10_000);
        assert!(pace.is_failing());
        pace.succeeded(now, now);
        assert!(!pace.is_failing());
    }
}
