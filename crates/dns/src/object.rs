//! Kubernetes objects, trimmed to what names follow from, and what a source tells about them.
//!
//! They are others than those of the rules, which need neither hostnames nor aliases and have very many endpoints.

use std::net::IpAddr;

pub use objects::naming::{Endpoint, Key, Port, Slice};

use crate::wire::Name;

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
    /// The addresses by which clients know this server, for the zone's NS record, are others.
    Servers(Vec<IpAddr>),
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
