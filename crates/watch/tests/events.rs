//! Events that the agent records, at a real connection to a test API server.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{Log, PATIENCE, hasty, temporary};
use model::ServiceKey;
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Fault, FaultRule, Options, Refusal, Resource, Verb};
use tokio::task::JoinHandle;
use watch::{ApiConfig, EventRecorder, EventType, Happening, Regarding, record_events};

/// A server, and a recorder whose task runs on this thread.
struct World {
    server: ApiServer,
    recorder: Option<EventRecorder>,
    recording: Option<JoinHandle<()>>,
    config: ApiConfig,
    log: Log,
    _logging: tracing::subscriber::DefaultGuard,
}

impl World {
    fn start() -> Self {
        Self::start_with(Options::default(), |_| {})
    }

    /// Starts both; `prepare` sees the server before the first event does.
    fn start_with(options: Options, prepare: impl FnOnce(&mut ApiServer)) -> Self {
        let (log, logging) = Log::collect();
        let mut server = ApiServer::start(options).unwrap();
        let kubeconfig = temporary("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        prepare(&mut server);
        let mut config = ApiConfig::new(Some(kubeconfig), None, "n1");
        config.timing = hasty();
        let (recorder, recording) = record_events(config.clone());
        let recording = Some(tokio::spawn(recording));
        Self { server, recorder: Some(recorder), recording, config, log, _logging: logging }
    }

    fn record(&self, happening: Happening) {
        self.recorder.as_ref().unwrap().record(happening);
    }

    fn events(&self) -> Vec<Value> {
        self.server.list(Resource::Events)
    }

    /// Waits until the server has events of which this is true.
    async fn until(&self, what: &str, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let events = self.events();
            if done(&events) {
                return events;
            }
            let log = || self.log.lines().join("\n");
            assert!(start.elapsed() < PATIENCE, "never: {what}\n{events:#?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn until_requests(&self, count: usize) -> Vec<String> {
        let (start, mut requests) = (Instant::now(), Vec::new());
        while requests.len() < count {
            requests.extend(self.requests());
            assert!(start.elapsed() < PATIENCE, "{requests:?}\n{}", self.log.lines().join("\n"));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        requests
    }

    /// Takes method and path of what the server was asked.
    fn requests(&self) -> Vec<String> {
        let records = self.server.take_requests();
        records.iter().map(|record| format!("{} {}", record.method, record.path)).collect()
    }

    /// Lets go of the recorder and waits for the end. Answers how long it took.
    async fn end(&mut self) -> Duration {
        self.recorder = None;
        let start = Instant::now();
        tokio::time::timeout(PATIENCE, self.recording.take().unwrap()).await.unwrap().unwrap();
        start.elapsed()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(recording) = &self.recording {
            recording.abort();
        }
        drop(std::fs::remove_file(self.config.kubeconfig.as_ref().unwrap()));
    }
}

fn starting() -> Happening {
    Happening {
        kind: EventType::Normal,
        regarding: Regarding::Node,
        reason: "Starting",
        action: "StartKubeProxy",
        note: String::new(),
    }
}

fn busy_port(service: &str, note: &str) -> Happening {
    Happening {
        kind: EventType::Warning,
        regarding: Regarding::Service(ServiceKey::new("shop", service)),
        reason: "FailedToStartServiceHealthcheck",
        action: "Listen",
        note: note.into(),
    }
}

const NODE_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const SHOP_EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events";

/// Takes the fields away that differ from run to run, after a look at them.
fn settled(mut event: Value) -> Value {
    let stem = event["regarding"]["name"].as_str().unwrap();
    let (prefix, time) = event["metadata"]["name"].as_str().unwrap().rsplit_once('.').unwrap();
    assert_eq!(prefix, stem);
    let nanoseconds = u64::from_str_radix(time, 16).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let age = now.checked_sub(Duration::from_nanos(nanoseconds)).unwrap();
    assert!(time.len() == 16 && age < PATIENCE, "{time} {age:?}");
    let event_time = event["eventTime"].as_str().unwrap();
    assert_eq!(event_time.len(), "2026-01-02T03:04:05.000006Z".len(), "{event_time}");
    let micros = format!(".{:06}Z", nanoseconds / 1000 % 1_000_000);
    assert!(event_time.ends_with(&micros), "{event_time} {micros}");
    let fields = event.as_object_mut().unwrap();
    fields.remove("metadata");
    fields.remove("eventTime");
    event
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

#[tokio::test]
async fn an_event_arrives_with_exactly_these_fields() {
    let world = World::start();
    world.record(starting());
    world.record(busy_port("web", "node n1 failed to start healthcheck \"shop/web\" on port 30080: in use"));
    let events = world.until("two events", |events| events.len() == 2).await;
    let instance = format!("kube-proxy-{}", host_name());
    assert_eq!(
        (&events[0]["metadata"]["namespace"], &events[1]["metadata"]["namespace"]),
        (&json!("default"), &json!("shop"))
    );
    let expected = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "action": "StartKubeProxy",
        "note": "",
        "reason": "Starting",
        "regarding": {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"},
        "reportingController": "kube-proxy",
        "reportingInstance": instance,
        "type": "Normal",
    });
    assert_eq!(settled(events[0].clone()), expected);
    let expected = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "action": "Listen",
        "note": "node n1 failed to start healthcheck \"shop/web\" on port 30080: in use",
        "reason": "FailedToStartServiceHealthcheck",
        "regarding": {"apiVersion": "v1", "kind": "Service", "namespace": "shop", "name": "web"},
        "reportingController": "kube-proxy",
        "reportingInstance": instance,
        "type": "Warning",
    });
    assert_eq!(settled(events[1].clone()), expected);
    assert_eq!(world.requests(), [format!("POST {NODE_EVENTS}"), format!("POST {SHOP_EVENTS}")]);
    assert_eq!(world.log.warnings(""), [""; 0]);
}

#[tokio::test]
async fn the_same_again_is_a_series_with_few_writes() {
    let mut world = World::start();
    world.record(busy_port("web", "in use"));
    world.until("the event", |events| events.len() == 1).await;
    world.record(busy_port("web", "in use by another"));
    let events = world.until("the series", |events| events[0]["series"]["count"] == 2).await;
    assert_eq!(events[0]["note"], "in use");
    let path = format!("{SHOP_EVENTS}/{}", events[0]["metadata"]["name"].as_str().unwrap());
    assert_eq!(world.requests(), [format!("POST {SHOP_EVENTS}"), format!("PATCH {path}")]);
    for _ in 0..500 {
        world.record(busy_port("web", "in use"));
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.requests(), [""; 0]);
    // The last count is written at the end.
    world.end().await;
    assert_eq!(world.requests(), [format!("PATCH {path}")]);
    let events = world.events();
    assert_eq!((events.len(), &events[0]["series"]["count"]), (1, &json!(502)));
    assert!(events[0]["series"]["lastObservedTime"].as_str() > events[0]["eventTime"].as_str());
}

#[tokio::test]
async fn an_event_that_the_server_forgot_is_created_anew() {
    let world = World::start();
    world.record(busy_port("web", "in use"));
    let events = world.until("the event", |events| events.len() == 1).await;
    let name = events[0]["metadata"]["name"].as_str().unwrap();
    assert!(world.server.delete("Event", "shop", name));
    world.record(busy_port("web", "in use"));
    let again = world.until("the event again", |events| events.len() == 1).await;
    assert_eq!((&again[0]["metadata"]["name"], &again[0]["series"]["count"]), (&json!(name), &json!(2)));
    let expected =
        [format!("POST {SHOP_EVENTS}"), format!("PATCH {SHOP_EVENTS}/{name}"), format!("POST {SHOP_EVENTS}")];
    assert_eq!(world.requests(), expected);
}

#[tokio::test]
async fn a_refusal_is_said_once_and_stops_nothing() {
    let forbidden =
        Refusal::new(403, "Forbidden", "events is forbidden: User cannot create resource \"events\"");
    let world = World::start_with(Options::default(), |server| {
        server.inject(FaultRule::new(Fault::refusal(&forbidden)).on(Resource::Events));
    });
    for service in ["web", "api", "db"] {
        world.record(busy_port(service, "in use"));
    }
    // One attempt for each.
    world.until_requests(3).await;
    world.log.wait_for("takes no events").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(world.requests(), [""; 0]);
    let warnings = world.log.warnings("");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("User cannot create") && warnings[0].contains("system:node-proxier"));
    // With the right to do it events come again.
    world.server.clear_faults();
    world.record(starting());
    let events = world.until("an event", |events| !events.is_empty()).await;
    assert_eq!(events[0]["reason"], "Starting");
}

#[tokio::test]
async fn events_wait_for_a_server_that_is_gone() {
    let mut world = World::start_with(Options::default(), ApiServer::stop);
    world.record(starting());
    for _ in 0..3 {
        world.record(busy_port("web", "in use"));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.server.restart().unwrap();
    let events = world.until("both events", |events| events.len() == 2).await;
    assert_eq!((&events[0]["reason"], &events[1]["series"]["count"]), (&json!("Starting"), &json!(3)));
    // It is gone again while there is an event already.
    world.server.stop();
    world.record(busy_port("web", "in use"));
    world.record(busy_port("api", "in use"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.server.restart().unwrap();
    world.until("the other event", |events| events.len() == 3).await;
    assert_eq!(world.log.warnings(""), [""; 0]);
}

#[tokio::test]
async fn failures_of_the_server_pass() {
    let reset = FaultRule::new(Fault::Reset).on(Resource::Events).verb(Verb::Create).times(1);
    let world = World::start_with(Options::default(), |server| {
        server.inject(reset);
        server
            .inject(FaultRule::new(Fault::internal_error()).on(Resource::Events).verb(Verb::Create).times(2));
        server.inject(FaultRule::new(Fault::Hang).on(Resource::Events).verb(Verb::Create).times(1));
        server.inject(FaultRule::new(Fault::html()).on(Resource::Events).verb(Verb::Create).times(1));
        // This one stores the event and breaks off the answer.
        server.inject(FaultRule::new(Fault::ResetAfter(5)).on(Resource::Events).verb(Verb::Create).times(1));
    });
    world.record(starting());
    let expected = vec![format!("POST {NODE_EVENTS}"); 7];
    assert_eq!(world.until_requests(7).await, expected);
    world
        .server
        .inject(FaultRule::new(Fault::internal_error()).on(Resource::Events).verb(Verb::Patch).times(2));
    world.record(starting());
    let events = world.until("the series", |events| events[0]["series"]["count"] == 2).await;
    assert_eq!(events.len(), 1);
    assert_eq!(world.until_requests(3).await.len(), 3);
    assert_eq!(world.log.warnings(""), [""; 0]);
}

#[tokio::test]
async fn an_event_that_always_fails_is_given_up_and_said() {
    let world = World::start_with(Options::default(), |server| {
        server.inject(FaultRule::new(Fault::internal_error()).on(Resource::Events));
    });
    world.record(busy_port("web", "in use"));
    world.log.wait_for("an event is lost").await;
    assert_eq!(world.requests().len(), 12);
    world.server.clear_faults();
    world.record(busy_port("api", "in use"));
    world.until("the other event", |events| events.len() == 1).await;
    let warnings = world.log.warnings("etcdserver: request timed out");
    assert_eq!((warnings.len(), world.log.warnings("").len()), (1, 1));
}

#[tokio::test]
async fn credentials_are_read_anew() {
    let behaviour = Behaviour { token: Some("old".into()), ..Behaviour::default() };
    let world = World::start_with(Options { tls: true, behaviour, ..Options::default() }, |_| {});
    world.record(starting());
    world.until("an event", |events| events.len() == 1).await;
    world.server.change(|behaviour| behaviour.token = Some("new".into()));
    world.record(busy_port("web", "in use"));
    world.until_requests(3).await;
    assert_eq!(world.events().len(), 1);
    std::fs::write(world.config.kubeconfig.as_ref().unwrap(), world.server.kubeconfig()).unwrap();
    world.until("the other event", |events| events.len() == 2).await;
}

#[tokio::test]
async fn recording_never_waits() {
    let (log, _logging) = Log::collect();
    let mut server = ApiServer::start(Options::default()).unwrap();
    let kubeconfig = temporary("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    server.stop();
    let mut config = ApiConfig::new(Some(kubeconfig.clone()), None, "n1");
    config.timing = hasty();
    let (recorder, recording) = record_events(config);
    // Nobody takes from the queue yet.
    let start = Instant::now();
    for number in 0..5000 {
        recorder.clone().record(busy_port(&format!("s{number:04}"), "in use"));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    let recording = tokio::spawn(recording);
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Now the ledger is full, too.
    for number in 5000..6000 {
        recorder.record(busy_port(&format!("s{number:04}"), "in use"));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.restart().unwrap();
    let start = Instant::now();
    while server.list(Resource::Events).len() < 1000 {
        assert!(
            start.elapsed() < PATIENCE,
            "{} events\n{}",
            server.list(Resource::Events).len(),
            log.lines().join("\n")
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(recorder);
    tokio::time::timeout(PATIENCE, recording).await.unwrap().unwrap();
    let names: Vec<Value> =
        server.list(Resource::Events).iter().map(|event| event["regarding"]["name"].clone()).collect();
    let expected: Vec<Value> = (0..1000).map(|number| json!(format!("s{number:04}"))).collect();
    // What was in the queue when the ledger had room again may follow; most is lost.
    assert!(
        names.starts_with(&expected),
        "{:?}",
        names.iter().zip(&expected).find(|(one, other)| one != other)
    );
    assert!(names.len() < 2_500, "{}", names.len());
    drop(std::fs::remove_file(kubeconfig));
}

#[tokio::test]
async fn the_end_writes_what_waits_and_does_not_wait_for_a_dead_server() {
    let mut world = World::start();
    for service in ["a", "b", "c"] {
        world.record(busy_port(service, "in use"));
    }
    world.end().await;
    assert_eq!(world.events().len(), 3);

    let mut world = World::start_with(Options::default(), ApiServer::stop);
    world.record(starting());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let took = world.end().await;
    assert!(took < Duration::from_secs(2), "{took:?}");

    let mut world =
        World::start_with(Options::default(), |server| server.inject(FaultRule::new(Fault::Hang)));
    world.config.timing.answer = Duration::from_secs(60);
    let (recorder, recording) = record_events(world.config.clone());
    let recording = tokio::spawn(recording);
    recorder.record(starting());
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(recorder);
    let start = Instant::now();
    tokio::time::timeout(Duration::from_secs(10), recording).await.unwrap().unwrap();
    assert!(start.elapsed() > Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn recorders_that_nobody_hears_do_not_mind() {
    let (recorder, recording) = record_events(ApiConfig::new(None, Some("127.0.0.1:1".into()), "n1"));
    drop(recording);
    for recorder in [recorder, EventRecorder::nowhere()] {
        for _ in 0..5000 {
            recorder.record(starting());
        }
    }
}

#[tokio::test]
async fn a_namespace_that_goes_away_is_no_matter_of_rights() {
    let message =
        "events is forbidden: unable to create new content in namespace shop because it is being terminated";
    let terminating = Refusal::new(403, "Forbidden", message);
    let world = World::start_with(Options::default(), |server| {
        server.inject(FaultRule::new(Fault::refusal(&terminating)).on(Resource::Events).times(1));
    });
    world.record(busy_port("web", "in use"));
    world.record(starting());
    let events = world.until("the other event", |events| !events.is_empty()).await;
    assert_eq!((events.len(), &events[0]["reason"]), (1, &json!("Starting")));
    assert_eq!(world.log.warnings(""), [""; 0]);
}
