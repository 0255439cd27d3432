//! The cache: events in, touched Services out. Pure maps.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use model::{Family, ServiceKey};
use rustc_hash::FxHashMap;

use crate::{EndpointSlice, Event, Kind, Name, Node, Object, ObjectKey, Service, ServiceCidr};

/// What an event may have changed. Empty when it changed nothing that matters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// Services whose view may be another now.
    pub services: BTreeSet<ServiceKey>,
    /// Whether a Node changed.
    pub node: bool,
    /// Whether a ServiceCIDR changed.
    pub service_cidrs: bool,
    /// When changes happened that slices followed from, by the slices' own word: milliseconds since 1970.
    pub changed_at: Vec<(Family, NonZeroU64)>,
}

impl Touched {
    /// Answers whether nothing was touched.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.node && !self.service_cidrs
    }

    /// Adds what another event touched.
    pub fn merge(&mut self, other: Self) {
        // `append` would walk over everything that was touched before, for each event.
        self.services.extend(other.services);
        self.node |= other.node;
        self.service_cidrs |= other.service_cidrs;
        self.changed_at.extend(other.changed_at);
    }
}

/// An object with the list in which it was last seen.
#[derive(Debug)]
struct Kept<T> {
    object: T,
    list: u32,
}

/// Where the lists of one kind stand.
#[derive(Debug, Default, Clone, Copy)]
struct Lists {
    /// Number of the last list that began.
    number: u32,
    /// Whether it is still going on.
    open: bool,
    synced: bool,
}

/// Objects have a place of their own: the nodes of a map that was filled in order are half empty.
type Place<T> = Box<Kept<T>>;

/// All known objects of one node agent.
#[derive(Debug, Default)]
pub struct Objects {
    services: BTreeMap<ServiceKey, Place<Service>>,
    slices: FxHashMap<Name, Place<EndpointSlice>>,
    /// Names of a Service's slices, sorted.
    slices_of: FxHashMap<ServiceKey, Vec<Name>>,
    nodes: BTreeMap<Name, Place<Node>>,
    service_cidrs: BTreeMap<Name, Place<ServiceCidr>>,
    lists: BTreeMap<Kind, Lists>,
}

impl Objects {
    /// Takes what a source tells. Objects that are as they were touch nothing.
    pub fn apply(&mut self, event: Event) -> Touched {
        match event {
            Event::ListStarted(kind) => {
                let lists = self.lists.entry(kind).or_default();
                lists.number = lists.number.wrapping_add(1);
                lists.open = true;
                Touched::default()
            }
            Event::Applied(object) => self.put(object),
            Event::Deleted(key) => self.delete(&key),
            Event::ListFinished(kind) => self.finish(kind),
        }
    }

    /// Answers whether a list of this kind was completed.
    pub fn is_synced(&self, kind: Kind) -> bool {
        self.lists.get(&kind).is_some_and(|lists| lists.synced)
    }

    /// Answers a Service.
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key).map(|kept| &kept.object)
    }

    /// Answers every Service, sorted by key.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values().map(|kept| &kept.object)
    }

    /// Answers the slices that name a Service, sorted by name, whether or not the Service exists.
    pub fn slices_of(&self, key: &ServiceKey) -> impl Iterator<Item = &EndpointSlice> {
        let names = self.slices_of.get(key).map_or(&[][..], Vec::as_slice);
        names.iter().filter_map(|name| self.slices.get(name)).map(|kept| &kept.object)
    }

    /// Answers a Node.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name).map(|kept| &kept.object)
    }

    /// Answers every ServiceCIDR, sorted by name.
    pub fn service_cidrs(&self) -> impl Iterator<Item = &ServiceCidr> {
        self.service_cidrs.values().map(|kept| &kept.object)
    }

    /// Answers how many objects of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.services.len(),
            Kind::EndpointSlice => self.slices.len(),
            Kind::Node => self.nodes.len(),
            Kind::ServiceCidr => self.service_cidrs.len(),
        }
    }

    fn list(&self, kind: Kind) -> u32 {
        self.lists.get(&kind).map_or(0, |lists| lists.number)
    }

    fn put(&mut self, object: Object) -> Touched {
        match object {
            Object::Service(service) => {
                let list = self.list(Kind::Service);
                let key = service.key.clone();
                let changed = replace(self.services.entry(key.clone()), (service, list));
                touched_services(changed.then_some(key))
            }
            Object::EndpointSlice(slice) => self.put_slice(slice),
            Object::Node(node) => {
                let list = self.list(Kind::Node);
                Touched {
                    node: replace(self.nodes.entry(node.name.clone()), (node, list)),
                    ..Touched::default()
                }
            }
            Object::ServiceCidr(cidr) => {
                let list = self.list(Kind::ServiceCidr);
                let service_cidrs = replace(self.service_cidrs.entry(cidr.name.clone()), (cidr, list));
                Touched { service_cidrs, ..Touched::default() }
            }
        }
    }

    fn put_slice(&mut self, mut slice: EndpointSlice) -> Touched {
        let list = self.list(Kind::EndpointSlice);
        // Of this two equal slices may have different ones.
        let changed_at = slice.family.zip(slice.changed_at.take());
        if let Some(known) = self.slices.get_mut(&slice.key)
            && known.object == slice
        {
            known.list = list;
            return Touched::default();
        }
        // One copy of the name is enough for the Service and all its slices.
        if let Some(service) = &mut slice.service
            && let Some((known, _)) = self.services.get_key_value(service)
        {
            *service = known.clone();
        }
        let (name, service) = (slice.key.clone(), slice.service.clone());
        let before = self
            .slices
            .insert(name.clone(), Box::new(Kept { object: slice, list }))
            .and_then(|kept| kept.object.service);
        if before != service {
            self.unlink(before.as_ref(), &name);
            if let Some(service) = &service {
                let names = self.slices_of.entry(service.clone()).or_default();
                if let Err(at) = names.binary_search(&name) {
                    // Most Services have one slice, and few get more later.
                    names.reserve_exact(1);
                    names.insert(at, name);
                }
            }
        }
        let touched = touched_services(before.into_iter().chain(service));
        Touched { changed_at: changed_at.into_iter().collect(), ..touched }
    }

    fn unlink(&mut self, service: Option<&ServiceKey>, slice: &Name) {
        let Some(service) = service else { return };
        let Some(names) = self.slices_of.get_mut(service) else { return };
        names.retain(|name| name != slice);
        if names.is_empty() {
            self.slices_of.remove(service);
        }
    }

    fn delete(&mut self, key: &ObjectKey) -> Touched {
        match key.kind {
            Kind::Service => {
                let (namespace, name) = key.name.split_once('/').unwrap_or_default();
                let key = ServiceKey::new(namespace, name);
                touched_services(self.services.remove(&key).map(|kept| kept.object.key))
            }
            Kind::EndpointSlice => {
                let service = self.slices.remove(&key.name).and_then(|kept| kept.object.service);
                self.unlink(service.as_ref(), &key.name);
                touched_services(service)
            }
            Kind::Node => Touched { node: self.nodes.remove(&key.name).is_some(), ..Touched::default() },
            Kind::ServiceCidr => {
                let service_cidrs = self.service_cidrs.remove(&key.name).is_some();
                Touched { service_cidrs, ..Touched::default() }
            }
        }
    }

    /// What a completed list did not repeat is gone.
    fn finish(&mut self, kind: Kind) -> Touched {
        let lists = self.lists.entry(kind).or_default();
        if !lists.open {
            return Touched::default();
        }
        (lists.open, lists.synced) = (false, true);
        let current = lists.number;
        let mut touched = Touched::default();
        for name in self.unseen(kind, current) {
            touched.merge(self.delete(&ObjectKey { kind, name }));
        }
        touched
    }

    fn unseen(&self, kind: Kind, list: u32) -> Vec<Name> {
        fn names<'a, T: 'a>(all: impl Iterator<Item = (Name, &'a Place<T>)>, list: u32) -> Vec<Name> {
            all.filter(|(_, kept)| kept.list != list).map(|(name, _)| name).collect()
        }
        match kind {
            Kind::Service => {
                names(self.services.iter().map(|(key, kept)| (Name::from(key.as_str()), kept)), list)
            }
            Kind::EndpointSlice => names(self.slices.iter().map(|(name, kept)| (name.clone(), kept)), list),
            Kind::Node => names(self.nodes.iter().map(|(name, kept)| (name.clone(), kept)), list),
            Kind::ServiceCidr => {
                names(self.service_cidrs.iter().map(|(name, kept)| (name.clone(), kept)), list)
            }
        }
    }
}

fn touched_services(services: impl IntoIterator<Item = ServiceKey>) -> Touched {
    Touched { services: services.into_iter().collect(), ..Touched::default() }
}

/// Puts an object at its place; answers whether that changed anything.
fn replace<K: Ord, T: PartialEq>(
    place: std::collections::btree_map::Entry<'_, K, Place<T>>,
    (object, list): (T, u32),
) -> bool {
    use std::collections::btree_map::Entry;
    match place {
        Entry::Vacant(place) => {
            place.insert(Box::new(Kept { object, list }));
            true
        }
        Entry::Occupied(mut place) => {
            let kept = place.get_mut();
            kept.list = list;
            let changed = kept.object != object;
            if changed {
                kept.object = object;
            }
            changed
        }
    }
}
