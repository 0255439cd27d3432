//! The server is killed a hundred times in the middle of writes: what it acknowledged is there, nothing is given out twice, its
//! revisions never go back, and watches go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};
use testkit::answers::{Access, Call, CallError, Client};

use super::machine::Machine;
use super::replay::{Dice, Replica, Told, bare, block_on, list, name, revision};

const ROUNDS: u64 = 100;
const WRITERS: u64 = 6;
/// Objects of each kind that a writer has.
const NAMES: u64 = 5;
/// A round is given up when the whole test has taken so long; the later rounds would tell nothing new.
const TIME: Duration = Duration::from_secs(75);
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// What a writer knows of one object.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Absent,
    /// As it was answered.
    Present(Value),
    /// The server was killed while it was asked for something: as before, or as asked.
    Either(Box<Known>, Asked),
}

#[derive(Debug, Clone, PartialEq)]
enum Asked {
    Deleted,
    /// The value of the label that each write sets anew.
    Labelled(String),
}

/// One writer with the objects that only it writes to, by their paths.
struct Writer {
    number: u64,
    dice: Dice,
    /// Counts the writes, for labels that differ.
    writes: u64,
    known: BTreeMap<String, Known>,
    acknowledged: u64,
    /// The highest revision that was answered.
    revision: u64,
}

#[test]
fn nothing_acknowledged_is_lost() {
    let begin = Instant::now();
    let mut machine = Machine::start();
    let access = machine.server.access().clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut writers: Vec<_> = (0..WRITERS).map(Writer::new).collect();
    let mut follower = block_on(Follower::begin(&access));
    let mut dice = Dice::new(7);
    let (mut rounds, mut revision) = (0, 0);
    while rounds < ROUNDS && begin.elapsed() < TIME {
        rounds += 1;
        let writing: Vec<_> =
            writers.drain(..).map(|writer| runtime.spawn(writer.run(access.clone()))).collect();
        let following = runtime.spawn(follower.run(access.clone()));
        std::thread::sleep(Duration::from_micros(dice.below(300_000)));
        machine.server.kill();
        for writer in writing {
            writers.push(runtime.block_on(writer).unwrap());
        }
        follower = runtime.block_on(following).unwrap();
        machine.server.restart().unwrap();
        revision = block_on(check(&access, (&mut writers, &follower), revision));
    }
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    let Follower { resumed, expired, .. } = follower;
    println!(
        "{rounds} kills, {acknowledged} acknowledged writes, {resumed} watches resumed, {expired} began anew"
    );
    println!("{:.1} s", begin.elapsed().as_secs_f64());
    assert!(acknowledged > rounds * 10, "{acknowledged} writes were acknowledged");
    assert!(resumed > 10, "{resumed} watches went on");
    assert!(rounds >= ROUNDS / 2, "{rounds} rounds");
}

/// Looks at everything after a restart; answers the revision.
async fn check(access: &Access, (writers, follower): (&mut [Writer], &Follower), before: u64) -> u64 {
    let mut client = Client::new(access);
    let mut all = BTreeMap::new();
    let mut revision = before;
    for collection in [CONFIG_MAPS, SERVICES] {
        let found = list(&mut client, collection, None).await.unwrap();
        assert!(found.revision >= revision, "revisions go back: {} after {revision}", found.revision);
        revision = found.revision;
        all.extend(found.objects.into_iter().map(|(name, object)| (format!("{collection}/{name}"), object)));
    }
    assert!(revision >= follower.replica.revision, "{revision} after {} was told", follower.replica.revision);
    nothing_is_held_twice(&all);
    for writer in writers {
        assert!(revision >= writer.revision, "{revision} after {} was acknowledged", writer.revision);
        writer.learn(&all);
    }
    revision
}

/// ClusterIPs and node ports, of all Services that there are.
fn nothing_is_held_twice(all: &BTreeMap<String, Value>) {
    let mut held = BTreeSet::new();
    for (path, service) in all.iter().filter(|(path, _)| path.starts_with(SERVICES)) {
        let spec = &service["spec"];
        let addresses = spec["clusterIPs"].as_array().into_iter().flatten();
        let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
        for thing in addresses.chain(ports).filter(|thing| !thing.is_null()) {
            assert!(held.insert(thing.to_string()), "{path}: {thing} is held twice");
        }
    }
}

impl Writer {
    fn new(number: u64) -> Self {
        let (known, dice) = (BTreeMap::new(), Dice::new(number));
        Self { number, dice, writes: 0, known, acknowledged: 0, revision: 0 }
    }

    /// Writes until the server is gone.
    async fn run(mut self, access: Access) -> Self {
        let mut client = Client::new(&access);
        while self.write(&mut client).await.is_ok() {}
        self
    }

    async fn write(&mut self, client: &mut Client) -> Result<(), CallError> {
        let collection = self.dice.pick(&[CONFIG_MAPS, SERVICES]);
        let name = format!("w{}-{}", self.number, self.dice.below(NAMES));
        let path = format!("{collection}/{name}");
        let known = self.known.get(&path).cloned().unwrap_or(Known::Absent);
        self.writes += 1;
        let label = self.writes.to_string();
        let (call, asked) = match &known {
            Known::Absent => {
                let object = fresh(&name, (*collection == SERVICES, &label));
                (Call::json(Method::POST, collection, &object), Asked::Labelled(label))
            }
            Known::Present(_) if self.dice.below(3) == 0 => {
                (Call::new(Method::DELETE, &path), Asked::Deleted)
            }
            Known::Present(object) => {
                let mut object = object.clone();
                object["metadata"]["labels"]["n"] = json!(label);
                (Call::json(Method::PUT, &path, &object), Asked::Labelled(label))
            }
            Known::Either(..) => panic!("{path} was not looked at"),
        };
        let answer = match client.call_once(&call).await {
            Ok(answer) => answer,
            Err(error) => {
                self.known.insert(path, Known::Either(Box::new(known), asked));
                return Err(error);
            }
        };
        let body = answer.json();
        assert!(matches!(answer.code, 200 | 201), "{} {path} answered {}: {body}", call.method, answer.code);
        self.acknowledged += 1;
        let now = if asked == Asked::Deleted { Known::Absent } else { self.present(body) };
        self.known.insert(path, now);
        Ok(())
    }

    /// Takes an object as it was answered to a write: its revision is beyond all before it.
    fn present(&mut self, object: Value) -> Known {
        let revision = revision(&object);
        assert!(
            revision > self.revision,
            "{} was answered {revision} after {}",
            name(&object),
            self.revision
        );
        self.revision = revision;
        Known::Present(bare(&object))
    }

    /// Compares what there is after a restart with what is known, and takes it over.
    fn learn(&mut self, all: &BTreeMap<String, Value>) {
        for (path, known) in &mut self.known {
            let found = all.get(path);
            assert!(known.may_be(found), "{path} is {found:?}, known is {known:?}");
            *known = found.cloned().map_or(Known::Absent, Known::Present);
        }
    }
}

impl Known {
    fn may_be(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Self::Absent, found) => found.is_none(),
            (Self::Present(known), found) => found == Some(known),
            (Self::Either(_, Asked::Deleted), None) => true,
            (Self::Either(_, Asked::Labelled(label)), Some(found))
                if found["metadata"]["labels"]["n"] == json!(label) =>
            {
                true
            }
            (Self::Either(before, _), found) => before.may_be(found),
        }
    }
}

fn fresh(name: &str, (is_service, label): (bool, &str)) -> Value {
    let metadata = json!({"name": name, "labels": {"n": label}});
    if is_service {
        json!({"metadata": metadata, "spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    } else {
        json!({"metadata": metadata, "data": {"k": "v".repeat(300)}})
    }
}

/// Somebody who watches the ConfigMaps all the time.
struct Follower {
    replica: Replica,
    /// How often the watch went on where it had been, and how often a list was needed.
    resumed: u32,
    expired: u32,
}

impl Follower {
    async fn begin(access: &Access) -> Self {
        let replica = list(&mut Client::new(access), CONFIG_MAPS, None).await.unwrap();
        Self { replica, resumed: 0, expired: 0 }
    }

    /// Goes on from what is known until the server is gone; only a revision that was told is forgotten by a restart, and only
    /// if something was written after it.
    async fn run(mut self, access: Access) -> Self {
        // Errors mean that the server is gone, at the next one it goes on.
        drop(self.follow(&access).await);
        self
    }

    async fn follow(&mut self, access: &Access) -> Result<(), CallError> {
        let mut client = Client::new(access);
        loop {
            let from = format!("{CONFIG_MAPS}?watch=true&resourceVersion={}", self.replica.revision);
            let (_, mut frames) = client.watch(&Call::new(Method::GET, &from)).await?;
            let mut is_new = true;
            loop {
                let Some(frame) = frames.next().await else { return Ok(()) };
                // The last line of a server that was killed may be cut off.
                if !frame.is_object() {
                    return Ok(());
                }
                if self.replica.apply(&frame).unwrap() == Told::Expired {
                    break;
                }
                self.resumed += u32::from(std::mem::take(&mut is_new));
            }
            let now = list(&mut client, CONFIG_MAPS, None).await?;
            assert!(
                now.revision >= self.replica.revision,
                "{} after {}",
                now.revision,
                self.replica.revision
            );
            self.replica = now;
            self.expired += 1;
        }
    }
}

#[test]
fn a_lost_write_would_be_noticed() {
    let object = |label: &str| json!({"metadata": {"labels": {"n": label}}});
    let present = Known::Present(object("1"));
    let either = |known: &Known, asked| Known::Either(Box::new(known.clone()), asked);
    for (known, found, expected) in [
        (Known::Absent, None, true),
        (Known::Absent, Some("1"), false),
        (present.clone(), Some("1"), true),
        (present.clone(), Some("2"), false),
        (present.clone(), None, false),
        (either(&present, Asked::Deleted), None, true),
        (either(&present, Asked::Deleted), Some("1"), true),
        (either(&present, Asked::Deleted), Some("2"), false),
        (either(&present, Asked::Labelled("2".into())), Some("2"), true),
        (either(&present, Asked::Labelled("2".into())), Some("1"), true),
        (either(&present, Asked::Labelled("2".into())), None, false),
        (either(&Known::Absent, Asked::Labelled("2".into())), None, true),
        (either(&Known::Absent, Asked::Labelled("2".into())), Some("3"), false),
    ] {
        assert_eq!(known.may_be(found.map(object).as_ref()), expected, "{known:?} {found:?}");
    }
    let service =
        |ip: &str, port: u16| json!({"spec": {"clusterIPs": [ip], "ports": [{"nodePort": port}, {}]}});
    let all = |second| {
        BTreeMap::from([
            (format!("{SERVICES}/a"), service("10.96.0.9", 30_100)),
            (format!("{SERVICES}/b"), second),
        ])
    };
    nothing_is_held_twice(&all(service("10.96.0.8", 30_101)));
    for twice in [service("10.96.0.9", 30_101), service("10.96.0.8", 30_100)] {
        assert!(std::panic::catch_unwind(|| nothing_is_held_twice(&all(twice))).is_err());
    }
}
