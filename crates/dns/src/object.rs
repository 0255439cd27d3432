//! Kubernetes objects, trimmed to what names follow from, and what a source tells about them.
//!
//! They are others than those of `objects`: the proxy needs neither hostnames nor aliases, and has very many endpoints.

use std::net::IpAddr;

use crate::wire::Name;

/// Namespace and name of an object; the namespace is empty for a Namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace.
    pub namespace: Box<str>,
    /// The name.
    pub name: Box<str>,
}

impl Key {
    /// The key of this namespace and name.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// The kinds from which names follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `discovery.k8s.io/v1` EndpointSlice.
    Slice,
    /// `v1` Namespace.
    Namespace,
    /// `v1` Pod; only where names of Pods are verified.
    Pod,
}

/// What a source tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An object is there: new, changed, or as before.
    Put(Object),
    /// An object is gone.
    Gone(Kind, Key),
    /// Everything of a kind was told once.
    Synced(Kind),
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    Slice(Slice),
    /// A Namespace, by its name.
    Namespace(Box<str>),
    /// A Pod.
    Pod(Pod),
}

/// A Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub key: Key,
    /// To what its name leads.
    pub target: Target,
    /// `spec.ports`: name and protocol in lower case, and number.
    pub ports: Vec<Port>,
}

/// To what the name of a Service leads.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// To its ClusterIPs; none while they are not assigned.
    Addresses(Vec<IpAddr>),
    /// To its endpoints (`clusterIP: None`).
    Endpoints,
    /// To another name (`ExternalName`).
    Alias(Name),
    /// An alias that is no name, such as an address: CoreDNS has no answer for it either.
    Nothing,
}

/// A port of a Service or an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// Its name in lower case; may be empty.
    pub name: Box<str>,
    /// Its protocol in lower case.
    pub protocol: Box<str>,
    /// Its number.
    pub number: u16,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Its name.
    pub key: Key,
    /// The name of its Service, in its own namespace; `None` without the label: it is kept but unused.
    pub service: Option<Box<str>>,
    /// Ports that have a number.
    pub ports: Vec<Port>,
    /// Endpoints that are ready and have an address. Whether `publishNotReadyAddresses` makes one ready was decided by
    /// who wrote the slice.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint that is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// `addresses`.
    pub addresses: Vec<IpAddr>,
    /// `hostname`.
    pub hostname: Option<Box<str>>,
    /// The name of the Pod that it is, by its `targetRef`.
    pub pod: Option<Box<str>>,
}

/// A Pod that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// Its name.
    pub key: Key,
    /// `status.podIPs`, but for those of the host.
    pub addresses: Vec<IpAddr>,
}

impl Object {
    /// Answers its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Slice(_) => Kind::Slice,
            Self::Namespace(_) => Kind::Namespace,
            Self::Pod(_) => Kind::Pod,
        }
    }
}
