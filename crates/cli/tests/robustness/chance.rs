//! Repeatable chance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Random numbers from a seed (xorshift64*).
pub(crate) struct Chance(u64);

impl Chance {
    /// Takes the seed of `SIGNALBOX_SEED`, or a new one; prints it.
    pub(crate) fn printed() -> Self {
        let given = std::env::var("SIGNALBOX_SEED").ok();
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = given.map_or_else(now, |text| text.parse().expect("SIGNALBOX_SEED is a number")).max(1);
        eprintln!("SIGNALBOX_SEED={seed}");
        Self(seed)
    }

    /// Another sequence that depends on this one's beginning only.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next().max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(2_685_821_657_736_338_717) >> 16
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.below(10_000) as f64 / 10_000.0)
    }

    /// Whether something happens that happens once in so many times.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}
