//! The node's own object, and the sign of life beside it.

use std::time::Duration;

use model::IpNet;
use serde_json::{Map, Value, json};
use tracing::{info, warn};
use watch::client::{Client, ClientError, PatchType};

use crate::hands::now;
use crate::settings::Settings;
use crate::time::{precise, text};

/// How often the lease is renewed.
const SIGN: Duration = Duration::from_secs(10);
/// How long others take it for good.
const LEASE_SECONDS: u64 = 40;
/// How often the object is brought up to date though nothing changed.
const REFRESH: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(500);
/// How many pods a node takes: about as many as a range of the usual size has addresses.
const PODS: u32 = 250;

/// Registers the node, and answers the ranges of its pods' addresses; tries for ever.
pub(crate) async fn register(client: &Client, settings: &Settings) -> Vec<IpNet> {
    loop {
        match try_register(client, settings).await {
            Ok(ranges) if !ranges.is_empty() => {
                info!(node = settings.node_name, ?ranges, "the node is registered");
                return ranges;
            }
            Ok(_) => warn!(node = settings.node_name, "the node has no podCIDRs yet"),
            Err(error) => warn!(node = settings.node_name, %error, "the node cannot be registered yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Renews the lease and the object for ever.
pub(crate) async fn keep_alive(client: &Client, settings: &Settings) {
    let mut rest = REFRESH;
    loop {
        if let Err(error) = renew_lease(client, settings).await {
            warn!(node = settings.node_name, %error, "the node's lease cannot be renewed");
        }
        tokio::time::sleep(SIGN).await;
        rest = rest.saturating_sub(SIGN);
        if rest.is_zero() || is_doubted(client, settings).await {
            rest = REFRESH;
            if let Err(error) = tell_status(client, settings).await {
                warn!(node = settings.node_name, %error, "the node's status cannot be told");
            }
        }
    }
}

/// Whether somebody said that the node is not ready, as is said of one that could not be heard for a while.
async fn is_doubted(client: &Client, settings: &Settings) -> bool {
    let Ok(known) = client.get(&path(settings)).await else { return false };
    let ready =
        crate::pod::list(&known["status"]["conditions"]).find(|condition| condition["type"] == "Ready");
    ready.is_none_or(|ready| ready["status"] != "True")
}

async fn try_register(client: &Client, settings: &Settings) -> Result<Vec<IpNet>, ClientError> {
    let name = &settings.node_name;
    let ranges: Vec<String> = settings.pod_cidrs.iter().map(ToString::to_string).collect();
    let mut object = json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels(settings)}, "spec": {}});
    if let Some(first) = ranges.first() {
        object["spec"] = json!({"podCIDR": first, "podCIDRs": ranges});
    }
    match client.create("/api/v1/nodes", &object).await {
        Ok(_) => {}
        Err(error) if error.is_already_exists() => {
            let patch = json!({"metadata": {"labels": labels(settings)}});
            let known = client.patch(&path(settings), PatchType::Strategic, &patch).await?;
            // Ranges may be given once; they never change.
            if known["spec"].get("podCIDR").is_none() && !ranges.is_empty() {
                let patch = json!({"spec": object["spec"]});
                client.patch(&path(settings), PatchType::Merge, &patch).await?;
            }
        }
        Err(error) => return Err(error),
    }
    let told = tell_status(client, settings).await?;
    Ok(crate::pod::list(&told["spec"]["podCIDRs"]).filter_map(|range| range.as_str()?.parse().ok()).collect())
}

fn path(settings: &Settings) -> String {
    format!("/api/v1/nodes/{}", settings.node_name)
}

fn labels(settings: &Settings) -> Value {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let usual = [
        ("kubernetes.io/hostname", settings.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture),
    ];
    let usual = usual.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let own = settings.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    usual.chain(own).collect::<Map<_, _>>().into()
}

async fn tell_status(client: &Client, settings: &Settings) -> Result<Value, ClientError> {
    let known = client.get(&path(settings)).await?;
    let before =
        crate::pod::list(&known["status"]["conditions"]).find(|condition| condition["type"] == "Ready");
    let since =
        before.filter(|ready| ready["status"] == "True").map(|ready| ready["lastTransitionTime"].clone());
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "pods run as processes of this machine",
        "lastHeartbeatTime": text(now()), "lastTransitionTime": since.unwrap_or_else(|| text(now()).into()),
    });
    let addresses = settings.addresses.iter().map(|address| ("InternalIP", address.to_string()));
    let addresses: Vec<Value> = addresses
        .chain([("Hostname", settings.node_name.clone())])
        .map(|(kind, address)| json!({"type": kind, "address": address}))
        .collect();
    let capacity = capacity();
    let mut status = json!({
        "addresses": addresses, "capacity": capacity, "allocatable": capacity, "conditions": [ready],
        "nodeInfo": node_info(),
    });
    if let Some(port) = settings.port {
        status["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": port}});
    }
    client.patch(&format!("{}/status", path(settings)), PatchType::Merge, &json!({"status": status})).await
}

/// What this machine has.
pub(crate) fn capacity() -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    json!({"cpu": cores.to_string(), "memory": format!("{}Ki", memory.unwrap_or("0")), "pods": PODS.to_string()})
}

fn node_info() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let system = read("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    json!({
        "machineID": read("/etc/machine-id"), "systemUUID": "", "bootID": read("/proc/sys/kernel/random/boot_id"),
        "kernelVersion": read("/proc/sys/kernel/osrelease"), "osImage": system.trim_matches('"'),
        "containerRuntimeVersion": concat!("signalbox://", env!("CARGO_PKG_VERSION")),
        "kubeletVersion": "v1.36.2", "kubeProxyVersion": "", "operatingSystem": "linux",
        "architecture": labels(&Settings::default())["kubernetes.io/arch"],
    })
}

async fn renew_lease(client: &Client, settings: &Settings) -> Result<(), ClientError> {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let name = &settings.node_name;
    let spec =
        json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": precise(now())});
    let patch = json!({"spec": spec});
    match client.patch(&format!("{LEASES}/{name}"), PatchType::Merge, &patch).await {
        Err(error) if error.is_not_found() => {}
        result => return result.map(drop),
    }
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec});
    match client.create(LEASES, &lease).await {
        Err(error) if error.is_not_found() => {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-node-lease"}});
            client.create("/api/v1/namespaces", &namespace).await?;
            client.create(LEASES, &lease).await.map(drop)
        }
        result => result.map(drop),
    }
}
