//! From a Service and its pods to its Endpoints object: the older way to say the same, for those who still read it. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::body::{changes, reference as reference_body};
use crate::endpoint::{hostname, is_candidate, number, reference};
use crate::names::hash;
use crate::object::{Endpoints, Family, Pod, Service, value};
use crate::reconcile::Action;
use crate::time;
use crate::wire::{Address, EndpointPort, Subset};
use crate::words::{ENDPOINTS_CONTROLLER, ENDPOINTS_MANAGED_BY, HEADLESS, OVER_CAPACITY, TRIGGER_TIME};

/// How many addresses the object may have.
const CAPACITY: usize = 1000;

/// Decides whether the Endpoints of a Service with a selector are written. `pods` are those that it selects.
pub(crate) fn reconcile(
    service: &Service,
    pods: &[&Pod],
    existing: Option<&Endpoints>,
    trigger: Option<i64>,
) -> Option<Action> {
    let mut subsets = subsets(service, pods);
    // A pod on no node would have an empty node name, which servers refuse.
    if subsets.iter().flat_map(addresses).any(|address| address.node_name.as_deref() == Some("")) {
        return None;
    }
    let over = truncate(&mut subsets);
    let labels = labels(service);
    let Some(existing) = existing else {
        return Some(Action::Create(created(service, &subsets, (trigger, over))));
    };
    let found = existing.labels.iter().map(|(key, value)| (&**key, &**value));
    let is_right = existing.digest == digest(&subsets)
        && found.eq(labels.iter().map(|(key, value)| (*key, *value)))
        && value(&existing.annotations, OVER_CAPACITY).is_some() == over;
    if is_right {
        return None;
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": &*existing.revision,
            "labels": changes(&existing.labels, &labels),
            "annotations": {
                TRIGGER_TIME: trigger.map(time::format),
                OVER_CAPACITY: over.then_some("truncated"),
            },
        },
        "subsets": body(&subsets),
    });
    Some(Action::Patch { name: service.name.clone(), patch })
}

/// Answers the hash of subsets, in whatever order they are.
pub(crate) fn digest(subsets: &[Subset]) -> u64 {
    let mut subsets = subsets.to_vec();
    for subset in &mut subsets {
        subset.addresses.sort();
        subset.not_ready_addresses.sort();
        subset.ports.sort();
    }
    subsets.sort();
    hash(&subsets)
}

fn labels(service: &Service) -> BTreeMap<&str, &str> {
    let mut labels: BTreeMap<&str, &str> =
        service.labels.iter().map(|(key, value)| (&**key, &**value)).collect();
    labels.remove(HEADLESS);
    if service.headless {
        labels.insert(HEADLESS, "");
    }
    labels.insert(ENDPOINTS_MANAGED_BY, ENDPOINTS_CONTROLLER);
    labels
}

fn addresses(subset: &Subset) -> impl Iterator<Item = &Address> {
    subset.addresses.iter().chain(&subset.not_ready_addresses)
}

/// Ports that lead to the same addresses share a subset.
fn subsets(service: &Service, pods: &[&Pod]) -> Vec<Subset> {
    let mut by_port: BTreeMap<Option<EndpointPort>, BTreeMap<Address, bool>> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_candidate(pod)) {
        if pod.terminating && !service.publish_not_ready {
            continue;
        }
        let Some(address) = address(service, pod) else { continue };
        let is_ready = service.publish_not_ready || pod.ready;
        for port in ports(service, pod) {
            by_port.entry(port).or_default().insert(address.clone(), is_ready);
        }
    }
    let mut by_addresses: BTreeMap<BTreeMap<Address, bool>, Vec<EndpointPort>> = BTreeMap::new();
    for (port, addresses) in by_port {
        by_addresses.entry(addresses).or_default().extend(port);
    }
    let subset = |(all, ports): (BTreeMap<Address, bool>, Vec<EndpointPort>)| {
        let (ready, not_ready): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, is_ready)| *is_ready);
        let addresses = |all: Vec<(Address, bool)>| all.into_iter().map(|(address, _)| address).collect();
        Subset { addresses: addresses(ready), not_ready_addresses: addresses(not_ready), ports }
    };
    let mut subsets: Vec<Subset> = by_addresses.into_iter().map(subset).collect();
    subsets.sort();
    subsets
}

fn address(service: &Service, pod: &Pod) -> Option<Address> {
    let family = service.families.first()?;
    let address = pod.addresses.iter().find(|address| Family::of(**address) == *family)?;
    Some(Address {
        ip: address.to_string(),
        hostname: hostname(service, pod).map(|hostname| hostname.to_string()).unwrap_or_default(),
        node_name: Some(pod.node.to_string()),
        target_ref: Some(reference(pod)),
    })
}

/// The ports of a Service at a pod; a single `None` for a headless Service that has none.
fn ports(service: &Service, pod: &Pod) -> Vec<Option<EndpointPort>> {
    if service.ports.is_empty() && service.headless {
        return vec![None];
    }
    let port = |port| Some((port, number(port, pod)?));
    let found = service.ports.iter().filter_map(port).map(|(port, number)| {
        Some(EndpointPort {
            name: port.name.to_string(),
            port: number,
            protocol: port.protocol.to_string(),
            app_protocol: port.app_protocol.as_ref().map(ToString::to_string),
        })
    });
    found.collect()
}

/// Cuts down to what the object may have, each subset in proportion, ready ones before others. Answers whether that was
/// needed.
fn truncate(subsets: &mut [Subset]) -> bool {
    let ready: usize = subsets.iter().map(|subset| subset.addresses.len()).sum();
    let not_ready: usize = subsets.iter().map(|subset| subset.not_ready_addresses.len()).sum();
    if ready + not_ready <= CAPACITY {
        return false;
    }
    let cuts_ready = ready > CAPACITY;
    let (room, total) = if cuts_ready { (CAPACITY, ready) } else { (CAPACITY - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        if cuts_ready {
            subset.not_ready_addresses.clear();
        }
        let cut = if cuts_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        cut.truncate((cut.len() * room).div_ceil(total).min(left));
        left -= cut.len();
    }
    true
}

fn created(service: &Service, subsets: &[Subset], (trigger, over): (Option<i64>, bool)) -> Value {
    let mut annotations = BTreeMap::new();
    if let Some(trigger) = trigger {
        annotations.insert(TRIGGER_TIME, time::format(trigger));
    }
    if over {
        annotations.insert(OVER_CAPACITY, "truncated".into());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "namespace": &*service.namespace,
            "name": &*service.name,
            "labels": labels(service),
            "annotations": annotations,
        },
        "subsets": body(subsets),
    })
}

fn body(subsets: &[Subset]) -> Value {
    let subset = |subset: &Subset| {
        let mut object = json!({});
        let lists = [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)];
        for (field, addresses) in lists {
            if !addresses.is_empty() {
                object[field] = addresses.iter().map(address_body).collect();
            }
        }
        if !subset.ports.is_empty() {
            object["ports"] = subset.ports.iter().map(port_body).collect();
        }
        object
    };
    subsets.iter().map(subset).collect()
}

fn address_body(address: &Address) -> Value {
    let mut object = json!({"ip": address.ip});
    if !address.hostname.is_empty() {
        object["hostname"] = address.hostname.as_str().into();
    }
    if let Some(node) = &address.node_name {
        object["nodeName"] = node.as_str().into();
    }
    if let Some(target) = &address.target_ref {
        object["targetRef"] = reference_body(target);
    }
    object
}

fn port_body(port: &EndpointPort) -> Value {
    let mut object = json!({"port": port.port, "protocol": port.protocol});
    if !port.name.is_empty() {
        object["name"] = port.name.as_str().into();
    }
    if let Some(protocol) = &port.app_protocol {
        object["appProtocol"] = protocol.as_str().into();
    }
    object
}
