//! Keeps a zone in step: one change in, the names of one Service (or one Pod, or one Namespace) put right.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::entry::{Draft, Entry};
use super::service::{self, Claim, Names, dashed};
use super::shelves::Shelves;
use super::{Pods, Settings, VERSION, VERSION_TTL, Zone, reverse_name};
use crate::object::{Change, Key, Kind, Object, Pod, Service, Slice};
use crate::wire::{Name, Type};

/// Keeps the objects and the names that follow from them.
#[derive(Debug)]
pub struct Builder {
    zone: Zone,
    services: FxHashMap<Key, Service>,
    slices: FxHashMap<Key, Slice>,
    /// The slices of a Service, by name.
    slices_of: FxHashMap<Key, BTreeSet<Box<str>>>,
    pods: FxHashMap<Key, Pod>,
    namespaces: FxHashSet<Box<str>>,
    /// How many objects each namespace is known from: itself and its Services. A Service may be told before it.
    witnesses: FxHashMap<Box<str>, usize>,
    /// The names of each address; a ClusterIP's come first.
    claims: FxHashMap<IpAddr, BTreeSet<Claim>>,
    /// How many Pods have an address in a namespace. Those of a host share theirs.
    pod_counts: FxHashMap<Name, usize>,
    synced: BTreeSet<Kind>,
}

impl Builder {
    /// Begins with nothing but what every zone has.
    pub fn new(settings: Settings, serial: u32) -> Self {
        let settings = Arc::new(settings);
        let mut names = Shelves::new();
        add_fixed(&settings, &mut names);
        Self {
            zone: Zone { settings, names, serial, is_synced: false },
            services: FxHashMap::default(),
            slices: FxHashMap::default(),
            slices_of: FxHashMap::default(),
            pods: FxHashMap::default(),
            namespaces: FxHashSet::default(),
            witnesses: FxHashMap::default(),
            claims: FxHashMap::default(),
            pod_counts: FxHashMap::default(),
            synced: BTreeSet::new(),
        }
    }

    /// Answers the state as it is now. It stays as it is when the builder goes on.
    pub fn zone(&self) -> Zone {
        self.zone.clone()
    }

    /// Takes a change and answers whether anything that is answered became another. `serial` is the time, in seconds since
    /// 1970.
    pub fn apply(&mut self, change: Change, serial: u32) -> bool {
        let is_changed = match change {
            Change::Put(object) => self.put(object),
            Change::Gone(kind, key) => self.remove(kind, &key),
            Change::Synced(kind) => self.sync(kind),
            Change::Servers(addresses) => self.set_servers(addresses),
        };
        if is_changed {
            self.zone.serial = serial.max(self.zone.serial);
        }
        is_changed
    }

    fn sync(&mut self, kind: Kind) -> bool {
        self.synced.insert(kind);
        let is_wanted = |kind: &&Kind| **kind != Kind::Slice || self.settings().has_endpoints;
        let mut wanted = [Kind::Service, Kind::Slice, Kind::Namespace].iter().filter(is_wanted);
        let has_pods = self.settings().pods != Pods::Verified || self.synced.contains(&Kind::Pod);
        let is_synced = has_pods && wanted.all(|kind| self.synced.contains(kind));
        std::mem::replace(&mut self.zone.is_synced, is_synced) != is_synced
    }

    fn set_servers(&mut self, addresses: Vec<IpAddr>) -> bool {
        if self.settings().servers == addresses {
            return false;
        }
        Arc::make_mut(&mut self.zone.settings).servers = addresses;
        add_fixed(&self.zone.settings, &mut self.zone.names);
        true
    }

    fn settings(&self) -> &Settings {
        &self.zone.settings
    }

    fn is_shown(&self, namespace: &str) -> bool {
        let namespaces = &self.settings().namespaces;
        namespaces.is_empty() || namespaces.contains(namespace)
    }

    fn put(&mut self, object: Object) -> bool {
        match object {
            Object::Service(service) if self.is_shown(&service.key.namespace) => self.put_service(service),
            Object::Slice(slice) if self.is_shown(&slice.key.namespace) => self.put_slice(slice),
            Object::Namespace(name) if self.is_shown(&name) => {
                self.namespaces.insert(name.clone()) && self.add_witness(&name)
            }
            Object::Pod(pod) if self.is_shown(&pod.key.namespace) => self.put_pod(pod),
            Object::Service(_) | Object::Slice(_) | Object::Namespace(_) | Object::Pod(_) => false,
        }
    }

    fn remove(&mut self, kind: Kind, key: &Key) -> bool {
        match kind {
            Kind::Service => self.remove_service(key),
            Kind::Slice => self.remove_slice(key),
            Kind::Namespace => self.namespaces.remove(&key.name) && self.remove_witness(&key.name),
            Kind::Pod => self.remove_pod(key),
        }
    }

    fn put_service(&mut self, service: Service) -> bool {
        if self.services.get(&service.key) == Some(&service) {
            return false;
        }
        let key = service.key.clone();
        let before = self.names_of(&key);
        let is_new = self.services.insert(key.clone(), service).is_none();
        let is_changed = is_new && self.add_witness(&key.namespace);
        self.settle(before, &key) || is_changed
    }

    fn remove_service(&mut self, key: &Key) -> bool {
        let before = self.names_of(key);
        if self.services.remove(key).is_none() {
            return false;
        }
        let is_changed = self.remove_witness(&key.namespace);
        self.settle(before, key) || is_changed
    }

    fn put_slice(&mut self, slice: Slice) -> bool {
        if self.slices.get(&slice.key) == Some(&slice) {
            return false;
        }
        let key = slice.key.clone();
        // A slice may be given to another Service.
        let is_changed = self.remove_slice(&key);
        let Some(service) = &slice.service else {
            self.slices.insert(key, slice);
            return is_changed;
        };
        let owner = Key { namespace: key.namespace.clone(), name: service.clone() };
        let before = self.names_of(&owner);
        self.slices_of.entry(owner.clone()).or_default().insert(key.name.clone());
        self.slices.insert(key, slice);
        self.settle(before, &owner) || is_changed
    }

    fn remove_slice(&mut self, key: &Key) -> bool {
        let Some(service) = self.slices.get(key).map(|slice| slice.service.clone()) else { return false };
        let Some(service) = service else {
            self.slices.remove(key);
            return false;
        };
        let owner = Key { namespace: key.namespace.clone(), name: service };
        let before = self.names_of(&owner);
        self.slices.remove(key);
        if let Some(names) = self.slices_of.get_mut(&owner) {
            names.remove(&key.name);
            if names.is_empty() {
                self.slices_of.remove(&owner);
            }
        }
        self.settle(before, &owner)
    }

    fn names_of(&self, key: &Key) -> Names {
        let Some(service) = self.services.get(key) else { return Names::default() };
        let names = self.slices_of.get(key).into_iter().flatten();
        let keys = names.map(|name| Key { namespace: key.namespace.clone(), name: name.clone() });
        let slices: Vec<&Slice> = keys.filter_map(|key| self.slices.get(&key)).collect();
        service::names(self.settings(), service, &slices)
    }

    /// Brings the names of a Service from what they were to what they are.
    fn settle(&mut self, before: Names, key: &Key) -> bool {
        let after = self.names_of(key);
        if before == after {
            return false;
        }
        for name in before.entries.keys().filter(|name| !after.entries.contains_key(name)) {
            self.zone.names.remove(name);
        }
        for (name, entry) in after.entries {
            if before.entries.get(&name) != Some(&entry) {
                self.zone.names.put(entry);
            }
        }
        let mut touched = BTreeSet::new();
        for (address, claim) in before.reverse.difference(&after.reverse) {
            touched.insert(*address);
            self.claims.entry(*address).or_default().remove(claim);
        }
        for (address, claim) in after.reverse.difference(&before.reverse) {
            touched.insert(*address);
            self.claims.entry(*address).or_default().insert(claim.clone());
        }
        touched.into_iter().for_each(|address| self.settle_address(address));
        true
    }

    fn settle_address(&mut self, address: IpAddr) {
        let name = reverse_name(address);
        let claims = self.claims.get(&address).filter(|claims| !claims.is_empty());
        let Some(claims) = claims else {
            self.claims.remove(&address);
            return self.zone.names.remove(&name);
        };
        let is_served = self.zone.settings.reverse.iter().any(|zone| name.is_within(zone));
        if !is_served {
            return;
        }
        let mut draft = Draft::new(&name, self.zone.settings.ttl);
        match claims.first() {
            Some(Claim::Service(target)) => draft.name(Type::PTR, target),
            Some(Claim::Endpoint(_)) | None => {
                for claim in claims {
                    let (Claim::Service(target) | Claim::Endpoint(target)) = claim;
                    draft.name(Type::PTR, target);
                }
            }
        }
        self.zone.names.put(draft.finish());
    }

    fn add_witness(&mut self, namespace: &str) -> bool {
        let count = self.witnesses.entry(namespace.into()).or_default();
        *count += 1;
        if *count > 1 {
            return false;
        }
        for name in self.namespace_names(namespace) {
            self.zone.names.put(Entry::empty(&name));
        }
        true
    }

    fn remove_witness(&mut self, namespace: &str) -> bool {
        let Some(count) = self.witnesses.get_mut(namespace) else { return false };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.witnesses.remove(namespace);
        for name in self.namespace_names(namespace) {
            self.zone.names.remove(&name);
        }
        true
    }

    /// Answers the names that a namespace has without any Service or Pod.
    fn namespace_names(&self, namespace: &str) -> Vec<Name> {
        let settings = self.settings();
        let parts: &[&[u8]] = if settings.pods == Pods::Disabled { &[b"svc"] } else { &[b"svc", b"pod"] };
        parts
            .iter()
            .filter_map(|part| Name::of_labels([namespace.as_bytes(), part], &settings.zone))
            .collect()
    }

    fn put_pod(&mut self, pod: Pod) -> bool {
        if self.pods.get(&pod.key) == Some(&pod) || self.settings().pods != Pods::Verified {
            return false;
        }
        let mut is_changed = self.remove_pod(&pod.key);
        for address in &pod.addresses {
            let Some(name) = self.pod_name(&pod.key.namespace, *address) else { continue };
            let count = self.pod_counts.entry(name.clone()).or_default();
            *count += 1;
            if *count == 1 {
                let mut draft = Draft::new(&name, self.zone.settings.ttl);
                draft.address(*address);
                self.zone.names.put(draft.finish());
                is_changed = true;
            }
        }
        self.pods.insert(pod.key.clone(), pod);
        is_changed
    }

    fn remove_pod(&mut self, key: &Key) -> bool {
        let Some(pod) = self.pods.remove(key) else { return false };
        let mut is_changed = false;
        for address in &pod.addresses {
            let Some(name) = self.pod_name(&key.namespace, *address) else { continue };
            let Some(count) = self.pod_counts.get_mut(&name) else { continue };
            *count -= 1;
            if *count == 0 {
                self.pod_counts.remove(&name);
                self.zone.names.remove(&name);
                is_changed = true;
            }
        }
        is_changed
    }

    fn pod_name(&self, namespace: &str, address: IpAddr) -> Option<Name> {
        let label = dashed(address);
        Name::of_labels([label.as_bytes(), namespace.as_bytes(), b"pod"], &self.settings().zone)
    }
}

/// Adds the names that do not depend on any object.
fn add_fixed(settings: &Settings, names: &mut Shelves) {
    let below = |text: &str| {
        let labels = text.split('.').map(str::as_bytes);
        Name::of_labels(labels, &settings.zone)
    };
    let ttl = settings.ttl;
    let server = below("ns.dns");
    for zone in std::iter::once(&settings.zone).chain(&settings.reverse) {
        let mut draft = Draft::new(zone, ttl);
        if let Some(server) = &server {
            draft.name(Type::NS, server);
            let glue = settings.servers.iter().filter(|_| server.is_within(zone));
            glue.for_each(|address| draft.additional(Type::NS, server, *address));
        }
        names.put(draft.finish());
    }
    if let Some(name) = server {
        let mut draft = Draft::new(&name, ttl);
        settings.servers.iter().for_each(|address| draft.address(*address));
        names.put(draft.finish());
    }
    if let Some(name) = below("dns-version") {
        let mut draft = Draft::new(&name, VERSION_TTL);
        draft.record(Type::TXT, &[&[VERSION.len() as u8], VERSION].concat());
        names.put(draft.finish());
    }
    for name in ["svc", "pod", "dns"].iter().filter_map(|text| below(text)) {
        names.put(Entry::empty(&name));
    }
}
