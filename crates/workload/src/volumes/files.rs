//! The files of a volume, from what objects say. Pure.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::Value;

use super::{Item, What};
use crate::environment::{self, Surroundings};
use crate::pod::{Pod, list};

/// The files of a volume by their paths in it.
pub(super) type Files = BTreeMap<String, File>;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Whose it is; `None`: root's.
    pub owner: Option<u32>,
}

impl What {
    /// How Kubernetes calls it in messages.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// The files that the keys of an object become: those of `items`, or all. `optional`: what is missing is left out.
pub(super) fn of_object(
    (what, object): (What, &Value),
    (items, optional): (&[Item], bool),
    mode: u32,
) -> Result<Files, String> {
    let values = values(what, object);
    let file = |bytes: &Vec<u8>, mode: u32| File { bytes: bytes.clone(), mode, owner: None };
    if items.is_empty() {
        return Ok(values.iter().map(|(key, bytes)| (key.clone(), file(bytes, mode))).collect());
    }
    let mut files = Files::new();
    for item in items {
        match values.get(&item.key) {
            Some(bytes) => drop(files.insert(item.path.clone(), file(bytes, item.mode.unwrap_or(mode)))),
            None if optional => {}
            None => {
                return Err(match what {
                    What::ConfigMap => format!("configmap references non-existent config key: {}", item.key),
                    What::Secret => format!("references non-existent secret key: {}", item.key),
                });
            }
        }
    }
    Ok(files)
}

fn values(what: What, object: &Value) -> BTreeMap<String, Vec<u8>> {
    let decode = |value: &Value| base64::engine::general_purpose::STANDARD.decode(value.as_str()?).ok();
    let plain = |value: &Value| Some(value.as_str()?.as_bytes().to_vec());
    let of = |field: &str, read: &dyn Fn(&Value) -> Option<Vec<u8>>| {
        let pairs = object[field].as_object().into_iter().flatten();
        pairs.filter_map(|(key, value)| Some((key.clone(), read(value)?))).collect::<Vec<_>>()
    };
    let found = match what {
        What::ConfigMap => [of("data", &plain), of("binaryData", &decode)],
        What::Secret => [of("data", &decode), Vec::new()],
    };
    found.into_iter().flatten().collect()
}

/// The files that fields of a pod become.
pub(super) fn of_fields((pod, capacity): (&Pod, &Value), items: &[Item], mode: u32) -> Result<Files, String> {
    let mut files = Files::new();
    for item in items {
        let text = match item.object.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
            Some(path) => field(pod, path)?,
            None => amount((pod, capacity), &item.object["resourceFieldRef"])?,
        };
        let mode = item.mode.unwrap_or(mode);
        files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, owner: None });
    }
    Ok(files)
}

fn field(pod: &Pod, path: &str) -> Result<String, String> {
    if let map @ ("labels" | "annotations") = path.trim_start_matches("metadata.") {
        let pairs = pod.object["metadata"][map].as_object().into_iter().flatten();
        let lines = pairs.map(|(key, value)| format!("{key}={}", quoted(value.as_str().unwrap_or_default())));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        return Ok(lines.join("\n"));
    }
    let nowhere = Surroundings { pod: &[], node: &[], usual: &[], capacity: &Value::Null };
    environment::field(pod, path, &nowhere).map_err(|missing| missing.to_string())
}

fn amount((pod, capacity): (&Pod, &Value), resource: &Value) -> Result<String, String> {
    let name = resource["containerName"].as_str().unwrap_or_default();
    let container = pod.containers.iter().find(|container| container.name == name);
    let container = container.ok_or_else(|| format!("container {name} not found"))?;
    Ok(environment::amount((pod, container), resource, capacity))
}

/// As Go quotes a text.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            control if control.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            control if control.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Whom all containers run as, when all run as the same.
pub(super) fn common_user(pod: &Pod) -> Option<u32> {
    let spec = &pod.object["spec"];
    let usual = &spec["securityContext"]["runAsUser"];
    let containers = list(&spec["initContainers"]).chain(list(&spec["containers"]));
    let mut users = containers.map(|container| {
        let own = container["securityContext"]["runAsUser"].as_u64();
        own.or_else(|| usual.as_u64()).and_then(|user| u32::try_from(user).ok())
    });
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(files: Result<Files, String>) -> String {
        match files {
            Err(error) => error,
            Ok(files) => {
                let line = |(path, file): (&String, &File)| {
                    format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.bytes))
                };
                files.iter().map(line).collect::<Vec<_>>().join("; ")
            }
        }
    }

    fn items(object: &Value) -> Vec<Item> {
        list(object).map(Item::read).collect()
    }

    #[test]
    fn keys_become_files() {
        let map = json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "Mw=="}});
        let secret = json!({"data": {"a": "MQ=="}});
        let one = json!([{"key": "a", "path": "x/y", "mode": 256}]);
        let missing = json!([{"key": "z", "path": "z"}]);
        for (what, object, wanted, optional, expected) in [
            (What::ConfigMap, &map, json!([]), false, "a 644 1; b 644 2; c 644 3"),
            (What::ConfigMap, &map, one.clone(), false, "x/y 400 1"),
            (
                What::ConfigMap,
                &map,
                missing.clone(),
                false,
                "configmap references non-existent config key: z",
            ),
            (What::ConfigMap, &map, missing.clone(), true, ""),
            (What::Secret, &secret, json!([]), false, "a 644 1"),
            (What::Secret, &secret, one, false, "x/y 400 1"),
            (What::Secret, &secret, missing, false, "references non-existent secret key: z"),
        ] {
            let found = of_object((what, object), (&items(&wanted), optional), 0o644);
            assert_eq!(shown(found), expected, "{what:?} {wanted} {optional}");
        }
    }

    #[test]
    fn fields_become_files() {
        let object = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"b": "2", "a": "say \"hi\"\n"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "2Mi"}}}]}});
        let pod = Pod::read(object, &crate::images::Images::default()).unwrap();
        let field = |path: &str| json!([{"path": "f", "fieldRef": {"fieldPath": path}}]);
        let amount = |name: &str| {
            json!([{"path": "f", "mode": 384,
                "resourceFieldRef": {"containerName": name, "resource": "limits.memory", "divisor": "1Mi"}}])
        };
        for (wanted, expected) in [
            (field("metadata.labels"), "f 644 a=\"say \\\"hi\\\"\\n\"\nb=\"2\""),
            (field("metadata.annotations"), "f 644 "),
            (field("metadata.labels['b']"), "f 644 2"),
            (field("metadata.namespace"), "f 644 n"),
            (field("status.phase"), "unsupported fieldPath: status.phase"),
            (amount("c"), "f 600 2"),
            (amount("d"), "container d not found"),
        ] {
            assert_eq!(shown(of_fields((&pod, &Value::Null), &items(&wanted), 0o644)), expected, "{wanted}");
        }
    }

    #[test]
    fn a_user_is_common_or_none() {
        for (spec, expected) in [
            (json!({"containers": [{}]}), None),
            (json!({"containers": [{}, {}], "securityContext": {"runAsUser": 7}}), Some(7)),
            (
                json!({"containers": [{}, {"securityContext": {"runAsUser": 8}}], "securityContext": {"runAsUser": 7}}),
                None,
            ),
            (json!({"containers": [{"securityContext": {"runAsUser": 8}}]}), Some(8)),
        ] {
            let mut pod = Pod::read(
                json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"containers": []}}),
                &crate::images::Images::default(),
            )
            .unwrap();
            pod.object["spec"] = spec.clone();
            assert_eq!(common_user(&pod), expected, "{spec}");
        }
    }
}
