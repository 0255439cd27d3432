//! What a Pod, and the template of one, may say.

use serde_json::Value;

use super::read::{self, list, text, wrongs};
use super::{affinity, containers, network, scheduling, volumes};
use crate::meta;
use crate::mistake::{Mistake, Path};
use crate::names;

const MOST_SECONDS: i64 = 2_147_483_647;
/// Bytes that the kernel keeps of a host's name.
const MOST_HOST_NAME: usize = 64;

/// Judges a new Pod.
pub(super) fn check_pod(pod: &Value) -> Vec<Mistake> {
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    let mut found = check_any(pod);
    if !list(spec, "ephemeralContainers").is_empty() {
        found.push(Mistake::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let why = "cannot be set until all schedulingGates have been cleared";
        found.push(Mistake::forbidden(&path.child("nodeName"), why));
    }
    found
}

/// Judges what a Pod must be whether it is new or changed.
pub(super) fn check_any(pod: &Value) -> Vec<Mistake> {
    let (spec, path) = (&pod["spec"], Path::new("spec"));
    let mut found = check(spec, &path);
    if text(spec, "serviceAccountName").is_empty() {
        for (volume_path, volume) in read::places(spec, "volumes", &path) {
            let sources = read::places(&volume["projected"], "sources", &volume_path.child("projected"));
            for (source_path, _) in sources.filter(|(_, source)| source["serviceAccountToken"].is_object()) {
                let why = "must not be specified when serviceAccountName is not set";
                found.push(Mistake::forbidden(&source_path.child("serviceAccountToken"), why));
            }
        }
    }
    for of in ["containers", "initContainers"] {
        found.extend(read::places(spec, of, &path).filter_map(|(path, container)| padded(container, &path)));
    }
    found
}

/// A mistake if the name of an image has spaces around it, which templates may.
pub(super) fn padded(container: &Value, path: &Path) -> Option<Mistake> {
    let (image, why) = (text(container, "image"), "must not have leading or trailing whitespace");
    (image.trim() != image).then(|| Mistake::invalid(&path.child("image"), image, why))
}

/// Judges what a Pod and a template have alike, in the order in which Kubernetes does.
pub(in crate::kinds) fn check(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (known, mut found) = volumes::check(spec, path);
    found.extend(containers::check(spec, &known, path));
    found.extend(network::host(spec, path));
    found.extend(read::one_of(spec, "restartPolicy", path, &["Always", "OnFailure", "Never"]));
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    found.extend(read::one_of(spec, "dnsPolicy", path, &policies));
    found.extend(meta::labels(&spec["nodeSelector"], &path.child("nodeSelector")));
    found.extend(security(spec, path));
    found.extend(affinity::check(&spec["affinity"], &path.child("affinity")));
    found.extend(network::dns(spec, path));
    found.extend(scheduling::gates(spec, path));
    found.extend(scheduling::spread(spec, path));
    for (field, name_of) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
    ] {
        found.extend(optional(spec, field, path, name_of));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=MOST_SECONDS).contains(&seconds)
    {
        let why = format!("must be between 1 and {MOST_SECONDS}, inclusive");
        found.push(Mistake::invalid(&path.child("activeDeadlineSeconds"), seconds, why));
    }
    for field in ["hostname", "subdomain"] {
        found.extend(optional(spec, field, path, names::dns_label));
    }
    found.extend(optional(spec, "hostnameOverride", path, names::dns_subdomain));
    if text(spec, "hostnameOverride").len() > MOST_HOST_NAME {
        found.push(Mistake::too_long(&path.child("hostnameOverride"), MOST_HOST_NAME));
    }
    found.extend(scheduling::tolerations(spec, path));
    found.extend(network::aliases(spec, path));
    for field in ["priorityClassName", "runtimeClassName"] {
        found.extend(optional(spec, field, path, names::dns_subdomain));
    }
    if spec["preemptionPolicy"].is_string() {
        found.extend(read::one_of(spec, "preemptionPolicy", path, &["PreemptLowerPriority", "Never"]));
    }
    found
}

fn optional(spec: &Value, field: &str, path: &Path, name_of: fn(&str) -> Vec<String>) -> Vec<Mistake> {
    match text(spec, field) {
        "" => Vec::new(),
        name => wrongs(&path.child(field), name, name_of(name)),
    }
}

fn security(spec: &Value, path: &Path) -> Vec<Mistake> {
    let (context, at) = (&spec["securityContext"], path.child("securityContext"));
    let mut found: Vec<Mistake> = ["fsGroup", "runAsUser", "runAsGroup"]
        .into_iter()
        .filter_map(|field| identity(&context[field], &at.child(field)))
        .collect();
    for (at, group) in read::places(context, "supplementalGroups", &at) {
        found.extend(identity(group, &at));
    }
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let why = "ShareProcessNamespace and HostPID cannot both be enabled";
        found.push(Mistake::invalid(&path.child("shareProcessNamespace"), true, why));
    }
    found
}

/// A mistake if a number can be none of a user or a group.
pub(super) fn identity(number: &Value, path: &Path) -> Option<Mistake> {
    let number = number.as_i64()?;
    let why = format!("must be between 0 and {MOST_SECONDS}, inclusive");
    (!(0..=MOST_SECONDS).contains(&number)).then(|| Mistake::invalid(path, number, why))
}
