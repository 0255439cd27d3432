//! Kubernetes Events about pods.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::mpsc;
use watch::client::{Client, Note, Recorder};

use crate::machine::Notice;
use crate::pod::{Pod, Role};

/// A notice about a pod.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    /// The pod.
    pub pod: Arc<Pod>,
    /// What is said.
    pub notice: Notice,
}

/// Records Events for as long as notices come.
pub(crate) async fn record(client: &Client, node: &str, mut noted: mpsc::Receiver<Noted>) {
    let recorder = Recorder::start(client.clone());
    while let Some(noted) = noted.recv().await {
        recorder.record(note(node, &noted));
    }
}

fn note(node: &str, noted: &Noted) -> Note {
    let (pod, notice) = (&noted.pod, &noted.notice);
    let role = pod.containers.iter().find(|container| container.name == notice.container).map(|c| c.role);
    let field = match role {
        None => String::new(),
        Some(Role::Main) => format!("spec.containers{{{}}}", notice.container),
        Some(Role::Init | Role::Sidecar) => format!("spec.initContainers{{{}}}", notice.container),
    };
    let of = json!({"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name,
        "uid": pod.uid, "fieldPath": field});
    Note {
        component: "kubelet",
        host: node.to_owned(),
        of,
        is_warning: notice.warning,
        reason: notice.reason.to_owned(),
        message: notice.message.clone(),
    }
}
