//! Random options of a node agent, and what it then wants to be in force.

use desired::{Desired, DetectLocal, NodePortAddresses, Options};
use model::{Family, Manners, View};
use objects::{Event, Objects, Touched};
use proptest::prelude::Just;
use proptest::prop_oneof;
use proptest::strategy::Strategy;

use super::universe;

/// Options of every kind for the node of the universe, with the manners of nftables mode.
pub fn options() -> impl Strategy<Value = Options> {
    let detect_local = prop_oneof![
        2 => Just(DetectLocal::ClusterCidr(Family::BOTH.map(universe::pod_range).to_vec())),
        1 => Just(DetectLocal::ClusterCidr(Vec::new())),
        1 => Just(DetectLocal::NodeCidr),
        1 => Just(DetectLocal::BridgeInterface(universe::POD_INTERFACE.to_owned())),
        1 => Just(DetectLocal::InterfaceNamePrefix("cni".to_owned())),
    ];
    let within = vec![
        universe::node_address(Family::V4, 1).into(),
        universe::second_node_address(Family::V6, 1).into(),
    ];
    let node_port_addresses = prop_oneof![
        2 => Just(NodePortAddresses::Primary),
        1 => Just(NodePortAddresses::Within(Vec::new())),
        1 => Just(NodePortAddresses::Within(within)),
    ];
    let given =
        prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![universe::second_node_address(Family::V4, 1)])];
    (detect_local, node_port_addresses, given, proptest::bool::weighted(0.2)).prop_map(
        |(detect_local, node_port_addresses, node_addresses, masquerade_all)| Options {
            node_name: universe::NODE.into(),
            node_addresses,
            fallback_addresses: Vec::new(),
            detect_local,
            masquerade_all,
            masquerade_bit: 14,
            node_port_addresses,
            manners: Manners::default(),
        },
    )
}

/// The view of everything that the events amount to.
pub fn view(options: &Options, events: impl IntoIterator<Item = Event>, family: Family) -> View {
    let mut objects = Objects::default();
    let mut touched = Touched::default();
    for event in events {
        touched.merge(objects.apply(event));
    }
    let mut desired = Desired::new(options.clone());
    desired.changed(&objects, &touched);
    desired.view(&objects, family)
}
