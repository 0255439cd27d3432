//! A test API server, the source that watches it, what the source said, and what it logged.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use objects::{Event, Kind, Names, Object, ObjectKey, Objects};
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Options, Resource};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use watch::{ApiConfig, Error, Progress, Timing};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What the log says, collected from this thread.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Collects what is logged on this thread from info upwards while the guard lives.
    pub fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::INFO)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// Answers the warnings and errors that contain `part`.
    pub fn warnings(&self, part: &str) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| {
            let level = line.trim_start();
            let is_ours = line.contains(" watch::");
            (level.starts_with("WARN") || level.starts_with("ERROR")) && is_ours && line.contains(part)
        });
        lines
    }

    /// Waits until `part` was logged.
    pub async fn wait_for(&self, part: &str) {
        let start = Instant::now();
        while !self.lines().iter().any(|line| line.contains(part)) {
            assert!(start.elapsed() < PATIENCE, "never logged: {part}\n{}", self.lines().join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the events say so far, once folded by hand and once by the cache that the agent uses.
#[derive(Default)]
pub struct Fold {
    pub objects: BTreeMap<ObjectKey, Object>,
    pub synced: BTreeSet<Kind>,
    pub lists: BTreeMap<Kind, u32>,
    listing: BTreeMap<Kind, BTreeSet<ObjectKey>>,
    pub cache: Objects,
}

impl Fold {
    pub fn take(&mut self, event: Event) {
        self.cache.apply(event.clone());
        match event {
            Event::ListStarted(kind) => drop(self.listing.insert(kind, BTreeSet::new())),
            Event::Applied(object) => {
                let key = key_of(&object);
                if let Some(seen) = self.listing.get_mut(&key.kind) {
                    seen.insert(key.clone());
                }
                self.objects.insert(key, object);
            }
            Event::Deleted(key) => {
                if let Some(seen) = self.listing.get_mut(&key.kind) {
                    seen.remove(&key);
                }
                self.objects.remove(&key);
            }
            Event::ListFinished(kind) => {
                let seen = self.listing.remove(&kind).expect("a list that finished had started");
                self.objects.retain(|key, _| key.kind != kind || seen.contains(key));
                self.synced.insert(kind);
                *self.lists.entry(kind).or_default() += 1;
            }
        }
    }

    pub fn names(&self, kind: Kind) -> Vec<String> {
        self.objects.keys().filter(|key| key.kind == kind).map(|key| key.name.to_string()).collect()
    }
}

/// Durations of a hasty world.
pub fn hasty() -> Timing {
    Timing {
        connect: Duration::from_millis(500),
        answer: Duration::from_millis(400),
        watch_life: Duration::from_secs(2),
        watch_grace: Duration::from_millis(300),
        silence: Duration::from_millis(600),
        first_retry: Duration::from_millis(10),
        last_retry: Duration::from_millis(80),
        healthy_after: Duration::from_millis(200),
        missing_retry: Duration::from_millis(200),
        repeat_report: Duration::from_secs(300),
    }
}

/// A server and the source that watches it, on this thread.
pub struct World {
    pub server: ApiServer,
    pub fold: Fold,
    pub log: Log,
    pub progress: Progress,
    pub config: ApiConfig,
    receiver: mpsc::Receiver<Event>,
    source: JoinHandle<Result<(), Error>>,
    kubeconfig: std::path::PathBuf,
    _logging: tracing::subscriber::DefaultGuard,
}

impl World {
    /// Starts both with these options; `prepare` sees the server before the source does.
    pub fn start(options: Options, prepare: impl FnOnce(&ApiServer)) -> Self {
        Self::start_with(options, hasty(), prepare)
    }

    pub fn start_with(options: Options, timing: Timing, prepare: impl FnOnce(&ApiServer)) -> Self {
        let (log, logging) = Log::collect();
        let server = ApiServer::start(options).unwrap();
        prepare(&server);
        let kubeconfig = temporary("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let mut config = ApiConfig::new(Some(kubeconfig.clone()), None, "n1");
        config.timing = timing;
        let progress = Progress::default();
        let (sink, receiver) = mpsc::channel(16);
        let source = tokio::spawn(watch::run(config.clone(), progress.clone(), sink));
        Self {
            server,
            fold: Fold::default(),
            log,
            progress,
            config,
            receiver,
            source,
            kubeconfig,
            _logging: logging,
        }
    }

    /// Takes events until `done`, for at most [`PATIENCE`].
    pub async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let log = || self.log.lines().join("\n");
            assert!(start.elapsed() < PATIENCE, "never: {what}\n{}", log());
            assert!(!self.source.is_finished(), "the source ended\n{}", log());
            if let Ok(event) = tokio::time::timeout(Duration::from_millis(20), self.receiver.recv()).await {
                self.fold.take(event.expect("the source lives"));
            }
        }
    }

    /// Takes events until they say what the server has.
    pub async fn until_equal(&mut self) {
        let start = Instant::now();
        loop {
            while let Ok(event) = tokio::time::timeout(Duration::from_millis(20), self.receiver.recv()).await
            {
                self.fold.take(event.expect("the source lives"));
            }
            let expected = content(&self.server);
            if self.fold.synced.len() == Kind::ALL.len() && self.fold.objects == expected {
                break;
            }
            if start.elapsed() > PATIENCE {
                self.fail(&expected);
            }
        }
    }

    fn fail(&self, expected: &BTreeMap<ObjectKey, Object>) -> ! {
        let objects = &self.fold.objects;
        let wrong = expected.iter().filter(|(key, object)| objects.get(key) != Some(object));
        let missing: Vec<_> = wrong.map(|(key, _)| &key.name).collect();
        let unexpected: Vec<_> = objects.keys().filter(|key| !expected.contains_key(key)).collect();
        let log = self.log.lines().join("\n");
        panic!("missing or wrong: {missing:?}\nunexpected: {unexpected:?}\n{log}");
    }

    /// Takes the events of this long.
    pub async fn during(&mut self, time: Duration) -> Vec<Event> {
        let end = Instant::now() + time;
        let mut events = Vec::new();
        while let Ok(event) =
            tokio::time::timeout(end.saturating_duration_since(Instant::now()), self.receiver.recv()).await
        {
            let event = event.expect("the source lives");
            self.fold.take(event.clone());
            events.push(event);
        }
        events
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.source.abort();
        drop(std::fs::remove_file(&self.kubeconfig));
    }
}

/// Answers a path that no other test has.
pub fn temporary(name: &str) -> std::path::PathBuf {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    std::env::temp_dir().join(format!("sb-watch-{}-{number}-{name}", std::process::id()))
}

/// Answers what a node agent of node n1 must know of the server's content.
pub fn content(server: &ApiServer) -> BTreeMap<ObjectKey, Object> {
    let mut names = Names::default();
    let mut expected = BTreeMap::new();
    let kinds = [
        (Kind::Service, Resource::Services),
        (Kind::EndpointSlice, Resource::EndpointSlices),
        (Kind::Node, Resource::Nodes),
        (Kind::ServiceCidr, Resource::ServiceCidrs),
    ];
    for (kind, resource) in kinds {
        for object in server.list(resource) {
            let label = |name: &str| object["metadata"]["labels"].get(name).is_some();
            let wanted = match kind {
                Kind::Service => {
                    !label("service.kubernetes.io/service-proxy-name")
                        && object["spec"]["clusterIP"] != "None"
                }
                Kind::EndpointSlice => !label("service.kubernetes.io/headless"),
                Kind::Node => object["metadata"]["name"] == "n1",
                Kind::ServiceCidr => true,
            };
            if wanted {
                let object = objects::decode_json(kind, object.to_string().as_bytes(), &mut names).unwrap();
                expected.insert(key_of(&object), object);
            }
        }
    }
    expected
}

/// Two Services with their slices, the own node and another one.
pub fn fill(server: &ApiServer) {
    for name in ["web", "api"] {
        server.apply(service(name));
        server.apply(slice(name, &["10.244.1.5", "10.244.2.6"]));
    }
    server.apply(node("n1"));
    server.apply(node("n2"));
}

pub fn json_only() -> Options {
    Options { behaviour: Behaviour { protobuf: false, ..Behaviour::default() }, ..Options::default() }
}

pub fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
           "spec": {"ports": [{"name": "http", "port": 80}]}})
}

pub fn slice(name: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|address| json!({"addresses": [address], "nodeName": "n1"})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
           "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]})
}

pub fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node",
           "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": "z1"}},
           "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"}]}})
}

/// Answers kind and name of an object.
pub fn key_of(object: &Object) -> ObjectKey {
    let (kind, name) = match object {
        Object::Service(service) => (Kind::Service, service.key.as_str().into()),
        Object::EndpointSlice(slice) => (Kind::EndpointSlice, slice.key.clone()),
        Object::Node(node) => (Kind::Node, node.name.clone()),
        Object::ServiceCidr(cidr) => (Kind::ServiceCidr, cidr.name.clone()),
    };
    ObjectKey { kind, name }
}
