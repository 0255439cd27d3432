//! The trimmed objects. Addresses are numbers; strings that recur are shared.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use model::{Affinity, Family, IpNet, Problem, Protocol, ServiceKey, TrafficPolicy};

/// A string that recurs in many objects: a node, zone or port name. Cloning it is cheap; decoders share equal ones.
pub type Name = Arc<str>;

/// The kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `v1` Node; only the own one is watched.
    Node,
    /// `networking.k8s.io/v1` ServiceCIDR.
    ServiceCidr,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Service, Self::EndpointSlice, Self::Node, Self::ServiceCidr];

    /// Answers its name in Kubernetes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
        }
    }
}

/// Kind and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// `namespace/name`, or `name` for kinds without namespaces.
    pub name: Name,
}

/// What a source tells about its objects. A list is framed by `ListStarted` and `ListFinished`; objects of the kind
/// that were known before and do not appear between them are gone. Nothing is removed before `ListFinished`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A complete list of this kind begins (again).
    ListStarted(Kind),
    /// An object was created, changed, or is part of a list.
    Applied(Object),
    /// An object was deleted.
    Deleted(ObjectKey),
    /// The list is complete: what was not repeated is gone, and the kind is synced from now on.
    ListFinished(Kind),
}

/// One trimmed object, with what was wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A Node.
    Node(Node),
    /// A ServiceCIDR.
    ServiceCidr(ServiceCidr),
}

/// `spec.type`, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceType {
    /// Reached at a ClusterIP only (external IPs aside).
    ClusterIp,
    /// Also at a NodePort.
    NodePort,
    /// Also at load-balancer addresses.
    LoadBalancer,
    /// An alias in DNS; no traffic.
    ExternalName,
}

/// A trimmed Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub key: ServiceKey,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 when absent (a manifest), which counts as oldest.
    pub created: i64,
    /// `metadata.uid`, to break ties of age; may be empty.
    pub uid: Box<str>,
    /// Whether another proxy is in charge (label `service.kubernetes.io/service-proxy-name` present).
    pub other_proxy: bool,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.clusterIPs` (or `clusterIP`), at most one of a family; empty for headless Services.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`, both families, sorted, no duplicates.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose ipMode is VIP or absent, sorted, no duplicates.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`, both families, as given (canonical, sorted, no duplicates).
    pub source_ranges: Vec<IpNet>,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.sessionAffinity` with its timeout (default 10,800 seconds).
    pub affinity: Affinity,
    /// `spec.healthCheckNodePort`; 0 when there is none.
    pub health_check_node_port: u16,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// Fields that were left out because they made no sense.
    pub problems: Vec<Problem>,
}

/// One entry of `spec.ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`; may be empty.
    pub name: Name,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`, 1 to 65,535.
    pub port: u16,
    /// `nodePort`; 0 when there is none.
    pub node_port: u16,
}

/// A trimmed EndpointSlice.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSlice {
    /// `namespace/name` of the slice.
    pub key: Name,
    /// The Service of the label `kubernetes.io/service-name`; `None` without it: such a slice is kept but unused.
    pub service: Option<ServiceKey>,
    /// `addressType`; `None` for FQDN: such a slice is kept but unused.
    pub family: Option<Family>,
    /// Ports that have a name (may be empty) and a number.
    pub ports: Box<[SlicePort]>,
    /// Endpoints that have an address.
    pub endpoints: Box<[EndpointRecord]>,
    /// The annotation `endpoints.kubernetes.io/last-change-trigger-time`: when the change happened that this version of
    /// the slice follows from, in milliseconds since 1970. The cache hands it on and forgets it.
    pub changed_at: Option<NonZeroU64>,
    /// Fields that were left out because they made no sense.
    pub problems: Vec<Problem>,
}

/// One entry of a slice's `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// `name`.
    pub name: Name,
    /// `protocol`.
    pub protocol: Protocol,
    /// `port`, 1 to 65,535.
    pub port: u16,
}

/// One entry of a slice's `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointRecord {
    /// `addresses[0]`.
    pub address: IpAddr,
    /// `conditions`, with Kubernetes' defaults filled in.
    pub conditions: Conditions,
    /// `nodeName`.
    pub node: Option<Name>,
    /// `hints`; most endpoints have none, so it takes no more room than that.
    pub hints: Option<Box<Hints>>,
}

/// The hints of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hints {
    /// `forZones[].name`; `None` when the hint is absent, which differs from present but naming other zones.
    pub zones: Option<Box<[Name]>>,
    /// `forNodes[].name`.
    pub nodes: Option<Box<[Name]>>,
}

impl EndpointRecord {
    /// Answers the zones to which hints leave it.
    pub fn zone_hints(&self) -> Option<&[Name]> {
        self.hints.as_ref()?.zones.as_deref()
    }

    /// Answers the nodes to which hints leave it.
    pub fn node_hints(&self) -> Option<&[Name]> {
        self.hints.as_ref()?.nodes.as_deref()
    }
}

impl Hints {
    /// Answers them as a record keeps them: none at all when there is neither kind.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// The conditions of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// `ready`; true when unset.
    pub ready: bool,
    /// `serving`; true when unset.
    pub serving: bool,
    /// `terminating`; false when unset.
    pub terminating: bool,
}

/// A trimmed Node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: Name,
    /// Label `topology.kubernetes.io/zone`; `None` when absent or empty.
    pub zone: Option<Name>,
    /// `status.addresses` of types InternalIP, then ExternalIP, in order.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs` (or `podCIDR`).
    pub pod_cidrs: Vec<IpNet>,
    /// Whether it is being deleted, or the cluster autoscaler is about to (taint `ToBeDeletedByClusterAutoscaler`).
    pub is_leaving: bool,
    /// Fields that were left out because they made no sense.
    pub problems: Vec<Problem>,
}

/// A trimmed ServiceCIDR.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceCidr {
    /// Its name.
    pub name: Name,
    /// `spec.cidrs`.
    pub cidrs: Vec<IpNet>,
    /// Fields that were left out because they made no sense.
    pub problems: Vec<Problem>,
}
