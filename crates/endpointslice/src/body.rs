//! Slices as they are written. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::object::{Hints, Port, Service, Slice, Text};
use crate::packing::{Draft, Fate};
use crate::time;
use crate::wire::Reference;
use crate::words::{HEADLESS, MANAGED_BY, SELECTOR, SERVICE_NAME, TRIGGER_TIME};

/// Labels that say something by themselves and are never copied.
const RESERVED: [&str; 3] = [SERVICE_NAME, MANAGED_BY, HEADLESS];

/// Answers the labels of a Service's slices.
pub(crate) fn labels(service: &Service) -> BTreeMap<&str, &str> {
    let copied = service.labels.iter().filter(|(key, _)| !RESERVED.contains(&&**key));
    let mut labels: BTreeMap<&str, &str> = copied.map(|(key, value)| (&**key, &**value)).collect();
    if service.headless {
        labels.insert(HEADLESS, "");
    }
    labels.insert(SERVICE_NAME, &service.name);
    labels.insert(MANAGED_BY, SELECTOR);
    labels
}

/// Answers whether the labels that are copied are as they are to be. The others are written along with changes only.
pub(crate) fn has_labels(slice: &Slice, wanted: &BTreeMap<&str, &str>) -> bool {
    let is_copied = |key: &str| !RESERVED.contains(&key);
    let found = slice.labels.iter().map(|(key, value)| (&**key, &**value)).filter(|(key, _)| is_copied(key));
    found.eq(wanted.iter().map(|(key, value)| (*key, *value)).filter(|(key, _)| is_copied(key)))
}

/// Answers whether all labels are as they are to be.
pub(crate) fn has_all_labels(slice: &Slice, wanted: &BTreeMap<&str, &str>) -> bool {
    slice.labels.iter().map(|(key, value)| (&**key, &**value)).eq(wanted.iter().map(|(k, v)| (*k, *v)))
}

/// Answers a new slice.
pub(crate) fn created(service: &Service, draft: &Draft, trigger: Option<i64>) -> Value {
    let mut metadata = json!({
        "namespace": &*service.namespace,
        "generateName": prefix(&service.name),
        "labels": labels(service),
        "ownerReferences": [owner("Service", &service.name, &service.uid)],
    });
    if let Some(trigger) = trigger {
        metadata["annotations"] = json!({TRIGGER_TIME: time::format(trigger)});
    }
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": draft.family.name(),
        "ports": draft.ports.iter().map(port).collect::<Vec<_>>(),
        "endpoints": draft.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// Answers the merge patch that makes a slice what it is to be.
pub(crate) fn patch(service: &Service, (draft, slice): (&Draft, &Slice), trigger: Option<i64>) -> Value {
    let mut annotations = Map::new();
    if draft.fate == Fate::Replaced {
        annotations.extend(slice.annotations.iter().map(|(key, _)| (key.to_string(), Value::Null)));
    }
    let trigger = trigger.map_or(Value::Null, |trigger| time::format(trigger).into());
    annotations.insert(TRIGGER_TIME.into(), trigger);
    let mut patch = json!({
        "metadata": {
            "resourceVersion": &*slice.revision,
            "labels": changes(&slice.labels, &labels(service)),
            "annotations": annotations,
        },
        "endpoints": draft.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    });
    if draft.fate == Fate::Replaced {
        patch["metadata"]["ownerReferences"] = json!([owner("Service", &service.name, &service.uid)]);
        patch["ports"] = draft.ports.iter().map(port).collect();
    }
    patch
}

/// Answers the merge patch that makes labels or annotations what they are to be.
pub(crate) fn changes(found: &[(Text, Text)], wanted: &BTreeMap<&str, &str>) -> Map<String, Value> {
    let removed = found.iter().filter(|(key, _)| !wanted.contains_key(&**key));
    let mut changes: Map<String, Value> = removed.map(|(key, _)| (key.to_string(), Value::Null)).collect();
    changes.extend(wanted.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
    changes
}

/// Names of slices begin with that of the Service.
pub(crate) fn prefix(service: &str) -> String {
    // A name may have 253 characters. The server cuts the prefix as it needs to.
    if service.len() < 253 { format!("{service}-") } else { service.to_owned() }
}

pub(crate) fn owner(kind: &str, name: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true,
    })
}

pub(crate) fn port(port: &Port) -> Value {
    let mut object = json!({"name": &*port.name, "protocol": &*port.protocol});
    if let Some(number) = port.port {
        object["port"] = number.into();
    }
    if let Some(protocol) = &port.app_protocol {
        object["appProtocol"] = (**protocol).into();
    }
    object
}

pub(crate) fn endpoint(endpoint: &Endpoint) -> Value {
    let mut conditions = json!({"ready": endpoint.ready});
    for (name, condition) in [("serving", endpoint.serving), ("terminating", endpoint.terminating)] {
        if let Some(condition) = condition {
            conditions[name] = condition.into();
        }
    }
    let mut object = json!({"addresses": [endpoint.address.to_string()], "conditions": conditions});
    let texts = [("hostname", &endpoint.hostname), ("nodeName", &endpoint.node), ("zone", &endpoint.zone)];
    for (name, text) in texts {
        if let Some(text) = text {
            object[name] = (**text).into();
        }
    }
    if let Some(target) = &endpoint.target {
        object["targetRef"] = reference(target);
    }
    if let Some(hints) = &endpoint.hints {
        object["hints"] = hinted(hints);
    }
    object
}

/// A reference; what is empty is left out.
pub(crate) fn reference(target: &Reference) -> Value {
    let fields = [
        ("kind", &target.kind),
        ("namespace", &target.namespace),
        ("name", &target.name),
        ("uid", &target.uid),
        ("apiVersion", &target.api_version),
        ("fieldPath", &target.field_path),
    ];
    let fields = fields.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(fields.map(|(name, text)| (name.to_owned(), text.as_str().into())).collect())
}

fn hinted(hints: &Hints) -> Value {
    let named = |texts: &[Text]| texts.iter().map(|name| json!({"name": &**name})).collect::<Vec<_>>();
    let mut object = Map::new();
    for (field, texts) in [("forZones", &hints.zones), ("forNodes", &hints.nodes)] {
        if !texts.is_empty() {
            object.insert(field.into(), named(texts).into());
        }
    }
    Value::Object(object)
}
