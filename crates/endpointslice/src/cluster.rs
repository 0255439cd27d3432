//! Everything that is known of the cluster, and which Services a change concerns. Pure.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::hints::{Spread, is_overloaded};
use crate::index::{Labelled, Selectors};
use crate::names::Names;
use crate::nodes::Nodes;
use crate::object::{Endpoints, Manager, Pod, Service, Slice, Text};
use crate::queue::{Key, Work};
use crate::trigger::Triggers;
use crate::wire;

/// What a change concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) key: Key,
    pub(crate) work: Work,
    /// The slice that this controller writes and that changed, by somebody else unless the write is on its way: its name and
    /// revision.
    pub(crate) dispute: Option<(Text, Box<str>)>,
}

/// The cluster.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) names: Names,
    pub(crate) nodes: Nodes,
    namespaces: FxHashMap<Text, Namespace>,
    /// Services that wait for nodes.
    waiting: FxHashMap<Text, FxHashSet<Key>>,
    /// How hints are spread, for Services that have proportional ones.
    spreads: FxHashMap<Key, Vec<Spread>>,
}

/// What is known of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    services: FxHashMap<Text, Service>,
    selectors: Selectors,
    pods: FxHashMap<Text, Pod>,
    labelled: Labelled,
    slices: FxHashMap<Text, Slice>,
    by_service: FxHashMap<Text, Vec<Text>>,
    endpoints: FxHashMap<Text, Endpoints>,
    history: FxHashMap<Text, History>,
}

/// What was done for a Service.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) triggers: Triggers,
    /// Its slices that were written.
    pub(crate) written: FxHashSet<Text>,
}

impl Cluster {
    pub(crate) fn namespace(&mut self, namespace: &str) -> &mut Namespace {
        self.parts(namespace).0
    }

    pub(crate) fn parts(&mut self, namespace: &str) -> (&mut Namespace, &Nodes) {
        let name = self.names.text(namespace);
        (self.namespaces.entry(name).or_default(), &self.nodes)
    }

    /// Answers all Services and all Endpoints, with what there is to do for them at the start.
    pub(crate) fn everything(&self) -> Vec<Touched> {
        let mut all = Vec::new();
        for (namespace, content) in &self.namespaces {
            let key = |name: &Text| (namespace.clone(), name.clone());
            for name in content.services.keys() {
                all.push(touched(key(name), Work::SELECT.and(Work::MIRROR)));
            }
            let orphans = content.endpoints.keys().filter(|name| !content.services.contains_key(*name));
            all.extend(orphans.map(|name| touched(key(name), Work::ORPHAN)));
        }
        all
    }

    pub(crate) fn put_service(&mut self, wire: &wire::Service) -> Vec<Touched> {
        let service = self.names.service(wire);
        let key = (service.namespace.clone(), service.name.clone());
        let namespace = self.namespace(&key.0);
        let before = namespace.put_service(service.clone());
        if before.as_ref() == Some(&service) {
            return Vec::new();
        }
        let had_selector = before.is_some_and(|before| before.selector.is_some());
        let mirrors = service.selector.is_none() || !had_selector;
        vec![touched(key, if mirrors { Work::SELECT.and(Work::MIRROR) } else { Work::SELECT })]
    }

    pub(crate) fn remove_service(&mut self, namespace: &str, name: &str) -> Vec<Touched> {
        let key = (self.names.text(namespace), self.names.text(name));
        self.spreads.remove(&key);
        let removed = self.namespace(namespace).remove_service(name);
        removed.then(|| touched(key, Work::ORPHAN)).into_iter().collect()
    }

    pub(crate) fn put_pod(&mut self, wire: &wire::Pod) -> Vec<Touched> {
        let pod = self.names.pod(wire);
        let namespace = pod.namespace.clone();
        let services = self.namespace(&namespace).put_pod(pod);
        services.into_iter().map(|name| touched((namespace.clone(), name), Work::SELECT)).collect()
    }

    pub(crate) fn remove_pod(&mut self, namespace: &str, name: &str) -> Vec<Touched> {
        let services = self.namespace(namespace).remove_pod(name);
        let namespace = self.names.text(namespace);
        services.into_iter().map(|name| touched((namespace.clone(), name), Work::SELECT)).collect()
    }

    /// Nodes are looked up at the next change of a Service; they cause one only for who waits for a node or is overloaded.
    pub(crate) fn put_node(&mut self, wire: &wire::Node) -> Vec<Touched> {
        let node = self.names.node(wire);
        let waited = self.waiting.remove(&node.name).unwrap_or_default();
        let mut all: Vec<Touched> = waited.into_iter().map(|key| touched(key, Work::SELECT)).collect();
        if self.nodes.put(node) {
            all.extend(self.overloaded());
        }
        all
    }

    pub(crate) fn remove_node(&mut self, name: &str) -> Vec<Touched> {
        if self.nodes.remove(name) { self.overloaded() } else { Vec::new() }
    }

    fn overloaded(&self) -> Vec<Touched> {
        let shares = self.nodes.shares();
        let is = |spreads: &Vec<Spread>| spreads.iter().any(|spread| is_overloaded(spread, shares));
        let overloaded = self.spreads.iter().filter(|(_, spreads)| is(spreads));
        overloaded.map(|(key, _)| touched(key.clone(), Work::SELECT)).collect()
    }

    /// Notes what could not be done and how hints are spread.
    pub(crate) fn note(&mut self, key: &Key, missing: Vec<Text>, spreads: Vec<Spread>) {
        for node in missing {
            self.waiting.entry(node).or_default().insert(key.clone());
        }
        if spreads.is_empty() {
            self.spreads.remove(key);
        } else {
            self.spreads.insert(key.clone(), spreads);
        }
    }

    pub(crate) fn put_slice(&mut self, wire: &wire::Slice) -> Vec<Touched> {
        let slice = self.names.slice(wire);
        let name = slice.namespace.clone();
        let namespace = self.namespace(&name);
        let changed = (slice.name.clone(), slice.revision.clone());
        let dispute = |key: Key, work: Work| Touched { key, work, dispute: Some(changed.clone()) };
        let (now, content) = (work(slice.manager), (slice.service.clone(), slice.generation));
        let Some(before) = namespace.put_slice(slice) else { return Vec::new() };
        let Some(before) = before else {
            return now.map(|work| dispute((name, content.0), work)).into_iter().collect();
        };
        let was = work(before.manager);
        let mut all = Vec::new();
        if before.service != content.0 || was != now {
            all.extend(was.map(|work| dispute((name.clone(), before.service), work)));
            all.extend(now.map(|work| dispute((name, content.0), work)));
        } else if before.generation != content.1 {
            all.extend(now.map(|work| dispute((name, content.0), work)));
        }
        all
    }

    pub(crate) fn remove_slice(&mut self, namespace: &str, name: &str) -> Vec<Touched> {
        let key = self.names.text(namespace);
        let Some(slice) = self.namespace(namespace).remove_slice(name) else { return Vec::new() };
        if slice.deleting {
            return Vec::new();
        }
        let dispute = Some((slice.name, "".into()));
        let key = (key, slice.service);
        work(slice.manager).map(|work| Touched { key, work, dispute }).into_iter().collect()
    }

    pub(crate) fn put_endpoints(&mut self, wire: &wire::Endpoints) -> Vec<Touched> {
        let endpoints = self.names.endpoints(wire);
        let key = (endpoints.namespace.clone(), endpoints.name.clone());
        let namespace = self.namespace(&key.0);
        let is_new = namespace.put_endpoints(endpoints);
        let has_selector = namespace.service(&key.1).is_some_and(|service| service.selector.is_some());
        let mirrors = is_new && (!has_selector || namespace.has_slices(&key.1, Manager::Mirror));
        mirrors.then(|| touched(key, Work::MIRROR)).into_iter().collect()
    }

    pub(crate) fn remove_endpoints(&mut self, namespace: &str, name: &str) -> Vec<Touched> {
        let key = (self.names.text(namespace), self.names.text(name));
        let removed = self.namespace(namespace).endpoints.remove(name).is_some();
        removed.then(|| touched(key, Work::SELECT.and(Work::MIRROR))).into_iter().collect()
    }
}

fn touched(key: Key, work: Work) -> Touched {
    Touched { key, work, dispute: None }
}

fn work(manager: Manager) -> Option<Work> {
    match manager {
        Manager::Selector => Some(Work::SELECT),
        Manager::Mirror => Some(Work::MIRROR),
        Manager::Other => None,
    }
}

impl Namespace {
    pub(crate) fn service(&self, name: &str) -> Option<&Service> {
        self.services.get(name)
    }

    pub(crate) fn endpoints(&self, name: &str) -> Option<&Endpoints> {
        self.endpoints.get(name)
    }

    pub(crate) fn history(&mut self, name: &Text) -> &mut History {
        self.history.entry(name.clone()).or_default()
    }

    /// Answers the pods that a Service selects, sorted by name.
    pub(crate) fn pods(&self, service: &Service) -> Vec<&Pod> {
        let names = service.selector.as_ref().map(|selector| self.labelled.select(selector));
        names.unwrap_or_default().into_iter().filter_map(|name| self.pods.get(name)).collect()
    }

    /// Answers the slices of a Service that a manager manages, sorted by name.
    pub(crate) fn slices(&self, service: &str, manager: Manager) -> Vec<&Slice> {
        let names = self.by_service.get(service).into_iter().flatten();
        let slices = names.filter_map(|name| self.slices.get(name));
        let mut slices: Vec<&Slice> =
            slices.filter(|slice| slice.manager == manager && !slice.deleting).collect();
        slices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        slices
    }

    fn has_slices(&self, service: &str, manager: Manager) -> bool {
        let mut names = self.by_service.get(service).into_iter().flatten();
        names.any(|name| self.slices.get(name).is_some_and(|slice| slice.manager == manager))
    }

    /// Answers whether a slice that was written for a Service does not say any more that it is this controller's. As long
    /// as it is there, Kubernetes' controller waits for it and writes nothing for the Service.
    pub(crate) fn is_estranged(&self, service: &str) -> bool {
        let is = |slice: &Slice| &*slice.service != service || slice.manager != Manager::Selector;
        let written = self.history.get(service).into_iter().flat_map(|history| &history.written);
        written.filter_map(|name| self.slices.get(name)).any(is)
    }

    fn put_service(&mut self, service: Service) -> Option<Service> {
        let name = service.name.clone();
        let selector = service.selector.clone();
        let before = self.services.insert(name.clone(), service);
        let old = before.as_ref().and_then(|before| before.selector.as_ref());
        if old != selector.as_ref() {
            if let Some(old) = old {
                self.selectors.remove(old, &name);
            }
            if let Some(selector) = &selector {
                self.selectors.insert(selector, name);
            }
        }
        before
    }

    fn remove_service(&mut self, name: &str) -> bool {
        self.history.remove(name);
        let Some(service) = self.services.remove(name) else { return false };
        if let Some(selector) = &service.selector {
            self.selectors.remove(selector, name);
        }
        true
    }

    /// Answers the Services that it concerns.
    fn put_pod(&mut self, pod: Pod) -> Vec<Text> {
        let (name, labels) = (pod.name.clone(), pod.labels.clone());
        let before = self.pods.get(&name);
        let is_alike = before.is_some_and(|before| before.is_alike(&pod));
        let old = before.map(|before| before.labels.clone());
        self.pods.insert(name.clone(), pod);
        if old.as_ref() != Some(&labels) {
            if let Some(old) = &old {
                self.labelled.remove(old, &name);
            }
            self.labelled.insert(&labels, name);
        }
        if is_alike {
            return Vec::new();
        }
        let mut services: Vec<Text> = self.selectors.selecting(&labels).cloned().collect();
        if let Some(old) = old.filter(|old| *old != labels) {
            services.extend(self.selectors.selecting(&old).cloned());
        }
        services
    }

    fn remove_pod(&mut self, name: &str) -> Vec<Text> {
        let Some(pod) = self.pods.remove(name) else { return Vec::new() };
        self.labelled.remove(&pod.labels, name);
        self.selectors.selecting(&pod.labels).cloned().collect()
    }

    /// Answers the slice before, if this one is newer; `None` when it is not.
    pub(crate) fn put_slice(&mut self, mut slice: Slice) -> Option<Option<Slice>> {
        let before = self.slices.get(&slice.name);
        if before.is_some_and(|before| !is_newer(&slice.revision, &before.revision)) {
            return None;
        }
        slice.deleting |= before.is_some_and(|before| before.deleting);
        let (name, service) = (slice.name.clone(), slice.service.clone());
        let before = self.slices.insert(name.clone(), slice);
        if before.as_ref().is_none_or(|before| before.service != service) {
            if let Some(before) = &before {
                self.unlink(&before.service, &name);
            }
            self.by_service.entry(service).or_default().push(name);
        }
        Some(before)
    }

    /// Notes that a slice was deleted; it is gone when the server says so.
    pub(crate) fn delete_slice(&mut self, service: &Text, name: &str) {
        self.history(service).written.remove(name);
        if let Some(slice) = self.slices.get_mut(name) {
            slice.deleting = true;
        }
    }

    fn remove_slice(&mut self, name: &str) -> Option<Slice> {
        let slice = self.slices.remove(name)?;
        self.unlink(&slice.service, name);
        if let Some(history) = self.history.get_mut(&slice.service) {
            history.written.remove(name);
        }
        Some(slice)
    }

    fn unlink(&mut self, service: &str, name: &str) {
        let Some(names) = self.by_service.get_mut(service) else { return };
        names.retain(|other| &**other != name);
        if names.is_empty() {
            self.by_service.remove(service);
        }
    }

    /// Answers whether it is newer than what was there.
    pub(crate) fn put_endpoints(&mut self, endpoints: Endpoints) -> bool {
        let before = self.endpoints.get(&endpoints.name);
        if before.is_some_and(|before| !is_newer(&endpoints.revision, &before.revision)) {
            return false;
        }
        self.endpoints.insert(endpoints.name.clone(), endpoints);
        true
    }
}

/// Revisions are numbers that grow; one that is none is believed to be newer.
fn is_newer(revision: &str, than: &str) -> bool {
    match (revision.parse::<u64>(), than.parse::<u64>()) {
        (Ok(revision), Ok(than)) => revision > than,
        (Err(_), _) | (_, Err(_)) => revision != than,
    }
}
