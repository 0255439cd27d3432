//! What is to be done for one pod: what happened goes in, actions and the pod's status come out.
//!
//! Pure: time is an argument, and nothing here waits. The shell carries the actions out and says what became of them.
//!
//! ```text
//! volumes -> network -> containers that initialise, one after the other -> the others, again and again as their policy says
//!         -> (deletion, or all have ended) every container ended -> no network -> the object deleted
//! ```

mod asking;
mod slot;
mod status;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::pod::{Pod, Restart, Role};
use crate::time::Time;
pub(crate) use asking::Question;
pub(crate) use slot::{Ended, Found};
use slot::{Slot, State};
use status::Conditions;

/// How long until a network that could not be made is tried again.
const NETWORK_RETRY: Duration = Duration::from_secs(5);
/// What processes have at least to end.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// One pod of this node.
#[derive(Debug)]
pub(crate) struct Machine {
    pod: Pod,
    volumes: Volumes,
    network: Network,
    addresses: Vec<IpAddr>,
    slots: Vec<Slot>,
    start: Time,
    /// Until when processes may run, once they are to end.
    end: Option<Time>,
    failed: Option<(&'static str, String)>,
    /// Whether the object is gone.
    gone: bool,
    deleting: bool,
    conditions: Conditions,
    wake: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Volumes {
    Missing,
    Making,
    Ready,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Network {
    Missing,
    Making,
    Ready,
    Failed { until: Time },
    Removing,
    Removed,
}

/// One run of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The container's place in the pod's list.
    pub slot: usize,
    /// Which run of it, from 0.
    pub attempt: u32,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The object is this now.
    Pod(Box<Pod>),
    /// The object is gone.
    Gone,
    /// The volumes are as they should be; or what is missing.
    Volumes(Result<(), Vec<String>>),
    /// The network was made, with these addresses; or why not.
    Network(Result<Vec<IpAddr>, String>),
    /// The network was removed.
    NetworkRemoved,
    /// A container runs.
    Started(Run, Time),
    /// A container could not be started: the reason in one word, and in many.
    NotStarted(Run, &'static str, String),
    /// A container has ended.
    Ended(Run, Ended),
    /// What was to be done after its start was done.
    PostStart(Run, Result<(), String>),
    /// What was to be done before its end was done.
    PreStop(Run, Result<(), String>),
    /// A probe was answered; `Err` says how it was not.
    Answered(Run, Question, Result<(), String>),
    /// Time passed.
    Nothing,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Make the volumes, and keep them as they should be.
    MakeVolumes,
    /// Make the network, with the addresses from before where there are any.
    MakeNetwork(Vec<IpAddr>),
    /// Remove the network and the volumes.
    RemoveNetwork,
    /// Start a container.
    Start(Run),
    /// Ask a container to end.
    Terminate(Run),
    /// End a container.
    Kill(Run),
    /// Do what is to be done after its start.
    PostStart(Run),
    /// Do what is to be done before its end, no longer than this.
    PreStop(Run, Duration),
    /// Ask a probe.
    Ask(Run, Question),
    /// Tell people.
    Tell(Notice),
    /// Delete the object, which has nothing left here.
    Delete,
    /// Forget the pod.
    Forget,
}

/// What an Event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Whether somebody should look.
    pub warning: bool,
    /// The reason in one word.
    pub reason: &'static str,
    /// The reason in many.
    pub message: String,
    /// The container it is about; empty: the pod.
    pub container: String,
}

/// What came of a step.
pub(super) struct Plan {
    now: Time,
    actions: Vec<Action>,
    wake: Option<Time>,
}

impl Plan {
    fn new(now: Time) -> Self {
        Self { now, actions: Vec::new(), wake: None }
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Has the pod looked at again then; answers whether that moment has come.
    fn reached(&mut self, time: Time) -> bool {
        if time <= self.now {
            return true;
        }
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
        false
    }

    fn tell(&mut self, warning: bool, reason: &'static str, (container, message): (&str, String)) {
        let container = container.to_owned();
        self.act(Action::Tell(Notice { warning, reason, message, container }));
    }
}

impl Machine {
    /// A pod, with what of it was found here.
    pub(crate) fn new(pod: Pod, found: Option<(Vec<IpAddr>, Vec<Found>)>, now: Time) -> Self {
        let start = pod.start_time().unwrap_or(now);
        let is_known = found.is_some();
        let (addresses, found) = found.unwrap_or_default();
        let mut slots: Vec<Slot> = pod.containers.iter().map(|_| Slot::new()).collect();
        for (slot, (container, found)) in slots.iter_mut().zip(pod.containers.iter().zip(found)) {
            slot.restore(container, found, &pod.object);
        }
        let network = if is_known && !addresses.is_empty() { Network::Ready } else { Network::Missing };
        if network == Network::Missing {
            // Whoever took the network away ended the containers, too: that is no failure of theirs.
            slots.iter_mut().for_each(Slot::forgive);
        }
        let conditions = Conditions::of(&pod.object);
        let volumes = if pod.volumes.is_empty() { Volumes::Ready } else { Volumes::Missing };
        Self {
            volumes,
            network,
            addresses,
            slots,
            start,
            end: None,
            failed: None,
            gone: false,
            deleting: false,
            conditions,
            wake: None,
            pod,
        }
    }

    /// Takes what happened and answers what is to be done now.
    pub(crate) fn step(&mut self, input: Input, now: Time) -> Vec<Action> {
        let mut plan = Plan::new(now);
        self.take(input, &mut plan);
        self.advance(&mut plan);
        self.wake = plan.wake;
        plan.actions
    }

    /// Answers when to look again even if nothing happens.
    pub(crate) fn wake(&self) -> Option<Time> {
        self.wake
    }

    /// Answers the pod.
    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Answers the pod's status as it is to be at the API server.
    pub(crate) fn status(&mut self, node: &[IpAddr], now: Time) -> Value {
        status::status(self, node, now)
    }

    fn take(&mut self, input: Input, plan: &mut Plan) {
        match input {
            Input::Pod(pod) => self.take_pod(*pod),
            Input::Gone => self.gone = true,
            // What was there once is there for good, even when its object goes.
            Input::Volumes(Ok(())) => self.volumes = Volumes::Ready,
            Input::Volumes(Err(missing)) => {
                missing.into_iter().for_each(|why| plan.tell(true, "FailedMount", ("", why)));
            }
            Input::Network(Ok(addresses)) => {
                self.addresses = addresses;
                self.network = Network::Ready;
            }
            Input::Network(Err(error)) => {
                self.network = Network::Failed { until: plan.now + NETWORK_RETRY };
                plan.tell(
                    true,
                    "FailedCreatePodSandBox",
                    ("", format!("failed to make the pod's network: {error}")),
                );
            }
            Input::NetworkRemoved => self.network = Network::Removed,
            Input::Started(run, since) => self.with(run, plan, |slot, plan| slot.started(run, since, plan)),
            Input::NotStarted(run, reason, message) => {
                self.with(run, plan, |slot, plan| slot.not_started((reason, message), plan));
            }
            Input::Ended(run, ended) => self.with(run, plan, |slot, plan| slot.ended(ended, plan)),
            Input::PostStart(run, result) => {
                self.with(run, plan, |slot, plan| slot.after_post_start(run, result, plan));
            }
            Input::PreStop(run, result) => {
                self.with(run, plan, |slot, plan| slot.after_pre_stop(run, result, plan));
            }
            Input::Answered(run, question, result) => {
                self.with(run, plan, |slot, plan| slot.answered((run, question), result, plan));
            }
            Input::Nothing => {}
        }
    }

    /// Changes the slot of a run, if that run is still its newest.
    fn with(&mut self, run: Run, plan: &mut Plan, change: impl FnOnce(&mut Slot, &mut Plan)) {
        let Some(slot) = self.slots.get_mut(run.slot) else { return };
        if slot.attempts == run.attempt + 1 {
            slot.about(&self.pod, run.slot);
            change(slot, plan);
        }
    }

    fn take_pod(&mut self, pod: Pod) {
        self.conditions.learn(&pod.object);
        // Containers never change in number or order; an image may.
        if pod.containers.len() == self.pod.containers.len() {
            self.pod = pod;
        } else {
            self.pod.deletion = pod.deletion;
        }
    }

    fn advance(&mut self, plan: &mut Plan) {
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            slot.about(&self.pod, index);
            slot.advance(plan);
        }
        self.decide_end(plan);
        if self.end.is_some() || self.is_done() {
            self.finish(plan);
        } else {
            self.proceed(plan);
        }
    }

    /// Sees whether everything is to end, and when.
    fn decide_end(&mut self, plan: &mut Plan) {
        if let Some(deadline) = self.pod.deadline
            && self.failed.is_none()
            && !self.is_done()
            && plan.reached(self.start + deadline)
        {
            let message = "Pod was active on the node longer than the specified deadline".to_owned();
            plan.tell(false, "DeadlineExceeded", ("", message.clone()));
            self.failed = Some(("DeadlineExceeded", message));
            self.end = Some(plan.now + self.pod.grace.max(LEAST_GRACE));
        }
        let grace = match self.pod.deletion {
            Some(deletion) => deletion.grace.max(LEAST_GRACE),
            None if self.gone => LEAST_GRACE,
            None => return,
        };
        // A second deletion may leave less time, never more.
        let end = plan.now + grace;
        self.end = Some(self.end.map_or(end, |known| known.min(end)));
    }

    /// Ends what runs: sidecars after the others; then the network, then the object.
    fn finish(&mut self, plan: &mut Plan) {
        let end = self.end.unwrap_or(plan.now + self.pod.grace.max(LEAST_GRACE));
        let main_runs = self.slots_with(|role| role != Role::Sidecar).any(Slot::is_active);
        for index in 0..self.slots.len() {
            let is_sidecar = self.pod.containers[index].role == Role::Sidecar;
            let slot = &mut self.slots[index];
            slot.about(&self.pod, index);
            slot.give_up_restart();
            if !is_sidecar || !main_runs {
                slot.stop(end, plan);
            }
        }
        if self.slots.iter().any(Slot::is_active) {
            return;
        }
        match self.network {
            Network::Making | Network::Removing => {}
            Network::Missing | Network::Failed { .. } if self.pod.volumes.is_empty() => {
                self.network = Network::Removed;
            }
            Network::Missing | Network::Failed { .. } | Network::Ready => {
                self.network = Network::Removing;
                plan.act(Action::RemoveNetwork);
            }
            Network::Removed => {}
        }
        if self.network != Network::Removed {
            return;
        }
        if self.gone {
            plan.act(Action::Forget);
        } else if self.pod.deletion.is_some() && !self.deleting {
            self.deleting = true;
            plan.act(Action::Delete);
        }
    }

    /// Makes volumes and network and starts what may start.
    fn proceed(&mut self, plan: &mut Plan) {
        if self.volumes == Volumes::Missing {
            self.volumes = Volumes::Making;
            plan.act(Action::MakeVolumes);
        }
        if self.volumes != Volumes::Ready {
            return;
        }
        let make = match self.network {
            Network::Missing | Network::Removed => true,
            Network::Failed { until } => plan.reached(until),
            Network::Making | Network::Removing => return,
            Network::Ready => false,
        };
        if make {
            self.network = Network::Making;
            plan.act(Action::MakeNetwork(self.addresses.clone()));
        }
        if self.network != Network::Ready {
            return;
        }
        for index in 0..self.slots.len() {
            let role = self.pod.containers[index].role;
            let slot = &mut self.slots[index];
            slot.about(&self.pod, index);
            let lets_others = match role {
                Role::Init => slot.succeeded(),
                Role::Sidecar => slot.is_started(),
                Role::Main => true,
            };
            if !(role == Role::Init && lets_others) {
                slot.start_if_due(self.pod.policy(role), plan);
            }
            if !lets_others {
                return;
            }
        }
    }

    /// Answers whether the pod has nothing more to do, by itself.
    fn is_done(&self) -> bool {
        let policy = self.pod.restart;
        let failed_init = policy == Restart::Never
            && self
                .slots_with(|role| role == Role::Init)
                .any(|slot| slot.ended_for_good(policy) && !slot.succeeded());
        let mut main = self.slots_with(|role| role == Role::Main);
        failed_init || self.failed.is_some() || main.all(|slot| slot.ended_for_good(policy))
    }

    fn slots_with(&self, wanted: impl Fn(Role) -> bool) -> impl Iterator<Item = &Slot> {
        let roles = self.pod.containers.iter().map(|container| container.role);
        roles.zip(&self.slots).filter(move |(role, _)| wanted(*role)).map(|(_, slot)| slot)
    }
}

impl Pod {
    /// When a container of this role is started again.
    fn policy(&self, role: Role) -> Restart {
        match (role, self.restart) {
            (Role::Sidecar, _) => Restart::Always,
            (Role::Init, Restart::Always) => Restart::OnFailure,
            (Role::Init | Role::Main, policy) => policy,
        }
    }
}

fn is_running(state: &State) -> bool {
    matches!(state, State::Running { .. } | State::Stopping { .. })
}
