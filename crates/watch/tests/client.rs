//! The client of controllers against a server with faults: what it reads and writes, and that following tells the truth.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{PATIENCE, hasty, service};
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Fault, FaultRule, Options, Resource, Verb};
use tokio::sync::mpsc;
use watch::ApiConfig;
use watch::client::{Client, ClientError, Collection, PatchType, Told, follow};

const SERVICES: &str = "/api/v1/services";

/// A server with TLS, and its client.
async fn world() -> (ApiServer, Client) {
    let server = ApiServer::start(Options { tls: true, ..Options::default() }).unwrap();
    let path = common::temporary("kubeconfig");
    std::fs::write(&path, server.kubeconfig()).unwrap();
    let mut config = ApiConfig::new(Some(path.clone()), None, "");
    config.timing = hasty();
    let client = Client::connect(&config).await.unwrap();
    assert_eq!(client.server().await.trim_end_matches('/'), server.url());
    (server, client)
}

#[tokio::test]
async fn objects_are_written_and_read_back() {
    let (server, client) = world().await;
    let collection = "/api/v1/namespaces/shop/services";
    let created = client.create(collection, &service("web")).await.unwrap();
    assert_eq!(created["metadata"]["name"], "web");
    assert!(client.create(collection, &service("web")).await.unwrap_err().is_already_exists());
    let path = format!("{collection}/web");
    assert_eq!(client.get(&path).await.unwrap(), created);

    let patched = client.patch(&path, PatchType::Merge, &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(patched.unwrap()["metadata"]["labels"], json!({"a": "b"}));
    let stale = client.update(&path, &created).await.unwrap_err();
    assert!(stale.is_conflict() && !stale.is_retriable(), "{stale}");
    let refused = client.patch(&path, PatchType::Strategic, &json!({})).await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { code: 415, .. }), "{refused}");

    client.delete(&path, &Value::Null).await.unwrap();
    assert!(client.get(&path).await.unwrap_err().is_not_found());
    server.inject(FaultRule::new(Fault::Reset).times(1));
    let reset = client.get(&path).await.unwrap_err();
    assert!(matches!(reset, ClientError::Unreachable(_)) && reset.is_retriable(), "{reset}");
    server.inject(FaultRule::new(Fault::Hang).times(1));
    assert_eq!(
        client.get(&path).await.unwrap_err(),
        ClientError::Unreachable("no answer within 400ms".into())
    );
    assert!(client.get(&path).await.unwrap_err().is_not_found());
}

/// What was told so far: names with the label `v`.
struct Followed {
    receiver: mpsc::Receiver<Told<(String, String)>>,
    known: BTreeMap<String, String>,
    synced: u32,
    log: common::Log,
    _logging: tracing::subscriber::DefaultGuard,
}

fn decode(bytes: &[u8]) -> Result<(String, String), String> {
    let object: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let label = object["metadata"]["labels"]["v"].as_str().unwrap_or_default().to_owned();
    if label == "unreadable" {
        return Err("unreadable".into());
    }
    Ok((object["metadata"]["name"].as_str().unwrap().to_owned(), label))
}

impl Followed {
    fn start(client: &Client) -> Self {
        let (log, logging) = common::Log::collect();
        let (tell, receiver) = mpsc::channel(4);
        tokio::spawn(follow(client.clone(), Collection::all(SERVICES), decode, tell));
        Self { receiver, known: BTreeMap::new(), synced: 0, log, _logging: logging }
    }

    /// Takes what is told until nothing more comes.
    async fn take(&mut self) {
        while let Ok(told) = tokio::time::timeout(Duration::from_millis(20), self.receiver.recv()).await {
            match told.expect("it follows for ever") {
                Told::Put((name, label)) => drop(self.known.insert(name, label)),
                Told::Gone { namespace, name } => {
                    assert_eq!(namespace, "shop");
                    assert!(self.known.remove(&name).is_some(), "{name} was gone before");
                }
                Told::Synced => self.synced += 1,
            }
        }
    }

    async fn until(&mut self, server: &ApiServer, what: &str) {
        let start = Instant::now();
        let expected = || {
            let services = server.list(Resource::Services).into_iter();
            services.filter_map(|object| decode(object.to_string().as_bytes()).ok()).collect()
        };
        while self.synced == 0 || self.known != expected() {
            assert!(
                start.elapsed() < PATIENCE,
                "{what}: {} known\n{}",
                self.known.len(),
                self.log.lines().join("\n")
            );
            self.take().await;
        }
    }
}

fn labelled(name: &str, label: &str) -> Value {
    let mut object = service(name);
    object["metadata"]["labels"] = json!({"v": label});
    object
}

#[tokio::test]
async fn following_tells_what_the_server_has_through_faults_and_restarts() {
    let (mut server, client) = world().await;
    for number in 0..700 {
        server.apply(labelled(&format!("s{number}"), "1"));
    }
    // The second page breaks, then pages expire.
    server.inject(
        FaultRule::new(Fault::ResetAfter(1000)).on(Resource::Services).verb(Verb::List).skip(1).times(1),
    );
    server.inject(FaultRule::new(Fault::gone()).on(Resource::Services).verb(Verb::List).skip(2).times(1));
    let mut followed = Followed::start(&client);
    followed.until(&server, "the first list").await;

    server.apply(labelled("s1", "2"));
    server.delete("Service", "shop", "s2");
    followed.until(&server, "the watch").await;

    server.stop();
    server.apply(labelled("s3", "2"));
    server.delete("Service", "shop", "s4");
    server.compact();
    server.restart().unwrap();
    followed.until(&server, "history lost").await;
    assert!(followed.synced > 1);

    let before = server.revision();
    server.apply(labelled("s5", "2"));
    server.delete("Service", "shop", "s6");
    server.apply(labelled("new", "1"));
    followed.until(&server, "before the restore").await;
    server.stop();
    server.restore(before);
    server.restart().unwrap();
    followed.until(&server, "restored from a backup").await;

    for fault in [Fault::GoneEvent, Fault::ResetAfter(10), Fault::EndAfter(10), Fault::HangAfter(10)] {
        server.inject(FaultRule::new(fault.clone()).on(Resource::Services).verb(Verb::Watch).times(2));
        server.apply(labelled("s7", &format!("{fault:?}")));
        server.delete("Service", "shop", "s8");
        followed.until(&server, &format!("{fault:?}")).await;
        server.apply(labelled("s8", "1"));
        followed.until(&server, &format!("after {fault:?}")).await;
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_stays_as_it_was() {
    let (server, client) = world().await;
    server.apply(labelled("a", "1"));
    let mut followed = Followed::start(&client);
    followed.until(&server, "the first list").await;
    server.apply(labelled("a", "unreadable"));
    server.apply(labelled("b", "1"));
    while followed.known.len() < 2 {
        followed.take().await;
    }
    assert_eq!(followed.known["a"], "1");
    server.delete("Service", "shop", "a");
    followed.until(&server, "deleted").await;
}
