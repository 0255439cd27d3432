//! Which endpoint a pod is for a Service, and at which ports. Pure.

use std::net::IpAddr;
use std::sync::Arc;

use crate::names::{key, state};
use crate::object::{Family, Hints, Node, Pod, Port, Service, ServicePort, Target, Text};
use crate::wire::Reference;

/// An endpoint as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    pub(crate) hostname: Option<Text>,
    pub(crate) target: Option<Reference>,
    pub(crate) node: Option<Text>,
    pub(crate) zone: Option<Text>,
    pub(crate) ready: bool,
    pub(crate) serving: Option<bool>,
    pub(crate) terminating: Option<bool>,
    pub(crate) hints: Option<Arc<Hints>>,
}

impl Endpoint {
    /// Answers the endpoint that a pod is in a family; `None` without an address in it.
    pub(crate) fn of(service: &Service, pod: &Pod, (node, family): (Option<&Node>, Family)) -> Option<Self> {
        let address = pod.addresses.iter().find(|address| Family::of(**address) == family)?;
        let ready = service.publish_not_ready || (pod.ready && !pod.terminating);
        Some(Self {
            address: *address,
            hostname: hostname(service, pod),
            target: Some(reference(pod)),
            node: (!pod.node.is_empty()).then(|| pod.node.clone()),
            zone: node.and_then(|node| node.zone.clone()),
            ready,
            serving: Some(pod.ready),
            terminating: Some(pod.terminating),
            hints: None,
        })
    }

    /// Answers the hash of what tells endpoints apart.
    pub(crate) fn key(&self) -> u64 {
        let address = self.address.to_string();
        let target = self.target.as_ref().map_or(("", ""), |target| (&target.namespace, &target.name));
        key((&[&address], self.hostname.as_deref().unwrap_or_default(), target))
    }

    /// Answers the hash of the rest but the hints.
    pub(crate) fn state(&self) -> u64 {
        let conditions = (Some(self.ready), self.serving, self.terminating);
        state((self.node.as_deref(), self.zone.as_deref()), conditions, self.target.as_ref())
    }
}

/// A pod has a name below a headless Service's when it asks for that Service as its subdomain.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<Text> {
    let (hostname, subdomain) = pod.host.as_deref()?;
    (*subdomain == service.name && pod.namespace == service.namespace).then(|| hostname.clone())
}

pub(crate) fn reference(pod: &Pod) -> Reference {
    Reference {
        kind: "Pod".into(),
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        ..Reference::default()
    }
}

/// Answers whether a pod can be an endpoint at all.
pub(crate) fn is_candidate(pod: &Pod) -> bool {
    !pod.ended && !pod.addresses.is_empty()
}

/// Answers the ports of a Service at a pod; those that the pod does not have are left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let found = service.ports.iter().filter_map(|port| Some((port, number(port, pod)?)));
    let port = |(port, number): (&ServicePort, i32)| Port {
        name: port.name.clone(),
        protocol: port.protocol.clone(),
        port: Some(number),
        app_protocol: port.app_protocol.clone(),
    };
    found.map(port).collect()
}

/// Answers which port of the pod a port of the Service leads to.
pub(crate) fn number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target {
        Target::Number(number) => Some(*number),
        Target::Name(name) => {
            let mut named = pod.ports.iter();
            named.find(|named| named.name == *name && named.protocol == port.protocol).map(|named| named.port)
        }
    }
}
