//! Nodes, played: their Pods run and are ready at once, unless their image is called `broken`, and end when they shall.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use watch::client::{Client, Collection, PatchType, Told, follow};

fn decode(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Makes a node that is ready.
pub(crate) async fn register(client: &Client, name: &str) {
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
    client.create("/api/v1/nodes", &node).await.unwrap();
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let path = format!("/api/v1/nodes/{name}/status");
    client.patch(&path, PatchType::Strategic, &ready).await.unwrap();
}

/// Runs the Pods of all nodes, for ever.
pub(crate) async fn run(client: Client) {
    let (tell, mut heard) = mpsc::channel(100);
    tokio::spawn(follow(client.clone(), Collection::all("/api/v1/pods"), decode, tell));
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    while let Some(told) = heard.recv().await {
        let Told::Put(pod) = told else { continue };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let path = format!(
            "/api/v1/namespaces/{}/pods/{}",
            text(&pod["metadata"]["namespace"]),
            text(&pod["metadata"]["name"])
        );
        let is_leaving = !pod["metadata"]["deletionTimestamp"].is_null();
        if text(&pod["spec"]["nodeName"]).is_empty() || (!is_leaving && known.contains_key(&path)) {
            continue;
        }
        known.insert(path.clone(), Value::Null);
        // A Pod that is gone meanwhile is no failure.
        if is_leaving {
            drop(client.delete(&path, &json!({"gracePeriodSeconds": 0})).await);
        } else {
            drop(client.patch(&format!("{path}/status"), PatchType::Strategic, &status(&pod)).await);
        }
    }
}

fn status(pod: &Value) -> Value {
    let is_ready = pod["spec"]["containers"][0]["image"] != "broken";
    let word = if is_ready { "True" } else { "False" };
    let now = now();
    let condition = |kind: &str| json!({"type": kind, "status": word, "lastTransitionTime": now});
    let phase = if is_ready { "Running" } else { "Pending" };
    json!({"status": {"phase": phase, "conditions": [condition("Ready"), condition("ContainersReady")]}})
}

/// The time as objects carry it; `date` knows the calendar.
fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
