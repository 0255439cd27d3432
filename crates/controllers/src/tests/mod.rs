//! The controllers against a server that is played, in random histories: watches are slow, answers are late, requests fail,
//! Pods become ready and die, people change their minds.

mod nodes;
mod play;
mod server;

use proptest::prelude::*;

use play::{Play, Temper};

/// A Deployment's sizes: replicas, maxSurge, maxUnavailable.
type Sizes = (i64, i64, i64);

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pods only become ready: then a rollout, with as many changes of mind as there may be, takes no availability.
    #[test]
    fn rollouts_take_no_availability((replicas, surge, unavailable) in sizes(), seed in any::<u64>()) {
        let mut play = Play::new(seed, Temper::Gentle, (replicas, surge, unavailable));
        play.settle();
        play.check_settled();
        play.is_guarded = true;
        for _ in 0..3 {
            play.change_version();
            play.go_on(150);
        }
        play.settle();
        play.check_settled();
    }

    /// Whatever happens, when it stops everything is as it should be.
    #[test]
    fn everything_settles((replicas, surge, unavailable) in sizes(), seed in any::<u64>()) {
        let mut play = Play::new(seed, Temper::Harsh, (replicas, surge, unavailable));
        for _ in 0..6 {
            play.change_mind();
            play.go_on(120);
        }
        play.unpause();
        play.settle();
        play.check_settled();
    }

    /// A slow watch makes nobody make a Pod twice.
    #[test]
    fn no_pod_is_made_twice(replicas in 1..12_i64, seed in any::<u64>()) {
        let mut play = Play::new(seed, Temper::Gentle, (replicas, 1, 0));
        play.go_on(400);
        prop_assert!(play.server.made_pods <= replicas);
        play.settle();
        prop_assert_eq!(play.server.made_pods, replicas);
        play.check_settled();
    }
}

fn sizes() -> impl Strategy<Value = Sizes> {
    (0..8_i64, 0..4_i64, 0..4_i64)
        .prop_filter("both 0 is refused", |(_, surge, unavailable)| surge + unavailable > 0)
}
