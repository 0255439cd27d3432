//! Histories of pods: what happened, what was done about it, and what the status said.
#![cfg(test)]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::images::Images;

/// A pod and a clock, told line by line. What is done is answered as text, Events without their messages.
struct Story {
    machine: Machine,
    now: Time,
}

fn at(seconds: f64) -> Time {
    Duration::from_secs(1_000_000_000) + Duration::from_secs_f64(seconds)
}

fn pod(mut spec: Value) -> Pod {
    // Its token would be a volume.
    spec["automountServiceAccountToken"] = false.into();
    let object =
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec});
    Pod::read(object, &Images::default()).unwrap()
}

fn container(name: &str, more: Value) -> Value {
    let mut container = json!({"name": name, "image": "i", "command": ["run"]});
    for (field, value) in more.as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    container
}

impl Story {
    fn of(spec: Value) -> Self {
        Self { machine: Machine::new(pod(spec), None, at(0.0)), now: at(0.0) }
    }

    /// Carries the story on: `SECONDS WHAT..`, answers the actions.
    fn tell(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        self.now = at(words[0].parse().unwrap());
        let slot = |index: usize| {
            let named = words.get(index).filter(|_| words[1] != "delete");
            named.map_or(0, |word| word.parse().unwrap())
        };
        let attempt = |machine: &Machine, slot: usize| machine.slots[slot].attempts.saturating_sub(1);
        let run = Run { slot: slot(2), attempt: attempt(&self.machine, slot(2)) };
        let question = |kind: &str| match kind {
            "startup" => Question::Startup,
            "readiness" => Question::Readiness,
            _ => Question::Liveness,
        };
        let input = match words[1] {
            "volumes" => Input::Volumes(Ok(())),
            "no-volumes" => Input::Volumes(Err(vec!["why".to_owned()])),
            "network" => Input::Network(Ok(vec!["10.0.0.2".parse().unwrap()])),
            "no-network" => Input::Network(Err("why".to_owned())),
            "network-removed" => Input::NetworkRemoved,
            "started" => Input::Started(run, self.now),
            "missing" => Input::NotStarted(run, "CreateContainerConfigError", "configmap".to_owned()),
            "ended" => Input::Ended(run, ended(words[3].parse().unwrap(), self.now)),
            "hooked" => Input::PostStart(run, if words[3] == "ok" { Ok(()) } else { Err("why".to_owned()) }),
            "stopped" => Input::PreStop(run, Ok(())),
            "good" => Input::Answered(run, question(words[3]), Ok(())),
            "bad" => Input::Answered(run, question(words[3]), Err("why".to_owned())),
            "delete" => {
                let mut object = self.machine.pod.object.clone();
                object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                object["metadata"]["deletionGracePeriodSeconds"] = words[2].parse::<u64>().unwrap().into();
                Input::Pod(Box::new(Pod::read(object, &Images::default()).unwrap()))
            }
            "gone" => Input::Gone,
            "later" => Input::Nothing,
            other => panic!("no such word: {other}"),
        };
        let actions = self.machine.step(input, self.now);
        actions.iter().map(text).collect::<Vec<_>>().join(", ")
    }

    /// `PHASE NAME=STATE(restarts).. [true conditions]`.
    fn status(&mut self) -> String {
        let status = self.machine.status(&["192.0.2.1".parse().unwrap()], self.now);
        let mut out = status["phase"].as_str().unwrap().to_owned();
        for field in ["initContainerStatuses", "containerStatuses"] {
            for told in crate::pod::list(&status[field]) {
                let (kind, state) = told["state"].as_object().unwrap().iter().next().unwrap();
                let reason = state["reason"].as_str().unwrap_or(kind);
                let ready = if told["ready"] == true { "+" } else { "" };
                out.push_str(&format!(
                    " {}={reason}{ready}({})",
                    told["name"].as_str().unwrap(),
                    told["restartCount"]
                ));
            }
        }
        let conditions =
            crate::pod::list(&status["conditions"]).filter(|condition| condition["status"] == "True");
        let names: Vec<&str> = conditions.filter_map(|condition| condition["type"].as_str()).collect();
        let short: Vec<&str> =
            names.into_iter().filter(|name| ["Initialized", "Ready"].contains(name)).collect();
        format!("{out} [{}]", short.join(" "))
    }
}

fn ended(code: i32, now: Time) -> Ended {
    let reason = if code == 0 { "Completed" } else { "Error" };
    Ended { code, reason: reason.to_owned(), message: String::new(), started: now, finished: now }
}

fn text(action: &Action) -> String {
    let run = |name: &str, run: &Run| format!("{name} {}.{}", run.slot, run.attempt);
    match action {
        Action::MakeVolumes => "volumes!".to_owned(),
        Action::MakeNetwork(_) => "network!".to_owned(),
        Action::RemoveNetwork => "no network!".to_owned(),
        Action::Start(one) => run("start", one),
        Action::Terminate(one) => run("terminate", one),
        Action::Kill(one) => run("kill", one),
        Action::PostStart(one) => run("post-start", one),
        Action::PreStop(one, limit) => format!("{} {}s", run("pre-stop", one), limit.as_secs()),
        Action::Ask(one, question) => format!("{}?", run(question.name(), one)),
        Action::Tell(notice) => notice.reason.to_owned(),
        Action::Delete => "delete!".to_owned(),
        Action::Forget => "forget!".to_owned(),
    }
}

/// Lines `SECONDS WHAT.. -> ACTIONS` and `= STATUS`.
fn check(spec: Value, story: &str) {
    let mut told = Story::of(spec);
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(expected) = line.strip_prefix("= ") {
            assert_eq!(told.status(), expected, "at {line}");
            continue;
        }
        let (line, expected) = line.split_once(" ->").unwrap_or((line, ""));
        assert_eq!(told.tell(line), expected.trim(), "{line}");
    }
}

#[test]
fn containers_that_initialise_run_one_after_the_other() {
    check(
        json!({"initContainers": [container("i", json!({})), container("j", json!({}))],
            "containers": [container("a", json!({})), container("b", json!({}))]}),
        "0 later -> network!
         = Pending i=ContainerCreating(0) j=ContainerCreating(0) a=PodInitializing(0) b=PodInitializing(0) []
         0 network -> start 0.0
         1 started 0 -> Started
         = Pending i=running(0) j=ContainerCreating(0) a=PodInitializing(0) b=PodInitializing(0) []
         2 ended 0 1 -> start 0.1
         2 started 0 -> Started
         3 ended 0 0 -> start 1.0
         3 started 1 -> Started
         4 ended 1 0 -> start 2.0, start 3.0
         4 started 2 -> Started
         = Pending i=Completed+(1) j=Completed+(0) a=running+(0) b=ContainerCreating(0) [Initialized]
         4 started 3 -> Started
         = Running i=Completed+(1) j=Completed+(0) a=running+(0) b=running+(0) [Initialized Ready]",
    );
}

#[test]
fn volumes_are_waited_for() {
    let spec = json!({"volumes": [{"name": "v"}], "containers": [container("a", json!({}))]});
    check(
        spec.clone(),
        "0 later -> volumes!
         0 no-volumes -> FailedMount
         = Pending a=ContainerCreating(0) [Initialized]
         1 volumes -> network!
         1 network -> start 0.0
         1 started 0 -> Started
         2 no-volumes -> FailedMount
         3 ended 0 1 -> start 0.1",
    );
    check(
        spec,
        "0 later -> volumes!
         1 delete 30 -> no network!
         1 volumes ->
         1 network-removed -> delete!
         1 gone -> forget!",
    );
}

#[test]
fn sidecars_start_before_and_end_after_the_others() {
    check(
        json!({"restartPolicy": "Never", "initContainers": [container("s", json!({"restartPolicy": "Always"}))],
            "containers": [container("a", json!({}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started, start 1.0
         1 started 1 -> Started
         = Running s=running+(0) a=running+(0) [Initialized Ready]
         2 ended 0 1 -> start 0.1
         2 started 0 -> Started
         3 ended 1 0 -> Killing, terminate 0.1
         4 ended 0 143 -> no network!
         5 network-removed ->
         = Succeeded s=Error(1) a=Completed(0) [Initialized]",
    );
}

#[test]
fn restarts_pause_longer_and_longer() {
    check(
        json!({"containers": [container("a", json!({}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started
         1 ended 0 1 -> start 0.1
         1 started 0 -> Started
         2 ended 0 1 -> BackOff
         = Running a=CrashLoopBackOff(1) [Initialized]
         11.9 later ->
         12 later -> start 0.2
         12 started 0 -> Started
         13 ended 0 0 -> BackOff
         32.9 later ->
         33 later -> start 0.3
         33 started 0 -> Started
         34 ended 0 1 -> BackOff
         74 later -> start 0.4
         74 started 0 -> Started
         = Running a=running+(4) [Initialized Ready]
         700 ended 0 1 -> start 0.5
         700 started 0 -> Started
         701 ended 0 1 -> BackOff
         711 later -> start 0.6",
    );
}

#[test]
fn policies_decide_about_restarts() {
    check(
        json!({"restartPolicy": "OnFailure", "containers": [container("a", json!({}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started
         1 ended 0 3 -> start 0.1
         1 started 0 -> Started
         2 ended 0 0 -> no network!
         2 network-removed ->
         = Succeeded a=Completed(1) [Initialized]",
    );
    check(
        json!({"restartPolicy": "Never", "initContainers": [container("i", json!({}))],
            "containers": [container("a", json!({}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started
         1 ended 0 3 -> no network!
         1 network-removed ->
         = Failed i=Error(0) a=PodInitializing(0) []",
    );
}

#[test]
fn probes_decide_about_readiness_and_life() {
    let probe = |more: Value| {
        let mut probe = json!({"tcpSocket": {"port": 1}, "periodSeconds": 2, "failureThreshold": 2});
        for (field, value) in more.as_object().into_iter().flatten() {
            probe[field] = value.clone();
        }
        probe
    };
    check(
        json!({"terminationGracePeriodSeconds": 5, "containers": [container("a", json!({
            "startupProbe": probe(json!({"initialDelaySeconds": 1})),
            "readinessProbe": probe(json!({"successThreshold": 2, "periodSeconds": 5})),
            "livenessProbe": probe(json!({"terminationGracePeriodSeconds": 1}))}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started
         = Running a=running(0) [Initialized]
         1 later -> Startup 0.0?
         1 bad 0 startup -> Unhealthy
         3 later -> Startup 0.0?
         3 good 0 startup -> Readiness 0.0?, Liveness 0.0?
         3 good 0 readiness ->
         = Running a=running(0) [Initialized]
         3 good 0 liveness ->
         5 later -> Liveness 0.0?
         5 bad 0 liveness -> Unhealthy
         8 later -> Readiness 0.0?, Liveness 0.0?
         8 good 0 readiness ->
         = Running a=running+(0) [Initialized Ready]
         8 bad 0 liveness -> Unhealthy, Killing, terminate 0.0
         9 later -> kill 0.0
         9 ended 0 137 -> start 0.1
         = Running a=ContainerCreating(1) [Initialized]",
    );
}

#[test]
fn a_deleted_pod_ends_gracefully() {
    check(
        json!({"containers": [container("a", json!({
            "lifecycle": {"preStop": {"exec": {"command": ["x"]}}},
            "readinessProbe": {"tcpSocket": {"port": 1}}}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started, Readiness 0.0?
         0 good 0 readiness ->
         1 delete 30 -> Killing, pre-stop 0.0 30s
         = Running a=running+(0) [Initialized Ready]
         3 stopped 0 -> terminate 0.0
         10 later -> Readiness 0.0?
         10 bad 0 readiness -> Unhealthy
         20 later -> Readiness 0.0?
         20 bad 0 readiness -> Unhealthy
         30 later -> Readiness 0.0?
         30 bad 0 readiness -> Unhealthy
         = Running a=running(0) [Initialized]
         31 later -> kill 0.0
         31 ended 0 137 -> no network!
         31 network-removed -> delete!
         = Failed a=Error(0) [Initialized]
         31 gone -> forget!",
    );
}

#[test]
fn deletion_can_be_hastened_and_comes_at_any_moment() {
    check(
        json!({"containers": [container("a", json!({}))]}),
        "0 network -> start 0.0
         1 delete 30 ->
         1 started 0 -> Started, Killing, terminate 0.0
         2 delete 1 ->
         3 later -> kill 0.0
         4 later -> kill 0.0
         4 ended 0 137 -> no network!
         5 gone ->
         5 network-removed -> forget!",
    );
    check(
        json!({"containers": [container("a", json!({}))]}),
        "0 later -> network!\n1 delete 0 ->\n1 network -> no network!",
    );
}

#[test]
fn what_cannot_be_started_is_tried_again() {
    check(
        json!({"containers": [container("a", json!({})), {"name": "b", "image": "unknown"}]}),
        "0 no-network -> FailedCreatePodSandBox
         4.9 later ->
         5 later -> network!
         5 network -> start 0.0, Failed
         5 missing 0 -> Failed
         = Pending a=CreateContainerConfigError(0) b=ErrImagePull(0) [Initialized]
         10 later -> start 0.0
         10 missing 0 -> Failed
         15 later -> start 0.0
         15 started 0 -> Started
         = Pending a=running+(0) b=ImagePullBackOff(0) [Initialized]",
    );
}

#[test]
fn hooks_and_deadlines() {
    check(
        json!({"terminationGracePeriodSeconds": 2, "activeDeadlineSeconds": 10, "containers": [container("a", json!({
            "lifecycle": {"postStart": {"exec": {"command": ["x"]}}}}))]}),
        "0 network -> start 0.0
         0 started 0 -> Started, post-start 0.0
         = Running a=running(0) [Initialized]
         1 hooked 0 no -> FailedPostStartHook, Killing, terminate 0.0
         2 ended 0 143 -> start 0.1
         2 started 0 -> Started, post-start 0.1
         3 hooked 0 ok ->
         = Running a=running+(1) [Initialized Ready]
         10 later -> DeadlineExceeded, Killing, terminate 0.1
         11 ended 0 143 -> no network!
         = Failed a=Error(1) [Initialized]",
    );
}

#[test]
fn what_was_found_goes_on() {
    let running = Found { attempts: 3, running: Some(at(0.0)), ended: Some(ended(1, at(0.0))) };
    let mut object =
        pod(json!({"containers": [container("a", json!({"readinessProbe": {"tcpSocket": {"port": 1}}}))]}))
            .object;
    object["status"] =
        json!({"containerStatuses": [{"name": "a", "ready": true, "started": true, "restartCount": 2}]});
    let read = Pod::read(object, &Images::default()).unwrap();
    let found = Some((vec!["10.0.0.2".parse().unwrap()], vec![running]));
    let mut story = Story { machine: Machine::new(read.clone(), found, at(5.0)), now: at(5.0) };
    assert_eq!(story.tell("5 later"), "Readiness 0.2?");
    assert_eq!(story.status(), "Running a=running+(2) [Initialized Ready]");
    assert_eq!(story.tell("6 ended 0 1"), "BackOff");
    assert_eq!(story.tell("26 later"), "start 0.3");

    // What ended with the pod's network did not fail, however often that was.
    for (attempts, next) in [(1, "start 0.1"), (4, "start 0.4")] {
        let lost = Found { attempts, running: None, ended: Some(ended(255, at(0.0))) };
        let found = Some((Vec::new(), vec![lost]));
        let mut story = Story { machine: Machine::new(read.clone(), found, at(5.0)), now: at(5.0) };
        assert_eq!(story.tell("5 later"), "network!");
        assert_eq!(story.tell("5 network"), next);
    }
}
