//! The objects of a large cluster, as clients send them.

use anyhow::Result;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::client::{Asked, Client, Target};
use crate::bench::Size;

/// Where they are.
pub(super) const NAMESPACE: &str = "load";
/// All of them.
pub(super) const SERVICES: &str = "/api/v1/namespaces/load/services";
pub(super) const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/load/endpointslices";
pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/load/configmaps";
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/load/leases";

/// How many clients make them.
const WRITERS: u32 = 64;

/// Makes the namespace.
pub(super) async fn namespace(target: &Target) -> Result<()> {
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}).to_string();
    Client::connect(target).await?.ask(Asked::json("POST", "/api/v1/namespaces", namespace)).await?;
    Ok(())
}

/// Makes all Services and their slices.
pub(super) async fn fill(target: &Target, size: Size) -> Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut client = Client::connect(target).await?;
        writers.spawn(async move {
            for index in (writer..size.services).step_by(WRITERS as usize) {
                client.ask(Asked::json("POST", SERVICES, service(index).to_string())).await?;
                let slice = slice(index, size.endpoints, 0).to_string();
                client.ask(Asked::json("POST", SLICES, slice)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    Ok(())
}

fn service(index: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
           "metadata": {"name": format!("s{index}"), "namespace": NAMESPACE, "labels": {"app": format!("s{index}")}},
           "spec": {"selector": {"app": format!("s{index}")},
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}})
}

/// The slice of a Service; each generation has another first endpoint.
pub(super) fn slice(service: u32, endpoints: u32, generation: u32) -> Value {
    let endpoint = |index: u32| {
        let moved = if index == 0 { generation * 104_729 } else { 0 };
        let number = (service * endpoints + index + moved) % (1 << 23);
        let address = std::net::Ipv4Addr::from_bits(0x0a80_0000 | number);
        json!({"addresses": [address.to_string()], "nodeName": format!("n{}", index % 200), "zone": "zone-a",
               "conditions": {"ready": true, "serving": true, "terminating": false},
               "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": format!("s{service}-{index:05}"),
                             "uid": format!("00000000-0000-4000-8000-{number:012}")}})
    };
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": format!("s{service}-x7k2p"), "namespace": NAMESPACE,
                        "labels": {"kubernetes.io/service-name": format!("s{service}"),
                                   "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}},
           "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
           "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>()})
}

/// About a kilobyte.
pub(super) fn config_map(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE},
           "data": {"settings": "x".repeat(880)}})
    .to_string()
}

/// What a node renews every ten seconds.
pub(super) fn lease(name: &str) -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
           "metadata": {"name": name, "namespace": NAMESPACE},
           "spec": {"holderIdentity": name, "leaseDurationSeconds": 40,
                    "renewTime": "2026-11-25T10:00:00.000000Z"}})
}
