//! The objects that the controller keeps, cut down to what it needs: a hundred thousand pods fit in a few dozen megabytes.
//!
//! Texts, sets of labels and sets of ports are shared between all objects that have the same.

use std::net::IpAddr;
use std::sync::Arc;

/// A shared text.
pub type Text = Arc<str>;
/// Labels, annotations or a selector, sorted by key.
pub type Pairs = Arc<[(Text, Text)]>;
/// The ports of a slice, sorted.
pub type Ports = Arc<[Port]>;

/// Who manages a slice, told by its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// This controller, from a selector.
    Selector,
    /// This controller, from Endpoints.
    Mirror,
    /// Somebody else.
    Other,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Answers the family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Answers its name as an `addressType`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Which endpoints a Service asks traffic to prefer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    /// No hints.
    Anywhere,
    /// Hints for the endpoint's own zone.
    SameZone,
    /// Hints for the endpoint's own node and zone.
    SameNode,
    /// Hints in proportion to the processors of the zones.
    Proportional,
}

/// Where a Service's port leads in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this port.
    Number(i32),
    /// To the pod's port of this name.
    Name(Text),
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for none.
    pub name: Text,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: Text,
    /// Where it leads.
    pub target: Target,
    /// The protocol above that.
    pub app_protocol: Option<Text>,
}

/// A Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// Its uid.
    pub uid: Text,
    /// Its labels.
    pub labels: Pairs,
    /// Which pods it selects; `None` for none at all.
    pub selector: Option<Pairs>,
    /// Its families, the first of them first; never empty.
    pub families: Vec<Family>,
    /// Whether it has no address of its own.
    pub headless: bool,
    /// Whether it is only a name for another name.
    pub external_name: bool,
    /// Whether endpoints count as ready always.
    pub publish_not_ready: bool,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Which endpoints traffic prefers.
    pub preference: Preference,
    /// When it was created, in seconds since 1970.
    pub created: i64,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// A port of a container that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// Its name.
    pub name: Text,
    /// Its protocol.
    pub protocol: Text,
    /// Its number.
    pub port: i32,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// Its uid.
    pub uid: Text,
    /// Where it runs; empty for nowhere yet.
    pub node: Text,
    /// Its labels.
    pub labels: Pairs,
    /// Its addresses.
    pub addresses: Box<[IpAddr]>,
    /// Its hostname and subdomain, when it has both.
    pub host: Option<Box<(Text, Text)>>,
    /// The ports that can be found by name, those of containers before those of sidecars.
    pub ports: Arc<[NamedPort]>,
    /// Since when its readiness is what it is, in seconds since 1970; 0 for unknown.
    pub ready_since: i64,
    /// Whether its condition `Ready` is true.
    pub ready: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it has succeeded or failed.
    pub ended: bool,
}

impl Pod {
    /// Answers whether endpoints of the two are the same, so that nothing is to be done.
    pub fn is_alike(&self, other: &Self) -> bool {
        let since = self.ready_since;
        *self == Self { ready_since: since, ..other.clone() }
    }
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: Text,
    /// Its zone.
    pub zone: Option<Text>,
    /// Whether it is ready.
    pub ready: bool,
    /// Its processors for pods, in thousandths.
    pub milli_cpu: u64,
    /// Whether it is for the control plane, whose processors do not count.
    pub control_plane: bool,
}

/// A port of a slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Its name; empty for none.
    pub name: Text,
    /// Its protocol.
    pub protocol: Text,
    /// Its number; `None` for all.
    pub port: Option<i32>,
    /// The protocol above that.
    pub app_protocol: Option<Text>,
}

/// Who an endpoint is best used by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Hints {
    /// Zones.
    pub zones: Vec<Text>,
    /// Nodes.
    pub nodes: Vec<Text>,
}

/// What is remembered of an endpoint in a slice that exists: enough to find it again and to see whether it is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// A hash of what tells endpoints apart: address, hostname, pod.
    pub key: u64,
    /// A hash of the rest but the hints.
    pub state: u64,
    /// Its hints.
    pub hints: Option<Arc<Hints>>,
}

/// The type of a slice's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressType {
    /// Addresses.
    Ip(Family),
    /// Names, or something newer.
    Other,
}

/// An EndpointSlice that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// Its `resourceVersion`.
    pub revision: Box<str>,
    /// Which version of its content it is; labels do not count.
    pub generation: i64,
    /// The Service it says it belongs to; empty for none.
    pub service: Text,
    /// Who manages it.
    pub manager: Manager,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations.
    pub annotations: Pairs,
    /// The uids of the Services that own it.
    pub owners: Vec<Text>,
    /// What its addresses are.
    pub address_type: AddressType,
    /// Its ports.
    pub ports: Ports,
    /// Its endpoints.
    pub endpoints: Box<[Known]>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// An Endpoints object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// Its `resourceVersion`.
    pub revision: Box<str>,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations.
    pub annotations: Pairs,
    /// A hash of its subsets.
    pub digest: u64,
}

/// Answers the value of a key.
pub fn value<'a>(pairs: &'a [(Text, Text)], key: &str) -> Option<&'a Text> {
    pairs.iter().find(|(name, _)| &**name == key).map(|(_, value)| value)
}

/// Answers whether everything that a selector asks for is there.
pub fn selects(selector: &[(Text, Text)], labels: &[(Text, Text)]) -> bool {
    selector.iter().all(|(key, wanted)| value(labels, key).is_some_and(|label| label == wanted))
}
