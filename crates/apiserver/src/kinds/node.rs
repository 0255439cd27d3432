//! A machine.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::endpoints::wrong;
use super::rules::{Column, created, list, take, text};
use super::{ALL_VERBS, Does, FieldValue, Kind, PROXY_VERBS, Rules, STATUS, Scope, Selectable, Subresource};
use crate::address;
use crate::connect;
use crate::mistake::{Mistake, Path};
use crate::names;

/// A machine.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    type_name: "core.v1.Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[PROXY, STATUS],
    selectable: &[Selectable { label: "spec.unschedulable", value: FieldValue::Flag("/spec/unschedulable") }],
    table: "nodes",
    rules: RULES,
};

/// What its kubelet serves, and what else listens there.
const PROXY: Subresource = Subresource {
    name: "proxy",
    kind: Some(("", "v1", "NodeProxyOptions")),
    verbs: PROXY_VERBS,
    does: Does::Connect(connect::NODE_PROXY),
};

const RULES: Rules = Rules {
    defaults,
    prepare,
    prepare_update: |new, old| take(new, old, "status"),
    validate,
    validate_update: |new, old| {
        let mut found = validate(new);
        found.extend(validate_change(new, old));
        found
    },
    prepare_status: |new, old| take(new, old, "spec"),
    validate_status: validate_change,
    warnings,
    columns: &[
        Column::new("Status", "string", "Whether it is ready, and whether Pods may be put there."),
        Column::new("Roles", "string", "What it is for, by its labels."),
        Column::AGE,
        Column::new("Version", "string", "The version of its kubelet."),
        Column::wide("Internal-IP", "string", "Its first address in the cluster."),
        Column::wide("External-IP", "string", "Its first address outside of the cluster."),
        Column::wide("OS-Image", "string", "What its system calls itself."),
        Column::wide("Kernel-Version", "string", "The version of its kernel."),
        Column::wide("Container-Runtime", "string", "What runs its containers."),
    ],
    cells,
    ..Rules::PLAIN
};

fn defaults(node: &mut Value) {
    let first = list(node, "/spec/podCIDRs").first().and_then(Value::as_str).unwrap_or_default().to_owned();
    let one = text(node, "/spec/podCIDR").to_owned();
    // The one wins over the list, for old kubelets.
    if !one.is_empty() && one != first {
        node["spec"]["podCIDRs"] = json!([one]);
    } else if one.is_empty() && !first.is_empty() {
        node["spec"]["podCIDR"] = first.into();
    }
    let count = |field: &str| node["status"][field].as_object().map_or(0, serde_json::Map::len);
    if count("capacity") > 0 && count("allocatable") == 0 {
        node["status"]["allocatable"] = node["status"]["capacity"].clone();
    }
}

/// A node is born unready: nobody shall be put there before it says otherwise.
fn prepare(node: &mut Value) {
    let (key, effect) = ("node.kubernetes.io/not-ready", "NoSchedule");
    let mut taints = list(node, "/spec/taints").to_vec();
    if !taints.iter().any(|taint| taint["key"] == key && taint["effect"] == effect) {
        taints.push(json!({"key": key, "effect": effect}));
    }
    if !node["spec"].is_object() {
        node["spec"] = json!({});
    }
    node["spec"]["taints"] = taints.into();
}

fn validate(node: &Value) -> Vec<Mistake> {
    let mut found = taints(node);
    found.extend(amounts(node));
    let (ranges, path) = (list(node, "/spec/podCIDRs"), Path::new("spec").child("podCIDRs"));
    for (at, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
        found.extend(address::range(range, &path.index(at)));
    }
    if ranges.len() > 1 {
        let texts = || ranges.iter().filter_map(Value::as_str);
        let unread = texts().enumerate().find(|(_, range)| address::lenient_range(range).is_none());
        if let Some((at, range)) = unread {
            let why = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{at}]: <nil> (invalid CIDR \
                 address: {range})"
            );
            found.push(Mistake::internal(&path, why));
        }
        let families: BTreeSet<bool> =
            texts().filter_map(address::lenient_range).map(|(address, _)| address.is_ipv4()).collect();
        if unread.is_some() || families.len() != ranges.len() {
            let why = "may specify no more than one CIDR for each IP family";
            found.push(Mistake::invalid(&path, ranges.to_vec(), why));
        }
    }
    found
}

/// Kubernetes looks for them in the metadata.
fn taints(node: &Value) -> Vec<Mistake> {
    let path = Path::new("metadata").child("taints");
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (at, taint) in list(node, "/spec/taints").iter().enumerate() {
        let path = path.index(at);
        let [key, value, effect] = ["/key", "/value", "/effect"].map(|field| text(taint, field));
        found.extend(wrong(names::qualified_name(key), key, &path.child("key")));
        let whys = names::label_value(value);
        if !whys.is_empty() {
            found.push(Mistake::invalid(&path.child("value"), value, whys.join(";")));
        }
        let (effects, at) = (["NoSchedule", "PreferNoSchedule", "NoExecute"], path.child("effect"));
        if effect.is_empty() {
            found.push(Mistake::required(&at, ""));
        } else if !effects.contains(&effect) {
            found.push(Mistake::not_supported(&at, effect, &effects));
        }
        if !seen.insert((key, effect)) {
            let shown =
                json!({"Key": key, "Value": value, "Effect": effect, "TimeAdded": taint["timeAdded"]});
            let mistake = Mistake::duplicate(&path, shown).ordered(&["Key", "Value", "Effect", "TimeAdded"]);
            found.push(mistake.detailed("taints must be unique by key and effect pair"));
        }
    }
    found
}

fn amounts(node: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    for field in ["capacity", "allocatable"] {
        for (name, amount) in node["status"][field].as_object().into_iter().flatten() {
            let amount = amount.as_str().unwrap_or_default();
            if amount.starts_with('-') {
                let path = Path::new("status").child(field).child(name);
                found.push(Mistake::invalid(&path, amount, "must be greater than or equal to 0"));
            }
        }
    }
    found
}

/// Judges what was changed, in the spec or in the status.
fn validate_change(new: &Value, old: &Value) -> Vec<Mistake> {
    let mut found = amounts(new);
    let mut seen = BTreeSet::new();
    for (at, one) in list(new, "/status/addresses").iter().enumerate() {
        let (kind, address) = (text(one, "/type"), text(one, "/address"));
        if !seen.insert((kind, address)) {
            let path = Path::new("status").child("addresses").index(at);
            let shown = json!({"Type": kind, "Address": address});
            found.push(Mistake::duplicate(&path, shown).ordered(&["Type", "Address"]));
        }
    }
    let spec = Path::new("spec");
    let (ranges, before) = (list(new, "/spec/podCIDRs"), list(old, "/spec/podCIDRs"));
    if !before.is_empty() {
        let changed = match ranges.len() == before.len() {
            true => ranges.iter().zip(before).filter(|(new, old)| new != old).count(),
            false => 1,
        };
        let why = "node updates may not change podCIDR except from \"\" to valid";
        found.extend((0..changed).map(|_| Mistake::forbidden(&spec.child("podCIDRs"), why)));
    }
    let (provider, before) = (text(new, "/spec/providerID"), text(old, "/spec/providerID"));
    if !before.is_empty() && provider != before {
        let why = "node updates may not change providerID except from \"\" to valid";
        found.push(Mistake::forbidden(&spec.child("providerID"), why));
    }
    found.extend(taints(new));
    if text(new, "/spec/externalID") != text(old, "/spec/externalID") {
        found.push(Mistake::forbidden(&spec.child("externalID"), "may not be updated"));
    }
    found
}

fn warnings(new: &Value, _: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if new["spec"]["configSource"].is_object() {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !text(new, "/spec/externalID").is_empty() {
        let why = "this field is deprecated, and is unused by Kubernetes";
        warnings.push(format!("spec.externalID: {why}"));
    }
    warnings
}

fn cells(node: &Value, now: i64) -> Vec<Value> {
    let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    let system = |field: &str| text(&node["status"]["nodeInfo"][field], "");
    let address = |kind: &str| {
        let first = list(node, "/status/addresses").iter().find(|address| address["type"] == kind);
        or(first.map_or("", |address| text(address, "/address")), "<none>")
    };
    let kernel = match (system("kernelVersion"), system("architecture")) {
        ("", _) => "<unknown>".to_owned(),
        (kernel, "") => kernel.to_owned(),
        (kernel, architecture) => format!("{kernel} ({architecture})"),
    };
    vec![
        status_shown(node).into(),
        or(&roles(node), "<none>").into(),
        created(node, now),
        system("kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        or(system("osImage"), "<unknown>").into(),
        kernel.into(),
        or(system("containerRuntimeVersion"), "<unknown>").into(),
    ]
}

fn status_shown(node: &Value) -> String {
    let ready = list(node, "/status/conditions").iter().rfind(|condition| condition["type"] == "Ready");
    let shown = match ready {
        Some(condition) if condition["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let suffix = if node["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
    format!("{shown}{suffix}")
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let role = |(key, value): (&'_ String, &'_ Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => role.to_owned(),
        None if key == "kubernetes.io/role" => value.as_str().unwrap_or_default().to_owned(),
        None => String::new(),
    };
    let roles: BTreeSet<String> = labels.map(role).filter(|role| !role.is_empty()).collect();
    Vec::from_iter(roles).join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn ranges_are_one_of_each_family() {
        let check = |ranges: Value, wanted: &str| {
            assert_eq!(aggregate(&validate(&json!({"spec": {"podCIDRs": ranges}}))), wanted);
        };
        check(json!(["10.0.0.0/8", "fd00::/64"]), "[]");
        check(
            json!(["10.0.0.0/8", "x"]),
            "[spec.podCIDRs[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64), \
             spec.podCIDRs: Internal error: invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[1]: \
             <nil> (invalid CIDR address: x), spec.podCIDRs: Invalid value: [\"10.0.0.0/8\",\"x\"]: may specify no more \
             than one CIDR for each IP family]",
        );
    }

    #[test]
    fn what_is_set_once_stays() {
        let old = json!({"spec": {"podCIDRs": ["10.0.0.0/8"], "providerID": "x://1"}});
        let check = |field: &str, value: Value, wanted: &str| {
            let mut new = old.clone();
            new["spec"][field] = value;
            assert_eq!(aggregate(&validate_change(&new, &old)), wanted);
        };
        check("unschedulable", json!(true), "[]");
        let why = "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid";
        check("podCIDRs", json!([]), why);
        check("podCIDRs", json!(["10.0.0.0/9"]), why);
        check("externalID", json!("x"), "spec.externalID: Forbidden: may not be updated");
        let new = json!({"status": {"addresses": [{"type": "a", "address": "b"}, {"type": "a", "address": "b"}],
                                    "capacity": {"cpu": "-1"}}});
        assert_eq!(
            aggregate(&validate_change(&new, &Value::Null)),
            "[status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0, status.addresses[1]: \
             Duplicate value: {\"Type\":\"a\",\"Address\":\"b\"}]",
        );
    }

    #[test]
    fn what_can_be_used_follows_from_what_is_there() {
        let mut node = json!({"spec": {"podCIDRs": ["10.0.0.0/8"]}, "status": {"capacity": {"cpu": "4"}}});
        defaults(&mut node);
        assert_eq!(node["spec"]["podCIDR"], "10.0.0.0/8");
        assert_eq!(node["status"]["allocatable"], json!({"cpu": "4"}));
    }

    #[test]
    fn nodes_are_shown() {
        let labels = json!({"node-role.kubernetes.io/b": "", "kubernetes.io/role": "a", "node-role.kubernetes.io/": ""});
        let node = json!({"metadata": {"labels": labels}, "spec": {"unschedulable": true},
                          "status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let cells = cells(&node, 0);
        assert_eq!(cells[..2], [json!("NotReady,SchedulingDisabled"), json!("a,b")]);
        assert_eq!(cells.len(), RULES.columns.len());
    }
}
