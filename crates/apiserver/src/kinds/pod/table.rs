//! How tables show Pods.

use serde_json::Value;

use super::read::{self, list, number, text};
use crate::age::age;
use crate::kinds::Column;

/// The columns after the name.
pub(super) const COLUMNS: &[Column] = &[
    column("Ready", 0, "How many of its containers are ready, of how many."),
    column("Status", 0, "What it does, or what keeps it from that."),
    column("Restarts", 0, "How often its containers began again, and when the last did."),
    column("Age", 0, "How long ago it was created."),
    column("IP", 1, "Its first address."),
    column("Node", 1, "The node that it is on."),
    column("Nominated Node", 1, "The node that is being cleared for it."),
    column("Readiness Gates", 1, "How many further conditions of its readiness are met, of how many."),
];

const fn column(name: &'static str, priority: u8, description: &'static str) -> Column {
    Column { name, shape: "string", description, priority }
}

/// What containers have in common so far.
struct Summary {
    reason: String,
    ready: i64,
    restarts: Restarts,
}

/// How often containers began again.
#[derive(Default)]
struct Restarts {
    count: i64,
    /// When the last that ended did, as text: the later the greater.
    last: String,
}

impl Restarts {
    fn add(&mut self, container: &Value) {
        self.count += number(container, "restartCount");
        let ended = text(&container["lastState"]["terminated"], "finishedAt");
        if ended > self.last.as_str() {
            self.last = ended.to_owned();
        }
    }
}

/// The cells after the name.
pub(super) fn cells(pod: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let helpers = list(spec, "initContainers").iter().filter(|container| stays(container)).count();
    let total = list(spec, "containers").len() + helpers;
    let Summary { reason, ready, restarts } = summary(pod);
    let restarts = match restarts.last.as_str() {
        last if restarts.count != 0 && !last.is_empty() => {
            format!("{} ({} ago)", restarts.count, age(&last.into(), now))
        }
        _ => restarts.count.to_string(),
    };
    let or_none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    [
        format!("{ready}/{total}"),
        gone(pod).map_or(reason, str::to_owned),
        restarts,
        age(&pod["metadata"]["creationTimestamp"], now),
        or_none(status["podIPs"][0]["ip"].as_str().unwrap_or_default()),
        or_none(text(spec, "nodeName")),
        or_none(text(status, "nominatedNodeName")),
        gates(pod),
    ]
    .map(Value::from)
    .into()
}

/// Whether a container that begins first runs on beside the others.
fn stays(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}

/// What a Pod that is deleted shows.
fn gone(pod: &Value) -> Option<&'static str> {
    let is_finished = matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed");
    match text(&pod["metadata"], "deletionTimestamp") {
        "" => None,
        _ if text(&pod["status"], "reason") == "NodeLost" => Some("Unknown"),
        _ if is_finished => None,
        _ => Some("Terminating"),
    }
}

fn summary(pod: &Value) -> Summary {
    let status = &pod["status"];
    let conditions = list(status, "conditions");
    let is_gated = conditions.iter().any(|condition| {
        text(condition, "type") == "PodScheduled" && text(condition, "reason") == "SchedulingGated"
    });
    let reason = match text(status, "reason") {
        _ if is_gated => "SchedulingGated",
        "" => text(status, "phase"),
        reason => reason,
    };
    let (mut summary, of_helpers, is_beginning) = first(pod, reason.to_owned());
    if is_beginning && !has(conditions, "Initialized") {
        return summary;
    }
    summary.restarts = of_helpers;
    let mut has_running = false;
    for container in list(status, "containerStatuses").iter().rev() {
        summary.restarts.add(container);
        let state = &container["state"];
        let waits_for = text(&state["waiting"], "reason");
        if !waits_for.is_empty() {
            summary.reason = waits_for.to_owned();
        } else if state["terminated"].is_object() {
            summary.reason = end(&state["terminated"]);
        } else if container["ready"] == true && state["running"].is_object() {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && has_running {
        summary.reason = if has(conditions, "Ready") { "Running" } else { "NotReady" }.to_owned();
    }
    summary
}

/// What the containers that begin first say; the restarts of those that stay; whether it is still their turn.
fn first(pod: &Value, reason: String) -> (Summary, Restarts, bool) {
    let containers = list(&pod["spec"], "initContainers");
    let mut of_helpers = Restarts::default();
    let mut summary = Summary { reason, ready: 0, restarts: Restarts::default() };
    for (at, container) in list(&pod["status"], "initContainerStatuses").iter().enumerate() {
        summary.restarts.add(container);
        let name = text(container, "name");
        let is_helper = containers.iter().any(|one| text(one, "name") == name && stays(one));
        if is_helper {
            of_helpers.add(container);
        }
        let state = &container["state"];
        let (ended, waits_for) = (&state["terminated"], text(&state["waiting"], "reason"));
        if ended.is_object() && number(ended, "exitCode") == 0 {
            continue;
        }
        if is_helper && container["started"] == true {
            summary.ready += i64::from(container["ready"] == true);
            continue;
        }
        let what = if ended.is_object() {
            end(ended)
        } else if !["", "PodInitializing"].contains(&waits_for) {
            waits_for.to_owned()
        } else {
            format!("{at}/{}", containers.len())
        };
        summary.reason = format!("Init:{what}");
        return (summary, of_helpers, true);
    }
    (summary, of_helpers, false)
}

/// How a container ended.
fn end(terminated: &Value) -> String {
    match (text(terminated, "reason"), number(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", number(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn has(conditions: &[Value], kind: &str) -> bool {
    conditions.iter().any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
}

fn gates(pod: &Value) -> String {
    let (gates, conditions) = (list(&pod["spec"], "readinessGates"), list(&pod["status"], "conditions"));
    let is_met = |gate: &&Value| {
        let kind = text(gate, "conditionType");
        let condition = conditions.iter().find(|condition| read::text(condition, "type") == kind);
        condition.is_some_and(|condition| text(condition, "status") == "True")
    };
    match gates.len() {
        0 => "<none>".to_owned(),
        all => format!("{}/{all}", gates.iter().filter(is_met).count()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_say_what_a_pod_does() {
        let check = |spec: Value, status: Value, wanted: [&str; 3]| {
            let pod = json!({"metadata": {}, "spec": spec, "status": status});
            assert_eq!(cells(&pod, 1_767_225_900)[..3], wanted.map(Value::from), "{pod}");
        };
        let one = json!({"containers": [{"name": "c"}]});
        let crashed = json!({"name": "c", "restartCount": 4, "ready": false, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                             "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}});
        check(
            one.clone(),
            json!({"phase": "Running", "containerStatuses": [crashed]}),
            ["0/1", "CrashLoopBackOff", "4 (5m ago)"],
        );
        let init = |status: Value| json!({"phase": "Pending", "initContainerStatuses": [status]});
        let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
        check(spec.clone(), init(json!({"name": "i", "state": {"running": {}}})), ["0/1", "Init:0/2", "0"]);
        check(
            spec.clone(),
            init(json!({"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}})),
            ["0/1", "Init:ExitCode:3", "2"],
        );
        check(
            spec.clone(),
            init(json!({"name": "i", "state": {"terminated": {"exitCode": 3, "signal": 9}}})),
            ["0/1", "Init:Signal:9", "0"],
        );
        check(
            spec,
            init(json!({"name": "i", "state": {"waiting": {"reason": "X"}}})),
            ["0/1", "Init:X", "0"],
        );
        let helper = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i", "restartPolicy": "Always"}]});
        check(
            helper,
            init(
                json!({"name": "i", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}),
            ),
            ["1/2", "Pending", "1"],
        );
        check(
            one.clone(),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            ["0/1", "SchedulingGated", "0"],
        );
        let two = json!({"containers": [{"name": "c"}, {"name": "d"}]});
        let statuses = json!([{"name": "c", "state": {"terminated": {"reason": "Completed"}}},
                              {"name": "d", "ready": true, "state": {"running": {}}}]);
        check(two, json!({"phase": "Running", "containerStatuses": statuses}), ["1/2", "NotReady", "0"]);
        check(one, json!({"phase": "Failed", "reason": "Evicted"}), ["0/1", "Evicted", "0"]);
    }
}
