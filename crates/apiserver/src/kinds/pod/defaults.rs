//! What is filled into a Pod, and into the template of one.

use serde_json::{Map, Value, json};

use super::{image, read};

/// The sources of a volume that say with which mode their files are made.
const WITH_MODE: [&str; 4] = ["configMap", "downwardAPI", "projected", "secret"];

/// Completes a Pod.
pub(super) fn pod(pod: &mut Value) {
    if let Some(found) = part(pod, "status") {
        status(found);
    }
    let Some(pod_spec) = part(pod, "spec") else { return };
    for of in ["containers", "initContainers"] {
        entries(pod_spec, of).filter_map(|container| part(container, "resources")).for_each(requests);
    }
    set(pod_spec, "enableServiceLinks", true);
    if pod_spec["hostNetwork"] == true {
        for of in ["containers", "initContainers"] {
            for port in entries(pod_spec, of).flat_map(|container| entries(container, "ports")) {
                if read::number(port, "hostPort") == 0 {
                    port["hostPort"] = port["containerPort"].clone();
                }
            }
        }
    }
    spec(pod_spec);
}

/// Completes what a Pod and a template have alike.
pub(in crate::kinds) fn spec(spec: &mut Value) {
    set(spec, "dnsPolicy", "ClusterFirst");
    set(spec, "restartPolicy", "Always");
    set(spec, "securityContext", json!({}));
    set(spec, "terminationGracePeriodSeconds", 30);
    set(spec, "schedulerName", "default-scheduler");
    // One account under two names; the newer name wins.
    let account = match read::text(spec, "serviceAccountName") {
        "" => read::text(spec, "serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !account.is_empty() {
        spec["serviceAccountName"] = account.as_str().into();
        spec["serviceAccount"] = account.into();
    }
    entries(spec, "volumes").for_each(volume);
    for of in ["containers", "initContainers", "ephemeralContainers"] {
        entries(spec, of).for_each(container);
    }
}

/// Puts a value where none is, or an empty text.
pub(in crate::kinds) fn set(of: &mut Value, field: &str, value: impl Into<Value>) {
    if of[field].is_null() || of[field] == "" {
        of[field] = value.into();
    }
}

fn entries<'a>(of: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = of.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten();
    list.filter(|entry| entry.is_object())
}

fn part<'a>(of: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    of.get_mut(field).filter(|part| part.is_object())
}

/// The only address and the first of several are one.
fn status(status: &mut Value) {
    let only = read::text(status, "podIP").to_owned();
    let first = status["podIPs"][0]["ip"].as_str().map(str::to_owned);
    match first {
        Some(first) if only.is_empty() => status["podIP"] = first.into(),
        Some(first) if first == only => {}
        // The older field wins, for clients that know only it.
        Some(_) => status["podIPs"] = json!([{"ip": only}]),
        None if only.is_empty() => {}
        None => status["podIPs"] = json!([{"ip": only}]),
    }
}

/// What has a limit requests it.
fn requests(resources: &mut Value) {
    let Some(limits) = resources["limits"].as_object().filter(|limits| !limits.is_empty()).cloned() else {
        return;
    };
    set(resources, "requests", Map::new());
    for (name, limit) in limits {
        set(&mut resources["requests"], &name, limit);
    }
}

fn container(container: &mut Value) {
    let policy = if image::is_latest(read::text(container, "image")) { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", policy);
    set(container, "terminationMessagePath", "/dev/termination-log");
    set(container, "terminationMessagePolicy", "File");
    set(container, "resources", json!({}));
    entries(container, "ports").for_each(|port| set(port, "protocol", "TCP"));
    entries(container, "env").filter_map(|env| part(env, "valueFrom")).for_each(|from| {
        if let Some(field) = part(from, "fieldRef") {
            set(field, "apiVersion", "v1");
        }
        if let Some(file) = part(from, "fileKeyRef") {
            set(file, "optional", false);
        }
    });
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = part(container, name) {
            probe(found);
        }
    }
    if let Some(lifecycle) = part(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(handler) = part(lifecycle, name) {
                http(handler);
            }
        }
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if read::number(probe, field) == 0 {
            probe[field] = value.into();
        }
    }
    if let Some(grpc) = part(probe, "grpc") {
        set(grpc, "service", "");
    }
    http(probe);
}

fn http(handler: &mut Value) {
    if let Some(http) = part(handler, "httpGet") {
        set(http, "path", "/");
        set(http, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|fields| fields.keys().any(|field| field != "name"));
    if !has_source {
        volume["emptyDir"] = json!({});
    }
    for source in WITH_MODE {
        if let Some(source) = part(volume, source) {
            set(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = part(volume, "hostPath").filter(|path| path["type"].is_null()) {
        path["type"] = "".into();
    }
    if let Some(image) = part(volume, "image") {
        let is_latest = image::is_latest(read::text(image, "reference"));
        set(image, "pullPolicy", if is_latest { "Always" } else { "IfNotPresent" });
    }
    if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        set(claim, "volumeMode", "Filesystem");
    }
    if let Some(downward) = part(volume, "downwardAPI") {
        fields(downward);
    }
    if let Some(projected) = part(volume, "projected") {
        for source in entries(projected, "sources") {
            if let Some(downward) = part(source, "downwardAPI") {
                fields(downward);
            }
            if let Some(token) = part(source, "serviceAccountToken") {
                set(token, "expirationSeconds", 3600);
            }
        }
    }
    remote(volume);
}

fn fields(downward: &mut Value) {
    let items = entries(downward, "items");
    items.filter_map(|item| part(item, "fieldRef")).for_each(|field| set(field, "apiVersion", "v1"));
}

/// Volumes of other machines.
fn remote(volume: &mut Value) {
    let known: [(&str, &[(&str, &str)]); 4] = [
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("fsType", "ext4"), ("kind", "Shared")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (source, fields) in known {
        let Some(source) = part(volume, source) else { continue };
        fields.iter().for_each(|(field, value)| set(source, field, *value));
    }
    if let Some(disk) = part(volume, "azureDisk") {
        set(disk, "readOnly", false);
    }
}
