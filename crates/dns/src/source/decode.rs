//! Objects as the API server sends them in JSON, read as far as names follow from them.

use std::net::IpAddr;

use objects::naming;
use serde::{Deserialize, Deserializer};

use crate::object::{Key, Object, Pod, Service, Target};

/// Go writes null where a list or a mapping is empty.
fn some<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    namespace: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodObject {
    metadata: Meta,
    #[serde(deserialize_with = "some")]
    status: PodStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs", deserialize_with = "some")]
    pod_ips: Vec<PodAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PodAddress {
    ip: String,
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// Reads a Service.
pub(super) fn service(bytes: &[u8]) -> Result<Object, String> {
    named(objects::Kind::Service, bytes)
}

/// Reads an EndpointSlice.
pub(super) fn slice(bytes: &[u8]) -> Result<Object, String> {
    named(objects::Kind::EndpointSlice, bytes)
}

/// The same reader as the proxy's watch has, so that names are the same whoever watches.
fn named(kind: objects::Kind, bytes: &[u8]) -> Result<Object, String> {
    let read = objects::decode_json_names(kind, bytes).map_err(|error| error.to_string())?;
    read.map(object).ok_or_else(|| "has no names".to_owned())
}

/// Takes an object as the readers of `objects` give it.
pub(super) fn object(read: naming::Object) -> Object {
    match read {
        naming::Object::Slice(slice) => Object::Slice(slice),
        naming::Object::Service(naming::Service { key, target, ports }) => {
            let target = match target {
                naming::Target::Addresses(addresses) => Target::Addresses(addresses),
                naming::Target::Endpoints => Target::Endpoints,
                naming::Target::Alias(text) => alias(&text),
            };
            Object::Service(Service { key, target, ports })
        }
    }
}

fn alias(text: &str) -> Target {
    // An address is no name, although it could be written as one.
    let is_address = text.trim_end_matches('.').parse::<IpAddr>().is_ok();
    let name = text.parse().ok().filter(|_| !is_address && !text.is_empty());
    name.map_or(Target::Nothing, Target::Alias)
}

/// Reads a Namespace.
pub(super) fn namespace(bytes: &[u8]) -> Result<Object, String> {
    #[derive(Deserialize)]
    struct Named {
        metadata: Meta,
    }
    Ok(Object::Namespace(read::<Named>(bytes)?.metadata.name.into()))
}

/// Reads a Pod. One that has ended has no address any more: another may have it.
pub(super) fn pod(bytes: &[u8]) -> Result<Object, String> {
    let object = read::<PodObject>(bytes)?;
    let has_ended = ["Succeeded", "Failed", "Unknown"].contains(&object.status.phase.as_str());
    let several = object.status.pod_ips.iter().map(|address| address.ip.as_str());
    let mut addresses = Vec::new();
    for text in several.chain([object.status.pod_ip.as_str()]).filter(|_| !has_ended) {
        if let Ok(address) = text.parse::<IpAddr>()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    Ok(Object::Pod(Pod { key: key(&object.metadata), addresses }))
}

fn key(meta: &Meta) -> Key {
    Key::new(&meta.namespace, &meta.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::object;

    /// The object as in [`crate::script::object`].
    fn check(read: fn(&[u8]) -> Result<Object, String>, json: &str, expected: &str) {
        assert_eq!(read(json.as_bytes()), Ok(object(expected)), "{json}");
    }

    #[test]
    fn services_are_read() {
        let spec = |spec: &str| {
            format!(r#"{{"metadata":{{"namespace":"a","name":"b","labels":null}},"spec":{spec}}}"#)
        };
        let check = |text: &str, expected: &str| self::check(service, &spec(text), expected);
        check(
            r#"{"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00::1"],
                "ports":[{"name":"HTTP","port":80,"protocol":"TCP","targetPort":"x"},{"port":53,"protocol":"UDP"}]}"#,
            "service a/b 10.96.0.1,fd00::1 http/tcp:80 /udp:53",
        );
        check(r#"{"clusterIP":"10.96.0.1","ports":null}"#, "service a/b 10.96.0.1");
        check(r#"{"clusterIP":""}"#, "service a/b none");
        check(r#"{}"#, "service a/b none");
        check(r#"{"clusterIP":"None","clusterIPs":["None"],"type":"ClusterIP"}"#, "headless a/b");
        check(r#"{"type":"ExternalName","externalName":"Www.example.org"}"#, "alias a/b www.example.org");
        check(r#"{"type":"ExternalName","externalName":"192.0.2.1"}"#, "alias a/b not..a.name");
        check(r#"{"type":"ExternalName","externalName":""}"#, "alias a/b not..a.name");
        assert!(service(b"{").is_err());
    }

    #[test]
    fn slices_are_read() {
        check(
            slice,
            r#"{"metadata":{"namespace":"a","name":"b-1","labels":{"kubernetes.io/service-name":"b"}},
                "addressType":"IPv4","ports":[{"name":"","port":80,"protocol":"TCP"},{"name":"all"}],
                "endpoints":[
                    {"addresses":["10.0.0.1"],"conditions":{"ready":true},"targetRef":{"kind":"Pod","name":"p"}},
                    {"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true}},
                    {"addresses":["10.0.0.3"],"conditions":{},"hostname":"h"},
                    {"addresses":["10.0.0.4"]},
                    {"addresses":["name.example"]}]}"#,
            "slice a/b-1 b /tcp:80 | p@10.0.0.1 h=10.0.0.3 10.0.0.4",
        );
        check(
            slice,
            r#"{"metadata":{"namespace":"a","name":"b-1"},"ports":null,"endpoints":null}"#,
            "slice a/b-1 - |",
        );
    }

    #[test]
    fn pods_and_namespaces_are_read() {
        let status =
            |status: &str| format!(r#"{{"metadata":{{"namespace":"a","name":"b"}},"status":{status}}}"#);
        let check = |text: &str, expected: &str| self::check(pod, &status(text), expected);
        check(
            r#"{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}"#,
            "pod a/b 10.0.0.1 fd00::1",
        );
        check(r#"{"podIP":"10.0.0.1"}"#, "pod a/b 10.0.0.1");
        check(r#"{"phase":"Succeeded","podIP":"10.0.0.1"}"#, "pod a/b");
        check("null", "pod a/b");
        self::check(namespace, r#"{"metadata":{"name":"a"},"status":{}}"#, "namespace a");
    }
}
