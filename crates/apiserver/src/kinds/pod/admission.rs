//! What the plugins of Kubernetes' API server add to a Pod: priority, tolerations, the zone of its node.
//!
//! No service account is added (there is nobody to make tokens), and no class of priority but the two of the system exists.

use serde_json::{Value, json};

use super::{KIND, read};
use crate::kinds::node;
use crate::status::Status;
use crate::writing::Writing;

/// Nodes in this trouble keep the Pods that do not say otherwise for a while.
const TROUBLES: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const TROUBLE_SECONDS: i64 = 300;
/// Labels of a node that its Pods get, too.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// Adds what plugins add to a new or changed Pod.
pub(super) fn begin(writing: &mut Writing<'_>, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    match old {
        Some(old) => keep_priority(new, old),
        None => {
            add_priority(new)?;
            let node = read::text(&new["spec"], "nodeName");
            if let Some(node) = (!node.is_empty()).then(|| writing.object(&node::KIND, node)).flatten() {
                add_topology(new, &node);
            }
        }
    }
    add_tolerations(&mut new["spec"]);
    Ok(())
}

/// Adds to a Pod where its node is.
pub(super) fn add_topology(pod: &mut Value, node: &Value) {
    for label in TOPOLOGY {
        if let Some(value) = node["metadata"]["labels"][label].as_str() {
            pod["metadata"]["labels"][label] = value.into();
        }
    }
}

fn keep_priority(new: &mut Value, old: &Value) {
    for field in ["priority", "preemptionPolicy"] {
        if new["spec"][field].is_null() && !old["spec"][field].is_null() {
            new["spec"][field] = old["spec"][field].clone();
        }
    }
}

fn add_priority(pod: &mut Value) -> Result<(), Status> {
    let name = read::text(&pod["metadata"], "name").to_owned();
    let refuse = |why: String| Err(Status::forbidden(&KIND, &name, &why));
    let spec = &mut pod["spec"];
    let priority = match read::text(spec, "priorityClassName") {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        class => return refuse(format!("no PriorityClass with name {class} was found")),
    };
    if let Some(given) = spec["priority"].as_i64().filter(|given| *given != priority) {
        return refuse(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed \
             {priority} from the given PriorityClass name"
        ));
    }
    spec["priority"] = priority.into();
    let policy = "PreemptLowerPriority";
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        return refuse(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller \
             computed {policy} from the given PriorityClass name"
        ));
    }
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

fn add_tolerations(spec: &mut Value) {
    let tolerates = |trouble: &str| {
        read::list(spec, "tolerations").iter().any(|toleration| {
            ["", trouble].contains(&read::text(toleration, "key"))
                && ["", "NoExecute"].contains(&read::text(toleration, "effect"))
        })
    };
    let missing: Vec<&str> = TROUBLES.into_iter().filter(|trouble| !tolerates(trouble)).collect();
    let mut tolerations = read::list(spec, "tolerations").to_vec();
    tolerations.extend(missing.into_iter().map(|key| {
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TROUBLE_SECONDS})
    }));
    spec["tolerations"] = tolerations.into();
}
