//! One Service as one node must treat it.

use std::net::IpAddr;

use model::{
    Endpoint, Family, FrontendKind, FrontendView, IpNet, PortView, Problem, Route, Scope, ServiceKey,
    ServiceView, TrafficPolicy,
};
use objects::{EndpointSlice, Service};
use rustc_hash::FxHashSet;

use crate::conflicts::{Claim, Claims};
use crate::endpoints::{Scopes, Selection, candidates, selection};
use crate::frontends::{Frontend, Port, cluster_ip, frontends, ports, repeated_ports};
use crate::ranges;
use crate::topology::Here;

/// What a Service's view depends on besides the Service and its slices.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where the node is.
    pub here: &'a Here,
    /// The node's own addresses of the family.
    pub node_addresses: &'a [IpAddr],
    /// What all Services want; this one's claims are among them.
    pub claims: &'a Claims,
}

/// The view of a Service in one family; `slices` are all slices that name it, in any order.
///
/// `None` when it has no frontend in this family: no ClusterIP of it (headless Services have none at all), no port, an
/// ExternalName, or another proxy in charge.
pub fn service_view(
    service: &Service,
    slices: &[&EndpointSlice],
    family: Family,
    around: Surroundings<'_>,
) -> Option<ServiceView> {
    let cluster_ip = cluster_ip(service, family)?;
    let mut draft =
        Draft { service, slices, family, around, seen: FxHashSet::default(), problems: Vec::new() };
    let mut views: Vec<PortView> = ports(service).map(|port| draft.port_view(port, cluster_ip)).collect();
    if views.is_empty() {
        return None;
    }
    views.sort_by_key(|port| (port.protocol, port.port));
    let mut problems = draft.problems;
    problems.extend(service.problems.iter().cloned());
    problems.extend(repeated_ports(service));
    let slices = slices.iter().filter(|slice| slice.family == Some(family));
    problems.extend(slices.flat_map(|slice| slice.problems.iter().cloned()));
    problems.sort_unstable();
    problems.dedup();
    Some(ServiceView {
        key: service.key.clone(),
        ports: views,
        health_check_node_port: service.health_check_node_port,
        problems,
    })
}

struct Draft<'a> {
    service: &'a Service,
    slices: &'a [&'a EndpointSlice],
    family: Family,
    around: Surroundings<'a>,
    /// What earlier ports of this Service have claimed.
    seen: FxHashSet<Claim>,
    problems: Vec<Problem>,
}

impl Draft<'_> {
    fn port_view(&mut self, port: Port<'_>, cluster_ip: IpAddr) -> PortView {
        let frontends: Vec<FrontendView> = frontends(self.service, port.spec, cluster_ip)
            .iter()
            .map(|frontend| self.frontend_view(frontend, port))
            .collect();
        let policies = Policies::of(self.service, &frontends);
        let candidates = candidates(port.spec, self.slices, self.family);
        let selection = selection(&candidates, policies.scopes(), self.around.here);
        let routes = Routes::of(&selection, policies);
        PortView {
            name: port.spec.name.clone(),
            protocol: port.spec.protocol,
            port: port.spec.port,
            frontends,
            internal: routes.internal,
            external: routes.external,
            external_from_cluster: routes.external_from_cluster,
            external_policy: policies.external.unwrap_or(TrafficPolicy::Cluster),
            affinity: self.service.affinity,
            endpoints: selection.endpoints,
        }
    }

    fn frontend_view(&mut self, frontend: &Frontend, port: Port<'_>) -> FrontendView {
        let shadowed_by = self.shadowed_by(frontend.claim(self.family));
        if let Some(by) = &shadowed_by {
            self.problems.push(shadow_problem(&self.service.key, frontend, port, by));
        }
        let sources = match frontend.kind {
            FrontendKind::LoadBalancerIp => frontend
                .address
                .and_then(|address| sources(self.service, address, self.around.node_addresses)),
            FrontendKind::ClusterIp | FrontendKind::ExternalIp | FrontendKind::NodePort => None,
        };
        FrontendView {
            kind: frontend.kind,
            address: frontend.address,
            port: frontend.number,
            sources,
            shadowed_by,
        }
    }

    /// The Service that has it already: another one, or this one by an earlier port.
    fn shadowed_by(&mut self, claim: Claim) -> Option<ServiceKey> {
        let own = &self.service.key;
        let holder = self.around.claims.holder(&claim).filter(|holder| *holder != own);
        let is_first = self.seen.insert(claim);
        holder.or((!is_first).then_some(own)).cloned()
    }
}

fn shadow_problem(own: &ServiceKey, frontend: &Frontend, port: Port<'_>, by: &ServiceKey) -> Problem {
    let Frontend { protocol, number, .. } = frontend;
    let field = match frontend.kind {
        FrontendKind::ClusterIp => "spec.clusterIPs".to_owned(),
        FrontendKind::ExternalIp => "spec.externalIPs".to_owned(),
        FrontendKind::LoadBalancerIp => "status.loadBalancer.ingress".to_owned(),
        FrontendKind::NodePort => format!("spec.ports[{}].nodePort", port.index),
    };
    let what = match frontend.address {
        Some(address) => format!("{address} {protocol}/{number}"),
        None => format!("NodePort {protocol}/{number}"),
    };
    let reason = if by == own {
        format!("{what} is used by an earlier port of this Service; not served for this port")
    } else {
        format!("{what} is used by the older Service {by}; not served for this one")
    };
    Problem { object: format!("Service {own}"), field, reason }
}

/// The only sources that may use a load-balancer address; `None`: everybody.
///
/// Ranges of the other family restrict nothing here. Where a node may use its load balancer, it may come from the
/// load balancer's address too: load balancers often assign that address to the nodes, and then it is the source that
/// a node picks for it.
fn sources(service: &Service, address: IpAddr, node_addresses: &[IpAddr]) -> Option<Vec<IpNet>> {
    let mut ranges = ranges::of_family(&service.source_ranges, Family::of(address));
    if ranges.is_empty() || ranges.iter().any(|range| range.prefix_len() == 0) {
        return None;
    }
    if ranges.iter().any(|range| node_addresses.iter().any(|node| range.contains(node))) {
        ranges.push(IpNet::from(address));
        ranges = ranges::minimal(ranges);
    }
    Some(ranges)
}

/// The policies that have a frontend to act on.
#[derive(Debug, Clone, Copy)]
struct Policies {
    internal: TrafficPolicy,
    /// `None` when the port has no external address and no NodePort in this family.
    external: Option<TrafficPolicy>,
}

impl Policies {
    fn of(service: &Service, frontends: &[FrontendView]) -> Self {
        let is_exposed = frontends.iter().any(|frontend| frontend.kind != FrontendKind::ClusterIp);
        Self { internal: service.internal_policy, external: is_exposed.then_some(service.external_policy) }
    }

    /// The external policy Local needs the cluster's endpoints too, for clients inside the cluster.
    fn scopes(self) -> Scopes {
        Scopes {
            cluster: self.internal == TrafficPolicy::Cluster || self.external.is_some(),
            local: self.internal == TrafficPolicy::Local || self.external == Some(TrafficPolicy::Local),
        }
    }
}

struct Routes {
    internal: Route,
    external: Route,
    external_from_cluster: Route,
}

impl Routes {
    /// Where nobody can come from outside, the external routes equal the internal one.
    fn of(selection: &Selection, policies: Policies) -> Self {
        let route = |policy| match policy {
            TrafficPolicy::Cluster => balance_or(Scope::Cluster, selection, Route::Reject),
            TrafficPolicy::Local if selection.any_usable => balance_or(Scope::Local, selection, Route::Drop),
            TrafficPolicy::Local => Route::Reject,
        };
        let internal = route(policies.internal);
        let Some(policy) = policies.external else {
            return Self { external: internal.clone(), external_from_cluster: internal.clone(), internal };
        };
        Self { internal, external: route(policy), external_from_cluster: route(TrafficPolicy::Cluster) }
    }
}

fn balance_or(scope: Scope, selection: &Selection, otherwise: Route) -> Route {
    let used: Vec<Endpoint> = selection.used(scope);
    if used.is_empty() { otherwise } else { Route::Balance(scope, used) }
}
