//! Lists and watches against a model of all writes: whoever begins anywhere in the history, with any selector, ends up
//! with what a list shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use testkit::answers::{Access, Call, Client, Frames};
use tokio::time::timeout;

use super::machine::Machine;
use super::replay::{Dice, Replica, Told, bare, block_on, list, name, revision};

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
const WRITERS: u64 = 4;
const WRITES: u64 = 100;
const WATCHERS: u64 = 40;
const SEEDS: [u64; 3] = [1, 2, 3];
/// A watch has told everything by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nothing more may come after so long.
const QUIET: Duration = Duration::from_millis(200);

/// What was acknowledged.
#[derive(Default)]
struct Written {
    /// Objects as the answers showed them, by revision.
    objects: BTreeMap<u64, Value>,
    /// The answer to a deletion has no revision.
    deletions: usize,
}

/// What happened, as a watch from the beginning told it: a name and what it is from then on, by revision.
#[derive(Default)]
struct History(BTreeMap<u64, (String, Option<Value>)>);

/// Which objects a client wants: the query, and the same as a question.
struct Selection {
    query: &'static str,
    wants: fn(&Value) -> bool,
}

const SELECTIONS: [Selection; 7] = [
    Selection { query: "", wants: |_| true },
    Selection { query: "&labelSelector=app%3Da", wants: |object| label(object, "app") == Some("a") },
    Selection { query: "&labelSelector=app!%3Da", wants: |object| label(object, "app") != Some("a") },
    Selection {
        query: "&labelSelector=app+in+(a,b),tier",
        wants: |object| matches!(label(object, "app"), Some("a" | "b")) && label(object, "tier").is_some(),
    },
    Selection { query: "&labelSelector=!tier", wants: |object| label(object, "tier").is_none() },
    Selection { query: "&fieldSelector=metadata.name%3D1-3", wants: |object| name(object) == "1-3" },
    Selection {
        query: "&fieldSelector=metadata.name!%3D1-3&labelSelector=app",
        wants: |object| name(object) != "1-3" && label(object, "app").is_some(),
    },
];

fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"][key].as_str()
}

impl History {
    /// What a list at a revision shows.
    fn at(&self, until: u64, wants: fn(&Value) -> bool) -> BTreeMap<String, Value> {
        let mut objects = BTreeMap::new();
        for (name, object) in self.0.range(..=until).map(|(_, change)| change) {
            match object {
                Some(object) => objects.insert(name.clone(), object.clone()),
                None => objects.remove(name),
            };
        }
        objects.retain(|_, object| wants(object));
        objects
    }

    /// Follows a watch of everything until nothing more comes; compares it with what was acknowledged.
    async fn follow(mut frames: Frames, first: u64, written: &Written) -> Self {
        let mut replica = Replica { revision: first, ..Replica::default() };
        let mut history = Self::default();
        while let Ok(frame) = timeout(QUIET * 5, frames.next()).await {
            let frame = frame.expect("the watch goes on");
            assert_eq!(replica.apply(&frame), Ok(Told::Change), "{frame}");
            let name = name(&frame["object"]);
            let object = replica.objects.get(&name).cloned();
            history.0.insert(replica.revision, (name, object));
        }
        let objects = history.0.iter().filter_map(|(at, (_, object))| Some((*at, object.clone()?)));
        assert_eq!(objects.collect::<BTreeMap<_, _>>(), written.objects, "what was written is what was told");
        assert_eq!(history.0.values().filter(|(_, object)| object.is_none()).count(), written.deletions);
        history
    }
}

#[test]
fn events_applied_to_a_list_give_the_next_list() {
    let machine = Machine::start();
    for seed in SEEDS {
        block_on(walk(machine.server.access(), seed));
    }
}

async fn walk(access: &Access, seed: u64) {
    let written = Arc::new(Mutex::new(Written::default()));
    let first = empty(access).await;
    let from_first = Call::new(Method::GET, &format!("{COLLECTION}?watch=true&resourceVersion={first}"));
    let (_, everything) = Client::new(access).watch(&from_first).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (written, client) = (written.clone(), Client::new(access));
        writers.spawn(write(client, written, (writer, Dice::new(seed * 1000 + writer))));
    }
    let mut watchers = tokio::task::JoinSet::new();
    for watcher in 0..WATCHERS {
        tokio::time::sleep(Duration::from_millis(Dice::new(seed + watcher).below(20))).await;
        let (written, access) = (written.clone(), access.clone());
        watchers.spawn(async move {
            let mut dice = Dice::new(seed * 2000 + watcher);
            let selection = dice.pick(&SELECTIONS);
            let last = written.lock().unwrap().objects.keys().last().copied().unwrap_or(first);
            let begun = begin(&access, (first, last), (&mut dice, selection)).await;
            (watcher, selection, begun)
        });
    }
    let mut begun = Vec::new();
    while let Some(watching) = watchers.join_next().await {
        begun.push(watching.unwrap());
    }
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    let written = std::mem::take(&mut *written.lock().unwrap());
    let history = Arc::new(History::follow(everything, first, &written).await);
    assert!(history.0.len() as u64 > WRITERS * WRITES / 4, "{} changes", history.0.len());
    let mut client = Client::new(access);
    let mut following = tokio::task::JoinSet::new();
    for (watcher, selection, watching) in begun {
        let said = format!("seed {seed}, watcher {watcher}, {}", selection.query);
        let end = list(&mut client, &format!("{COLLECTION}?{}", selection.query), None).await.unwrap();
        assert_eq!(end.objects, history.at(end.revision, selection.wants), "{said}: the last list");
        let begin = &watching.replica;
        assert_eq!(begin.objects, history.at(begin.revision, selection.wants), "{said}: the first list");
        following.spawn(follow(watching, (end, history.clone()), said));
    }
    while let Some(followed) = following.join_next().await {
        followed.unwrap();
    }
}

/// Removes everything and answers the revision after that.
async fn empty(access: &Access) -> u64 {
    let mut client = Client::new(access);
    client.call(&Call::new(Method::DELETE, COLLECTION)).await.unwrap();
    let left = list(&mut client, COLLECTION, None).await.unwrap();
    assert!(left.objects.is_empty(), "{:?}", left.objects.keys());
    left.revision
}

/// Makes random writes to objects that nobody else writes to.
async fn write(mut client: Client, acknowledged: Arc<Mutex<Written>>, (writer, mut dice): (u64, Dice)) {
    for number in 0..WRITES {
        let name = format!("{writer}-{}", dice.below(8));
        let path = format!("{COLLECTION}/{name}");
        let mut labels = serde_json::Map::new();
        labels.insert("app".into(), json!(dice.pick(&["a", "b", "c", ""])));
        if dice.below(2) == 0 {
            labels.insert("tier".into(), json!("x"));
        }
        let object = json!({"metadata": {"name": name, "labels": labels}, "data": {"n": number.to_string()}});
        let call = match dice.below(6) {
            0 | 1 => Call::json(Method::POST, COLLECTION, &object),
            2 => Call::json(Method::PUT, &path, &object),
            3 | 4 => {
                let tier = if dice.below(2) == 0 { json!(null) } else { json!("y") };
                let patch =
                    json!({"metadata": {"labels": {"tier": tier}}, "data": {"n": number.to_string()}});
                Call::new(Method::PATCH, &path).with_body("application/merge-patch+json", patch.to_string())
            }
            _ => Call::new(Method::DELETE, &path),
        };
        let answer = client.call(&call).await.unwrap();
        let body = answer.json();
        let mut acknowledged = acknowledged.lock().unwrap();
        match (answer.code, call.method == Method::DELETE) {
            (200 | 201, false) => drop(acknowledged.objects.insert(revision(&body), bare(&body))),
            (200, true) => acknowledged.deletions += 1,
            (404 | 409, _) => {}
            (code, _) => panic!("{} {} answered {code}: {body}", call.method, call.path),
        }
    }
}

/// A watch on its way and what its client knows.
struct Watching {
    replica: Replica,
    frames: Frames,
    /// The objects that were there are being told.
    is_initial: bool,
}

/// Begins to watch: after a list, somewhere in the known history, or with what is there.
async fn begin(
    access: &Access,
    (first, last): (u64, u64),
    (dice, selection): (&mut Dice, &Selection),
) -> Watching {
    let mut client = Client::new(access);
    let way = dice.below(3);
    let limit = if dice.below(2) == 0 { Some(3) } else { None };
    let path = format!("{COLLECTION}?{}", selection.query);
    let (replica, question) = match way {
        0 => {
            let replica = list(&mut client, &path, limit).await.unwrap();
            let question = format!("resourceVersion={}", replica.revision);
            (replica, question)
        }
        1 => {
            let at = first + dice.below(last - first + 1);
            let exactly = format!("{path}&resourceVersion={at}&resourceVersionMatch=Exact");
            let replica = list(&mut client, &exactly, limit).await.unwrap();
            assert_eq!(replica.revision, at, "{exactly}");
            let question = format!("resourceVersion={}&allowWatchBookmarks=true", replica.revision);
            (replica, question)
        }
        _ => {
            let question =
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
            (Replica::default(), question.to_owned())
        }
    };
    let call = Call::new(Method::GET, &format!("{path}&watch=true&{question}"));
    let (answer, frames) = client.watch(&call).await.unwrap();
    assert_eq!(answer.code, 200, "{}", call.path);
    Watching { replica, frames, is_initial: way == 2 }
}

/// Applies all events; the end must be the final list, and each object one that was written.
async fn follow(mut watching: Watching, (end, history): (Replica, Arc<History>), said: String) {
    let mut replica = watching.replica;
    loop {
        let is_at_end = !watching.is_initial && replica.objects == end.objects;
        let frame = match timeout(if is_at_end { QUIET } else { PATIENCE }, watching.frames.next()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => panic!("{said}: the watch ended at {}", replica.revision),
            Err(_) if is_at_end => return,
            Err(_) => {
                let missing =
                    end.objects.iter().filter(|(name, object)| replica.objects.get(*name) != Some(object));
                let missing: Vec<_> = missing.map(|(name, _)| name).collect();
                let known: Vec<_> = replica.objects.keys().collect();
                panic!("{said}: known are {known:?} at {}, not as listed: {missing:?}", replica.revision);
            }
        };
        if watching.is_initial && frame["type"] != "BOOKMARK" {
            replica.apply_initial(&frame).unwrap_or_else(|error| panic!("{said}: {error}"));
            continue;
        }
        let told = replica.apply(&frame).unwrap_or_else(|error| panic!("{said}: {error}"));
        assert_ne!(told, Told::Expired, "{said}");
        assert!(!watching.is_initial || told == Told::Bookmark { ends_initial: true }, "{said}: {frame}");
        watching.is_initial = false;
        let change = history.0.get(&replica.revision);
        match frame["type"].as_str() {
            Some("BOOKMARK") => {}
            Some("DELETED") => assert!(change.is_some(), "{said}: no change is at the revision of {frame}"),
            Some(_) | None => {
                let written = change.and_then(|(_, object)| object.as_ref());
                assert_eq!(written, Some(&bare(&frame["object"])), "{said}: not what was written");
            }
        }
    }
}
