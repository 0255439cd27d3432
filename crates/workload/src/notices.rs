//! Kubernetes Events about pods; what is said again is counted.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::debug;
use watch::client::{Client, PatchType};

use crate::hands::now;
use crate::machine::Notice;
use crate::pod::{Pod, Role};
use crate::time::text;

/// How many different ones are remembered.
const REMEMBERED: usize = 2000;

/// A notice about a pod.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What is said.
    pub notice: Notice,
}

/// Writes Events for as long as notices come. One that cannot be written is left out.
pub(crate) async fn record(client: &Client, node: &str, mut noted: mpsc::Receiver<Noted>) {
    let mut known: HashMap<String, (String, u64)> = HashMap::new();
    while let Some(noted) = noted.recv().await {
        let key = format!("{} {} {}", noted.pod.uid, noted.notice.reason, noted.notice.message);
        let events = format!("/api/v1/namespaces/{}/events", noted.pod.namespace);
        if let Some((name, count)) = known.get_mut(&key) {
            *count += 1;
            let patch = json!({"count": *count, "lastTimestamp": text(now())});
            if client.patch(&format!("{events}/{name}"), PatchType::Merge, &patch).await.is_ok() {
                continue;
            }
        }
        let name = format!("{}.{:x}", noted.pod.name, now().as_nanos());
        match client.create(&events, &event(node, &noted, &name)).await {
            Ok(_) => {
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(key, (name, 1));
            }
            Err(error) => debug!(%error, "an event was not written"),
        }
    }
}

fn event(node: &str, noted: &Noted, name: &str) -> Value {
    let (pod, notice) = (&noted.pod, &noted.notice);
    let role = pod.containers.iter().find(|container| container.name == notice.container).map(|c| c.role);
    let field = match role {
        None => String::new(),
        Some(Role::Main) => format!("spec.containers{{{}}}", notice.container),
        Some(Role::Init | Role::Sidecar) => format!("spec.initContainers{{{}}}", notice.container),
    };
    let time = text(now());
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name,
            "uid": pod.uid, "fieldPath": field},
        "reason": notice.reason, "message": notice.message,
        "type": if notice.warning { "Warning" } else { "Normal" },
        "source": {"component": "kubelet", "host": node},
        "firstTimestamp": time, "lastTimestamp": time, "count": 1,
        "reportingComponent": "kubelet", "reportingInstance": node,
    })
}
