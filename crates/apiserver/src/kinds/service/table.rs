//! Services in tables.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::{Spec, node_port};
use crate::age::age;
use crate::kinds::Column;

/// What is shown besides the name.
pub(super) const COLUMNS: &[Column] = &[
    Column::new("Type", "string", "How the Service is reached."),
    Column::new("Cluster-IP", "string", "The first address of the Service."),
    Column::new("External-IP", "string", "Where the Service is reached from outside of the cluster."),
    Column::new("Port(s)", "string", "The ports of the Service, with their ports of the nodes."),
    Column::AGE,
    Column::wide("Selector", "string", "The labels of the Pods behind the Service."),
];

/// Answers the cells of a row.
pub(super) fn cells(service: &Value, now: i64) -> Vec<Value> {
    let spec = Spec::of(service);
    let or_none = |text: String| if text.is_empty() { "<none>".to_owned() } else { text };
    let first = spec.texts("clusterIPs").first().copied().unwrap_or_default().to_owned();
    let cells = [
        spec.text("type").to_owned(),
        or_none(first),
        external(service, spec),
        or_none(spec.ports().iter().map(port).collect::<Vec<_>>().join(",")),
        age(&service["metadata"]["creationTimestamp"], now),
        or_none(selector(&service["spec"]["selector"])),
    ];
    cells.into_iter().map(Value::from).collect()
}

fn external(service: &Value, spec: Spec<'_>) -> String {
    let given = spec.texts("externalIPs");
    match spec.text("type") {
        "ClusterIP" | "NodePort" if given.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => given.join(","),
        "ExternalName" => spec.text("externalName").to_owned(),
        "LoadBalancer" => {
            let mut all: Vec<String> = ingress(service).into_iter().collect();
            all.extend(given.into_iter().map(str::to_owned));
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses, or else names, of its load balancers, sorted.
fn ingress(service: &Value) -> BTreeSet<String> {
    let text =
        |one: &Value, field: &str| one[field].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let all = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    all.filter_map(|one| text(one, "ip").or_else(|| text(one, "hostname"))).collect()
}

fn port(port: &Value) -> String {
    let (number, protocol) =
        (port["port"].as_i64().unwrap_or(0), port["protocol"].as_str().unwrap_or_default());
    match node_port(port) {
        ..=0 => format!("{number}/{protocol}"),
        of_node => format!("{number}:{of_node}/{protocol}"),
    }
}

fn selector(selector: &Value) -> String {
    let labels = selector.as_object().into_iter().flatten();
    labels
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}
