//! What happens in a history, and what must be true meanwhile and in the end.

use serde_json::{Value, json};
use watch::client::{ClientError, Told};

use super::Sizes;
use super::server::{Server, refused};
use crate::action::{Action, Kind};
use crate::engine::{Engine, Verdict, verdict};
use crate::moment::Moment;
use crate::trimmed::{Place, Pod};
use crate::world::{Key, News};
use crate::{Controller, Settings};

/// How bad it gets.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Temper {
    /// Everything is slow and requests fail, but Pods only become ready.
    Gentle,
    /// Pods die, answers are lost.
    Harsh,
}

/// A plan that is being carried out.
struct Run {
    key: Key,
    steps: Vec<Vec<Action>>,
    /// What of the present step has not been sent, and what was answered and not heard.
    unsent: Vec<Action>,
    unheard: Vec<(Action, Result<Value, ClientError>)>,
    verdict: Verdict,
}

pub(super) struct Play {
    pub(super) server: Server,
    pub(super) is_guarded: bool,
    engine: Engine,
    runs: Vec<Run>,
    temper: Temper,
    sizes: Sizes,
    version: u64,
    chance: u64,
}

impl Play {
    pub(super) fn new(seed: u64, temper: Temper, sizes: Sizes) -> Self {
        // The nodes of these histories say nothing and are not missed; `nodes` plays those that are.
        let all = Controller::ALL.iter().map(|(_, controller)| *controller);
        let settings = Settings {
            controllers: all.filter(|one| *one != Controller::NodeLifecycle).collect(),
            ..Settings::default()
        };
        let mut play = Self {
            server: Server { now: Moment(1_795_000_000_000), ..Server::default() },
            is_guarded: false,
            engine: Engine::new(&settings),
            runs: Vec::new(),
            temper,
            sizes,
            version: 0,
            chance: seed | 1,
        };
        play.begin();
        play
    }

    fn begin(&mut self) {
        for name in ["a", "b"] {
            let ready = json!([{"type": "Ready", "status": "True"}]);
            let node = json!({"metadata": {"name": name}, "spec": {"podCIDR": "10.0.0.0/24"}, "status": {"conditions": ready}});
            self.server.create(Kind::Node, "", node).unwrap();
        }
        let (replicas, surge, unavailable) = self.sizes;
        let deployment = json!({
            "metadata": {"name": "door"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "door"}},
                "template": {"metadata": {"labels": {"app": "door"}}, "spec": {"version": 0}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
                "revisionHistoryLimit": 2, "progressDeadlineSeconds": 600,
            },
            "status": {},
        });
        self.server.create(Kind::Deployment, "shop", deployment).unwrap();
        let now = self.server.now;
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
            self.engine.hear(news, now);
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance % end as u64) as usize
    }

    fn deployment() -> Place {
        Place { namespace: "shop".to_owned(), name: "door".to_owned() }
    }

    /// Somebody changes what is wanted.
    fn want(&mut self, change: impl FnOnce(&mut Value)) {
        self.server
            .change(Kind::Deployment, &Self::deployment(), |deployment| change(&mut deployment["spec"]));
    }

    pub(super) fn change_version(&mut self) {
        // Sometimes one that was there before.
        self.version = if self.below(3) == 0 { self.below(3) as u64 } else { self.version + 1 };
        let version = self.version;
        self.want(|spec| spec["template"]["spec"]["version"] = version.into());
    }

    pub(super) fn change_mind(&mut self) {
        match self.below(6) {
            0 => {
                self.sizes.0 = self.below(9) as i64;
                let replicas = self.sizes.0;
                self.want(|spec| spec["replicas"] = replicas.into());
            }
            1 => self.want(|spec| spec["paused"] = true.into()),
            2 => self.unpause(),
            3 => self.want(|spec| spec["strategy"] = json!({"type": "Recreate"})),
            _ => self.change_version(),
        }
    }

    pub(super) fn unpause(&mut self) {
        self.want(|spec| spec["paused"] = false.into());
    }

    /// Lets things happen.
    pub(super) fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            match self.below(8) {
                0 | 1 => self.tell(),
                2 => self.think(),
                3 | 4 => self.send(true),
                5 => self.listen(),
                6 => self.live(true),
                _ => self.server.now.0 += self.below(50) as i64,
            }
            self.check_always();
        }
    }

    /// Lets everything happen that still has to, without trouble.
    pub(super) fn settle(&mut self) {
        for _ in 0..20_000 {
            self.tell();
            self.think();
            self.send(false);
            self.listen();
            self.live(false);
            self.check_always();
            let is_told = self.server.watches.values().all(|watch| watch.is_empty());
            let is_near = self.engine.wakes().is_some_and(|when| when < self.server.now.plus_seconds(300));
            if is_told && self.runs.is_empty() && !is_near && !self.has_life() {
                return;
            }
            self.server.now.0 += 20;
        }
        panic!("it never settles: {:#?}", self.server.objects);
    }

    /// A watch tells its next change.
    fn tell(&mut self) {
        let mut kinds: Vec<Kind> = self.server.watches.keys().copied().collect();
        kinds.retain(|kind| !self.server.watches[kind].is_empty());
        if kinds.is_empty() {
            return;
        }
        let kind = kinds[self.below(kinds.len())];
        let news = self.server.watches.get_mut(&kind).and_then(|watch| watch.pop_front());
        self.engine.hear(news.unwrap(), self.server.now);
    }

    fn think(&mut self) {
        if let Some((job, _)) = self.engine.next(self.server.now) {
            let (key, mut steps) = (job.key, job.plan.steps);
            steps.reverse();
            let unsent = steps.pop().unwrap_or_default();
            self.runs.push(Run { key, steps, unsent, unheard: Vec::new(), verdict: Verdict::Fine });
        }
    }

    /// A request reaches the server, or does not.
    fn send(&mut self, is_rough: bool) {
        let waiting: Vec<usize> =
            (0..self.runs.len()).filter(|run| !self.runs[*run].unsent.is_empty()).collect();
        if waiting.is_empty() {
            return;
        }
        let run = waiting[self.below(waiting.len())];
        let action = self.runs[run].unsent.pop().unwrap();
        let luck = if is_rough { self.below(20) } else { 19 };
        let answer = match luck {
            0 => Err(ClientError::Unreachable("nobody is there".to_owned())),
            1 => Err(refused(500, "InternalError")),
            2 if self.temper == Temper::Harsh => {
                drop(self.server.answer(&action));
                Err(ClientError::Unreachable("the answer is lost".to_owned()))
            }
            _ => self.server.answer(&action),
        };
        self.runs[run].unheard.push((action, answer));
    }

    /// An answer is heard.
    fn listen(&mut self) {
        let now = self.server.now;
        if self.runs.is_empty() {
            return;
        }
        let index = self.below(self.runs.len());
        let run = &mut self.runs[index];
        if let Some((action, answer)) = run.unheard.pop() {
            self.engine.answered(&run.key, &action, (&answer, now));
            let verdict = verdict(&action, &answer);
            if verdict != Verdict::Fine {
                run.verdict = verdict;
            }
        }
        if !run.unsent.is_empty() || !run.unheard.is_empty() {
            return;
        }
        match run.steps.pop().filter(|_| run.verdict == Verdict::Fine) {
            Some(step) => run.unsent = step,
            None => {
                let run = self.runs.remove(index);
                self.engine.done(run.key, run.verdict, now);
            }
        }
    }

    fn pods(&self) -> Vec<(Place, Pod)> {
        let read = |object: &Value| serde_json::from_value(object.clone()).unwrap();
        self.server.all(Kind::Pod).map(|(place, object)| (place.clone(), read(object))).collect()
    }

    /// Whether a node or the collector of garbage still has something to do.
    fn has_life(&self) -> bool {
        self.pods().iter().any(|(_, pod)| {
            pod.metadata.is_leaving()
                || (!pod.spec.node_name.is_empty() && !pod.is_ready() && !pod.is_over())
                || self.is_orphan(pod)
        })
    }

    fn is_orphan(&self, pod: &Pod) -> bool {
        let uid = pod.metadata.controller().map(|owner| owner.uid.clone());
        let mut sets = self.server.all(Kind::ReplicaSet);
        !sets.any(|(_, set)| set["metadata"]["uid"].as_str() == uid.as_deref())
    }

    /// Something happens to a Pod.
    fn live(&mut self, is_rough: bool) {
        let pods = self.pods();
        if pods.is_empty() {
            return;
        }
        let (place, pod) = &pods[self.below(pods.len())];
        let now = self.server.now.text();
        if pod.metadata.is_leaving() || self.is_orphan(pod) {
            self.server.remove(Kind::Pod, place);
        } else if !pod.spec.node_name.is_empty() && !pod.is_ready() && !pod.is_over() {
            let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": now}]);
            self.server.change(Kind::Pod, place, |pod| {
                pod["status"] = json!({"phase": "Running", "conditions": ready})
            });
        } else if is_rough && self.temper == Temper::Harsh {
            match self.below(4) {
                0 => self.server.change(Kind::Pod, place, |pod| pod["status"] = json!({"phase": "Failed"})),
                1 => self.server.change(Kind::Pod, place, |pod| pod["status"]["conditions"] = json!([])),
                2 => self.server.remove(Kind::Pod, place),
                _ => self
                    .server
                    .change(Kind::Pod, place, |pod| pod["metadata"]["deletionTimestamp"] = now.into()),
            }
        }
    }

    /// What must be true at every moment.
    fn check_always(&self) {
        if !self.is_guarded {
            return;
        }
        let (replicas, surge, unavailable) = self.sizes;
        let available =
            self.pods().iter().filter(|(_, pod)| pod.is_ready() && pod.is_active()).count() as i64;
        assert!(
            available >= replicas - unavailable.min(replicas),
            "only {available} of {replicas} are available"
        );
        let sets = self.server.all(Kind::ReplicaSet);
        let wanted: i64 = sets.map(|(_, set)| set["spec"]["replicas"].as_i64().unwrap()).sum();
        assert!(wanted <= replicas + surge, "{wanted} are wanted of {replicas}");
    }

    /// What must be true in the end.
    pub(super) fn check_settled(&self) {
        let replicas = self.sizes.0;
        let pods = self.pods();
        let running: Vec<&Pod> = pods.iter().map(|(_, pod)| pod).filter(|pod| pod.is_active()).collect();
        assert_eq!(running.len() as i64, replicas, "Pods");
        let deployment = &self.server.objects[&(Kind::Deployment, Self::deployment())];
        let version = &deployment["spec"]["template"]["spec"]["version"];
        for pod in &running {
            let (place, is_ready) = (pod.metadata.place(), pod.is_ready());
            assert!(is_ready && self.server.objects[&(Kind::Pod, place)]["spec"]["version"] == *version);
        }
        let sets: Vec<&Value> = self.server.all(Kind::ReplicaSet).map(|(_, set)| set).collect();
        assert!(sets.len() <= 3, "{} ReplicaSets", sets.len());
        for set in sets {
            let is_new = set["spec"]["template"]["spec"]["version"] == *version;
            assert_eq!(set["spec"]["replicas"], if is_new { replicas } else { 0 });
            assert_eq!(set["status"]["replicas"], set["spec"]["replicas"]);
        }
        let status = &deployment["status"];
        for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"] {
            assert_eq!(status[field], replicas, "{field}: {status:#}");
        }
        assert_eq!(status["observedGeneration"], deployment["metadata"]["generation"]);
        let words = |kind: &str| {
            let conditions = status["conditions"].as_array().unwrap();
            let one = conditions.iter().find(|one| one["type"] == kind).unwrap();
            format!("{} {}", one["status"].as_str().unwrap(), one["reason"].as_str().unwrap())
        };
        assert_eq!(words("Available"), "True MinimumReplicasAvailable");
        assert_eq!(words("Progressing"), "True NewReplicaSetAvailable");
        assert!(self.engine.world().waiting.is_empty());
    }
}
