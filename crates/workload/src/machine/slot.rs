//! One container of a pod, through all its runs.

use std::time::Duration;

use serde_json::Value;

use super::asking::{Asking, Question, Verdict};
use super::{Action, Plan, Run, is_running};
use crate::pod::{Container, Pod, Probe, Restart};
use crate::time::Time;

/// The first pause between the end of a container and its next start; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A container that did not fail this long is trusted anew.
const FORGIVEN: Duration = Duration::from_secs(600);
/// How long until a container is tried again whose settings could not be read.
const SETTINGS_PAUSE: Duration = Duration::from_secs(5);
/// What a process has at least when what was to be done before its end took too long.
const LAST_GRACE: Duration = Duration::from_secs(2);
/// How often a process is killed that does not go.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The exit code; 128 and the signal's number when one ended it.
    pub code: i32,
    /// The reason in one word.
    pub reason: String,
    /// The reason in many; may be empty.
    pub message: String,
    /// When the run began.
    pub started: Time,
    /// When it ended.
    pub finished: Time,
}

/// What was found of a container that an earlier life of this program started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many runs there were.
    pub attempts: u32,
    /// Since when it runs.
    pub running: Option<Time>,
    /// How the newest run that has ended ended.
    pub ended: Option<Ended>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Waiting { reason: &'static str, message: String, until: Option<Time> },
    Starting,
    Running { since: Time },
    Stopping { since: Time, step: Step, until: Time },
    Ended(Ended),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Hook,
    Asked,
    Killed,
}

#[derive(Debug)]
pub(super) struct Slot {
    /// How many runs there were, with the present one.
    pub(super) attempts: u32,
    pub(super) state: State,
    /// How the run before ended.
    pub(super) last: Option<Ended>,
    /// The next pause, and when it was decided.
    pause: Option<(Duration, Time)>,
    pull_pause: Duration,
    startup: Asking,
    readiness: Asking,
    liveness: Asking,
    hook_runs: bool,
    container: Option<Container>,
    pod: Names,
    index: usize,
}

/// What messages call the pod.
#[derive(Debug, Default)]
struct Names {
    short: String,
    long: String,
    grace: Duration,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            attempts: 0,
            state: State::Waiting { reason: "ContainerCreating", message: String::new(), until: None },
            last: None,
            pause: None,
            pull_pause: FIRST_PAUSE,
            startup: Asking::new(),
            readiness: Asking::new(),
            liveness: Asking::new(),
            hook_runs: false,
            container: None,
            pod: Names::default(),
            index: 0,
        }
    }

    /// Says what it is about.
    pub(super) fn about(&mut self, pod: &Pod, index: usize) {
        self.index = index;
        if self.container.as_ref() != pod.containers.get(index) {
            self.container = pod.containers.get(index).cloned();
            self.pod = Names {
                short: format!("{}_{}({})", pod.name, pod.namespace, pod.uid),
                long: format!("{}/{}", pod.namespace, pod.name),
                grace: pod.grace,
            };
        }
    }

    /// Goes on from what was found; what the API server was told about readiness stays true until probes say otherwise.
    pub(super) fn restore(&mut self, container: &Container, found: Found, object: &Value) {
        self.attempts = found.attempts;
        let doublings = found.attempts.checked_sub(2).map(|count| count.min(5));
        let at = found.ended.as_ref().map(|ended| ended.finished).or(found.running).unwrap_or_default();
        self.pause = doublings.map(|count| ((FIRST_PAUSE * 2_u32.pow(count)).min(LONGEST_PAUSE), at));
        match (found.running, found.ended) {
            (Some(since), ended) => {
                self.state = State::Running { since };
                self.last = ended;
            }
            (None, Some(ended)) => self.state = State::Ended(ended),
            (None, None) => return,
        }
        let told = ["/status/containerStatuses", "/status/initContainerStatuses"]
            .into_iter()
            .flat_map(|path| object.pointer(path).into_iter().flat_map(crate::pod::list))
            .find(|told| told["name"] == container.name.as_str());
        let Some(told) = told else { return };
        if told["restartCount"].as_u64() != Some(u64::from(found.attempts.saturating_sub(1))) {
            return;
        }
        if told["ready"] == true {
            self.readiness.verdict = Verdict::Good;
        }
        if told["started"] == true {
            self.startup.verdict = Verdict::Good;
        }
    }

    /// Starts it without a pause next time.
    pub(super) fn forgive(&mut self) {
        self.pause = None;
    }

    fn run(&self) -> Run {
        Run { slot: self.index, attempt: self.attempts.saturating_sub(1) }
    }

    fn name(&self) -> &str {
        self.container.as_ref().map_or("", |container| &container.name)
    }

    /// Answers whether there may be a process.
    pub(super) fn is_active(&self) -> bool {
        is_running(&self.state) || self.state == State::Starting
    }

    pub(super) fn is_started(&self) -> bool {
        let probed = self.container.as_ref().is_some_and(|container| container.startup.is_some());
        is_running(&self.state) && !self.hook_runs && (!probed || self.startup.verdict == Verdict::Good)
    }

    pub(super) fn is_ready(&self) -> bool {
        let probed = self.container.as_ref().is_some_and(|container| container.readiness.is_some());
        self.is_started() && (!probed || self.readiness.verdict == Verdict::Good)
    }

    pub(super) fn succeeded(&self) -> bool {
        matches!(&self.state, State::Ended(ended) if ended.code == 0)
    }

    pub(super) fn ended_for_good(&self, policy: Restart) -> bool {
        match &self.state {
            State::Ended(ended) => !is_restarted(policy, ended.code),
            State::Waiting { .. } | State::Starting | State::Running { .. } | State::Stopping { .. } => false,
        }
    }

    pub(super) fn start_if_due(&mut self, policy: Restart, plan: &mut Plan) {
        match &self.state {
            State::Starting | State::Running { .. } | State::Stopping { .. } => return,
            State::Waiting { until, .. } => {
                if until.is_some_and(|until| !plan.reached(until)) {
                    return;
                }
            }
            State::Ended(ended) => {
                if !is_restarted(policy, ended.code) {
                    return;
                }
                let ended = ended.clone();
                if !self.pause_is_over(ended, plan) {
                    return;
                }
            }
        }
        if self.container.as_ref().is_some_and(|container| container.words.is_empty()) {
            self.miss_image(plan);
            return;
        }
        self.attempts += 1;
        self.state = State::Starting;
        for asking in [&mut self.startup, &mut self.readiness, &mut self.liveness] {
            *asking = Asking::new();
        }
        plan.act(Action::Start(self.run()));
    }

    /// The first restart is immediate; each later one has its pause, counted from the end of the run.
    fn pause_is_over(&mut self, ended: Ended, plan: &mut Plan) -> bool {
        let finished = ended.finished;
        self.last = Some(ended);
        let pause = self.pause.filter(|(_, at)| finished.saturating_sub(*at) <= FORGIVEN);
        let next = match pause {
            None => FIRST_PAUSE,
            Some((pause, _)) => (pause * 2).min(LONGEST_PAUSE),
        };
        if let Some((pause, _)) = pause
            && !plan.reached(finished + pause)
        {
            let (name, seconds) = (self.name(), pause.as_secs());
            let said = if seconds >= 60 {
                format!("{}m{}s", seconds / 60, seconds % 60)
            } else {
                format!("{seconds}s")
            };
            let message =
                format!("back-off {said} restarting failed container={name} pod={}", self.pod.short);
            let told = format!("Back-off restarting failed container {name} in pod {}", self.pod.short);
            plan.tell(true, "BackOff", (name, told));
            self.state =
                State::Waiting { reason: "CrashLoopBackOff", message, until: Some(finished + pause) };
            self.pause = Some((next, finished + pause));
            return false;
        }
        self.pause = Some((next, plan.now));
        true
    }

    fn miss_image(&mut self, plan: &mut Plan) {
        let Some(container) = &self.container else { return };
        let (name, image) = (&container.name, &container.image);
        let is_first =
            !matches!(&self.state, State::Waiting { reason: "ErrImagePull" | "ImagePullBackOff", .. });
        let why = format!(
            "images are not pulled here, no program stands for {image:?} (--image {image}=PROGRAM), and container {name} of {} has no command",
            self.pod.long
        );
        let (reason, message) = if is_first {
            plan.tell(true, "Failed", (name, format!("Failed to pull image {image:?}: {why}")));
            ("ErrImagePull", why)
        } else {
            ("ImagePullBackOff", format!("Back-off pulling image {image:?}: ErrImagePull: {why}"))
        };
        let until = plan.now + self.pull_pause;
        self.pull_pause = (self.pull_pause * 2).min(LONGEST_PAUSE);
        plan.reached(until);
        self.state = State::Waiting { reason, message, until: Some(until) };
    }

    pub(super) fn started(&mut self, run: Run, since: Time, plan: &mut Plan) {
        if self.state != State::Starting {
            return;
        }
        self.state = State::Running { since };
        plan.tell(false, "Started", (self.name(), format!("Started container {}", self.name())));
        self.hook_runs = self.container.as_ref().is_some_and(|container| container.post_start.is_some());
        if self.hook_runs {
            plan.act(Action::PostStart(run));
        }
    }

    /// What was never started is no run.
    pub(super) fn not_started(&mut self, (reason, message): (&'static str, String), plan: &mut Plan) {
        self.attempts = self.attempts.saturating_sub(1);
        let is_new = !matches!(&self.state, State::Waiting { message: known, .. } if *known == message);
        if is_new {
            plan.tell(true, "Failed", (self.name(), format!("Error: {message}")));
        }
        self.state = State::Waiting { reason, message, until: Some(plan.now + SETTINGS_PAUSE) };
    }

    pub(super) fn ended(&mut self, ended: Ended, plan: &mut Plan) {
        if self.state == State::Starting {
            plan.tell(true, "Failed", (self.name(), format!("Error: {}", ended.message)));
        }
        if self.is_active() {
            self.hook_runs = false;
            self.state = State::Ended(ended);
        }
    }

    /// Leaves a container at its end that would have been started again.
    pub(super) fn give_up_restart(&mut self) {
        if let State::Waiting { reason: "CrashLoopBackOff", .. } = &self.state
            && let Some(last) = self.last.take()
        {
            self.state = State::Ended(last);
        }
    }

    /// Begins to end the run; says again, it may leave less time.
    pub(super) fn stop(&mut self, end: Time, plan: &mut Plan) {
        match &mut self.state {
            State::Waiting { .. } | State::Starting | State::Ended(_) => return,
            State::Stopping { step: Step::Killed, .. } => return,
            State::Stopping { until, .. } => *until = end.min(*until),
            State::Running { .. } => {
                let message = format!("Stopping container {}", self.name());
                self.begin_stop((end, message), plan);
            }
        }
        self.advance_stop(plan);
    }

    fn begin_stop(&mut self, (end, message): (Time, String), plan: &mut Plan) {
        let State::Running { since } = self.state else { return };
        let run = self.run();
        plan.tell(false, "Killing", (self.name(), message));
        let has_hook = self.container.as_ref().is_some_and(|container| container.pre_stop.is_some());
        let step = if has_hook {
            plan.act(Action::PreStop(run, end.saturating_sub(plan.now)));
            Step::Hook
        } else {
            plan.act(Action::Terminate(run));
            Step::Asked
        };
        self.state = State::Stopping { since, step, until: end };
    }

    fn advance_stop(&mut self, plan: &mut Plan) {
        let run = self.run();
        let State::Stopping { step, until, .. } = &mut self.state else { return };
        if !plan.reached(*until) {
            return;
        }
        match step {
            Step::Hook => {
                plan.act(Action::Terminate(run));
                (*step, *until) = (Step::Asked, plan.now + LAST_GRACE);
            }
            Step::Asked | Step::Killed => {
                plan.act(Action::Kill(run));
                (*step, *until) = (Step::Killed, plan.now + KILL_AGAIN);
            }
        }
        plan.reached(*until);
    }

    pub(super) fn after_post_start(&mut self, run: Run, result: Result<(), String>, plan: &mut Plan) {
        self.hook_runs = false;
        if let Err(error) = result {
            plan.tell(true, "FailedPostStartHook", (self.name(), format!("PostStartHook failed: {error}")));
            debug_assert_eq!(run, self.run(), "only the newest run is told");
            let message = format!("FailedPostStartHook: container {} is stopped", self.name());
            self.begin_stop((plan.now + self.pod.grace, message), plan);
        }
    }

    pub(super) fn after_pre_stop(&mut self, run: Run, result: Result<(), String>, plan: &mut Plan) {
        if let Err(error) = result {
            plan.tell(true, "FailedPreStopHook", (self.name(), format!("PreStopHook failed: {error}")));
        }
        if let State::Stopping { step: step @ Step::Hook, .. } = &mut self.state {
            *step = Step::Asked;
            plan.act(Action::Terminate(run));
        }
    }

    pub(super) fn answered(
        &mut self,
        (run, question): (Run, Question),
        result: Result<(), String>,
        plan: &mut Plan,
    ) {
        let Some((probe, asking)) = self.probe(question) else { return };
        asking.answered(&probe, result.is_ok());
        let verdict = asking.verdict;
        if let Err(error) = &result {
            plan.tell(true, "Unhealthy", (self.name(), format!("{} probe failed: {error}", question.name())));
        }
        let fatal = match question {
            Question::Startup | Question::Liveness => verdict == Verdict::Bad,
            Question::Readiness => false,
        };
        if fatal && matches!(self.state, State::Running { .. }) {
            let kind = question.name().to_lowercase();
            let message = format!("Container {} failed {kind} probe, will be restarted", self.name());
            debug_assert_eq!(run, self.run(), "only the newest run is told");
            let end = plan.now + probe.grace.unwrap_or(self.pod.grace);
            self.begin_stop((end, message), plan);
        }
    }

    fn probe(&mut self, question: Question) -> Option<(Probe, &mut Asking)> {
        let container = self.container.as_ref()?;
        let (probe, asking) = match question {
            Question::Startup => (&container.startup, &mut self.startup),
            Question::Readiness => (&container.readiness, &mut self.readiness),
            Question::Liveness => (&container.liveness, &mut self.liveness),
        };
        Some((probe.clone()?, asking))
    }

    pub(super) fn advance(&mut self, plan: &mut Plan) {
        self.advance_stop(plan);
        let (since, is_stopping) = match &self.state {
            State::Running { since } => (*since, false),
            State::Stopping { since, .. } => (*since, true),
            State::Waiting { .. } | State::Starting | State::Ended(_) => return,
        };
        let is_up = self.container.as_ref().is_some_and(|container| container.startup.is_none())
            || self.startup.verdict == Verdict::Good;
        let due = match (is_up, is_stopping) {
            (false, false) => &[Question::Startup][..],
            (true, false) => &[Question::Readiness, Question::Liveness],
            // Who is about to end need not be alive, but says whether it still serves.
            (true, true) => &[Question::Readiness],
            (false, true) => &[],
        };
        let run = self.run();
        for question in due {
            let Some((probe, asking)) = self.probe(*question) else { continue };
            if let Some(next) = asking.next(&probe, (since, plan.now))
                && plan.reached(next)
            {
                asking.asked(probe.period, plan.now);
                plan.act(Action::Ask(run, *question));
            }
        }
    }
}

fn is_restarted(policy: Restart, code: i32) -> bool {
    match policy {
        Restart::Always => true,
        Restart::OnFailure => code != 0,
        Restart::Never => false,
    }
}
