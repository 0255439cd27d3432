//! Views made from scratch, without any state.

use desired::{Claims, DetectLocal, NodePortAddresses, Options, Surroundings, here, node_view, service_view};
use model::{Family, ServiceKey, ServiceView, View};
use objects::EndpointSlice;
use proptest::prelude::Just;
use proptest::prop_oneof;
use proptest::strategy::Strategy;
use testkit::generate::{Cluster, universe};

/// The view of a cluster, computed from nothing.
pub(crate) fn view(options: &Options, cluster: &Cluster, family: Family) -> View {
    let mut claims = Claims::default();
    // The last first: the order must not matter.
    for service in cluster.services.iter().rev() {
        claims.update(&service.key, Some(service));
    }
    let cidrs = cluster.service_cidrs.iter().flat_map(|object| &object.cidrs);
    let node = node_view(options, cluster.node.as_ref(), cidrs, family);
    let here = here(options, cluster.node.as_ref());
    let around = Surroundings { here: &here, node_addresses: &node.addresses, claims: &claims };
    let mut services: Vec<ServiceView> = cluster
        .services
        .iter()
        .filter_map(|service| service_view(service, &slices_of(cluster, &service.key), family, around))
        .collect();
    services.sort_by(|a, b| a.key.cmp(&b.key));
    View { node, services }
}

pub(crate) fn slices_of<'c>(cluster: &'c Cluster, key: &ServiceKey) -> Vec<&'c EndpointSlice> {
    cluster.slices.iter().filter(|slice| slice.service.as_ref() == Some(key)).collect()
}

/// Random options for the node of the universe.
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
            manners: model::Manners::default(),
        },
    )
}
