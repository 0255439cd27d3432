//! What a kubelet may say of a Pod.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::read::{self, list, text, wrongs};
use crate::mistake::{Mistake, Path};
use crate::names;

/// Conditions whose types are no qualified names, or known.
const KNOWN_CONDITIONS: [&str; 4] = ["PodScheduled", "Ready", "Initialized", "ContainersReady"];

/// Lists of what containers do, and of those containers.
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// Takes back all but the status and what metadata a kubelet may write.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
    for field in ["ownerReferences", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        match old["metadata"].get(field) {
            Some(value) => new["metadata"][field] = value.clone(),
            None => drop(new["metadata"].as_object_mut().and_then(|meta| meta.remove(field))),
        }
    }
    if text(&new["status"], "qosClass").is_empty() && old["status"]["qosClass"].is_string() {
        new["status"]["qosClass"] = old["status"]["qosClass"].clone();
    }
    keep_generations(&mut new["status"], &old["status"]);
}

/// Which generation was observed is not forgotten by clients that do not know of it.
fn keep_generations(new: &mut Value, old: &Value) {
    const FIELD: &str = "observedGeneration";
    let keep = |new: &mut Value, old: &Value| {
        let known = read::number(old, FIELD);
        if read::number(new, FIELD) == 0 && known != 0 {
            new[FIELD] = known.into();
        }
    };
    keep(new, old);
    // There may be several conditions of a type.
    let mut known: BTreeMap<&str, VecDeque<&Value>> = BTreeMap::new();
    for condition in list(old, "conditions") {
        known.entry(text(condition, "type")).or_default().push_back(condition);
    }
    for condition in new.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let same = known.get_mut(text(condition, "type")).and_then(VecDeque::pop_front);
        if let Some(same) = same {
            keep(condition, same);
        }
    }
}

/// Judges a changed status.
pub(super) fn check(new: &Value, old: &Value) -> Vec<Mistake> {
    let (status, path, mut found) = (&new["status"], Path::new("status"), Vec::new());
    // Kubernetes looks for the conditions in the metadata.
    for (at, condition) in read::places(status, "conditions", &Path::new("metadata")) {
        let kind = text(condition, "type");
        if !KNOWN_CONDITIONS.contains(&kind) {
            found.extend(wrongs(&at.child("Type"), kind, names::qualified_name(kind)));
        }
    }
    let nominated = text(status, "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(&old["status"], "nominatedNodeName") {
        found.extend(wrongs(&path.child("nominatedNodeName"), nominated, names::dns_subdomain(nominated)));
    }
    let class = &status["qosClass"];
    if *class != old["status"]["qosClass"] {
        found.push(Mistake::invalid(&path.child("qosClass"), class.clone(), "field is immutable"));
    }
    for (of, containers) in STATUSES {
        found.extend(risen((new, old), of, containers));
    }
    found.extend(addresses(status, "podIPs", &path));
    let (first, only) = (status["hostIPs"][0]["ip"].as_str(), text(status, "hostIP"));
    if let Some(first) = first.filter(|first| *first != only) {
        let why = "must be equal to `hostIP`";
        found.push(Mistake::invalid(&path.child("hostIPs").index(0).child("ip"), first, why));
    }
    found.extend(addresses(status, "hostIPs", &path));
    found
}

/// Mistakes for containers that run again although they shall not.
fn risen((new, old): (&Value, &Value), of: &str, containers: &str) -> Vec<Mistake> {
    // Those for debugging never run again.
    let is_once = containers == "ephemeralContainers";
    let policy = if is_once { "Never" } else { text(&old["spec"], "restartPolicy") };
    let mut found = Vec::new();
    if policy == "Always" {
        return found;
    }
    let own_policy: BTreeSet<&str> = list(&old["spec"], containers)
        .iter()
        .filter(|container| container["restartPolicy"].is_string())
        .map(|container| text(container, "name"))
        .collect();
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for status in list(&new["status"], of).iter().filter(|status| !status["state"]["terminated"].is_object())
    {
        *runs.entry(text(status, "name")).or_default() += 1;
    }
    for (at, was) in read::places(&old["status"], of, &Path::new("status")) {
        let (name, ended) = (text(was, "name"), &was["state"]["terminated"]);
        let may_rise = policy == "OnFailure" && read::number(ended, "exitCode") != 0;
        if !ended.is_object() || may_rise || own_policy.contains(name) {
            continue;
        }
        let why = "may not be transitioned to non-terminated state";
        let mistake = || Mistake::forbidden(&at.child("state"), why);
        found.extend(std::iter::repeat_with(mistake).take(runs.get(name).copied().unwrap_or(0)));
    }
    found
}

fn addresses(status: &Value, of: &str, path: &Path) -> Vec<Mistake> {
    let (path, all) = (path.child(of), list(status, of).iter().map(|one| text(one, "ip")));
    let all: Vec<&str> = all.collect();
    let each = all.iter().enumerate();
    let mut found: Vec<Mistake> =
        each.filter_map(|(at, address)| read::not_an_ip(&path.index(at), address)).collect();
    if all.len() < 2 {
        return found;
    }
    // Kubernetes prints its own structs here.
    let printed = |address: &str| json!({"IP": address});
    let families: Vec<bool> =
        all.iter().filter_map(|address| read::legacy_ip(address)).map(|ip| ip.is_ipv4()).collect();
    if !matches!(families[..], [one, other] if one != other) {
        let whole: Value = all.iter().map(|address| printed(address)).collect();
        found.push(Mistake::invalid(&path, whole, "may specify no more than one IP for each IP family"));
    }
    let mut seen = BTreeSet::new();
    let again = all.iter().enumerate().filter(|(_, address)| !seen.insert(**address));
    found.extend(again.map(|(at, address)| Mistake::duplicate(&path.index(at), printed(address))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_stays_so() {
        let pod = |policy: &str, state: Value| {
            json!({"spec": {"restartPolicy": policy},
                   "status": {"containerStatuses": [{"name": "c", "state": state}]}})
        };
        let ended = json!({"terminated": {"exitCode": 1}});
        let running = json!({"running": {}});
        let mistakes = |policy| check(&pod(policy, running.clone()), &pod(policy, ended.clone())).len();
        assert_eq!((mistakes("Always"), mistakes("OnFailure"), mistakes("Never")), (0, 0, 1));
    }

    #[test]
    fn one_address_of_each_family() {
        let check = |ips: Value| {
            let status = json!({"podIPs": ips});
            addresses(&status, "podIPs", &Path::new("status"))
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(check(json!([{"ip": "10.1.2.3"}, {"ip": "fd00::1"}])), [] as [&str; 0]);
        assert_eq!(
            check(json!([{"ip": "fd00::1"}, {"ip": "fd00::2"}])),
            [
                "status.podIPs: Invalid value: [{\"IP\":\"fd00::1\"},{\"IP\":\"fd00::2\"}]: may specify no more than one IP \
              for each IP family"
            ]
        );
    }

    #[test]
    fn what_was_observed_is_not_forgotten() {
        let old = json!({"observedGeneration": 2, "conditions": [{"type": "a", "observedGeneration": 1}, {"type": "b"}]});
        let mut new = json!({"conditions": [{"type": "b"}, {"type": "a"}, {"type": "a"}]});
        keep_generations(&mut new, &old);
        let wanted = json!({"observedGeneration": 2,
                            "conditions": [{"type": "b"}, {"type": "a", "observedGeneration": 1}, {"type": "a"}]});
        assert_eq!(new, wanted);
    }
}
