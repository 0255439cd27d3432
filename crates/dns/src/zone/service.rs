//! The names that one Service brings, from the Service and its EndpointSlices. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Settings;
use super::entry::{Draft, Entry};
use crate::object::{Endpoint, Port, Service, Slice, Target};
use crate::wire::{Name, Type};

/// What a Service brings.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    /// Names below the zone.
    pub(super) entries: BTreeMap<Name, Entry>,
    /// Names for addresses.
    pub(super) reverse: BTreeSet<(IpAddr, Claim)>,
}

/// A name for an address. A ClusterIP has the name of its Service alone, whatever endpoints say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// It is a ClusterIP.
    Service(Name),
    /// It is an endpoint.
    Endpoint(Name),
}

/// One place where a Service is reached: a name with an address and a port. A port of 0 stands for no port.
#[derive(Debug, Clone)]
struct Place {
    target: Name,
    address: IpAddr,
    port: Port,
}

/// Answers everything that a Service and its slices bring.
pub(super) fn names(settings: &Settings, service: &Service, slices: &[&Slice]) -> Names {
    let labels = [service.key.name.as_bytes(), service.key.namespace.as_bytes(), b"svc"];
    let Some(own) = Name::of_labels(labels, &settings.zone) else { return Names::default() };
    let mut names = Names::default();
    let endpoints = places_of_endpoints(settings, &own, slices);
    match &service.target {
        Target::Nothing => {}
        Target::Alias(alias) => {
            let mut draft = Draft::new(&own, settings.ttl);
            draft.name(Type::CNAME, alias);
            let entry = draft.finish();
            names.entries.insert(own, entry);
            return names;
        }
        Target::Addresses(addresses) => {
            if settings.ignores_empty_services && endpoints.is_empty() {
                return names;
            }
            let places = places_of_addresses(&own, addresses, &service.ports);
            names.add_service(settings, &own, &places);
            let claims = addresses.iter().map(|address| (*address, Claim::Service(own.clone())));
            names.reverse.extend(claims);
        }
        // Without endpoints there is no such name: the specification says so.
        Target::Endpoints if endpoints.is_empty() => {}
        Target::Endpoints => names.add_service(settings, &own, &endpoints),
    }
    let has_left = settings.leaves_endpoints && matches!(service.target, Target::Addresses(_));
    if service.target != Target::Nothing && !has_left {
        names.add_endpoints(settings, &endpoints);
    }
    names
}

fn places_of_addresses(own: &Name, addresses: &[IpAddr], ports: &[Port]) -> Vec<Place> {
    let place =
        |port: &Port, address: &IpAddr| Place { target: own.clone(), address: *address, port: port.clone() };
    ports_or_none(ports)
        .iter()
        .flat_map(|port| addresses.iter().map(move |address| place(port, address)))
        .collect()
}

fn places_of_endpoints(settings: &Settings, own: &Name, slices: &[&Slice]) -> Vec<Place> {
    let mut places = Vec::new();
    for slice in slices {
        let ports = ports_or_none(&slice.ports);
        for endpoint in &slice.endpoints {
            for address in &endpoint.addresses {
                let label = label(settings, endpoint, *address);
                let Some(target) = Name::of_labels([label.as_bytes()], own) else { continue };
                let place =
                    |port: &Port| Place { target: target.clone(), address: *address, port: port.clone() };
                places.extend(ports.iter().map(place));
            }
        }
    }
    places
}

/// A Service without ports has addresses all the same.
fn ports_or_none(ports: &[Port]) -> Vec<Port> {
    if ports.is_empty() {
        vec![Port { name: "".into(), protocol: "".into(), number: 0 }]
    } else {
        ports.to_vec()
    }
}

/// Answers the label of an endpoint: its hostname, or its address with dashes.
fn label(settings: &Settings, endpoint: &Endpoint, address: IpAddr) -> String {
    if let Some(hostname) = &endpoint.hostname {
        return hostname.to_string();
    }
    // A Pod's name may be longer than a label.
    let pod = endpoint.pod.as_ref().filter(|name| settings.names_endpoints_after_pods && name.len() < 64);
    pod.map_or_else(|| dashed(address), |name| name.to_string())
}

/// Answers an address as a label.
pub(super) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

impl Names {
    /// Adds the Service's own name and those of its ports.
    fn add_service(&mut self, settings: &Settings, own: &Name, places: &[Place]) {
        self.add(settings, own, places.iter());
        let named: BTreeSet<_> = places
            .iter()
            .filter(|place| !place.port.name.is_empty() && place.port.number != 0)
            .map(|place| (&place.port.protocol, &place.port.name))
            .collect();
        for (protocol, port) in named {
            let [port_label, protocol_label] = [port, protocol].map(|text| format!("_{text}"));
            let Some(protocol_name) = Name::of_labels([protocol_label.as_bytes()], own) else { continue };
            let Some(name) = Name::of_labels([port_label.as_bytes()], &protocol_name) else { continue };
            let is_of = |place: &&Place| place.port.name == *port && place.port.protocol == *protocol;
            let weight = weight(places.iter().filter(is_of).count());
            let mut draft = Draft::new(&name, settings.ttl);
            places.iter().filter(is_of).for_each(|place| add_port(&mut draft, place, weight));
            let entry = draft.finish();
            self.entries.insert(name, entry);
            // Nothing but names below it.
            self.entries.entry(protocol_name).or_insert_with_key(Entry::empty);
        }
    }

    /// Adds the names of single endpoints, which Services with a ClusterIP have too.
    fn add_endpoints(&mut self, settings: &Settings, places: &[Place]) {
        let mut by_name = BTreeMap::<&Name, Vec<&Place>>::new();
        for place in places {
            by_name.entry(&place.target).or_default().push(place);
            self.reverse.insert((place.address, Claim::Endpoint(place.target.clone())));
        }
        for (name, places) in by_name {
            self.add(settings, name, places.into_iter());
        }
    }

    /// Adds a name with its addresses and all its ports.
    fn add<'a>(&mut self, settings: &Settings, name: &Name, places: impl Iterator<Item = &'a Place> + Clone) {
        let weight = weight(places.clone().count());
        let mut draft = Draft::new(name, settings.ttl);
        let mut seen = BTreeSet::new();
        for place in places {
            if seen.insert(place.address) {
                draft.address(place.address);
            }
            if place.port.number != 0 {
                add_port(&mut draft, place, weight);
            }
        }
        self.entries.insert(name.clone(), draft.finish());
    }
}

fn add_port(draft: &mut Draft<'_>, place: &Place, weight: u16) {
    draft.service(weight, place.port.number, &place.target);
    draft.additional(Type::SRV, &place.target, place.address);
}

/// Answers the weight of one of so many, as CoreDNS shares 100 among them.
fn weight(count: usize) -> u16 {
    (100 / count.max(1)).max(1) as u16
}
