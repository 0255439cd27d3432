//! Two ways to follow an API server, by a watch of our own and by what the proxy's watch tells, say the same.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dns::object::{Change, Key, Kind, Object};
use dns::source::{Shared, follow_cluster, follow_rest};
use objects::naming;
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Options, Resource};
use tokio::sync::mpsc;
use watch::client::Client;
use watch::{ApiConfig, Progress};

const PATIENCE: Duration = Duration::from_secs(20);

type Known = BTreeMap<(Kind, Key), Object>;

/// What one of the ways has told so far.
struct Told {
    changes: mpsc::Receiver<Change>,
    known: Known,
}

impl Told {
    fn take_what_is_there(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Put(object) => drop(self.known.insert(key(&object), object)),
                Change::Gone(kind, key) => drop(self.known.remove(&(kind, key))),
                Change::Synced(_) | Change::Servers(_) => {}
            }
        }
    }
}

fn key(object: &Object) -> (Kind, Key) {
    let key = match object {
        Object::Service(service) => service.key.clone(),
        Object::Slice(slice) => slice.key.clone(),
        Object::Pod(pod) => pod.key.clone(),
        Object::Namespace(name) => Key::new("", name),
    };
    (object.kind(), key)
}

/// What the server has.
fn content(server: &ApiServer) -> Known {
    let mut shared = Shared::new(true);
    let mut known = Known::new();
    for (kind, resource) in [
        (objects::Kind::Service, Resource::Services),
        (objects::Kind::EndpointSlice, Resource::EndpointSlices),
    ] {
        for object in server.list(resource) {
            let named = objects::decode_json_names(kind, object.to_string().as_bytes()).unwrap().unwrap();
            for change in shared.take(naming::Event::Applied(named)) {
                let Change::Put(object) = change else { panic!("{change:?}") };
                known.insert(key(&object), object);
            }
        }
    }
    known
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

fn slice(name: &str, labels: Value, endpoints: Value) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": name, "namespace": "shop", "labels": labels},
           "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}]})
}

/// By a watch of our own.
async fn own(config: &ApiConfig) -> Told {
    let (tell, changes) = mpsc::channel(1024);
    let client = Client::connect(config).await.unwrap();
    let settings = dns::zone::Settings::new("cluster.local".parse().unwrap());
    tokio::spawn(async move { follow_cluster(client, &settings, tell).await });
    Told { changes, known: Known::new() }
}

/// Out of the proxy's.
async fn shared(config: &ApiConfig) -> Told {
    let (tell, changes) = mpsc::channel(1024);
    let client = Client::connect(config).await.unwrap();
    let settings = dns::zone::Settings::new("cluster.local".parse().unwrap());
    let rest = tell.clone();
    tokio::spawn(async move { follow_rest(client, &settings, rest).await });
    let (naming, mut events) = mpsc::channel(1024);
    let (sink, mut rules) = mpsc::channel(1024);
    let config = ApiConfig { naming: Some(naming), ..config.clone() };
    tokio::spawn(watch::run(config, Progress::default(), sink));
    tokio::spawn(async move {
        while let Some(event) = rules.recv().await {
            if let objects::Event::Applied(objects::Object::Service(service)) = event {
                assert!(!service.cluster_ips.is_empty() && !service.other_proxy, "{}", service.key);
            }
        }
    });
    tokio::spawn(async move {
        let mut shared = Shared::new(true);
        while let Some(event) = events.recv().await {
            for change in shared.take(event) {
                tell.send(change).await.unwrap();
            }
        }
    });
    Told { changes, known: Known::new() }
}

async fn say_the_same(protobuf: bool) {
    let server = ApiServer::start(Options {
        behaviour: Behaviour { protobuf, ..Behaviour::default() },
        ..Options::default()
    })
    .unwrap();
    let kubeconfig = std::env::temp_dir().join(format!("sb-sources-{}-{protobuf}", std::process::id()));
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let config = ApiConfig::new(Some(kubeconfig.clone()), None, "n1");
    server.apply(service("before", json!({"clusterIP": "None"})));
    let mut both = [own(&config).await, shared(&config).await];
    let mut follow = async |what: &str| {
        let begun = Instant::now();
        let expected = content(&server);
        loop {
            both.iter_mut().for_each(Told::take_what_is_there);
            let [own, shared] = both.each_ref().map(|told| &told.known);
            let is_whole = expected.iter().all(|(key, object)| own.get(key) == Some(object));
            let namespaces = own.keys().filter(|(kind, _)| *kind == Kind::Namespace).count();
            if own == shared && is_whole && namespaces > 0 && own.len() == expected.len() + namespaces {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: {:?}\n{:?}", both[0].known, both[1].known);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    follow("what was there").await;
    server.apply(service(
        "web",
        json!({"ports": [{"name": "HTTP", "port": 80}, {"port": 81, "protocol": "UDP", "name": "b"}]}),
    ));
    server.apply(service("db", json!({"clusterIP": "None", "ports": [{"name": "pg", "port": 5432}]})));
    server.apply(service("www", json!({"type": "ExternalName", "externalName": "Www.example.org"})));
    follow("Services").await;
    let endpoints = json!([
        {"addresses": ["10.0.0.1"], "hostname": "one", "conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "p1"}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.3"], "targetRef": {"kind": "Pod", "name": "p3"}},
    ]);
    let of = |service: &str| json!({"kubernetes.io/service-name": service});
    let headless = json!({"kubernetes.io/service-name": "db", "service.kubernetes.io/headless": ""});
    server.apply(slice("db-1", headless, endpoints.clone()));
    server.apply(slice("web-1", of("web"), endpoints.clone()));
    server.apply(slice("lone", json!({}), endpoints));
    follow("slices").await;
    let label = |value| json!({"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": value}}});
    server.merge_patch(("Service", "shop", "web"), &label(json!("other")), false);
    server.delete("EndpointSlice", "shop", "web-1");
    server.delete("Service", "shop", "db");
    follow("what another proxy has, and what is gone").await;
    drop(std::fs::remove_file(kubeconfig));
}

#[tokio::test]
async fn both_ways_say_the_same_in_json() {
    say_the_same(false).await;
}

#[tokio::test]
async fn both_ways_say_the_same_in_protobuf() {
    say_the_same(true).await;
}
