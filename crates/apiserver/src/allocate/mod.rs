//! What Services have of the cluster: addresses out of the ServiceCIDRs, and ports of the nodes.
//!
//! Everything happens in the transaction that writes the Service: a write that is refused takes nothing, and two writes
//! never get the same. What is taken is a key of the store, so that no write reads more than the keys that it tries.
//!
//! What this does *not* know: which addresses and ports a Service needs (`kinds::service` does).

mod addresses;
mod ports;
mod ranges;
mod repair;
mod set_up;

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::chance::Chance;

pub use ports::NodePorts;
pub use ranges::settle;
pub use repair::{repair, restore};
pub use set_up::{Cluster, set_up};

pub(crate) use addresses::{NoAddress, families, family, give_address_back, take_address, take_any_address};
pub(crate) use ports::{give_port_back, take_any_port, take_port};

/// The Service that has something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    namespace: String,
    name: String,
}

impl Owner {
    pub(crate) fn of(service: &Value) -> Self {
        let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default().to_owned();
        Self { namespace: text("namespace"), name: text("name") }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How often a free number is guessed before all are tried in turn.
const GUESSES: u32 = 64;

/// Answers a free number of a band, each as likely as the others while few are taken.
///
/// Tries at most one number more than are taken, but for the guesses.
fn free(chance: &mut Chance, band: RangeInclusive<u128>, is_taken: impl Fn(u128) -> bool) -> Option<u128> {
    if band.is_empty() {
        return None;
    }
    let (first, last) = band.into_inner();
    let size = (last - first).saturating_add(1);
    for _ in 0..GUESSES {
        let guess = first + chance.below_128(size);
        if !is_taken(guess) {
            return Some(guess);
        }
    }
    let start = first + chance.below_128(size);
    (start..=last).chain(first..start).find(|number| !is_taken(*number))
}

/// Answers how many of a range, from its first on, are left to those who ask for one: Kubernetes gives them to others
/// only when the rest is taken.
fn kept_for_requests(size: u128, share: u128, most: u128) -> u128 {
    const FEWEST: u128 = 16;
    if size <= FEWEST { 0 } else { (size / share).clamp(FEWEST, most) }
}

/// Answers the part from which any number is given, and the part that is left to those who ask for one.
fn bands(first: u128, last: u128, kept: u128) -> [RangeInclusive<u128>; 2] {
    let lower = if kept == 0 { RangeInclusive::new(1, 0) } else { first..=first + (kept - 1) };
    [first + kept..=last, lower]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_found_and_none_twice() {
        let mut chance = Chance::new([3; 16]);
        let mut taken = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let number = free(&mut chance, 100..=399, |number| taken.contains(&number)).unwrap();
            assert!((100..400).contains(&number) && taken.insert(number), "{number}");
        }
        assert_eq!(free(&mut chance, 100..=399, |number| taken.contains(&number)), None);
        assert!(free(&mut chance, 0..=u128::MAX, |_| false).is_some());
        let empty = RangeInclusive::new(5, 4);
        assert_eq!(free(&mut chance, empty, |_| false), None);
    }

    #[test]
    fn bands_are_kubernetes_own() {
        for (size, share, most, wanted) in [
            (1 << 20, 16, 256, 256),
            (256, 16, 256, 16),
            (1024, 16, 256, 64),
            (16, 16, 256, 0),
            (32, 16, 256, 16),
            (2768, 32, 128, 86),
            (17, 32, 128, 16),
        ] {
            assert_eq!(kept_for_requests(size, share, most), wanted, "{size}");
        }
    }
}
