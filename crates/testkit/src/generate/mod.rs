//! Random objects and packets, as proptest strategies.
//!
//! Everything is taken from a small universe ([`universe`]), so that random Services contend for the same addresses,
//! random slices fit them, and random packets meet them. The universe is consistent where real clusters are: an
//! address belongs to one node, the endpoints' port numbers are nobody's frontend, and what arrives through an
//! interface never has a source address of this node.
//!
//! What it does *not* do: say what should come out.

mod objects;
mod options;
mod packets;
pub mod universe;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

pub use self::objects::{Cluster, cluster, history, node, service, service_cidr, slice};
pub use self::options::{options, view};
pub use self::packets::{cluster_and_packets, packet};

/// One value of a strategy, the same for the same seed: for benches and loops that are no proptest.
pub fn sample<S: Strategy>(strategy: &S, seed: u64) -> S::Value {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    strategy.new_tree(&mut runner).expect("no strategy here rejects values").current()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Family;

    #[test]
    fn a_seed_gives_the_same_values_again_and_another_seed_others() {
        let strategy = cluster();
        assert_eq!(sample(&strategy, 7), sample(&strategy, 7));
        assert_ne!(sample(&strategy, 7), sample(&strategy, 8));
    }

    #[test]
    fn packets_are_of_the_family_that_was_asked_for() {
        for family in Family::BOTH {
            let strategy = packet(family);
            for seed in 0..200 {
                let packet = sample(&strategy, seed);
                assert_eq!((Family::of(packet.source), Family::of(packet.destination)), (family, family));
            }
        }
    }
}
