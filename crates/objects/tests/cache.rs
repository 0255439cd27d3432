//! The cache against a naive one under random histories: what it answers, and what it says was touched.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use model::{Affinity, Family, ServiceKey, TrafficPolicy};
use objects::{
    Conditions, EndpointRecord, EndpointSlice, Event, Kind, Name, Node, Object, ObjectKey, Objects, Service,
    ServiceCidr, ServiceType,
};
use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::sample::select;
use proptest::strategy::Strategy;
use proptest::test_runner::TestCaseResult;
use proptest::{option, prop_assert, prop_assert_eq, prop_oneof, proptest};

const SERVICES: [&str; 3] = ["a/x", "a/y", "b/x"];

/// What the cache must be: maps of everything, and for each kind the names that the list going on has shown.
#[derive(Clone, Default)]
struct Naive {
    services: BTreeMap<String, Service>,
    slices: BTreeMap<String, EndpointSlice>,
    nodes: BTreeMap<String, Node>,
    service_cidrs: BTreeMap<String, ServiceCidr>,
    listed: BTreeMap<Kind, BTreeSet<String>>,
    synced: BTreeSet<Kind>,
}

impl Naive {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::ListStarted(kind) => {
                self.listed.insert(*kind, BTreeSet::new());
            }
            Event::Applied(object) => {
                let (kind, name) = self.put(object.clone());
                if let Some(listed) = self.listed.get_mut(&kind) {
                    listed.insert(name);
                }
            }
            Event::Deleted(key) => match key.kind {
                Kind::Service => drop(self.services.remove(&*key.name)),
                Kind::EndpointSlice => drop(self.slices.remove(&*key.name)),
                Kind::Node => drop(self.nodes.remove(&*key.name)),
                Kind::ServiceCidr => drop(self.service_cidrs.remove(&*key.name)),
            },
            Event::ListFinished(kind) => {
                let Some(listed) = self.listed.remove(kind) else { return };
                self.synced.insert(*kind);
                match kind {
                    Kind::Service => self.services.retain(|name, _| listed.contains(name)),
                    Kind::EndpointSlice => self.slices.retain(|name, _| listed.contains(name)),
                    Kind::Node => self.nodes.retain(|name, _| listed.contains(name)),
                    Kind::ServiceCidr => self.service_cidrs.retain(|name, _| listed.contains(name)),
                }
            }
        }
    }

    fn put(&mut self, object: Object) -> (Kind, String) {
        match object {
            Object::Service(service) => {
                let name = service.key.to_string();
                self.services.insert(name.clone(), service);
                (Kind::Service, name)
            }
            Object::EndpointSlice(slice) => {
                let name = slice.key.to_string();
                self.slices.insert(name.clone(), slice);
                (Kind::EndpointSlice, name)
            }
            Object::Node(node) => {
                let name = node.name.to_string();
                self.nodes.insert(name.clone(), node);
                (Kind::Node, name)
            }
            Object::ServiceCidr(cidr) => {
                let name = cidr.name.to_string();
                self.service_cidrs.insert(name.clone(), cidr);
                (Kind::ServiceCidr, name)
            }
        }
    }

    /// Everything that can be asked about one Service.
    fn about(&self, key: &ServiceKey) -> (Option<&Service>, Vec<&EndpointSlice>) {
        let slices = self.slices.values().filter(|slice| slice.service.as_ref() == Some(key));
        (self.services.get(key.as_str()), slices.collect())
    }

    fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.services.len(),
            Kind::EndpointSlice => self.slices.len(),
            Kind::Node => self.nodes.len(),
            Kind::ServiceCidr => self.service_cidrs.len(),
        }
    }
}

fn key(name: &str) -> ServiceKey {
    let (namespace, name) = name.split_once('/').unwrap();
    ServiceKey::new(namespace, name)
}

fn service() -> impl Strategy<Value = Object> {
    (select(&SERVICES[..]), 0..2_i64).prop_map(|(name, created)| {
        Object::Service(Service {
            key: key(name),
            created,
            uid: "".into(),
            other_proxy: false,
            service_type: ServiceType::ClusterIp,
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            affinity: Affinity::None,
            health_check_node_port: 0,
            ports: Vec::new(),
            problems: Vec::new(),
        })
    })
}

fn slice() -> impl Strategy<Value = Object> {
    let name = select(vec!["a/s1", "a/s2", "a/s3", "b/s1"]);
    (name, option::weighted(0.8, select(&SERVICES[..])), any::<bool>()).prop_map(|(name, service, ready)| {
        let conditions = Conditions { ready, serving: true, terminating: false };
        let record = EndpointRecord { address: [10, 0, 0, 1].into(), conditions, node: None, hints: None };
        Object::EndpointSlice(EndpointSlice {
            changed_at: None,
            key: name.into(),
            service: service.map(key),
            family: Some(Family::V4),
            ports: Box::default(),
            endpoints: [record].into(),
            problems: Vec::new(),
        })
    })
}

fn node() -> impl Strategy<Value = Object> {
    (select(vec!["n1", "n2"]), any::<bool>()).prop_map(|(name, is_leaving)| {
        Object::Node(Node {
            name: name.into(),
            zone: None,
            addresses: Vec::new(),
            pod_cidrs: Vec::new(),
            is_leaving,
            problems: Vec::new(),
        })
    })
}

fn service_cidr() -> impl Strategy<Value = Object> {
    (select(vec!["c1", "c2"]), select(vec!["10.0.0.0/8", "fd00::/64"])).prop_map(|(name, range)| {
        Object::ServiceCidr(ServiceCidr {
            name: name.into(),
            cidrs: vec![range.parse().unwrap()],
            problems: Vec::new(),
        })
    })
}

fn event() -> impl Strategy<Value = Event> {
    let kind = || select(&Kind::ALL[..]);
    let applied = prop_oneof![3 => service(), 4 => slice(), 1 => node(), 1 => service_cidr()];
    // Also names of nothing, and names that belong to another kind.
    let names =
        select(vec!["a/x", "a/y", "b/x", "a/s1", "a/s2", "a/s3", "b/s1", "n1", "n2", "c1", "c2", "", "x"]);
    let deleted = (kind(), names).prop_map(|(kind, name)| ObjectKey { kind, name: Name::from(name) });
    prop_oneof![
        6 => applied.prop_map(Event::Applied),
        2 => deleted.prop_map(Event::Deleted),
        1 => kind().prop_map(Event::ListStarted),
        2 => kind().prop_map(Event::ListFinished),
        1 => Just(Event::ListFinished(Kind::EndpointSlice)),
    ]
}

fn check_answers(objects: &Objects, naive: &Naive) -> TestCaseResult {
    let services: Vec<_> = objects.services().collect();
    prop_assert_eq!(services, naive.services.values().collect::<Vec<_>>());
    for name in SERVICES {
        let key = key(name);
        let answer = (objects.service(&key), objects.slices_of(&key).collect());
        prop_assert_eq!(answer, naive.about(&key), "{}", key);
    }
    for name in ["n1", "n2"] {
        prop_assert_eq!(objects.node(name), naive.nodes.get(name));
    }
    let cidrs: Vec<_> = objects.service_cidrs().collect();
    prop_assert_eq!(cidrs, naive.service_cidrs.values().collect::<Vec<_>>());
    for kind in Kind::ALL {
        prop_assert_eq!(objects.count(kind), naive.count(kind), "{:?}", kind);
        prop_assert_eq!(objects.is_synced(kind), naive.synced.contains(&kind), "{:?}", kind);
    }
    Ok(())
}

proptest! {
    /// Nothing more is touched than what is another now: what touches too much makes every relist expensive.
    #[test]
    fn it_answers_as_a_naive_one_and_touches_exactly_what_changed(events in vec(event(), 1..80)) {
        let (mut objects, mut naive) = (Objects::default(), Naive::default());
        for event in events {
            let before = naive.clone();
            naive.apply(&event);
            let touched = objects.apply(event.clone());
            check_answers(&objects, &naive)?;

            let changed: BTreeSet<ServiceKey> =
                SERVICES.into_iter().map(key).filter(|key| before.about(key) != naive.about(key)).collect();
            prop_assert_eq!(&touched.services, &changed, "after {:?}", event);
            prop_assert_eq!(touched.node, before.nodes != naive.nodes, "after {:?}", event);
            prop_assert_eq!(touched.service_cidrs, before.service_cidrs != naive.service_cidrs, "after {:?}", event);
            let nothing = changed.is_empty() && !touched.node && !touched.service_cidrs;
            prop_assert_eq!(touched.is_empty(), nothing);
        }
    }

    /// Lists that repeat what is known touch nothing, however often and in whichever order.
    #[test]
    fn repeated_lists_touch_nothing(applied in vec(prop_oneof![service(), slice()], 0..20), again in any::<bool>()) {
        let mut objects = Objects::default();
        let mut known: BTreeMap<(Kind, String), Object> = BTreeMap::new();
        for object in applied {
            let name = Naive::default().put(object.clone());
            known.insert(name, object.clone());
            objects.apply(Event::Applied(object));
        }
        for _ in 0..3 {
            for kind in [Kind::Service, Kind::EndpointSlice] {
                prop_assert!(objects.apply(Event::ListStarted(kind)).is_empty());
                if again {
                    prop_assert!(objects.apply(Event::ListStarted(kind)).is_empty());
                }
            }
            for object in known.values().rev() {
                prop_assert!(objects.apply(Event::Applied(object.clone())).is_empty());
            }
            for kind in [Kind::Service, Kind::EndpointSlice] {
                prop_assert!(objects.apply(Event::ListFinished(kind)).is_empty());
            }
        }
        prop_assert_eq!(objects.count(Kind::Service) + objects.count(Kind::EndpointSlice), known.len());
    }
}
