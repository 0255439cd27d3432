//! The pods of the node as the loop that owns them knows them, and what their containers can be asked for.

use http::StatusCode;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::refusal::Refusal;
use super::route::Place;
use crate::pod::list;

/// Answers the objects of pods, with their newest statuses.
pub(crate) type Answer = oneshot::Sender<Vec<Value>>;

/// Where the pods are asked for.
#[derive(Debug, Clone)]
pub(super) struct Pods(mpsc::Sender<Answer>);

impl Pods {
    pub(super) fn new(questions: mpsc::Sender<Answer>) -> Self {
        Self(questions)
    }

    /// Answers all pods.
    pub(super) async fn all(&self) -> Vec<Value> {
        let (answer, answered) = oneshot::channel();
        // The loop ends with the program.
        drop(self.0.send(answer).await);
        answered.await.unwrap_or_default()
    }

    /// Answers a pod.
    pub(super) async fn find(&self, place: &Place) -> Option<Value> {
        let is_meant = |pod: &Value| {
            let meta = &pod["metadata"];
            meta["namespace"] == place.namespace.as_str()
                && meta["name"] == place.name.as_str()
                && place.uid.as_ref().is_none_or(|uid| meta["uid"] == uid.as_str())
        };
        let pods = self.all().await.into_iter().filter(is_meant);
        // One that still ends may have the name of its successor.
        pods.max_by_key(|pod| pod["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned())
    }
}

/// Whether the container's program runs; the refusal is that of a kubelet.
pub(super) fn check_runs(pod: &Value, container: &str) -> Result<(), Refusal> {
    let runs = status(pod, container).is_some_and(|status| status["state"].get("running").is_some());
    if runs {
        return Ok(());
    }
    let text = format!("container not found ({container:?})");
    Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text))
}

/// Which run of a container has the log that is wanted: whether it is the one before the newest.
pub(super) fn log_run(pod: &Value, container: &str, previous: bool) -> Result<bool, Refusal> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let spec = &pod["spec"];
    let mut known = list(&spec["containers"]).chain(list(&spec["initContainers"]));
    if !known.any(|known| known["name"] == container) {
        return Err(Refusal::not_found(format!("container {container:?} not found in pod {name:?}")));
    }
    let waits = |why: &str| {
        Refusal::bad_request(format!("container {container:?} in pod {name:?} is waiting to start{why}"))
    };
    let Some(status) = status(pod, container) else { return Err(waits(" - no logs yet")) };
    let has_last = status["lastState"].get("terminated").is_some();
    let waiting = status["state"].get("waiting");
    if previous && !has_last {
        let text = format!("previous terminated container {container:?} in pod {name:?} not found");
        return Err(Refusal::bad_request(text));
    }
    let Some(waiting) = waiting else { return Ok(previous) };
    // While a container waits, its newest run is the one that has ended.
    if has_last {
        return Ok(false);
    }
    Err(match waiting["reason"].as_str().unwrap_or_default() {
        "ErrImagePull" => waits(": image can't be pulled"),
        "ImagePullBackOff" => waits(": trying and failing to pull image"),
        "" => waits(" - no logs yet"),
        reason => waits(&format!(": {reason}")),
    })
}

fn status<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    let status = &pod["status"];
    let mut all = list(&status["containerStatuses"]).chain(list(&status["initContainerStatuses"]));
    all.find(|status| status["name"] == container)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: &Value, last: &Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]},
            "status": {"containerStatuses": [{"name": "c", "state": state, "lastState": last}]}})
    }

    #[test]
    fn logs_are_there_for_what_has_run() {
        let (runs, ended) = (json!({"running": {}}), json!({"terminated": {}}));
        let waits = |reason: &str| json!({"waiting": {"reason": reason}});
        let none = json!({});
        for (state, last, container, previous, expected) in [
            (&runs, &none, "c", false, "newest"),
            (&runs, &ended, "c", false, "newest"),
            (&runs, &ended, "c", true, "before"),
            (&ended, &none, "c", false, "newest"),
            (&ended, &ended, "c", true, "before"),
            (&waits("CrashLoopBackOff"), &ended, "c", false, "newest"),
            (&waits("CrashLoopBackOff"), &ended, "c", true, "newest"),
            (&runs, &none, "c", true, "400 previous terminated container \"c\" in pod \"p\" not found"),
            (
                &waits("ContainerCreating"),
                &none,
                "c",
                false,
                "400 container \"c\" in pod \"p\" is waiting to start: ContainerCreating",
            ),
            (
                &waits("ErrImagePull"),
                &none,
                "c",
                false,
                "400 container \"c\" in pod \"p\" is waiting to start: image can't be pulled",
            ),
            (&runs, &none, "i", false, "400 container \"i\" in pod \"p\" is waiting to start - no logs yet"),
            (&runs, &none, "x", false, "404 container \"x\" not found in pod \"p\""),
        ] {
            let found = match log_run(&pod(state, last), container, previous) {
                Ok(false) => "newest".to_owned(),
                Ok(true) => "before".to_owned(),
                Err(refusal) => format!("{} {}", refusal.code.as_u16(), refusal.text),
            };
            assert_eq!(found, expected, "{state} {last} {container} {previous}");
        }
        assert_eq!(check_runs(&pod(&runs, &none), "c"), Ok(()));
        assert_eq!(check_runs(&pod(&ended, &none), "c").unwrap_err().text, "container not found (\"c\")");
    }
}
