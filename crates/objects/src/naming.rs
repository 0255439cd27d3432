//! What names follow from, of Services and EndpointSlices: aliases, headless Services, hostnames. The rules need none of
//! that, and [`Objects`](crate::Objects) does *not* keep it.
//!
//! Nothing here is a mistake: what is no address or no port has no name.

use std::net::IpAddr;

use crate::raw::{self, Number, Text};

/// Namespace and name of an object; the namespace is empty where there is none.
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

/// What a source tells about names. A list is framed as in [`crate::Event`].
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A complete list of this kind begins (again).
    ListStarted(crate::Kind),
    /// An object was created, changed, or is part of a list.
    Applied(Object),
    /// An object was deleted.
    Deleted(crate::Kind, Key),
    /// The list is complete: what was not repeated is gone.
    ListFinished(crate::Kind),
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Service),
    /// An EndpointSlice.
    Slice(Slice),
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
    /// To another name (`ExternalName`), as it is written: it may be none.
    Alias(Box<str>),
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

/// What of a Service names follow from.
pub(crate) fn service(raw: &raw::Service<'_>) -> Object {
    let spec = &raw.spec;
    let specs = spec.ports.as_deref().unwrap_or_default();
    let ports = specs.iter().filter_map(|spec| port(&spec.name, &spec.protocol, &spec.port));
    Object::Service(Service { key: key(&raw.metadata), target: target(spec), ports: exactly(ports) })
}

fn target(spec: &raw::ServiceSpec<'_>) -> Target {
    if spec.service_type.as_deref() == Some("ExternalName") {
        return Target::Alias(spec.external_name.as_deref().unwrap_or_default().into());
    }
    let single = spec.cluster_ip.as_deref().unwrap_or_default();
    if single == "None" {
        return Target::Endpoints;
    }
    let several = spec.cluster_ips.as_deref().unwrap_or_default();
    let texts: Vec<&str> =
        if several.is_empty() { vec![single] } else { several.iter().map(|text| &**text).collect() };
    Target::Addresses(exactly(texts.into_iter().filter_map(|text| text.parse().ok())))
}

/// What of an EndpointSlice names follow from.
pub(crate) fn slice(raw: &raw::EndpointSlice<'_>) -> Object {
    let service = raw.metadata.labels.as_ref().and_then(|labels| some(labels.service.as_ref()));
    let ports = raw.ports.as_deref().unwrap_or_default();
    let endpoints = raw.endpoints.as_deref().unwrap_or_default();
    let is_ready = |endpoint: &&raw::Endpoint<'_>| {
        endpoint.conditions.is_none_or(|conditions| conditions.ready != Some(false))
    };
    Object::Slice(Slice {
        key: key(&raw.metadata),
        service,
        ports: exactly(ports.iter().filter_map(|spec| port(&spec.name, &spec.protocol, &spec.port))),
        endpoints: exactly(endpoints.iter().filter(is_ready).filter_map(endpoint)),
    })
}

fn endpoint(raw: &raw::Endpoint<'_>) -> Option<Endpoint> {
    let texts = raw.addresses.as_deref().unwrap_or_default();
    let addresses: Vec<IpAddr> = exactly(texts.iter().filter_map(|text| text.parse().ok()));
    if addresses.is_empty() {
        return None;
    }
    let pod = raw.target_ref.as_ref().map(|reference| &reference.name);
    Some(Endpoint { addresses, hostname: some(raw.hostname.as_ref()), pod: some(pod) })
}

/// Without room for more: there are very many of these, and most have one element.
fn exactly<T>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    all.shrink_to_fit();
    all
}

fn some(text: Option<&Text<'_>>) -> Option<Box<str>> {
    text.filter(|text| !text.is_empty()).map(|text| (&**text).into())
}

fn key(meta: &raw::Meta<'_>) -> Key {
    Key::new(&meta.namespace, &meta.name)
}

/// Only ports that have a number. A slice of a Service whose ports have no names may leave the name out.
fn port(name: &Option<Text<'_>>, protocol: &Option<Text<'_>>, number: &Number) -> Option<Port> {
    let Number::Is(number) = number else { return None };
    Some(Port {
        name: name.as_deref().unwrap_or_default().to_ascii_lowercase().into(),
        protocol: protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase().into(),
        number: u16::try_from(*number).ok().filter(|number| *number != 0)?,
    })
}
