//! Services as one node must treat them: decisions only, nothing left for a back end to decide.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::{Family, IpNet, Problem, Protocol, ServiceKey};

/// Everything one node must do, for one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What is the same for all Services.
    pub node: NodeView,
    /// The Services, sorted by key; those without any frontend of this family are left out.
    pub services: Vec<ServiceView>,
}

/// What a node's program needs to know besides Services, for one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// The node's name.
    pub name: Arc<str>,
    /// The family that this view is about.
    pub family: Family,
    /// The node's own addresses of this family that are known from its Node object (or the manifests), sorted.
    pub addresses: Vec<IpAddr>,
    /// How traffic of pods is told from other traffic.
    pub local_traffic: LocalTraffic,
    /// Whether all traffic to ClusterIPs is masqueraded, that of pods included.
    pub masquerade_all: bool,
    /// The bit of the packet mark that says "masquerade this", as a mask with one bit set. All other bits are foreign.
    pub masquerade_mark: u32,
    /// NodePorts answer on the node's local addresses inside these prefixes, never on loopback.
    pub node_port_addresses: Vec<IpNet>,
    /// The ranges that ClusterIPs are taken from. New connections to an address in them that no Service has are
    /// dropped (KEP-3866, as kube-proxy in nftables mode does).
    pub service_cidrs: Vec<IpNet>,
    /// What else differs by mode.
    pub manners: Manners,
}

/// What a node does besides Services, by mode and as the operator wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manners {
    /// Whether new connections to a ClusterIP are refused at ports that it does not have, and those to unallocated
    /// addresses dropped. kube-proxy does so in nftables mode only; else they pass as if there were no Services.
    pub guards_service_addresses: bool,
    /// Whether NodePorts answer on 127.0.0.0/8, where `node_port_addresses` have it. IPv4 in iptables mode only.
    pub localhost_node_ports: bool,
    /// Whether packets are dropped that connection tracking finds invalid. In iptables mode, unless it is liberal.
    pub drops_invalid: bool,
}

impl Default for Manners {
    /// Those of nftables mode.
    fn default() -> Self {
        Self { guards_service_addresses: true, localhost_node_ports: false, drops_invalid: false }
    }
}

/// How traffic of pods ("local traffic" in kube-proxy's terms) is recognised. Traffic that is not local is
/// masqueraded when it goes to a ClusterIP; local traffic to an external address of a Service with
/// externalTrafficPolicy Local is balanced over all endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalTraffic {
    /// It cannot be told: nothing is masqueraded for that reason and nothing short-circuited.
    Unknown,
    /// By source address (modes ClusterCIDR and NodeCIDR).
    From(IpNet),
    /// By the name of the interface through which it arrives (mode BridgeInterface).
    Interface(String),
    /// By the beginning of that name (mode InterfaceNamePrefix).
    InterfacePrefix(String),
}

/// One Service as one node must treat it, for one address family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Its name.
    pub key: ServiceKey,
    /// Its ports, sorted by protocol and number.
    pub ports: Vec<PortView>,
    /// `spec.healthCheckNodePort`; 0: none.
    pub health_check_node_port: u16,
    /// What is wrong with it, in this family or at all.
    pub problems: Vec<Problem>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortView {
    /// Its name; empty for the only port of a Service.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The number at ClusterIP, external and load-balancer addresses.
    pub port: u16,
    /// Where it is reached.
    pub frontends: Vec<FrontendView>,
    /// What happens at the ClusterIP, whoever asks.
    pub internal: Route,
    /// What happens at external addresses and NodePorts to clients outside the cluster. With
    /// [`TrafficPolicy::Cluster`] to everybody.
    pub external: Route,
    /// What happens there to pods and to this node itself when the policy is [`TrafficPolicy::Local`]: the
    /// short circuit over all endpoints. Equals `external` otherwise.
    pub external_from_cluster: Route,
    /// `externalTrafficPolicy`. Decides who is masqueraded at external addresses and NodePorts:
    /// `Cluster`: everybody; `Local`: only this node itself.
    pub external_policy: TrafficPolicy,
    /// Whether clients stick to an endpoint.
    pub affinity: Affinity,
    /// Every known endpoint, used or not, sorted by endpoint.
    pub endpoints: Vec<EndpointView>,
}

/// A traffic policy of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficPolicy {
    /// All usable endpoints of the cluster.
    Cluster,
    /// Only endpoints on this node.
    Local,
}

/// Session affinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Every connection is balanced anew.
    None,
    /// A client address stays with its endpoint until it has made no new connection for this long.
    ClientIp {
        /// Seconds, 1 to 86,400.
        timeout_seconds: u32,
    },
}

/// The kinds of address at which a port is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// `spec.clusterIPs`.
    ClusterIp,
    /// `spec.externalIPs`.
    ExternalIp,
    /// `status.loadBalancer.ingress` with ipMode VIP.
    LoadBalancerIp,
    /// `spec.ports[].nodePort`, on the node's own addresses.
    NodePort,
}

/// One address and port at which a Service port is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendView {
    /// What kind of address it is: `ClusterIp` follows `internal`, the others `external`.
    pub kind: FrontendKind,
    /// The address; `None` exactly for NodePorts.
    pub address: Option<IpAddr>,
    /// The port number there.
    pub port: u16,
    /// The only sources that may use it; `None`: everybody. Sorted, without prefixes that others contain. May be
    /// empty, then nobody may. Only load-balancer addresses are ever restricted.
    pub sources: Option<Vec<IpNet>>,
    /// The Service that has this address, protocol and port already and keeps them. Such a frontend is not programmed.
    pub shadowed_by: Option<ServiceKey>,
}

/// What happens to a new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It goes to one of these endpoints, each with the same probability. Sorted, at least one.
    Balance(Scope, Vec<Endpoint>),
    /// It is silently dropped: endpoints exist, but the policy is Local and none is on this node. A load balancer
    /// must see such a node as silent.
    Drop,
    /// It is refused at once: the Service has no endpoint at all.
    Reject,
}

/// Which endpoints a [`Route::Balance`] chose from. Two routes of one port with equal scope have equal endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The cluster's, narrowed by topology hints.
    Cluster,
    /// This node's.
    Local,
}

/// The address and port of a pod behind a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Address of the pod.
    pub address: IpAddr,
    /// Port on which it listens.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// An endpoint with what became of it on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointView {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The node it runs on; `None` when the slice does not say.
    pub node: Option<Arc<str>>,
    /// Whether that is this node: names are compared, never addresses.
    pub local: bool,
    /// Whether it serves, ready or not: connections that it has already may go on.
    pub serving: bool,
    /// Its part in [`Scope::Cluster`].
    pub cluster: Fate,
    /// Its part in [`Scope::Local`].
    pub in_local: Fate,
}

/// Why an endpoint is used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It is used.
    Used,
    /// It is terminating but still serving, and used because no endpoint of the scope is ready.
    Fallback,
    /// It is terminating, and ready endpoints exist.
    Terminating,
    /// It is not ready, and neither serving while terminating.
    NotReady,
    /// It is ready, but its zone hints leave it to other zones.
    OtherZone,
    /// It is ready, but node hints leave it to other nodes.
    OtherNode,
    /// It would be used, but it is not on this node and the scope is Local.
    NotLocal,
    /// No frontend of this port uses the scope.
    ScopeUnused,
}

impl Fate {
    /// Answers whether connections go to the endpoint.
    pub fn is_used(self) -> bool {
        match self {
            Self::Used | Self::Fallback => true,
            Self::Terminating
            | Self::NotReady
            | Self::OtherZone
            | Self::OtherNode
            | Self::NotLocal
            | Self::ScopeUnused => false,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Used => "used",
            Self::Fallback => "used although terminating; no endpoint is ready",
            Self::Terminating => "terminating; not needed, ready endpoints exist",
            Self::NotReady => "not ready",
            Self::OtherZone => "left to other zones by its hints",
            Self::OtherNode => "left to other nodes by its hints",
            Self::NotLocal => "on another node; the traffic policy is Local",
            Self::ScopeUnused => "not asked for by any frontend",
        })
    }
}
