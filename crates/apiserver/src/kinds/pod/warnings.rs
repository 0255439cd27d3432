//! What the client should know about a Pod that it wrote, although it is no mistake.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::amounts;
use super::read::{self, number, pairs, text};
use crate::body::quoted;
use crate::mistake::Path;
use crate::names;

/// Labels of nodes that have newer names.
const OLD_LABELS: [(&str, &str, &str); 5] = [
    ("beta.kubernetes.io/arch", "v1.14", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "v1.14", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "v1.17", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "v1.17", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "v1.17", "node.kubernetes.io/instance-type"),
];
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const OLD_VOLUMES: [(&str, &str); 9] = [
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const NO_MATCH: &str = "a null labelSelector results in matching no pod";

/// Says it about a new Pod; people seldom change Pods themselves.
pub(super) fn of_pod(new: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let mut all = Vec::new();
    let wrong = names::dns_label(text(&new["metadata"], "name"));
    if !wrong.is_empty() {
        all.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            wrong.join(" ")
        ));
    }
    all.extend(of(&new["spec"], &new["metadata"], &Path::default()));
    all
}

/// Says it about a Pod or a template. `path`: where that is.
pub(in crate::kinds) fn of(spec: &Value, meta: &Value, path: &Path) -> Vec<String> {
    let (spec_path, mut all) = (path.child("spec"), Vec::new());
    for (label, _) in pairs(spec, "nodeSelector") {
        let at = spec_path.child("nodeSelector").key(label);
        all.extend(old_label(label).map(|why| format!("{at}: {why}")));
    }
    all.extend(spread(spec, &spec_path));
    let annotations = path.child("metadata").child("annotations");
    for (key, why) in OLD_ANNOTATIONS {
        if !meta["annotations"][key].is_null() {
            all.push(format!("{}: {why}", annotations.key(key)));
        }
    }
    for (at, volume) in read::places(spec, "volumes", &spec_path) {
        let old = OLD_VOLUMES.iter().filter(|(source, _)| volume[source].is_object());
        all.extend(old.map(|(source, why)| {
            // Its name in JSON is not the one that Kubernetes says.
            format!("{}: {why}", at.child(if *source == "storageos" { "storageOS" } else { source }))
        }));
    }
    all.extend(twice(spec, "hostAliases", "ip", &spec_path));
    all.extend(twice(spec, "imagePullSecrets", "name", &spec_path));
    for (at, secret) in read::places(spec, "imagePullSecrets", &spec_path) {
        if text(secret, "name").is_empty() {
            all.push(format!("{}: invalid empty name \"\"", at.child("name")));
        }
    }
    for (at, container) in containers(spec, &spec_path) {
        all.extend(fractions(container, &at));
        all.extend(hidden(container, &at));
    }
    all.extend(ports(spec, &spec_path));
    if number(spec, "terminationGracePeriodSeconds") < 0 {
        let at = spec_path.child("terminationGracePeriodSeconds");
        all.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    all.extend(affinity(&spec["affinity"], &spec_path.child("affinity")));
    all
}

fn old_label(label: &str) -> Option<String> {
    let (_, since, instead) = OLD_LABELS.iter().find(|(old, ..)| *old == label)?;
    Some(format!("deprecated since {since}; use \"{instead}\" instead"))
}

/// All containers in the order in which they begin.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    lists.into_iter().flat_map(|of| read::places(spec, of, path)).collect()
}

fn spread(spec: &Value, path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for (at, one) in read::places(spec, "topologySpreadConstraints", path) {
        let key = text(one, "topologyKey");
        all.extend(old_label(key).map(|why| format!("{}: {key} is {why}", at.child("topologyKey"))));
        if one["labelSelector"].is_null() {
            all.push(format!("{}: {NO_MATCH}", at.child("labelSelector")));
        }
    }
    all
}

fn affinity(affinity: &Value, path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for of in ["podAffinity", "podAntiAffinity"] {
        let (of, at) = (&affinity[of], path.child(of));
        for (at, term) in read::places(of, "requiredDuringSchedulingIgnoredDuringExecution", &at) {
            if term["labelSelector"].is_null() {
                all.push(format!("{}: {NO_MATCH}", at.child("labelSelector")));
            }
        }
        for (at, one) in read::places(of, "preferredDuringSchedulingIgnoredDuringExecution", &at) {
            if one["podAffinityTerm"]["labelSelector"].is_null() {
                all.push(format!("{}: {NO_MATCH}", at.child("podAffinityTerm").child("labelSelector")));
            }
        }
    }
    all
}

fn twice(spec: &Value, of: &str, field: &str, path: &Path) -> Vec<String> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for (at, one) in read::places(spec, of, path) {
        let value = text(one, field);
        if seen.contains(&value) {
            all.push(format!("{}: duplicate {field} {}", at.child(field), quoted(value)));
        }
        seen.insert(value);
    }
    all
}

/// Parts of bytes.
fn fractions(container: &Value, path: &Path) -> Vec<String> {
    let (resources, path, mut all) = (&container["resources"], path.child("resources"), Vec::new());
    for name in ["memory", "ephemeral-storage"] {
        for of in ["limits", "requests"] {
            let amount = text(&resources[of], name);
            if amounts::nano(amount) % 1_000_000_000 != 0 {
                let at = path.child(of).key(name);
                all.push(format!(
                    "{at}: fractional byte value {} is invalid, must be an integer",
                    quoted(amount)
                ));
            }
        }
    }
    all
}

/// Variables that are there twice, where the later does not build on the earlier.
fn hidden(container: &Value, path: &Path) -> Vec<String> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for (at, variable) in read::places(container, "env", path) {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        let reference = format!("$({name})");
        let builds = value.contains(&reference) && value != reference && !variable["valueFrom"].is_object();
        if seen.contains(&name) && !builds {
            let name = quoted(name);
            all.push(format!(
                "{at}: hides previous definition of {name}, which may be dropped when using apply"
            ));
        }
        seen.insert(name);
    }
    all
}

fn ports(spec: &Value, path: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut seen: BTreeMap<(i64, &str), Vec<(Path, &Value)>> = BTreeMap::new();
    for (at, container) in containers(spec, path) {
        for (at, port) in read::places(container, "ports", &at) {
            let (ip, host_port) = (text(port, "hostIP"), number(port, "hostPort"));
            let (of_container, protocol) = (number(port, "containerPort"), text(port, "protocol"));
            if !ip.is_empty() && host_port == 0 {
                let name = text(port, "name");
                all.push(format!(
                    "{at}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{of_container} \
                     Protocol:{protocol} HostIP:{ip}}}"
                ));
            }
            let others = seen.entry((of_container, protocol)).or_default();
            for (other_at, other) in others.iter() {
                let (other_ip, other_port) = (text(other, "hostIP"), number(other, "hostPort"));
                let what = if (ip, host_port) == (other_ip, other_port) {
                    "duplicate"
                } else if host_port == 0 || other_port == 0 {
                    "overlapping"
                } else if host_port == other_port && ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                all.push(format!("{at}: {what} port definition with {other_at}"));
            }
            others.push((at, port));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn surprises_are_said() {
        let said = |spec: Value| of(&spec, &json!({}), &Path::default());
        assert_eq!(
            said(json!({"containers": [{"ports": [
                {"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"},
                {"containerPort": 80, "protocol": "TCP", "hostPort": 1}, {"containerPort": 80, "protocol": "UDP"},
            ]}]})),
            [
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[0]",
                "spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[1]",
            ]
        );
        assert_eq!(
            said(json!({"containers": [{"env": [
                {"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}, {"name": "A", "value": "3"},
            ], "resources": {"limits": {"memory": "100m"}}}]})),
            [
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
                "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
            ]
        );
        assert_eq!(
            said(
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "terminationGracePeriodSeconds": -1,
                        "hostAliases": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]})
            ),
            [
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
                "spec.hostAliases[1].ip: duplicate ip \"10.0.0.1\"",
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ]
        );
    }
}
