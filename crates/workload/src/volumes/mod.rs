//! Volumes of pods: what a manifest asks for, in types; where they are; how a container's places get them.
//!
//! ```text
//! Pod object --read--> Volume --tend--> files of the volume      (objects, tokens; again and again)
//!                         \--mounts--> plan --> the keeper's namespace of mounts
//! ```

mod files;
mod plan;
mod set_up;
mod show;
mod tend;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::expand::expand_all;
use crate::pod::{Container, list};
use crate::quantity;
pub(crate) use show::show;
pub(crate) use tend::{Gate, Objects, Tending};

/// Where programs look for the token of their ServiceAccount.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How Kubernetes calls the volume that is for it.
const ACCOUNT_VOLUME: &str = "kube-api-access";
/// The permissions of files when nothing is said.
const USUAL_MODE: u32 = 0o644;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Volume {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub source: Source,
    /// Whether the manifest says nothing of it.
    pub is_implied: bool,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// Nothing at first; `memory`: it is one of memory, of this size.
    Empty { memory: bool, size: Option<u64> },
    /// A place of the host, of which something is expected.
    Host { path: String, kind: String },
    /// Files, with their usual permissions.
    Files { parts: Vec<Part>, mode: u32 },
    /// What there is not; why.
    Impossible(String),
}

/// A part of a volume of files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    /// The keys of a ConfigMap or Secret: these, or all.
    Object { what: What, name: String, optional: bool, items: Vec<Item> },
    /// Fields of the pod.
    Fields(Vec<Item>),
    /// A token of the pod's ServiceAccount.
    Token { audience: String, seconds: u64, path: String },
}

/// Which kind an object is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    ConfigMap,
    Secret,
}

/// One file: from what, where, with which permissions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Item {
    /// A key of an object.
    pub key: String,
    /// What the object says about it.
    pub object: Value,
    /// Its path in the volume.
    pub path: String,
    /// Its permissions.
    pub mode: Option<u32>,
}

/// A place of a container at which something is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// What.
    pub from: PathBuf,
    /// What below it; it is made where it is missing.
    pub sub: String,
    /// Where.
    pub at: PathBuf,
    /// Whether it is read-only there.
    pub read_only: bool,
}

impl Mount {
    /// A file of this machine at another place.
    pub(crate) fn file(from: PathBuf, at: &str) -> Self {
        Self { from, sub: String::new(), at: PathBuf::from(at), read_only: false }
    }
}

/// Reads the volumes of a pod, with the one that Kubernetes adds to those that do not object.
pub(crate) fn read(spec: &Value) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = list(&spec["volumes"]).map(Volume::read).collect();
    if is_account_implied(spec) {
        let volume = json!({"name": ACCOUNT_VOLUME, "projected": {"defaultMode": USUAL_MODE, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}});
        volumes.push(Volume { is_implied: true, ..Volume::read(&volume) });
    }
    volumes
}

/// Whether a container shall find a token of which the manifest says nothing.
fn is_account_implied(spec: &Value) -> bool {
    let named = |volume: &Value| volume["name"].as_str().is_some_and(|name| name.starts_with(ACCOUNT_VOLUME));
    let mut containers = list(&spec["initContainers"]).chain(list(&spec["containers"]));
    spec["automountServiceAccountToken"] != false
        && !list(&spec["volumes"]).any(named)
        && containers.any(|container| !has_account(container))
}

fn has_account(container: &Value) -> bool {
    let at = |mount: &Value| mount["mountPath"].as_str().map(|path| path.trim_end_matches('/') == ACCOUNT);
    list(&container["volumeMounts"]).any(|mount| at(mount) == Some(true))
}

impl Volume {
    fn read(object: &Value) -> Self {
        let name = object["name"].as_str().unwrap_or_default().to_owned();
        let fields = object.as_object().into_iter().flatten();
        let kind = fields.map(|(field, _)| field.as_str()).find(|field| *field != "name");
        let kind = kind.unwrap_or("emptyDir");
        Self { name, source: Source::read(kind, &object[kind]), is_implied: false }
    }
}

impl Source {
    fn read(kind: &str, object: &Value) -> Self {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let mode = mode(&object["defaultMode"]).unwrap_or(USUAL_MODE);
        match kind {
            "emptyDir" => match text("medium") {
                "" => Self::Empty { memory: false, size: None },
                "Memory" => {
                    Self::Empty { memory: true, size: object["sizeLimit"].as_str().and_then(quantity::units) }
                }
                medium => Self::Impossible(format!("the medium {medium:?} is not possible here")),
            },
            "hostPath" => Self::Host { path: text("path").to_owned(), kind: text("type").to_owned() },
            "configMap" | "secret" | "downwardAPI" => match Part::read(kind, object) {
                Ok(part) => Self::Files { parts: vec![part], mode },
                Err(why) => Self::Impossible(why),
            },
            "projected" => {
                let sources = list(&object["sources"]).filter_map(Value::as_object).flatten();
                match sources.map(|(kind, object)| Part::read(kind, object)).collect() {
                    Ok(parts) => Self::Files { parts, mode },
                    Err(why) => Self::Impossible(why),
                }
            }
            other => Self::Impossible(format!("volumes of the kind {other} are not possible here")),
        }
    }
}

impl Part {
    fn read(kind: &str, object: &Value) -> Result<Self, String> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let items = || list(&object["items"]).map(Item::read).collect();
        let of = |what: What, name: String| Self::Object {
            what,
            name,
            optional: object["optional"] == true,
            items: items(),
        };
        match kind {
            "configMap" => Ok(of(What::ConfigMap, text("name"))),
            // A volume calls it otherwise than everything else does.
            "secret" => Ok(of(
                What::Secret,
                text(if object["secretName"].is_string() { "secretName" } else { "name" }),
            )),
            "downwardAPI" => Ok(Self::Fields(items())),
            "serviceAccountToken" => Ok(Self::Token {
                audience: text("audience"),
                seconds: object["expirationSeconds"].as_u64().unwrap_or(3600),
                path: text("path"),
            }),
            other => Err(format!("projected volumes with a {other} are not possible here")),
        }
    }
}

impl Item {
    fn read(object: &Value) -> Self {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        Self { key: text("key"), path: text("path"), mode: mode(&object["mode"]), object: object.clone() }
    }
}

fn mode(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|mode| u32::try_from(mode).ok()).map(|mode| mode & 0o777)
}

/// Answers what a container finds where, out of volumes that are set up in a folder. `variables` is its environment.
pub(crate) fn mounts(
    (volumes, folder): (&[Volume], &Path),
    container: &Container,
    variables: &[(String, String)],
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for object in list(&container.object["volumeMounts"]) {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let name = text("name");
        let volume = volumes.iter().find(|volume| volume.name == name);
        let volume = volume.ok_or_else(|| format!("the pod has no volume {name:?}"))?;
        let sub = match text("subPathExpr") {
            "" => text("subPath").to_owned(),
            pattern => expand_all(pattern, &|name| {
                variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            })
            .map_err(|missing| {
                format!("failed to expand subPathExpr {pattern:?}: missing value for {missing:?}")
            })?,
        };
        let from = match &volume.source {
            Source::Host { path, .. } => PathBuf::from(path),
            Source::Empty { .. } | Source::Files { .. } | Source::Impossible(_) => folder.join(name),
        };
        let read_only = object["readOnly"] == true || matches!(volume.source, Source::Files { .. });
        mounts.push(Mount { from, sub, at: PathBuf::from(text("mountPath")), read_only });
    }
    if let Some(volume) = volumes.iter().find(|volume| volume.is_implied)
        && !has_account(&container.object)
    {
        let from = folder.join(&volume.name);
        mounts.push(Mount { from, sub: String::new(), at: PathBuf::from(ACCOUNT), read_only: true });
    }
    Ok(mounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_read() {
        let spec = json!({"volumes": [
            {"name": "a"}, {"name": "b", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "c", "hostPath": {"path": "/x", "type": "File"}},
            {"name": "d", "configMap": {"name": "m", "optional": true, "defaultMode": 256,
                "items": [{"key": "k", "path": "p/q", "mode": 384}]}},
            {"name": "e", "secret": {"secretName": "s"}},
            {"name": "f", "persistentVolumeClaim": {"claimName": "x"}},
            {"name": "g", "emptyDir": {"medium": "HugePages"}},
            {"name": "h", "projected": {"sources": [{"secret": {"name": "t"}}, {"clusterTrustBundle": {}}]}}],
            "containers": [{"name": "x"}], "automountServiceAccountToken": false});
        let volumes = read(&spec);
        assert_eq!(volumes[0].source, Source::Empty { memory: false, size: None });
        assert_eq!(volumes[1].source, Source::Empty { memory: true, size: Some(1_048_576) });
        assert_eq!(volumes[2].source, Source::Host { path: "/x".to_owned(), kind: "File".to_owned() });
        let Source::Files { parts, mode: 0o400 } = &volumes[3].source else { panic!("{:?}", volumes[3]) };
        let Part::Object { what: What::ConfigMap, optional: true, items, .. } = &parts[0] else {
            panic!("{parts:?}")
        };
        assert_eq!((items[0].key.as_str(), items[0].path.as_str(), items[0].mode), ("k", "p/q", Some(0o600)));
        assert!(matches!(&volumes[4].source, Source::Files { parts, mode: 0o644 }
            if matches!(&parts[0], Part::Object { name, what: What::Secret, .. } if name == "s")));
        for (index, kind) in [(5, "persistentVolumeClaim"), (6, "HugePages"), (7, "clusterTrustBundle")] {
            assert!(
                matches!(&volumes[index].source, Source::Impossible(why) if why.contains(kind)),
                "{kind}"
            );
        }
    }

    #[test]
    fn the_account_is_implied_where_nothing_is_said() {
        let mount = json!([{"name": "mine", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount/"}]);
        for (spec, expected) in [
            (json!({"containers": [{}]}), true),
            (json!({"containers": [{}], "automountServiceAccountToken": false}), false),
            (json!({"containers": [{}], "volumes": [{"name": "kube-api-access-x7x2z"}]}), false),
            (json!({"containers": [{"volumeMounts": mount}], "volumes": [{"name": "mine"}]}), false),
            (json!({"containers": [{"volumeMounts": mount}, {}], "volumes": [{"name": "mine"}]}), true),
        ] {
            let implied = read(&spec).iter().any(|volume| volume.is_implied);
            assert_eq!(implied, expected, "{spec}");
        }
    }

    #[test]
    fn mounts_say_where_things_are() {
        let spec = json!({"volumes": [{"name": "data"}, {"name": "host", "hostPath": {"path": "/srv"}},
                {"name": "conf", "configMap": {"name": "x"}}],
            "containers": [{"name": "a", "volumeMounts": [
                {"name": "data", "mountPath": "/data", "subPathExpr": "of-$(NAME)"},
                {"name": "host", "mountPath": "/h", "readOnly": true, "subPath": "x"},
                {"name": "conf", "mountPath": "/etc/conf"}]}]});
        let pod = json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec});
        let pod = crate::pod::Pod::read(pod, &crate::images::Images::default()).unwrap();
        let volumes = (pod.volumes.as_slice(), Path::new("/v"));
        let environment = [("NAME".to_owned(), "me".to_owned())];
        let found = mounts(volumes, &pod.containers[0], &environment).unwrap();
        let text: Vec<String> = found
            .iter()
            .map(|mount| {
                let mode = if mount.read_only { "ro" } else { "rw" };
                format!("{} {:?} {} {mode}", mount.from.display(), mount.sub, mount.at.display())
            })
            .collect();
        assert_eq!(
            text,
            [
                "/v/data \"of-me\" /data rw",
                "/srv \"x\" /h ro",
                "/v/conf \"\" /etc/conf ro",
                "/v/kube-api-access \"\" /var/run/secrets/kubernetes.io/serviceaccount ro",
            ]
        );
        let error = mounts(volumes, &pod.containers[0], &[]).unwrap_err();
        assert!(error.contains("missing value for \"NAME\""), "{error}");
    }
}
