//! How much one client may ask: a number of answers a second, in a table of fixed size without locks.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustc_hash::FxBuildHasher;

/// How many places there are. Clients that share one share its rate.
const PLACES: usize = 1 << 14;

/// The rates of all clients.
#[derive(Debug)]
pub(super) struct Limit {
    /// Nanoseconds that one answer costs.
    cost: u64,
    /// Nanoseconds that a client may be ahead: one second's worth.
    credit: u64,
    /// When the client of a place has paid for all that it got, in nanoseconds.
    paid: Box<[AtomicU64]>,
}

impl Limit {
    /// A limit of so many answers a second.
    pub(super) fn new(a_second: u32) -> Self {
        let credit = 1_000_000_000;
        let cost = credit / u64::from(a_second.max(1));
        Self { cost, credit, paid: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Answers whether a client may have another answer at this time.
    pub(super) fn admits(&self, client: IpAddr, now: Duration) -> bool {
        let now = now.as_nanos() as u64;
        let place = &self.paid[FxBuildHasher.hash_one(network(client)) as usize % PLACES];
        // Two threads that meet here may let one answer more through.
        let paid = place.load(Ordering::Relaxed).max(now);
        if paid + self.cost > now + self.credit {
            return false;
        }
        place.store(paid + self.cost, Ordering::Relaxed);
        true
    }
}

/// Answers what stands for a client: one host has 2^64 addresses of IPv6.
pub(super) fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_rate() {
        let limit = Limit::new(10);
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().unwrap());
        let count =
            |client, millis| (0..100).filter(|_| limit.admits(client, Duration::from_millis(millis))).count();
        assert_eq!(count(one, 5000), 10);
        assert_eq!(count(one, 5000), 0);
        assert_eq!(count(other, 5000), 10);
        assert_eq!(count(one, 5250), 2);
        assert_eq!(count(one, 60_000), 10);
        let [near, far]: [IpAddr; 2] = ["fd00::1", "fd00::ffff"].map(|text| text.parse().unwrap());
        assert_eq!(count(near, 60_000) + count(far, 60_000), 10);
    }
}
