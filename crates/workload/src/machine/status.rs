//! The status of a pod, as its node tells it.
//!
//! It holds what a node may say and nothing else: conditions of others, the quality of service and the like stay as the
//! API server has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::slot::{Ended, Slot, State};
use super::{Machine, is_running};
use crate::pod::{Container, Pod, Restart, Role, list};
use crate::time::{Time, text};

/// The conditions that were told, and since when they are so.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    told: BTreeMap<String, (bool, Value)>,
}

/// A condition, and why it is not true.
type Condition = (&'static str, Result<(), (&'static str, String)>);

impl Conditions {
    pub(super) fn of(object: &Value) -> Self {
        let mut conditions = Self::default();
        conditions.learn(object);
        conditions
    }

    /// Others may write conditions, too; what is known here is newer.
    pub(super) fn learn(&mut self, object: &Value) {
        for condition in object.pointer("/status/conditions").into_iter().flat_map(list) {
            let Some(name) = condition["type"].as_str() else { continue };
            let told = (condition["status"] == "True", condition["lastTransitionTime"].clone());
            self.told.entry(name.to_owned()).or_insert(told);
        }
    }

    /// The condition as an object; when it changed is kept.
    fn object(&mut self, (name, state): Condition, now: Time) -> Value {
        let is_true = state.is_ok();
        let since = match self.told.get(name) {
            Some((told, since)) if *told == is_true && since.is_string() => since.clone(),
            Some(_) | None => Value::from(text(now)),
        };
        self.told.insert(name.to_owned(), (is_true, since.clone()));
        let mut object = json!({
            "type": name, "status": if is_true { "True" } else { "False" },
            "lastProbeTime": null, "lastTransitionTime": since,
        });
        let (reason, message) = state.err().unwrap_or_default();
        // A merge leaves what is not mentioned.
        let text_or_null = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
        object["reason"] = text_or_null(reason);
        object["message"] = text_or_null(&message);
        object
    }
}

pub(super) fn status(machine: &mut Machine, node: &[IpAddr], now: Time) -> Value {
    let phase = phase(machine);
    let conditions = conditions(machine, phase);
    let conditions: Vec<Value> =
        conditions.into_iter().map(|condition| machine.conditions.object(condition, now)).collect();
    let mut status = json!({
        "phase": phase,
        "conditions": conditions,
        "startTime": text(machine.start),
    });
    if let Some(generation) = machine.pod.object.pointer("/metadata/generation") {
        status["observedGeneration"] = generation.clone();
    }
    if let Some((reason, message)) = &machine.failed {
        status["reason"] = (*reason).into();
        status["message"] = message.as_str().into();
    }
    put_addresses(&mut status, ("hostIP", "hostIPs"), node);
    put_addresses(&mut status, ("podIP", "podIPs"), &machine.addresses);
    let is_initialized = is_initialized(machine);
    for (field, wanted) in [("initContainerStatuses", false), ("containerStatuses", true)] {
        let pod = &machine.pod;
        let both = pod.containers.iter().zip(&machine.slots);
        let here = both.filter(|(container, _)| (container.role == Role::Main) == wanted);
        let statuses: Vec<Value> =
            here.map(|(container, slot)| container_status((pod, container), slot, is_initialized)).collect();
        if !statuses.is_empty() {
            status[field] = statuses.into();
        }
    }
    status
}

fn put_addresses(status: &mut Value, (one, all): (&str, &str), addresses: &[IpAddr]) {
    let Some(first) = addresses.first() else { return };
    status[one] = first.to_string().into();
    status[all] = addresses.iter().map(|address| json!({"ip": address.to_string()})).collect();
}

/// Whether every container that initialises has done so.
fn is_initialized(machine: &Machine) -> bool {
    let both = machine.pod.containers.iter().zip(&machine.slots);
    let mut ready = both.map(|(container, slot)| match container.role {
        Role::Init => slot.succeeded(),
        // One that has run once does not hold the others up again.
        Role::Sidecar => slot.is_started() || matches!(slot.state, State::Ended(_)) || slot.last.is_some(),
        Role::Main => true,
    });
    ready.all(|ready| ready)
}

fn phase(machine: &Machine) -> &'static str {
    let policy = machine.pod.restart;
    let failed_init = policy == Restart::Never
        && machine.slots_with(|role| role == Role::Init).any(|slot| ended(slot).is_some_and(|e| e.code != 0));
    if failed_init || machine.failed.is_some() && !machine.slots.iter().any(Slot::is_active) {
        return "Failed";
    }
    let main: Vec<&Slot> = machine.slots_with(|role| role == Role::Main).collect();
    let has_waited = main.iter().any(|slot| !is_running(&slot.state) && ended(slot).is_none());
    if !is_initialized(machine) && main.iter().all(|slot| slot.attempts == 0) || has_waited {
        // Of a pod that was deleted before all of it ran nothing will come.
        let is_over = machine.end.is_some() && machine.slots.iter().all(|slot| !slot.is_active());
        return if is_over { "Failed" } else { "Pending" };
    }
    if main.iter().any(|slot| is_running(&slot.state)) {
        return "Running";
    }
    let succeeded = main.iter().all(|slot| ended(slot).is_some_and(|ended| ended.code == 0));
    match policy {
        Restart::Always | Restart::OnFailure if machine.end.is_some() => {
            if succeeded {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        Restart::Always => "Running",
        Restart::OnFailure | Restart::Never if succeeded => "Succeeded",
        Restart::Never => "Failed",
        Restart::OnFailure => "Running",
    }
}

/// How the newest run that is over ended.
fn ended(slot: &Slot) -> Option<&Ended> {
    match &slot.state {
        State::Ended(ended) => Some(ended),
        State::Waiting { .. } | State::Starting => slot.last.as_ref(),
        State::Running { .. } | State::Stopping { .. } => None,
    }
}

fn conditions(machine: &Machine, phase: &str) -> Vec<Condition> {
    let names = |wanted: &dyn Fn(&Container, &Slot) -> bool| {
        let both = machine.pod.containers.iter().zip(&machine.slots);
        let found = both.filter(|(container, slot)| wanted(container, slot));
        found.map(|(container, _)| container.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let incomplete = names(&|container, slot| match container.role {
        Role::Init => !slot.succeeded(),
        Role::Sidecar => !slot.is_started() && slot.attempts == 0,
        Role::Main => false,
    });
    let is_done = phase == "Succeeded" || phase == "Failed";
    let initialized = if incomplete.is_empty() || phase == "Succeeded" {
        Ok(())
    } else {
        Err(("ContainersNotInitialized", format!("containers with incomplete status: [{incomplete}]")))
    };
    let unready = names(&|container, slot| container.role != Role::Init && !slot.is_ready());
    let containers_ready = if phase == "Succeeded" {
        Err(("PodCompleted", String::new()))
    } else if phase == "Failed" {
        Err(("PodFailed", String::new()))
    } else if unready.is_empty() {
        Ok(())
    } else {
        Err(("ContainersNotReady", format!("containers with unready status: [{unready}]")))
    };
    let ready = containers_ready.clone().and_then(|()| gates(machine));
    let network = if machine.network == super::Network::Ready || !machine.addresses.is_empty() && !is_done {
        Ok(())
    } else {
        Err(("", String::new()))
    };
    vec![
        ("PodReadyToStartContainers", network),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Ok(())),
    ]
}

/// Conditions of others that readiness waits for.
fn gates(machine: &Machine) -> Result<(), (&'static str, String)> {
    let conditions = || machine.pod.object.pointer("/status/conditions").into_iter().flat_map(list);
    let mut wrong = Vec::new();
    for gate in &machine.pod.gates {
        match conditions().find(|condition| condition["type"] == gate.as_str()) {
            None => wrong
                .push(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
            Some(condition) if condition["status"] != "True" => {
                wrong.push(format!(
                    "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
                    condition["status"].as_str().unwrap_or_default()
                ));
            }
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(("ReadinessGatesNotReady", wrong.join(", "))) }
}

fn container_status((pod, container): (&Pod, &Container), slot: &Slot, is_initialized: bool) -> Value {
    let id = |attempt: u32| format!("signalbox://{}-{}-{attempt}", pod.uid, container.name);
    let newest = slot.attempts.checked_sub(1);
    let ended_state = |ended: &Ended, attempt: Option<u32>| {
        let mut object = json!({
            "exitCode": ended.code, "reason": ended.reason,
            "startedAt": text(ended.started), "finishedAt": text(ended.finished),
            "containerID": attempt.map(id).unwrap_or_default(),
        });
        if !ended.message.is_empty() {
            object["message"] = ended.message.as_str().into();
        }
        json!({"terminated": object})
    };
    let waiting = |reason: &str, message: &str| {
        let mut object = Map::new();
        object.insert("reason".to_owned(), reason.into());
        if !message.is_empty() {
            object.insert("message".to_owned(), message.into());
        }
        json!({"waiting": object})
    };
    let unstarted =
        if is_initialized || container.role != Role::Main { "ContainerCreating" } else { "PodInitializing" };
    let mut last_attempt = newest;
    let state = match &slot.state {
        State::Waiting { reason: "ContainerCreating", .. } => waiting(unstarted, ""),
        State::Waiting { reason, message, .. } => waiting(reason, message),
        State::Starting => {
            last_attempt = newest.and_then(|newest| newest.checked_sub(1));
            waiting(unstarted, "")
        }
        State::Running { since } | State::Stopping { since, .. } => {
            last_attempt = newest.and_then(|newest| newest.checked_sub(1));
            json!({"running": {"startedAt": text(*since)}})
        }
        State::Ended(ended) => {
            last_attempt = newest.and_then(|newest| newest.checked_sub(1));
            ended_state(ended, newest)
        }
    };
    let last = slot.last.as_ref().filter(|last| !matches!(&slot.state, State::Ended(now) if now == *last));
    let is_ready = if container.role == Role::Init { slot.succeeded() } else { slot.is_ready() };
    let mut object = json!({
        "name": container.name, "image": container.image, "imageID": "",
        "state": state,
        "lastState": last.map_or_else(|| json!({}), |last| ended_state(last, last_attempt)),
        "ready": is_ready, "started": slot.is_started(),
        "restartCount": newest.unwrap_or(0),
    });
    if let Some(newest) = newest {
        object["containerID"] = id(newest).into();
    }
    object
}
