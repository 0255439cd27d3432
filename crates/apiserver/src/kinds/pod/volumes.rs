//! What the volumes of a Pod may say, and how containers mount them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::read::{self, list, number, text, wrongs};
use super::{amounts, env};
use crate::mistake::{Mistake, Path};
use crate::names;

/// The volumes that are right, by name.
pub(super) type Known<'a> = BTreeSet<&'a str>;

const HOST_PATHS: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// Judges the volumes; answers those that can be mounted.
pub(super) fn check<'a>(spec: &'a Value, path: &Path) -> (Known<'a>, Vec<Mistake>) {
    let (mut known, mut found) = (Known::new(), Vec::new());
    for (at, volume) in read::places(spec, "volumes", path) {
        let (name, mut wrong) = (text(volume, "name"), source(volume, &at));
        wrong.extend(match name {
            "" => vec![Mistake::required(&at.child("name"), "")],
            name => wrongs(&at.child("name"), name, names::dns_label(name)),
        });
        if known.contains(&name) {
            wrong.push(Mistake::duplicate(&at.child("name"), name));
        }
        if wrong.is_empty() {
            known.insert(name);
        }
        found.extend(wrong);
    }
    (known, found)
}

fn source(volume: &Value, path: &Path) -> Vec<Mistake> {
    let sources = volume.as_object().into_iter().flatten().filter(|(field, _)| *field != "name");
    let mut found = Vec::new();
    for (place, (kind, source)) in sources.enumerate() {
        let at = path.child(kind);
        if place > 0 {
            found.push(Mistake::forbidden(&at, "may not specify more than 1 volume type"));
            continue;
        }
        match kind.as_str() {
            "emptyDir" => found.extend(empty_dir(source, &at)),
            "hostPath" => found.extend(host_path(source, &at)),
            "secret" => found.extend(files(source, "secretName", &at)),
            "configMap" => found.extend(files(source, "name", &at)),
            "persistentVolumeClaim" => found.extend(required(source, "claimName", &at)),
            "downwardAPI" => {
                found.extend(mode(source, "defaultMode", &at));
                found.extend(downward(source, &at));
            }
            "projected" => found.extend(projected(source, &at)),
            "nfs" => {
                found.extend(required(source, "server", &at));
                found.extend(required(source, "path", &at));
            }
            "csi" => found.extend(required(source, "driver", &at)),
            _ => {}
        }
    }
    found
}

fn required(source: &Value, field: &str, path: &Path) -> Option<Mistake> {
    text(source, field).is_empty().then(|| Mistake::required(&path.child(field), ""))
}

fn empty_dir(source: &Value, path: &Path) -> Option<Mistake> {
    let is_negative = amounts::nano(text(source, "sizeLimit")) < 0;
    let why = "SizeLimit field must be a valid resource quantity";
    is_negative.then(|| Mistake::forbidden(&path.child("sizeLimit"), why))
}

fn host_path(source: &Value, path: &Path) -> Vec<Mistake> {
    let place = text(source, "path");
    if place.is_empty() {
        return vec![Mistake::required(&path.child("path"), "")];
    }
    let mut found: Vec<Mistake> = steps_back(place, &path.child("path")).into_iter().collect();
    let kind = text(source, "type");
    if !HOST_PATHS.contains(&kind) {
        found.push(Mistake::not_supported(&path.child("type"), kind, &HOST_PATHS));
    }
    found
}

fn files(source: &Value, name: &str, path: &Path) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = required(source, name, path).into_iter().collect();
    found.extend(mode(source, "defaultMode", path));
    found.extend(items(source, path));
    found
}

fn items(source: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, item) in read::places(source, "items", path) {
        found.extend(required(item, "key", &at));
        found.extend(match text(item, "path") {
            "" => vec![Mistake::required(&at.child("path"), "")],
            place => below(place, &at.child("path")),
        });
        found.extend(mode(item, "mode", &at));
    }
    found
}

fn mode(source: &Value, field: &str, path: &Path) -> Option<Mistake> {
    let mode = number(source, field);
    let why = "must be a number between 0 and 0777 (octal), both inclusive";
    (!(0..=0o777).contains(&mode)).then(|| Mistake::invalid(&path.child(field), mode, why))
}

fn downward(source: &Value, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, item) in read::places(source, "items", path) {
        found.extend(match text(item, "path") {
            "" => vec![Mistake::required(&at.child("path"), "")],
            place => below(place, &at.child("path")),
        });
        match (item["fieldRef"].is_object(), item["resourceFieldRef"].is_object()) {
            (true, true) => {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                found.push(Mistake::invalid(&at, "resource", why));
            }
            (true, false) => found.extend(env::of_pod_in_file(item, &at)),
            (false, true) => {
                let reference = &item["resourceFieldRef"];
                let at = at.child("resourceFieldRef");
                found.extend(required(reference, "containerName", &at));
                found.extend(env::of_resources(reference, &at));
            }
            (false, false) => {
                let why = "one of fieldRef and resourceFieldRef is required";
                found.push(Mistake::required(&at.child("fieldRef"), why));
            }
        }
        found.extend(mode(item, "mode", &at));
    }
    found
}

fn projected(source: &Value, path: &Path) -> Vec<Mistake> {
    let mut found: Vec<Mistake> = mode(source, "defaultMode", path).into_iter().collect();
    for (at, one) in read::places(source, "sources", path) {
        for of in ["secret", "configMap"] {
            if one[of].is_object() {
                found.extend(required(&one[of], "name", &at.child(of)));
                found.extend(items(&one[of], &at.child(of)));
            }
        }
        found.extend(downward(&one["downwardAPI"], &at.child("downwardAPI")));
        let token = &one["serviceAccountToken"];
        if token.is_object() {
            let at = at.child("serviceAccountToken");
            if token["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < 600) {
                let seconds = number(token, "expirationSeconds");
                let why = "may not specify a duration less than 10 minutes";
                found.push(Mistake::invalid(&at.child("expirationSeconds"), seconds, why));
            }
            found.extend(required(token, "path", &at));
        }
    }
    found
}

/// Judges what a container mounts.
pub(super) fn mounts(container: &Value, known: &Known<'_>, path: &Path) -> Vec<Mistake> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let of_devices = |field: &str| -> BTreeSet<&str> {
        list(container, "volumeDevices").iter().map(|device| text(device, field)).collect()
    };
    let (devices, device_paths) = (of_devices("name"), of_devices("devicePath"));
    for (at, mount) in read::places(container, "volumeMounts", path) {
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        found.extend(named(name, known, &at));
        found.extend(required(mount, "mountPath", &at));
        if seen.contains(&place) {
            found.push(Mistake::invalid(&at.child("mountPath"), place, "must be unique"));
        }
        seen.insert(place);
        if devices.contains(name) {
            let why = "must not already exist in volumeDevices";
            found.push(Mistake::invalid(&at.child("name"), name, why));
        }
        if device_paths.contains(place) {
            let why = "must not already exist as a path in volumeDevices";
            found.push(Mistake::invalid(&at.child("mountPath"), place, why));
        }
        found.extend(sub_paths(mount, &at, &path.child("volumeMounts")));
    }
    for (at, device) in read::places(container, "volumeDevices", path) {
        found.extend(named(text(device, "name"), known, &at));
        found.extend(required(device, "devicePath", &at));
    }
    found
}

fn named(name: &str, known: &Known<'_>, path: &Path) -> Vec<Mistake> {
    let mut found = Vec::new();
    if name.is_empty() {
        found.push(Mistake::required(&path.child("name"), ""));
    }
    if !known.contains(&name) {
        found.push(Mistake::not_found(&path.child("name"), name));
    }
    found
}

/// `all`: where Kubernetes says that a path within a volume is.
fn sub_paths(mount: &Value, path: &Path, all: &Path) -> Vec<Mistake> {
    let (plain, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
    let mut found = below(plain, &all.child("subPath"));
    if !plain.is_empty() && !expression.is_empty() {
        let why = "subPathExpr and subPath are mutually exclusive";
        found.push(Mistake::invalid(&path.child("subPathExpr"), expression, why));
    }
    found.extend(below(expression, &all.child("subPathExpr")));
    found
}

/// A path that leads down.
fn below(place: &str, path: &Path) -> Vec<Mistake> {
    let is_absolute = place.starts_with('/');
    let absolute = is_absolute.then(|| Mistake::invalid(path, place, "must be a relative path"));
    absolute.into_iter().chain(steps_back(place, path)).collect()
}

fn steps_back(place: &str, path: &Path) -> Option<Mistake> {
    let steps = place.split('/').any(|step| step == "..");
    steps.then(|| Mistake::invalid(path, place, "must not contain '..'"))
}
