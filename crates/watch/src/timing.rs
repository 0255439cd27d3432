//! How long things may take.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Every duration that the source of API objects uses. The defaults are those of Kubernetes' own clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// For a TCP connection to be made.
    pub connect: Duration,
    /// For the head of an answer, and between two pieces of a list.
    pub answer: Duration,
    /// The shortest life of a watch that the server is asked for; each asks for something up to twice as long.
    pub watch_life: Duration,
    /// How much longer than that the server may take to end it.
    pub watch_grace: Duration,
    /// How long a watch that has had a bookmark may be silent. Servers send bookmarks about once a minute.
    pub silence: Duration,
    /// The first wait after a failure.
    pub first_retry: Duration,
    /// The longest wait after a failure.
    pub last_retry: Duration,
    /// How long a watch must live to count as a success although nothing came.
    pub healthy_after: Duration,
    /// How often a resource that the server does not have is looked for again.
    pub missing_retry: Duration,
    /// How often a failure that goes on is reported again.
    pub repeat_report: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            watch_life: Duration::from_secs(300),
            watch_grace: Duration::from_secs(5),
            silence: Duration::from_secs(180),
            first_retry: Duration::from_millis(800),
            last_retry: Duration::from_secs(30),
            healthy_after: Duration::from_secs(10),
            missing_retry: Duration::from_secs(600),
            repeat_report: Duration::from_secs(300),
        }
    }
}

/// Waits that double from the first to the last, each shortened by chance so that agents do not move in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self { first: timing.first_retry, last: timing.last_retry, failures: 0 }
    }

    /// Answers how many failures there were since the last success.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and answers how long to wait. `chance` is between 0 and 1.
    pub(crate) fn failed(&mut self, chance: f64) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(16)).min(self.last);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + chance / 2.0)
    }
}

/// Answers a number between 0 and 1 that differs from call to call. Good enough to spread load, for nothing else.
pub(crate) fn chance() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(&Timing::default());
        let waits: Vec<u128> = (0..8).map(|_| backoff.failed(1.0).as_millis()).collect();
        assert_eq!(waits, [800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(backoff.failed(0.0), Duration::from_secs(15));
        backoff.succeeded();
        assert_eq!(backoff.failed(0.0), Duration::from_millis(400));
    }

    #[test]
    fn chance_is_between_0_and_1_and_varies() {
        let throws: Vec<f64> = (0..100).map(|_| chance()).collect();
        assert!(throws.iter().all(|c| (0.0..=1.0).contains(c)));
        assert!(
            throws.windows(2).any(|pair| pair[0] < pair[1])
                && throws.windows(2).any(|pair| pair[0] > pair[1])
        );
    }
}
