//! What a kubelet may say of a Pod.

use serde_json::{Value, json};

use super::read::{self, list, text, wrongs};
use crate::mistake::{Mistake, Path};
use crate::names;

/// Conditions whose types are no qualified names, or known.
const KNOWN_CONDITIONS: [&str; 4] = ["PodScheduled", "Ready", "Initialized", "ContainersReady"];

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
    for of in ["containerStatuses", "initContainerStatuses"] {
        found.extend(risen(new, old, of));
    }
    for of in ["podIPs", "hostIPs"] {
        found.extend(addresses(status, of, &path));
    }
    found
}

/// Mistakes for containers that run again although they shall not.
fn risen(new: &Value, old: &Value, of: &str) -> Vec<Mistake> {
    let policy = text(&old["spec"], "restartPolicy");
    let mut found = Vec::new();
    if policy == "Always" {
        return found;
    }
    let containers =
        list(&old["spec"], if of == "containerStatuses" { "containers" } else { "initContainers" });
    for old_status in list(&old["status"], of) {
        let (name, ended) = (text(old_status, "name"), &old_status["state"]["terminated"]);
        let has_own_policy = containers
            .iter()
            .any(|container| text(container, "name") == name && container["restartPolicy"].is_string());
        let may_rise = policy == "OnFailure" && read::number(ended, "exitCode") != 0;
        if !ended.is_object() || may_rise || has_own_policy {
            continue;
        }
        for (at, status) in read::places(&new["status"], of, &Path::new("status")) {
            if text(status, "name") == name && !status["state"]["terminated"].is_object() {
                let why = "may not be transitioned to non-terminated state";
                found.push(Mistake::forbidden(&at.child("state"), why));
            }
        }
    }
    found
}

fn addresses(status: &Value, of: &str, path: &Path) -> Vec<Mistake> {
    let all: Vec<&str> = list(status, of).iter().map(|one| text(one, "ip")).collect();
    let mut found: Vec<Mistake> = all
        .iter()
        .enumerate()
        .filter_map(|(at, address)| read::not_an_ip(&path.child(of).index(at), address))
        .collect();
    let families: Vec<bool> =
        all.iter().filter_map(|address| read::legacy_ip(address)).map(|ip| ip.is_ipv4()).collect();
    let is_pair = matches!(families[..], [one, other] if one != other);
    if all.len() > 1 && !is_pair {
        // Kubernetes prints its own struct here.
        let whole: Value = all.iter().map(|address| json!({"IP": address})).collect();
        let why = "may specify no more than one IP for each IP family";
        found.push(Mistake::invalid(&path.child(of), whole, why));
    }
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
}
