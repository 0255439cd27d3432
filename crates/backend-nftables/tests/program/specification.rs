//! Specification and simulator agree on every packet.

use backend::Driver;
use backend_nftables::{NftablesBackend, Program, render};
use desired::route;
use model::{Family, View};
use proptest::prelude::any;
use proptest::{prop_assert_eq, proptest};
use sys::nftables::FakeNftables;
use testkit::driven;
use testkit::generate::{cluster_and_packets, options, view};

/// A driver that wants this and has written nothing.
pub(crate) fn driver(view: &View) -> Driver<NftablesBackend<FakeNftables>> {
    driven::driver(NftablesBackend::new(view.node.family, FakeNftables::new()), view)
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 400, ..Default::default() })]
    #[test]
    fn the_program_does_what_the_specification_says(
        options in options(),
        v6 in any::<bool>(),
        both in [cluster_and_packets(Family::V4, 40), cluster_and_packets(Family::V6, 40)],
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let [v4, v6] = both;
        let (cluster, packets) = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        let view = view(&options, cluster.events(), family);
        let items = driver(&view).wanted();
        let mut addresses = view.node.addresses.clone();
        // An address that the node has without its object saying so.
        addresses.retain(|address| !address.is_loopback());
        let program = Program::new(&items, &addresses);
        for packet in packets {
            prop_assert_eq!(
                program.outcomes(&packet),
                route(&view, &packet),
                "{:?}\n{}",
                packet,
                render(family, &items)
            );
        }
    }
}
