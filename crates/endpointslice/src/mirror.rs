//! From hand-made Endpoints of a Service without a selector to slices, so that readers of slices see them, too. Pure.
//!
//! Each set of ports and family has one slice, which is written as a whole.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::body;
use crate::endpoint::Endpoint;
use crate::names::Names;
use crate::object::{AddressType, Family, Port, Ports, Slice};
use crate::reconcile::Action;
use crate::wire::{self, Address, EndpointPort};
use crate::words::{LAST_APPLIED, LEADER, MANAGED_BY, MIRROR, SERVICE_NAME, SKIP_MIRROR, TRIGGER_TIME};

/// How many addresses of a subset are mirrored.
const MAX: usize = 1000;

type Group = (Ports, Family);

/// Decides what is written so that the Endpoints of a Service without a selector have their slices. `slices` are the
/// mirrored ones that exist.
pub(crate) fn reconcile(endpoints: &wire::Endpoints, slices: &[&Slice]) -> Vec<Action> {
    if !is_mirrored(endpoints) {
        return delete(slices);
    }
    let wanted = groups(endpoints);
    let of_group = |(ports, family): &Group| {
        let is_of = |slice: &&&Slice| slice.ports == *ports && slice.address_type == AddressType::Ip(*family);
        slices.iter().filter(is_of).copied().collect::<Vec<&Slice>>()
    };
    let (mut created, mut updated) = (Vec::new(), Vec::new());
    let mut kept: Vec<&str> = Vec::new();
    for (group, wanted) in &wanted {
        match of_group(group).first() {
            None => created.push((group, wanted)),
            Some(slice) => {
                kept.push(&slice.name);
                if !is_right(slice, endpoints, wanted) {
                    updated.push((*slice, group, wanted));
                }
            }
        }
    }
    let mut deleted: Vec<&Slice> =
        slices.iter().filter(|slice| !kept.contains(&&*slice.name)).copied().collect();
    // A slice that goes makes room for one that comes.
    created.retain(|(group, wanted)| {
        let old = deleted.iter().position(|slice| slice.address_type == AddressType::Ip(group.1));
        old.map(|old| updated.push((deleted.remove(old), group, wanted))).is_none()
    });
    if endpoints.metadata.deletion_timestamp.is_some() {
        created.clear();
    }
    let created = created.into_iter().map(|(group, wanted)| Action::Create(new(endpoints, group, wanted)));
    let updated = updated.into_iter().map(|(slice, group, wanted)| Action::Patch {
        name: slice.name.clone(),
        patch: patch(endpoints, slice, (group, wanted)),
    });
    created.chain(updated).chain(delete(&deleted)).collect()
}

/// Answers the deletion of all these slices.
pub(crate) fn delete(slices: &[&Slice]) -> Vec<Action> {
    slices.iter().map(|slice| Action::Delete { name: slice.name.clone() }).collect()
}

fn is_mirrored(endpoints: &wire::Endpoints) -> bool {
    let metadata = &endpoints.metadata;
    metadata.labels.get(SKIP_MIRROR).is_none_or(|skip| skip != "true")
        && !metadata.annotations.contains_key(LEADER)
}

fn groups(endpoints: &wire::Endpoints) -> BTreeMap<Group, Vec<Endpoint>> {
    let mut names = Names::default();
    let mut groups: BTreeMap<Group, Vec<Endpoint>> = BTreeMap::new();
    for subset in &endpoints.subsets {
        let ports = subset.ports.iter().map(|port| named(&mut names, port)).collect();
        let ports = names.ports(ports);
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().map(|address| (address, false));
        let found =
            ready.chain(not_ready).filter_map(|(address, ready)| mirrored(&mut names, address, ready));
        for endpoint in found.take(MAX).collect::<Vec<_>>() {
            let group = groups.entry((ports.clone(), Family::of(endpoint.address))).or_default();
            if group.len() < MAX && group.iter().all(|other| other.key() != endpoint.key()) {
                group.push(endpoint);
            }
        }
    }
    groups
}

fn named(names: &mut Names, port: &EndpointPort) -> Port {
    Port {
        name: names.text(&port.name),
        protocol: names.text(if port.protocol.is_empty() { "TCP" } else { &port.protocol }),
        port: Some(port.port),
        app_protocol: port.app_protocol.as_ref().map(|protocol| names.text(protocol)),
    }
}

fn mirrored(names: &mut Names, address: &Address, ready: bool) -> Option<Endpoint> {
    let ip: IpAddr = address.ip.parse().ok()?;
    Some(Endpoint {
        address: ip.to_canonical(),
        hostname: (!address.hostname.is_empty()).then(|| names.text(&address.hostname)),
        target: address.target_ref.clone(),
        node: address.node_name.as_ref().map(|node| names.text(node)),
        zone: None,
        ready,
        serving: None,
        terminating: None,
        hints: None,
    })
}

fn is_right(slice: &Slice, endpoints: &wire::Endpoints, wanted: &[Endpoint]) -> bool {
    let mut found: Vec<(u64, u64)> = slice.endpoints.iter().map(|known| (known.key, known.state)).collect();
    let mut right: Vec<(u64, u64)> =
        wanted.iter().map(|endpoint| (endpoint.key(), endpoint.state())).collect();
    found.sort_unstable();
    right.sort_unstable();
    let is = |found: &[(crate::object::Text, crate::object::Text)], wanted: BTreeMap<&str, &str>| {
        found.iter().map(|(key, value)| (&**key, &**value)).eq(wanted)
    };
    found == right && is(&slice.labels, labels(endpoints)) && is(&slice.annotations, annotations(endpoints))
}

fn labels(endpoints: &wire::Endpoints) -> BTreeMap<&str, &str> {
    let metadata = &endpoints.metadata;
    let mut labels: BTreeMap<&str, &str> =
        metadata.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    labels.insert(SERVICE_NAME, &metadata.name);
    labels.insert(MANAGED_BY, MIRROR);
    labels
}

fn annotations(endpoints: &wire::Endpoints) -> BTreeMap<&str, &str> {
    let all = endpoints.metadata.annotations.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    all.filter(|(key, _)| ![TRIGGER_TIME, LAST_APPLIED].contains(key)).collect()
}

fn new(endpoints: &wire::Endpoints, (ports, family): &Group, wanted: &[Endpoint]) -> Value {
    let metadata = &endpoints.metadata;
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": metadata.namespace,
            "generateName": body::prefix(&metadata.name),
            "labels": labels(endpoints),
            "annotations": annotations(endpoints),
            "ownerReferences": [body::owner("Endpoints", &metadata.name, &metadata.uid)],
        },
        "addressType": family.name(),
        "ports": ports.iter().map(body::port).collect::<Vec<_>>(),
        "endpoints": wanted.iter().map(body::endpoint).collect::<Vec<_>>(),
    })
}

fn patch(endpoints: &wire::Endpoints, slice: &Slice, ((ports, _), wanted): (&Group, &[Endpoint])) -> Value {
    let metadata = &endpoints.metadata;
    let annotations: Map<String, Value> = body::changes(&slice.annotations, &annotations(endpoints));
    json!({
        "metadata": {
            "resourceVersion": &*slice.revision,
            "labels": body::changes(&slice.labels, &labels(endpoints)),
            "annotations": annotations,
            "ownerReferences": [body::owner("Endpoints", &metadata.name, &metadata.uid)],
        },
        "ports": ports.iter().map(body::port).collect::<Vec<_>>(),
        "endpoints": wanted.iter().map(body::endpoint).collect::<Vec<_>>(),
    })
}
