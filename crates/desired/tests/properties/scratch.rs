//! Views made from scratch, without any state.

use desired::{Claims, Options, Surroundings, here, node_view, service_view};
use model::{Family, ServiceKey, ServiceView, View};
use objects::EndpointSlice;
use testkit::generate::Cluster;

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
