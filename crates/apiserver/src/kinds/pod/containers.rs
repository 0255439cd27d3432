//! What the containers of a Pod may say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::read::{self, list, number, one_of, pairs, text, wrongs};
use super::spec::identity;
use super::volumes::Known;
use super::{amounts, env, probes, volumes};
use crate::mistake::{Mistake, Path};
use crate::names;

/// Resources of which a container may use more than there is of them.
const OVERCOMMITTED: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "storage"];

/// Judges all containers. `known`: the volumes that they can mount.
pub(super) fn check(spec: &Value, known: &Known<'_>, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    if list(spec, "containers").is_empty() {
        found.push(Mistake::required(&path.child("containers"), ""));
    }
    let mut names = BTreeSet::new();
    for (at, container) in read::places(spec, "containers", path) {
        found.extend(one(container, known, &at));
        found.extend(twice(container, &mut names, &at));
        found.extend(probes::all(container, &at));
    }
    found.extend(host_ports(list(spec, "containers"), &path.child("containers")));
    for (at, container) in read::places(spec, "initContainers", path) {
        found.extend(one(container, known, &at));
        found.extend(twice(container, &mut names, &at));
        found.extend(host_ports(std::slice::from_ref(container), &path.child("initContainers")));
        let stays = text(container, "restartPolicy") == "Always";
        found.extend(if stays { probes::all(container, &at) } else { probes::none(container, &at) });
    }
    found
}

/// A mistake if there is a container of that name.
fn twice<'a>(container: &'a Value, names: &mut BTreeSet<&'a str>, path: &Path) -> Option<Mistake> {
    let name = text(container, "name");
    if names.contains(&name) {
        return Some(Mistake::duplicate(&path.child("name"), name));
    }
    names.extend((!name.is_empty()).then_some(name));
    None
}

fn one(container: &Value, known: &Known<'_>, path: &Path) -> Vec<Mistake> {
    let name = text(container, "name");
    let mut found = match name {
        "" => vec![Mistake::required(&path.child("name"), "")],
        name => wrongs(&path.child("name"), name, names::dns_label(name)),
    };
    if text(container, "image").is_empty() {
        found.push(Mistake::required(&path.child("image"), ""));
    }
    let policies = ["File", "FallbackToLogsOnError"];
    found.extend(one_of(container, "terminationMessagePolicy", path, &policies));
    found.extend(ports(container, path));
    found.extend(env::check(container, path));
    found.extend(volumes::mounts(container, known, path));
    found.extend(one_of(container, "imagePullPolicy", path, &["Always", "IfNotPresent", "Never"]));
    found.extend(resources(&container["resources"], &path.child("resources")));
    let (context, at) = (&container["securityContext"], path.child("securityContext"));
    found.extend(["runAsUser", "runAsGroup"].iter().filter_map(|of| identity(&context[of], &at.child(of))));
    if container["restartPolicy"].is_string() {
        found.extend(one_of(container, "restartPolicy", path, &["Always", "OnFailure", "Never"]));
    }
    found
}

fn ports(container: &Value, path: &Path) -> Vec<Mistake> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (at, port) in read::places(container, "ports", path) {
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = wrongs(&at.child("name"), name, names::port_name(name));
            match wrong.is_empty() {
                true if seen.contains(&name) => found.push(Mistake::duplicate(&at.child("name"), name)),
                true => drop(seen.insert(name)),
                false => found.extend(wrong),
            }
        }
        if number(port, "containerPort") == 0 {
            found.push(Mistake::required(&at.child("containerPort"), ""));
        }
        for field in ["containerPort", "hostPort"] {
            let number = number(port, field);
            let wrong = if number == 0 { Vec::new() } else { names::port_number(number) };
            found.extend(wrong.into_iter().map(|why| Mistake::invalid(&at.child(field), number, why)));
        }
        found.extend(one_of(port, "protocol", &at, &["SCTP", "TCP", "UDP"]));
    }
    found
}

/// A port of the node is one container's.
fn host_ports(containers: &[Value], path: &Path) -> Vec<Mistake> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (at, container) in containers.iter().enumerate() {
        for (at, port) in read::places(container, "ports", &path.index(at)) {
            let host_port = number(port, "hostPort");
            if host_port == 0 {
                continue;
            }
            let key = format!("{}/{}/{host_port}", text(port, "protocol"), text(port, "hostIP"));
            if seen.contains(&key) {
                found.push(Mistake::duplicate(&at.child("hostPort"), key));
            } else {
                seen.insert(key);
            }
        }
    }
    found
}

fn resources(resources: &Value, path: &Path) -> Vec<Mistake> {
    let (limits, mut found) = (&resources["limits"], Vec::new());
    for of in ["limits", "requests"] {
        for (name, amount) in pairs(resources, of) {
            let at = path.child(of).key(name);
            found.extend(resource_name(name, &at));
            if amounts::nano(amount) < 0 {
                found.push(Mistake::invalid(&at, amount, "must be greater than or equal to 0"));
            }
            if !OVERCOMMITTED.contains(&name) && amounts::nano(amount) % 1_000_000_000 != 0 {
                found.push(Mistake::invalid(&at, amount, "must be an integer"));
            }
            if of == "requests" {
                found.extend(exceeds(name, amount, &limits[name], path));
            }
        }
    }
    found
}

/// A mistake if a container requests more than its limit, or less where nothing can be shared.
fn exceeds(name: &str, amount: &str, limit: &Value, path: &Path) -> Option<Mistake> {
    let (is_shared, requests) = (OVERCOMMITTED.contains(&name), path.child("requests"));
    let Some(limit) = limit.as_str() else {
        let why = "Limit must be set for non overcommitable resources";
        return (!is_shared).then(|| Mistake::required(&path.child("limits"), why));
    };
    let (requested, most) = (amounts::nano(amount), amounts::nano(limit));
    if requested != most && !is_shared {
        let why = format!("must be equal to {name} limit of {limit}");
        return Some(Mistake::invalid(&requests, amount, why));
    }
    let why = format!("must be less than or equal to {name} limit of {limit}");
    (requested > most).then(|| Mistake::invalid(&requests, amount, why))
}

fn resource_name(name: &str, path: &Path) -> Vec<Mistake> {
    let wrong = wrongs(path, name, names::qualified_name(name));
    let is_standard = OVERCOMMITTED.contains(&name) || name.starts_with("hugepages-");
    let why = match name.contains('/') {
        false if wrong.is_empty() && !is_standard => "must be a standard resource type or fully qualified",
        false if !is_standard || name == "storage" => "must be a standard resource for containers",
        true | false => return wrong,
    };
    wrong.into_iter().chain([Mistake::invalid(path, name, why)]).collect()
}
