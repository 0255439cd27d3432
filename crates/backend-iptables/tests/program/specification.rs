//! Specification and simulator agree on every packet.

use backend::Driver;
use backend_iptables::{IptablesBackend, Program, render};
use desired::{Options, route};
use model::{Family, Manners, Origin, View};
use proptest::prelude::any;
use proptest::strategy::Strategy;
use proptest::{prop_assert_eq, proptest};
use sys::Error;
use sys::ipset::Element;
use sys::iptables::{RestoreError, Xtables};
use testkit::driven;
use testkit::generate::{self, cluster_and_packets, view};

/// A kernel that holds nothing and takes everything.
#[derive(Default)]
pub(crate) struct Nowhere {
    pub(crate) restored: Vec<String>,
    pub(crate) is_nft: bool,
}

impl Xtables for Nowhere {
    fn save(&mut self) -> Result<String, Error> {
        Ok(String::new())
    }

    fn restore(&mut self, text: &str) -> Result<(), RestoreError> {
        self.restored.push(text.to_owned());
        Ok(())
    }

    fn changes_single_rules(&self) -> bool {
        self.is_nft
    }

    fn elements(&mut self, _: &str) -> Result<Option<Vec<Element>>, Error> {
        Ok(None)
    }

    fn make_set(&mut self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn change_set(&mut self, _: &str, _: &[Element], _: &[Element]) -> Result<(), Error> {
        Ok(())
    }

    fn remove_set(&mut self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    fn counts(&self) -> bool {
        true
    }
}

/// Options of every kind, with the manners of iptables mode.
pub(crate) fn options() -> impl Strategy<Value = Options> {
    (generate::options(), any::<bool>()).prop_map(|(options, localhost_node_ports)| Options {
        manners: Manners {
            guards_service_addresses: false,
            localhost_node_ports,
            drops_invalid: localhost_node_ports,
        },
        ..options
    })
}

/// A driver that wants this and has written nothing.
pub(crate) fn driver<X: Xtables>(view: &View, xtables: X) -> Driver<IptablesBackend<X>> {
    driven::driver(IptablesBackend::new(view.node.family, xtables), view)
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
        let items = driver(&view, Nowhere::default()).wanted();
        let mut addresses = view.node.addresses.clone();
        // An address that the node has without its object saying so.
        addresses.retain(|address| !address.is_loopback());
        let program = Program::new(&items, &addresses);
        for packet in packets {
            // Nothing comes in for loopback; the rules see to that, and the kernel.
            if packet.destination.is_loopback() && packet.origin != Origin::ThisNode {
                continue;
            }
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
