//! Scenarios over a real store.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use store::{Range, Store, Window};

use super::run::Collector;
use crate::allocate::{Cluster, NodePorts};
use crate::body::time::Instant;
use crate::kinds::Kind;
use crate::rest::options::Propagation;
use crate::rest::{self, Clock, DeleteOptions, Place, Rest, WriteOptions};
use crate::start;

/// A server without a network, in a folder that goes with it.
struct World {
    rest: Option<Rest>,
    folder: PathBuf,
}

impl World {
    async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("signalbox-collect-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut world = Self { rest: None, folder };
        world.restart();
        let cluster = Cluster {
            service_ranges: vec![crate::range::Range::parse("10.96.0.0/16").unwrap()],
            node_ports: NodePorts { first: 30000, last: 32767 },
            server: vec!["127.0.0.1".parse().unwrap()],
            server_port: 6443,
        };
        start::prepare(world.rest(), cluster).await.unwrap();
        world
    }

    fn restart(&mut self) {
        self.rest = None;
        let store = Store::open(&self.folder.join("store"), Window::default()).unwrap();
        let now = || Instant { seconds: 1_767_225_600, nanos: 0 };
        self.rest = Some(Rest { store, clock: Clock { now, seed: crate::chance::seed } });
    }

    fn rest(&self) -> &Rest {
        self.rest.as_ref().unwrap()
    }

    fn place(kind: &'static Kind, key: &str) -> Place {
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let (namespace, name, part) = (namespace.to_owned(), name.to_owned(), String::new());
        Place { kind, namespace, name, part, is_old_watch: false }
    }

    fn get(&self, kind: &'static Kind, key: &str) -> Option<Value> {
        self.rest().store.get(kind.table, key).0.map(|entry| rest::object(&entry.value))
    }

    /// Creates one; owners are names of others in the namespace, `!`: which wait for it.
    async fn create(&self, (kind, key): (&'static Kind, &str), owners: &str, more: Value) {
        let place = Self::place(kind, key);
        let owner = |text: &str| {
            let (name, blocks) = text.strip_suffix('!').map_or((text, false), |name| (name, true));
            let found = self.get(config_maps(), &format!("{}/{name}", place.namespace));
            let uid = found.map_or_else(|| "gone".into(), |found| found["metadata"]["uid"].clone());
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": blocks})
        };
        let owners: Vec<Value> = owners.split_whitespace().map(owner).collect();
        let mut object = more;
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.into();
        object["metadata"]["name"] = place.name.as_str().into();
        if !owners.is_empty() {
            object["metadata"]["ownerReferences"] = owners.into();
        }
        let collection = Place { name: String::new(), ..place };
        self.rest().create(collection, object, WriteOptions::by("test")).await.unwrap();
    }

    async fn config_map(&self, name: &str, owners: &str) {
        self.create((config_maps(), &format!("default/{name}")), owners, json!({})).await;
    }

    async fn delete(&self, kind: &'static Kind, key: &str, propagation: Propagation) {
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        self.rest().delete(Self::place(kind, key), options).await.unwrap();
    }

    /// Changes an object as nobody else may.
    async fn set(&self, kind: &'static Kind, key: &str, change: impl FnOnce(&mut Value) + Send + 'static) {
        let key = key.to_owned();
        let write = self.rest().write(false, move |writing| {
            let mut object = writing.object(kind, &key).unwrap();
            change(&mut object);
            writing.put_object(kind, &mut object);
            Ok(())
        });
        write.await.unwrap();
    }

    async fn settle(&self) {
        Collector::begin(self.rest()).await.unwrap().settle().await;
    }

    /// The ConfigMaps of a namespace with their owners: `b<a! c<gone`.
    fn show(&self, namespace: &str) -> String {
        let prefix = format!("{namespace}/");
        let range = Range { prefix: &prefix, ..Range::default() };
        let page = self.rest().store.list("configmaps", &range, None).unwrap();
        let show = |object: Value| {
            let owners = object["metadata"]["ownerReferences"].as_array();
            let owner = |owner: &Value| {
                let blocks = if owner["blockOwnerDeletion"] == true { "!" } else { "" };
                format!("{}{blocks}", owner["name"].as_str().unwrap())
            };
            let owners: Vec<String> = owners.into_iter().flatten().map(owner).collect();
            let name = object["metadata"]["name"].as_str().unwrap();
            let is_deleted = if object["metadata"]["deletionTimestamp"].is_string() { "-" } else { "" };
            let arrow = if owners.is_empty() { "" } else { "<" };
            format!("{name}{is_deleted}{arrow}{}", owners.join("<"))
        };
        let shown: Vec<String> =
            page.entries.iter().map(|(_, entry)| show(rest::object(&entry.value))).collect();
        shown.join(" ")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.rest = None;
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn config_maps() -> &'static Kind {
    Kind::find("", "v1", "configmaps").unwrap()
}

fn namespaces() -> &'static Kind {
    Kind::find("", "v1", "namespaces").unwrap()
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn dependents_go_stay_or_go_first() {
    let check = |propagation: Propagation, wanted: &str| {
        block_on(async {
            let world = World::new().await;
            for (name, owners) in [
                ("a", ""),
                ("b", "a!"),
                ("c", "b!"),
                ("d", "a! z"),
                ("e", "d"),
                ("f", "a x!"),
                ("g", ""),
                ("h", "g a"),
            ] {
                world.config_map(name, owners).await;
            }
            world.config_map("z", "").await;
            // `d` was made before `z`, which it does not mean therefore.
            world.settle().await;
            assert_eq!(world.show("default"), "a b<a! c<b! d<a! e<d f<a g h<g<a z");
            world.delete(config_maps(), "default/a", propagation).await;
            world.settle().await;
            assert_eq!(world.show("default"), wanted, "{propagation:?}");
        });
    };
    check(Propagation::Background, "g h<g z");
    check(Propagation::Foreground, "g h<g z");
    check(Propagation::Orphan, "b c<b! d e<d f g h<g z");
}

#[test]
fn an_owner_in_the_foreground_waits_for_finalizers_of_those_that_block_it() {
    block_on(async {
        let world = World::new().await;
        world.config_map("a", "").await;
        world.config_map("b", "a!").await;
        world.config_map("c", "a").await;
        for name in ["default/b", "default/c"] {
            world
                .set(config_maps(), name, |object| object["metadata"]["finalizers"] = json!(["x.io/a"]))
                .await;
        }
        world.delete(config_maps(), "default/a", Propagation::Foreground).await;
        let mut collector = Collector::begin(world.rest()).await.unwrap();
        collector.settle().await;
        assert_eq!(world.show("default"), "a- b-<a! c-<a");
        let release = json!({"metadata": {"finalizers": null}}).to_string();
        for (name, wanted) in [("b", "c-<a"), ("c", "")] {
            let patch = rest::change::Change::Patch(crate::patch::Kind::Merge, release.clone().into());
            let place = World::place(config_maps(), &format!("default/{name}"));
            world.rest().change(place, patch, WriteOptions::by("test")).await.unwrap();
            collector.settle().await;
            assert_eq!(world.show("default"), wanted);
        }
    });
}

#[test]
fn circles_go_when_they_are_cut() {
    for propagation in [Propagation::Background, Propagation::Foreground] {
        block_on(async {
            let mut world = World::new().await;
            for name in ["a", "b", "c"] {
                world.config_map(name, "").await;
            }
            for (name, owner) in [("a", "c"), ("b", "a"), ("c", "b")] {
                let uid =
                    world.get(config_maps(), &format!("default/{owner}")).unwrap()["metadata"]["uid"].clone();
                let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid,
                                    "blockOwnerDeletion": true}]);
                world
                    .set(config_maps(), &format!("default/{name}"), move |object| {
                        object["metadata"]["ownerReferences"] = owner;
                    })
                    .await;
            }
            world.settle().await;
            assert_eq!(world.show("default"), "a<c! b<a! c<b!");
            world.delete(config_maps(), "default/a", propagation).await;
            world.restart();
            world.settle().await;
            assert_eq!(world.show("default"), "", "{propagation:?}");
        });
    }
}

#[test]
fn a_deleted_namespace_is_emptied_and_goes() {
    block_on(async {
        let mut world = World::new().await;
        let leases = Kind::find("coordination.k8s.io", "v1", "leases").unwrap();
        for name in ["one", "two"] {
            world.create((namespaces(), name), "", json!({})).await;
            for number in 0..20 {
                world.create((config_maps(), &format!("{name}/c{number}")), "", json!({})).await;
                world.create((leases, &format!("{name}/l{number}")), "", json!({})).await;
            }
        }
        world
            .set(config_maps(), "one/c7", |object| object["metadata"]["finalizers"] = json!(["x.io/a"]))
            .await;
        world.delete(namespaces(), "one", Propagation::Background).await;
        world.settle().await;
        assert_eq!(world.show("one"), "c7-");
        assert_eq!(world.rest().store.count("leases"), 20);
        let conditions = world.get(namespaces(), "one").unwrap()["status"]["conditions"].clone();
        let shown: Vec<String> = conditions
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap()))
            .collect();
        let wanted = "False ResourcesDiscovered, False ParsedGroupVersions, False ContentDeleted, True SomeResourcesRemain, True \
                      SomeFinalizersRemain";
        assert_eq!(shown.join(", "), wanted);
        world.restart();
        let mut collector = Collector::begin(world.rest()).await.unwrap();
        let revision = world.rest().store.revision();
        collector.settle().await;
        assert_eq!(world.rest().store.revision(), revision, "nothing is said twice");
        let patch = json!({"metadata": {"finalizers": null}}).to_string();
        let patch = rest::change::Change::Patch(crate::patch::Kind::Merge, patch.into());
        let place = World::place(config_maps(), "one/c7");
        world.rest().change(place, patch, WriteOptions::by("test")).await.unwrap();
        collector.settle().await;
        assert!(world.get(namespaces(), "one").is_none());
        assert_eq!(world.show("two").split(' ').count(), 20);
        assert!(world.get(namespaces(), "two").is_some());
    });
}

#[test]
fn a_range_is_held_while_an_address_needs_it() {
    block_on(async {
        let world = World::new().await;
        let ranges = Kind::find("networking.k8s.io", "v1", "servicecidrs").unwrap();
        let addresses = Kind::find("networking.k8s.io", "v1", "ipaddresses").unwrap();
        world.create((ranges, "r"), "", json!({"spec": {"cidrs": ["10.9.0.0/24"]}})).await;
        let labels = json!({"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                            "ipaddress.kubernetes.io/ip-family": "IPv4"});
        let parent = json!({"resource": "services", "namespace": "default", "name": "a"});
        let address = json!({"metadata": {"labels": labels}, "spec": {"parentRef": parent}});
        world.create((addresses, "10.9.0.7"), "", address).await;
        let mut collector = Collector::begin(world.rest()).await.unwrap();
        collector.settle().await;
        let ready = || world.get(ranges, "r").map(|range| range["status"]["conditions"][0].clone());
        let found = ready().unwrap();
        assert_eq!((&found["status"], &found["reason"]), (&json!("True"), &json!("")));
        world.delete(ranges, "r", Propagation::Background).await;
        collector.settle().await;
        let found = ready().unwrap();
        assert_eq!((&found["status"], &found["reason"]), (&json!("False"), &json!("Terminating")));
        world.delete(addresses, "10.9.0.7", Propagation::Background).await;
        collector.settle().await;
        assert!(ready().is_none());
    });
}

#[test]
fn pods_go_first_and_have_their_time() {
    block_on(async {
        let world = World::new().await;
        let pods = Kind::find("", "v1", "pods").unwrap();
        world.create((namespaces(), "n"), "", json!({})).await;
        world.create((config_maps(), "n/c"), "", json!({})).await;
        let pod = |node: &str| {
            let containers = json!([{"name": "a", "image": "a"}]);
            json!({"spec": {"nodeName": node, "terminationGracePeriodSeconds": 30, "containers": containers}})
        };
        world.create((pods, "n/here"), "", pod("node")).await;
        world.create((pods, "n/nowhere"), "", pod("")).await;
        world.delete(namespaces(), "n", Propagation::Background).await;
        let mut collector = Collector::begin(world.rest()).await.unwrap();
        collector.settle().await;
        assert!(world.get(pods, "n/nowhere").is_none());
        assert_eq!(world.get(pods, "n/here").unwrap()["metadata"]["deletionGracePeriodSeconds"], 30);
        let remaining = world.get(namespaces(), "n").unwrap()["status"]["conditions"][3]["message"].clone();
        assert_eq!(remaining, "Some resources are remaining: pods. has 1 resource instances");
        assert_eq!(world.show("n"), "c");
        let now = DeleteOptions { grace: Some(0), ..DeleteOptions::default() };
        world.rest().delete(World::place(pods, "n/here"), now).await.unwrap();
        collector.settle().await;
        assert!(world.get(namespaces(), "n").is_none() && world.show("n").is_empty());
    });
}

#[test]
fn it_runs_until_it_is_told_to_stop() {
    block_on(async {
        let world = World::new().await;
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let running = tokio::spawn(super::run(world.rest().clone(), stopping));
        world.config_map("a", "").await;
        world.config_map("b", "a").await;
        world.config_map("c", "b").await;
        world.config_map("d", "").await;
        world.delete(config_maps(), "default/a", Propagation::Background).await;
        let mut watch = world.rest().store.watch("configmaps", 0).unwrap();
        while world.show("default") != "d" {
            watch.next().await.unwrap();
        }
        stop.send_replace(true);
        running.await.unwrap();
        world.config_map("e", "a").await;
        tokio::task::yield_now().await;
        assert_eq!(world.show("default"), "d e<a");
    });
}

/// Who owns whom, and who is deleted how, one after the other.
#[derive(Debug, Clone)]
struct History {
    owners: Vec<Vec<(usize, bool)>>,
    deletes: Vec<(usize, u8)>,
    /// For how many microseconds it works before it is killed and started again.
    kill_after: Option<u64>,
}

fn history() -> impl Strategy<Value = History> {
    let owners = prop::collection::vec(prop::collection::vec((0..10_usize, any::<bool>()), 0..3), 9);
    let deletes = prop::collection::vec((0..9_usize, 0..3_u8), 1..4);
    (owners, deletes, prop::option::of(0..20_000_u64)).prop_map(|(owners, deletes, kill_after)| History {
        owners,
        deletes,
        kill_after,
    })
}

/// What is left of everything: the owners of each.
fn expected(history: &History) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut left: BTreeMap<usize, BTreeSet<usize>> = history
        .owners
        .iter()
        .map(|owners| owners.iter().map(|(owner, _)| *owner).collect())
        .enumerate()
        .collect();
    collect(&mut left);
    for (deleted, how) in &history.deletes {
        left.remove(deleted);
        if *how == 2 {
            left.values_mut().for_each(|owners| owners.retain(|owner| owner != deleted));
        }
        collect(&mut left);
    }
    left
}

/// Who had owners and has none that is there goes; the others lose those who are not.
fn collect(left: &mut BTreeMap<usize, BTreeSet<usize>>) {
    loop {
        let there: BTreeSet<usize> = left.keys().copied().collect();
        let before = left.len();
        left.retain(|_, owners| owners.is_empty() || !owners.is_disjoint(&there));
        if left.len() == before {
            left.values_mut().for_each(|owners| owners.retain(|owner| there.contains(owner)));
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn exactly_those_survive_that_should(history in history()) {
        block_on(async {
            let mut world = World::new().await;
            let key = |number: usize| format!("default/c{number}");
            for number in 0..9 {
                world.config_map(&format!("c{number}"), "").await;
            }
            // A bystander.
            world.config_map("z", "").await;
            let uids: Vec<Value> = (0..9).map(|number| world.get(config_maps(), &key(number)).unwrap()["metadata"]["uid"].clone()).collect();
            for (number, owners) in history.owners.iter().enumerate() {
                let mut seen = BTreeSet::new();
                let owners = owners.iter().filter(|(owner, _)| seen.insert(*owner)).map(|(owner, blocks)| {
                    let uid = uids.get(*owner).cloned().unwrap_or_else(|| "gone".into());
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("c{owner}"), "uid": uid, "blockOwnerDeletion": blocks})
                });
                let owners: Vec<Value> = owners.collect();
                if !owners.is_empty() {
                    world.set(config_maps(), &key(number), |object| object["metadata"]["ownerReferences"] = owners.into()).await;
                }
            }
            let untouched = |world: &World| -> BTreeMap<String, Value> {
                let names = (0..9).map(|number| format!("c{number}")).chain(["z".to_owned()]);
                names.filter_map(|name| Some((name.clone(), world.get(config_maps(), &format!("default/{name}"))?))).collect()
            };
            let before = untouched(&world);
            let mut collector = Collector::begin(world.rest()).await.unwrap();
            collector.settle().await;
            for (deleted, how) in &history.deletes {
                if world.get(config_maps(), &key(*deleted)).is_some() {
                    let how = [Propagation::Background, Propagation::Foreground, Propagation::Orphan][usize::from(*how)];
                    world.delete(config_maps(), &key(*deleted), how).await;
                }
                if let Some(micros) = history.kill_after {
                    let work = async { while collector.turn().await.is_ok() {} };
                    drop(tokio::time::timeout(std::time::Duration::from_micros(micros), work).await);
                    drop(collector);
                    // What was under way ends before the file is free.
                    while Store::open(&world.folder.join("store"), Window::default()).is_err() {
                        world.rest = None;
                        tokio::task::yield_now().await;
                    }
                    world.restart();
                    collector = Collector::begin(world.rest()).await.unwrap();
                }
                collector.settle().await;
            }
            let wanted = expected(&history);
            let after = untouched(&world);
            let found: BTreeMap<usize, BTreeSet<usize>> = after.iter().filter(|(name, _)| *name != "z").map(|(name, object)| {
                let owners = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
                let number = |name: &Value| name.as_str().unwrap()[1..].parse().unwrap();
                (number(&json!(name)), owners.map(|owner| number(&owner["name"])).collect())
            }).collect();
            assert_eq!(found, wanted);
            for (name, object) in &after {
                let same_owners = before[name]["metadata"]["ownerReferences"] == object["metadata"]["ownerReferences"];
                assert!(!object["metadata"]["deletionTimestamp"].is_string());
                assert!(!same_owners || before[name] == *object, "{name} was touched");
            }
        });
    }
}

#[tokio::test]
async fn old_events_go_and_addresses_in_use_come_back() {
    let world = World::new().await;
    let events = Kind::find("", "v1", "events").unwrap();
    for (name, last) in [("old", "2025-12-31T22:00:00Z"), ("new", "2025-12-31T23:30:00Z")] {
        let about = json!({"kind": "Pod", "name": "p", "namespace": "default"});
        let event = json!({"involvedObject": about, "firstTimestamp": last, "lastTimestamp": last});
        world.create((events, &format!("default/{name}")), "", event).await;
        let key = format!("default/{name}");
        world.set(events, &key, move |event| event["metadata"]["creationTimestamp"] = last.into()).await;
    }
    while super::upkeep::remove_some(world.rest(), std::time::Duration::from_secs(3600)).await {}
    assert!(world.get(events, "default/old").is_none() && world.get(events, "default/new").is_some());

    let addresses = Kind::find("networking.k8s.io", "v1", "ipaddresses").unwrap();
    let deleted = world.get(addresses, "10.96.0.1").unwrap();
    world.delete(addresses, "10.96.0.1", Propagation::Background).await;
    assert!(world.get(addresses, "10.96.0.1").is_none());
    super::upkeep::hold(world.rest(), deleted.clone()).await;
    let again = world.get(addresses, "10.96.0.1").unwrap();
    assert_eq!(again["spec"], deleted["spec"]);
    // Nobody has this one.
    let mut unused = deleted;
    unused["metadata"]["name"] = "10.96.0.9".into();
    super::upkeep::hold(world.rest(), unused).await;
    assert!(world.get(addresses, "10.96.0.9").is_none());
}
