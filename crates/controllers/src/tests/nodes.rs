//! Nodes that fall silent and come back, by a clock that is played: what is written when.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use watch::client::Told;

use super::server::Server;
use crate::action::{Action, Kind};
use crate::engine::{Engine, Verdict, verdict};
use crate::moment::Moment;
use crate::trimmed::Place;
use crate::world::News;
use crate::{Controller, Settings};

const START: i64 = 1_795_000_000_000;

/// A cluster with a clock.
struct Scene {
    server: Server,
    engine: Engine,
    living: BTreeSet<String>,
    written: Vec<String>,
    /// Whether the server can be reached.
    is_there: bool,
}

impl Scene {
    /// With nodes that live, and Pods as `name@node` that have 30 s, or as `name@node!`, that have none.
    fn new(nodes: &str, pods: &str) -> Self {
        let settings = Settings {
            controllers: [Controller::NodeLifecycle, Controller::TaintEviction].into(),
            ..Settings::default()
        };
        let server = Server { now: Moment(START), ..Server::default() };
        let living = nodes.split_whitespace().map(str::to_owned).collect();
        let engine = Engine::new(&settings);
        let mut scene = Self { server, engine, living, written: Vec::new(), is_there: true };
        for name in nodes.split_whitespace() {
            let ready =
                json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": scene.server.now.text()}]);
            let node = json!({"metadata": {"name": name}, "spec": {}, "status": {"conditions": ready}});
            scene.server.create(Kind::Node, "", node).unwrap();
        }
        for (name, node) in pods.split_whitespace().map(|pod| pod.split_once('@').unwrap()) {
            let toleration = json!([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]);
            let tolerations = if node.ends_with('!') { json!([]) } else { toleration };
            let node = node.trim_end_matches('!');
            let pod = json!({
                "metadata": {"name": name}, "spec": {"nodeName": node, "tolerations": tolerations},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
            });
            scene.server.create(Kind::Pod, "shop", pod).unwrap();
        }
        scene.tell();
        for news in [
            News::Pod(Told::Synced),
            News::ReplicaSet(Told::Synced),
            News::Deployment(Told::Synced),
            News::Node(Told::Synced),
            News::Lease(Told::Synced),
            News::Namespace(Told::Synced),
            News::Account(Told::Synced),
            News::Root(Told::Synced),
        ] {
            scene.engine.hear(news, Moment(START));
        }
        scene
    }

    fn second(&self) -> i64 {
        (self.server.now.0 - START) / 1000
    }

    fn tell(&mut self) {
        let now = self.server.now;
        let news: Vec<News> = self.server.watches.values_mut().flat_map(|watch| watch.drain(..)).collect();
        news.into_iter().for_each(|news| self.engine.hear(news, now));
    }

    /// Lets so many seconds pass. A node that lives renews its Lease every ten.
    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.server.now = self.server.now.plus_seconds(1);
            if self.is_there && self.second() % 10 == 0 {
                for name in &self.living {
                    let renewed = self.server.now.text();
                    let lease = json!({"metadata": {"name": name}, "spec": {"renewTime": renewed}});
                    let news = News::Lease(Told::Put(serde_json::from_value(lease).unwrap()));
                    self.engine.hear(news, self.server.now);
                }
            }
            self.work();
        }
    }

    fn work(&mut self) {
        self.tell();
        while let Some((job, said)) = self.engine.next(self.server.now) {
            let second = self.second();
            self.written.extend(
                said.iter().filter(|said| !said.is_once).map(|said| format!("{second}: {}", said.message)),
            );
            let mut last = Verdict::Fine;
            for step in job.plan.steps {
                for action in step {
                    last = worst(last, self.carry_out(&job.key, &action));
                }
                if last != Verdict::Fine {
                    break;
                }
            }
            self.engine.done(job.key, last, self.server.now);
            self.tell();
        }
    }

    fn carry_out(&mut self, key: &crate::world::Key, action: &Action) -> Verdict {
        let answer = match self.is_there {
            true => self.server.answer(action),
            false => Err(watch::client::ClientError::Unreachable("nobody is there".to_owned())),
        };
        let said = self.engine.answered(key, action, (&answer, self.server.now));
        if answer.is_ok() {
            let said = said.map(|said| format!(" ({})", said.message)).unwrap_or_default();
            self.written.push(format!("{}: {}{said}", self.second(), shown(action)));
        }
        verdict(action, &answer)
    }

    /// A node says again how it is.
    fn revive(&mut self, name: &str) {
        self.living.insert(name.to_owned());
        let now = self.server.now.text();
        self.server.change(Kind::Node, &place("", name), |node| {
            node["status"]["conditions"] =
                json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": now}]);
        });
    }

    #[track_caller]
    fn check(&mut self, expected: &str) {
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(self.written, expected, "{:#?}", self.written);
        self.written.clear();
    }
}

fn worst(a: Verdict, b: Verdict) -> Verdict {
    if a == Verdict::Fine { b } else { a }
}

fn place(namespace: &str, name: &str) -> Place {
    Place { namespace: namespace.to_owned(), name: name.to_owned() }
}

fn shown(action: &Action) -> String {
    let name = &action.place.name;
    let list = |value: &Value, show: fn(&Value) -> String| {
        value.as_array().map(|list| list.iter().map(show).collect::<Vec<_>>().join(" "))
    };
    let condition =
        |one: &Value| format!("{}={}", one["type"].as_str().unwrap(), one["status"].as_str().unwrap());
    let taint = |one: &Value| {
        let key = one["key"].as_str().unwrap().replace("node.kubernetes.io/", "");
        format!("{key}:{}", one["effect"].as_str().unwrap())
    };
    let conditions = list(&action.body["status"]["conditions"], condition);
    let taints = list(&action.body["spec"]["taints"], taint).map(|taints| format!("taints [{taints}]"));
    format!("{name} {}", conditions.or(taints).unwrap_or_else(|| "deleted".to_owned()))
}

#[test]
fn a_silent_node_is_unknown_and_its_pods_go() {
    let mut scene = Scene::new("a b c", "p@a q@b r@a!");
    scene.pass(35);
    scene.living.remove("a");
    scene.pass(45);
    scene.check("");
    scene.pass(80);
    scene.check(
        "81: a Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown (Node a status is now: NodeNotReady)
         81: p Ready=False (Node is not ready)
         81: r Ready=False (Node is not ready)
         81: a taints [unreachable:NoSchedule]
         91: a taints [unreachable:NoSchedule unreachable:NoExecute]
         91: r DisruptionTarget=True
         91: r deleted (Marking for deletion Pod shop/r)
         121: p DisruptionTarget=True
         121: p deleted (Marking for deletion Pod shop/p)",
    );
    scene.revive("a");
    scene.pass(100);
    scene.check("161: a taints []");
}

#[test]
fn a_node_that_comes_back_keeps_its_pods() {
    let mut scene = Scene::new("a b c", "p@a");
    scene.pass(35);
    scene.living.remove("a");
    scene.pass(60);
    scene.written.clear();
    scene.revive("a");
    scene.pass(100);
    scene.check("96: a taints []\n 96: Cancelling deletion of Pod shop/p");
}

#[test]
fn nobody_goes_when_everybody_is_silent() {
    let mut scene = Scene::new("a b", "p@a! q@b!");
    scene.living.clear();
    scene.pass(200);
    let unknown = "Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown";
    let (a, b) = ("(Node a status is now: NodeNotReady)", "(Node b status is now: NodeNotReady)");
    assert!(
        scene.written.iter().any(|line| line.contains(&format!("a {unknown} {a}"))),
        "{:#?}",
        scene.written
    );
    assert!(
        scene.written.iter().any(|line| line.contains(&format!("b {unknown} {b}"))),
        "{:#?}",
        scene.written
    );
    assert!(!scene.written.iter().any(|line| line.contains("NoExecute")), "{:#?}", scene.written);
    scene.written.clear();
    // The first that comes back gives the other one time.
    scene.revive("b");
    scene.pass(5);
    scene.revive("a");
    scene.pass(100);
    scene.check("201: b taints []\n 206: a taints []");
}

#[test]
fn who_could_not_listen_blames_nobody() {
    // The machine sleeps for an hour.
    let mut scene = Scene::new("a b c", "p@a!");
    scene.pass(35);
    scene.server.now = scene.server.now.plus_seconds(3600);
    scene.pass(100);
    scene.check("");
    // The server is away for an hour.
    scene.is_there = false;
    scene.pass(3600);
    scene.is_there = true;
    scene.pass(100);
    scene.check("");
}

#[test]
fn a_node_that_never_speaks_is_found_out() {
    let mut scene = Scene::new("a b", "");
    scene
        .server
        .create(Kind::Node, "", json!({"metadata": {"name": "new"}, "spec": {}, "status": {}}))
        .unwrap();
    scene.pass(100);
    scene.check(
        "1: new taints [not-ready:NoSchedule]
         61: new Ready=Unknown MemoryPressure=Unknown DiskPressure=Unknown PIDPressure=Unknown
         61: new taints [unreachable:NoSchedule]
         71: new taints [unreachable:NoSchedule unreachable:NoExecute]",
    );
}
