//! Kubernetes objects as protobuf, from their JSON: what an API server answers to clients that accept it.
//!
//! Field numbers are those of the `generated.proto` files of `k8s.io/api` and `k8s.io/apimachinery`. Only the kinds and
//! fields that the test API server and the decoders' tests need are known; others are left out. Nulls and missing
//! fields are left out as well, so that absence can be tested.

use serde_json::Value;

/// The type of a field.
enum Type {
    /// A string, or a list of them.
    Text,
    /// An integer or a bool, or a list of them.
    Number,
    /// A message, or a list of them.
    Message(&'static [Field]),
    /// A map of strings.
    Map,
    /// A point in time, `metav1.Time` or `metav1.MicroTime`.
    Time,
    /// A number or a string.
    IntOrString,
}

type Field = (&'static str, u32, Type);

use Type::{IntOrString, Map, Message, Number, Text, Time};

const OBJECT_META: &[Field] = &[
    ("name", 1, Text),
    ("generateName", 2, Text),
    ("namespace", 3, Text),
    ("uid", 5, Text),
    ("resourceVersion", 6, Text),
    ("generation", 7, Number),
    ("creationTimestamp", 8, Time),
    ("deletionTimestamp", 9, Time),
    ("labels", 11, Map),
    ("annotations", 12, Map),
    ("finalizers", 14, Text),
];
const LIST_META: &[Field] =
    &[("resourceVersion", 2, Text), ("continue", 3, Text), ("remainingItemCount", 4, Number)];
const SERVICE_PORT: &[Field] = &[
    ("name", 1, Text),
    ("protocol", 2, Text),
    ("port", 3, Number),
    ("targetPort", 4, IntOrString),
    ("nodePort", 5, Number),
    ("appProtocol", 6, Text),
];
const AFFINITY: &[Field] = &[("clientIP", 1, Message(&[("timeoutSeconds", 1, Number)]))];
const SERVICE_SPEC: &[Field] = &[
    ("ports", 1, Message(SERVICE_PORT)),
    ("selector", 2, Map),
    ("clusterIP", 3, Text),
    ("type", 4, Text),
    ("externalIPs", 5, Text),
    ("sessionAffinity", 7, Text),
    ("loadBalancerIP", 8, Text),
    ("loadBalancerSourceRanges", 9, Text),
    ("externalName", 10, Text),
    ("externalTrafficPolicy", 11, Text),
    ("healthCheckNodePort", 12, Number),
    ("publishNotReadyAddresses", 13, Number),
    ("sessionAffinityConfig", 14, Message(AFFINITY)),
    ("ipFamilyPolicy", 17, Text),
    ("clusterIPs", 18, Text),
    ("ipFamilies", 19, Text),
    ("allocateLoadBalancerNodePorts", 20, Number),
    ("loadBalancerClass", 21, Text),
    ("internalTrafficPolicy", 22, Text),
    ("trafficDistribution", 23, Text),
];
const INGRESS: &[Field] = &[("ip", 1, Text), ("hostname", 2, Text), ("ipMode", 3, Text)];
const SERVICE: &[Field] = &[
    ("metadata", 1, Message(OBJECT_META)),
    ("spec", 2, Message(SERVICE_SPEC)),
    ("status", 3, Message(&[("loadBalancer", 1, Message(&[("ingress", 1, Message(INGRESS))]))])),
];
const CONDITIONS: &[Field] = &[("ready", 1, Number), ("serving", 2, Number), ("terminating", 3, Number)];
const NAMED: &[Field] = &[("name", 1, Text)];
const HINTS: &[Field] = &[("forZones", 1, Message(NAMED)), ("forNodes", 2, Message(NAMED))];
const ENDPOINT: &[Field] = &[
    ("addresses", 1, Text),
    ("conditions", 2, Message(CONDITIONS)),
    ("hostname", 3, Text),
    ("targetRef", 4, Message(OBJECT_REFERENCE)),
    ("deprecatedTopology", 5, Map),
    ("nodeName", 6, Text),
    ("zone", 7, Text),
    ("hints", 8, Message(HINTS)),
];
const ENDPOINT_PORT: &[Field] =
    &[("name", 1, Text), ("protocol", 2, Text), ("port", 3, Number), ("appProtocol", 4, Text)];
const ENDPOINT_SLICE: &[Field] = &[
    ("metadata", 1, Message(OBJECT_META)),
    ("endpoints", 2, Message(ENDPOINT)),
    ("ports", 3, Message(ENDPOINT_PORT)),
    ("addressType", 4, Text),
];
const NODE: &[Field] = &[
    ("metadata", 1, Message(OBJECT_META)),
    (
        "spec",
        2,
        Message(&[
            ("podCIDR", 1, Text),
            ("unschedulable", 4, Number),
            ("taints", 5, Message(&[("key", 1, Text), ("value", 2, Text), ("effect", 3, Text)])),
            ("podCIDRs", 7, Text),
        ]),
    ),
    ("status", 3, Message(&[("addresses", 5, Message(&[("type", 1, Text), ("address", 2, Text)]))])),
];
const SERVICE_CIDR: &[Field] =
    &[("metadata", 1, Message(OBJECT_META)), ("spec", 2, Message(&[("cidrs", 1, Text)]))];
const OBJECT_REFERENCE: &[Field] = &[
    ("kind", 1, Text),
    ("namespace", 2, Text),
    ("name", 3, Text),
    ("uid", 4, Text),
    ("apiVersion", 5, Text),
];
const EVENT: &[Field] = &[
    ("metadata", 1, Message(OBJECT_META)),
    ("eventTime", 2, Time),
    ("series", 3, Message(&[("count", 1, Number), ("lastObservedTime", 2, Time)])),
    ("reportingController", 4, Text),
    ("reportingInstance", 5, Text),
    ("action", 6, Text),
    ("reason", 7, Text),
    ("regarding", 8, Message(OBJECT_REFERENCE)),
    ("related", 9, Message(OBJECT_REFERENCE)),
    ("note", 10, Text),
    ("type", 11, Text),
];
const STATUS: &[Field] = &[
    ("metadata", 1, Message(LIST_META)),
    ("status", 2, Text),
    ("message", 3, Text),
    ("reason", 4, Text),
    ("code", 6, Number),
];

/// The messages, by kind; a list of a kind is called so with `List` at the end.
const KINDS: [(&str, &[Field]); 6] = [
    ("Service", SERVICE),
    ("EndpointSlice", ENDPOINT_SLICE),
    ("Node", NODE),
    ("ServiceCIDR", SERVICE_CIDR),
    ("Event", EVENT),
    ("Status", STATUS),
];

/// An object or list in its envelope. `None`: its kind is not known here.
pub fn enveloped(object: &Value) -> Option<Vec<u8>> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let kind = text("kind");
    let raw = bare(kind, object)?;
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, 1, text("apiVersion").as_bytes());
    put_bytes(&mut type_meta, 2, kind.as_bytes());
    let mut out = b"k8s\0".to_vec();
    put_bytes(&mut out, 1, &type_meta);
    put_bytes(&mut out, 2, &raw);
    Some(out)
}

/// An object or list of this kind, without an envelope.
pub fn bare(kind: &str, object: &Value) -> Option<Vec<u8>> {
    let fields = |kind: &str| KINDS.into_iter().find(|(known, _)| *known == kind).map(|(_, fields)| fields);
    let mut out = Vec::new();
    if let Some(fields) = fields(kind) {
        put_message(&mut out, fields, object);
        return Some(out);
    }
    let items = fields(kind.strip_suffix("List")?)?;
    let mut metadata = Vec::new();
    put_message(&mut metadata, LIST_META, object.get("metadata").unwrap_or(&Value::Null));
    put_bytes(&mut out, 1, &metadata);
    for item in object.get("items").and_then(Value::as_array).into_iter().flatten() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, items, item);
        put_bytes(&mut out, 2, &bytes);
    }
    Some(out)
}

/// One event of a watch, with its length in front. The event has no envelope, its object has one.
pub fn event(kind: &str, object: &Value) -> Option<Vec<u8>> {
    let mut extension = Vec::new();
    put_bytes(&mut extension, 1, &enveloped(object)?);
    let mut event = Vec::new();
    put_bytes(&mut event, 1, kind.as_bytes());
    put_bytes(&mut event, 2, &extension);
    let mut out = (event.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&event);
    Some(out)
}

fn put_message(out: &mut Vec<u8>, fields: &[Field], object: &Value) {
    for (name, number, kind) in fields {
        match object.get(*name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(values)) => {
                values.iter().for_each(|value| put_field(out, (*number, kind), value))
            }
            Some(value) => put_field(out, (*number, kind), value),
        }
    }
}

fn put_field(out: &mut Vec<u8>, (number, kind): (u32, &Type), value: &Value) {
    match kind {
        Type::Text => put_bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Type::Number => put_number(out, number, as_number(value)),
        Type::Message(fields) => {
            let mut bytes = Vec::new();
            put_message(&mut bytes, fields, value);
            put_bytes(out, number, &bytes);
        }
        Type::Map => {
            for (key, value) in value.as_object().into_iter().flatten() {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put_bytes(&mut entry, 2, value.as_str().unwrap_or_default().as_bytes());
                put_bytes(out, number, &entry);
            }
        }
        Type::Time => {
            let mut time = Vec::new();
            let text = value.as_str().unwrap_or_default();
            put_number(&mut time, 1, seconds(text));
            if let Some(nanoseconds) = nanoseconds(text) {
                put_number(&mut time, 2, nanoseconds);
            }
            put_bytes(out, number, &time);
        }
        Type::IntOrString => {
            let mut choice = Vec::new();
            put_number(&mut choice, 1, u64::from(value.is_string()));
            match value.as_str() {
                Some(text) => put_bytes(&mut choice, 3, text.as_bytes()),
                None => put_number(&mut choice, 2, as_number(value)),
            }
            put_bytes(out, number, &choice);
        }
    }
}

/// Negative numbers take ten bytes, as `int32` and `int64` do.
fn as_number(value: &Value) -> u64 {
    value.as_bool().map_or_else(|| value.as_i64().unwrap_or_default().cast_unsigned(), u64::from)
}

fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Nanoseconds of the fraction in `2026-01-02T03:04:05.000006Z`, if there is one.
fn nanoseconds(text: &str) -> Option<u64> {
    let (_, fraction) = text.strip_suffix('Z')?.split_once('.')?;
    format!("{fraction:0<9}").parse().ok()
}

/// Whole seconds since 1970 of `2026-01-02T03:04:05Z`; 0 for anything else.
fn seconds(text: &str) -> u64 {
    let text = text.split_once('.').map_or(text, |(whole, _)| whole);
    let parts: Vec<i64> = text.split(['-', 'T', ':', 'Z']).filter_map(|part| part.parse().ok()).collect();
    let [year, month, day, hour, minute, second] = parts[..] else { return 0 };
    // Days from civil, H. Hinnant.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    (((days * 24 + hour) * 60 + minute) * 60 + second).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn known_bytes() {
        let cidr = json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                          "metadata": {"name": "a", "labels": null}, "spec": {"cidrs": ["b", "c"]}});
        let expected = b"k8s\0\x0a\x23\x0a\x14networking.k8s.io/v1\x12\x0bServiceCIDR\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01b\x0a\x01c";
        assert_eq!(enveloped(&cidr).unwrap(), expected);
        assert_eq!(enveloped(&json!({"kind": "Other"})), None);
    }

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), 0);
        assert_eq!(seconds("2026-11-23T09:15:53Z"), 1_795_425_353);
        assert_eq!(seconds("nonsense"), 0);
        assert_eq!(seconds("2026-11-23T09:15:53.000250Z"), 1_795_425_353);
        assert_eq!(nanoseconds("2026-11-23T09:15:53.000250Z"), Some(250_000));
        assert_eq!(nanoseconds("2026-11-23T09:15:53Z"), None);
    }
}
