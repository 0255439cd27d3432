//! Settings that are nobody's business.

use serde_json::{Value, json};

use super::config_map::{MOST, count, decoded_size, keys, unchanged};
use super::rules::{Column, created, remove, text};
use super::{ALL_VERBS, FieldValue, Kind, Rules, Scope, Selectable};
use crate::body::{bytes_of, object_mistake, text_of};
use crate::meta::immutable;
use crate::mistake::{Mistake, Path};

/// Settings that are nobody's business.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    type_name: "core.v1.Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[Selectable { label: "type", value: FieldValue::Text("/type") }],
    table: "secrets",
    rules: RULES,
};

const RULES: Rules = Rules {
    defaults,
    validate,
    validate_update: |new, old| {
        let mut found: Vec<Mistake> =
            immutable(&new["type"], &old["type"], &Path::new("type")).into_iter().collect();
        found.extend(unchanged(new, old, &["data"]));
        found.extend(validate(new));
        found
    },
    warnings: |new, _| certificate_warning(new).map(str::to_owned).into_iter().collect(),
    columns: &[
        Column::new("Type", "string", "What it is a secret of."),
        Column::new("Data", "string", "How many entries there are."),
        Column::AGE,
    ],
    cells: |object, now| {
        vec![text(object, "/type").into(), count(&object["data"]).into(), created(object, now)]
    },
    ..Rules::PLAIN
};

fn defaults(object: &mut Value) {
    if text(object, "/type").is_empty() {
        object["type"] = "Opaque".into();
    }
    // What is written as text is kept as bytes, and wins.
    let texts = object["stringData"].take();
    remove(object, "stringData");
    for (key, value) in texts.as_object().into_iter().flatten() {
        if !object["data"].is_object() {
            object["data"] = json!({});
        }
        object["data"][key] = text_of(value.as_str().unwrap_or_default().as_bytes()).into();
    }
}

fn validate(object: &Value) -> Vec<Mistake> {
    let path = Path::new("data");
    let data = &object["data"];
    let mut found = keys(data, &path);
    let values = data.as_object().into_iter().flatten().map(|(_, value)| value);
    if values.filter_map(Value::as_str).map(decoded_size).sum::<usize>() > MOST {
        found.push(Mistake::too_long(&path, MOST));
    }
    let missing = |key: &str| (data.get(key).is_none()).then(|| Mistake::required(&path.key(key), ""));
    match text(object, "/type") {
        "kubernetes.io/service-account-token" => {
            let key = "kubernetes.io/service-account.name";
            if object["metadata"]["annotations"][key].as_str().unwrap_or_default().is_empty() {
                let path = Path::new("metadata").child("annotations").key(key);
                found.push(Mistake::required(&path, ""));
            }
        }
        "kubernetes.io/dockercfg" => found.extend(json_entry(data, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => found.extend(json_entry(data, ".dockerconfigjson")),
        "kubernetes.io/basic-auth" => {
            let missing: Vec<Mistake> = ["username", "password"].into_iter().filter_map(missing).collect();
            if missing.len() == 2 {
                found.extend(missing);
            }
        }
        "kubernetes.io/ssh-auth" => {
            let key = "ssh-privatekey";
            if data[key].as_str().unwrap_or_default().is_empty() {
                found.push(Mistake::required(&path.key(key), ""));
            }
        }
        "kubernetes.io/tls" => found.extend(["tls.crt", "tls.key"].into_iter().filter_map(missing)),
        _ => {}
    }
    found
}

/// A mistake if an entry is no JSON object.
fn json_entry(data: &Value, key: &str) -> Option<Mistake> {
    let path = Path::new("data").key(key);
    let Some(bytes) = data[key].as_str().map(bytes_of) else {
        return Some(Mistake::required(&path, ""));
    };
    let why = object_mistake(&bytes)?;
    Some(Mistake::invalid(&path, "<secret contents redacted>", why))
}

/// Whether key and certificate fit together is not looked at, only whether they are there.
fn certificate_warning(object: &Value) -> Option<&'static str> {
    if text(object, "/type") != "kubernetes.io/tls" {
        return None;
    }
    let has_block = |key: &str| {
        let bytes = bytes_of(object["data"][key].as_str().unwrap_or_default());
        String::from_utf8_lossy(&bytes).contains("-----BEGIN ")
    };
    if !has_block("tls.crt") {
        return Some("tls: failed to find any PEM data in certificate input");
    }
    (!has_block("tls.key")).then_some("tls: failed to find any PEM data in key input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn each_type_needs_its_entries() {
        let check = |kind: &str, data: Value, wanted: &str| {
            let mut object = json!({"type": format!("kubernetes.io/{kind}"), "data": data});
            defaults(&mut object);
            assert_eq!(aggregate(&validate(&object)), wanted, "{object}");
        };
        check(
            "service-account-token",
            json!({}),
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        );
        check("dockerconfigjson", json!({}), "data[.dockerconfigjson]: Required value");
        check("dockerconfigjson", json!({".dockerconfigjson": text_of(b"{}")}), "[]");
        check(
            "dockercfg",
            json!({".dockercfg": text_of(b"x")}),
            "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": invalid character 'x' looking for beginning \
             of value",
        );
        check(
            "dockercfg",
            json!({".dockercfg": text_of(b"[]")}),
            "data[.dockercfg]: Invalid value: \"<secret contents redacted>\": json: cannot unmarshal array into Go value \
             of type map[string]interface {}",
        );
        check("basic-auth", json!({"username": ""}), "[]");
        check("basic-auth", json!({}), "[data[username]: Required value, data[password]: Required value]");
        check("ssh-auth", json!({"ssh-privatekey": ""}), "data[ssh-privatekey]: Required value");
        check("tls", json!({"tls.crt": ""}), "data[tls.key]: Required value");
        check("other", json!({}), "[]");
    }

    #[test]
    fn the_type_stays() {
        let (old, new) = (json!({"type": "Opaque"}), json!({"type": "x"}));
        let found = (RULES.validate_update)(&new, &old);
        assert_eq!(aggregate(&found), "type: Invalid value: \"x\": field is immutable");
    }

    #[test]
    fn certificates_are_pem() {
        let object = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}});
        assert_eq!(
            certificate_warning(&object),
            Some("tls: failed to find any PEM data in certificate input")
        );
        let pem = text_of(b"-----BEGIN X-----");
        let object = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": pem, "tls.key": pem}});
        assert_eq!(certificate_warning(&object), None);
    }
}
