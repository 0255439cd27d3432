//! Nodes, played: their Pods run and are ready at once, unless their image is called `broken`, and end when they shall.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use watch::client::{Client, ClientError, Collection, PatchType, Told, follow};

fn decode(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Makes a node that is ready.
pub(crate) async fn register(client: &Client, name: &str) {
    let node = json!({"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}});
    client.create("/api/v1/nodes", &node).await.unwrap();
    say_ready(client, name).await.unwrap();
}

/// Has all nodes say that they live, but those with the label `silent`.
async fn keep_alive(client: Client) {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let mut round = 0;
    loop {
        round += 1;
        let nodes = client.get("/api/v1/nodes").await.unwrap_or_default();
        for node in nodes["items"].as_array().into_iter().flatten() {
            if !node["metadata"]["labels"]["silent"].is_null() {
                continue;
            }
            let name = node["metadata"]["name"].as_str().unwrap();
            let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "leaseTransitions": round});
            let renewed = json!({"spec": {"renewTime": precise(), "holderIdentity": name}});
            let path = format!("{LEASES}/{name}");
            if client.patch(&path, PatchType::Merge, &renewed).await.is_err() {
                let lease = json!({"metadata": {"name": name}, "spec": spec});
                drop(client.create(LEASES, &lease).await);
            }
            let ready = node["status"]["conditions"].as_array().into_iter().flatten();
            if ready.clone().any(|one| one["type"] == "Ready" && one["status"] == "Unknown") {
                drop(say_ready(&client, name).await);
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn say_ready(client: &Client, name: &str) -> Result<Value, ClientError> {
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    client.patch(&format!("/api/v1/nodes/{name}/status"), PatchType::Strategic, &ready).await
}

/// Runs the Pods of all nodes, for ever.
pub(crate) async fn run(client: Client) {
    tokio::spawn(keep_alive(client.clone()));
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

/// The time as Leases carry it.
fn precise() -> String {
    now().replace('Z', ".000000Z")
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
