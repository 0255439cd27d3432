//! Random options, and views of random clusters.

use desired::{Desired, DetectLocal, NodePortAddresses, Options};
use model::{Family, Manners, View};
use objects::{Event, Objects, Touched};
use proptest::prelude::{Just, any};
use proptest::prop_oneof;
use proptest::strategy::Strategy;
use testkit::generate::universe;

/// Options of every kind for the node of the universe.
pub(crate) fn options() -> impl Strategy<Value = Options> {
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
    (detect_local, node_port_addresses, proptest::bool::weighted(0.2), any::<bool>()).prop_map(
        |(detect_local, node_port_addresses, masquerade_all, localhost_node_ports)| Options {
            node_name: universe::NODE.into(),
            node_addresses: Vec::new(),
            fallback_addresses: Vec::new(),
            detect_local,
            masquerade_all,
            masquerade_bit: 14,
            node_port_addresses,
            manners: Manners {
                guards_service_addresses: false,
                localhost_node_ports,
                drops_invalid: localhost_node_ports,
            },
        },
    )
}

/// The view of everything that the events amount to.
pub(crate) fn view(options: &Options, events: impl IntoIterator<Item = Event>, family: Family) -> View {
    let mut objects = Objects::default();
    let mut touched = Touched::default();
    for event in events {
        touched.merge(objects.apply(event));
    }
    let mut desired = Desired::new(options.clone());
    desired.changed(&objects, &touched);
    desired.view(&objects, family)
}
