//! OpenAPI: what kinds there are, what their fields mean and what can be done, for clients that explain, complete and
//! check (kubectl). Two versions of one description: 2.0 in JSON and protobuf, 3.0 in JSON, a document for each group
//! and version.
//!
//! Made from the schema and the kinds, on the first request for each document; only its bytes are kept. What is *not*
//! here: 3.0 in protobuf (no known client asks for it), the paths of discovery, `/version`, and the old `/watch/` paths.

mod connections;
mod definitions;
mod descriptions;
mod gnostic;
mod operations;
mod parameters;
mod render;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::discovery::served;
use crate::kinds::Kind;

/// The media type of version 2.0 in protobuf, as clients ask for it.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The media type of version 2.0 in protobuf, as it is answered: `@` is no part of a media type.
pub const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The version of OpenAPI that a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// 2.0, also known as Swagger.
    V2,
    /// 3.0.
    V3,
}

/// Answers `/openapi/v2` in JSON.
pub fn v2() -> &'static [u8] {
    static DOCUMENT: OnceLock<Vec<u8>> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut out = br#"{"swagger":"2.0","info":"#.to_vec();
        put_json(&mut out, &about());
        put_section(&mut out, ",\"paths\":", render::paths(Dialect::V2, &served()));
        put_section(&mut out, ",\"definitions\":", definitions::all(Dialect::V2, &served()));
        put_section(&mut out, ",\"parameters\":", render::shared_parameters());
        out.push(b'}');
        out.shrink_to_fit();
        out
    })
}

/// Answers `/openapi/v2` in protobuf, gnostic's `openapi.v2.Document`.
pub fn v2_protobuf() -> &'static [u8] {
    static DOCUMENT: OnceLock<Vec<u8>> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut out = gnostic::document(
            &about(),
            [
                &mut render::paths(Dialect::V2, &served()),
                &mut definitions::all(Dialect::V2, &served()),
                &mut render::shared_parameters(),
            ],
        );
        out.shrink_to_fit();
        out
    })
}

/// Answers `/openapi/v3`: where the documents are. The hash in an address changes with what is there, so that clients
/// may keep it for ever.
pub fn v3_index() -> Value {
    let entry = |(path, document): (&String, &'static OnceLock<Vec<u8>>)| {
        let hash = digest(&SHA256, written(path, document));
        let mut hex = String::new();
        for byte in hash.as_ref() {
            write!(hex, "{byte:02X}").expect("a text takes everything");
        }
        (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hex}")}))
    };
    json!({"paths": documents().iter().map(entry).collect::<serde_json::Map<_, _>>()})
}

/// Answers `/openapi/v3/PATH` in JSON; the path is such as `api/v1` or `apis/apps/v1`. `None`: there is no such document.
pub fn v3(path: &str) -> Option<&'static [u8]> {
    documents().get_key_value(path).map(|(path, document)| written(path, document))
}

/// The documents of version 3.0 by their paths, each written when it is first asked for.
fn documents() -> &'static BTreeMap<String, OnceLock<Vec<u8>>> {
    static DOCUMENTS: OnceLock<BTreeMap<String, OnceLock<Vec<u8>>>> = OnceLock::new();
    DOCUMENTS
        .get_or_init(|| served().into_iter().map(|kind| (operations::root(kind), OnceLock::new())).collect())
}

fn written(path: &str, document: &'static OnceLock<Vec<u8>>) -> &'static [u8] {
    document.get_or_init(|| {
        let kinds: Vec<&'static Kind> =
            served().into_iter().filter(|kind| operations::root(kind) == path).collect();
        let mut out = br#"{"openapi":"3.0.0","info":"#.to_vec();
        put_json(&mut out, &about());
        put_section(&mut out, ",\"paths\":", render::paths(Dialect::V3, &kinds));
        put_section(&mut out, ",\"components\":{\"schemas\":", definitions::all(Dialect::V3, &kinds));
        out.extend_from_slice(b"}}");
        out.shrink_to_fit();
        out
    })
}

fn about() -> Value {
    json!({"title": "signalbox", "version": env!("CARGO_PKG_VERSION")})
}

/// Writes an object part by part, so that there is never more than one part in memory.
fn put_section(out: &mut Vec<u8>, name: &str, entries: impl Iterator<Item = (String, Value)>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'{');
    for (number, (key, value)) in entries.enumerate() {
        if number > 0 {
            out.push(b',');
        }
        put_json(out, &Value::String(key));
        out.push(b':');
        put_json(out, &value);
    }
    out.push(b'}');
}

fn put_json(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("memory takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &[u8]) -> Value {
        serde_json::from_slice(document).expect("JSON")
    }

    fn documents_of_v3() -> Vec<(String, Value)> {
        documents().keys().map(|path| (path.clone(), read(v3(path).expect("a document")))).collect()
    }

    fn references(value: &Value, found: &mut Vec<String>) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            found.push(reference.trim_start_matches('#').to_owned());
        }
        value.as_array().into_iter().flatten().for_each(|part| references(part, found));
        value.as_object().into_iter().flatten().for_each(|(_, part)| references(part, found));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let documents = documents_of_v3().into_iter().chain([("v2".to_owned(), read(v2()))]);
        for (path, document) in documents {
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(found.len() > 20, "{path}");
            for reference in found {
                assert!(document.pointer(&reference).is_some(), "{path}: {reference}");
            }
        }
    }

    /// Clients find the definition, and whether a server takes `dryRun` and `fieldValidation`, by the kind.
    #[test]
    fn every_kind_is_found_by_its_name() {
        let all = read(v2());
        for kind in served() {
            let gvk = definitions::gvk(kind.group, kind.version, kind.kind);
            let has = |value: &Value| value["x-kubernetes-group-version-kind"] == json!([gvk]);
            let path = operations::root(kind);
            let own = read(v3(&path).expect("a document"));
            for definitions in [&all["definitions"], &own["components"]["schemas"]] {
                assert_eq!(definitions.as_object().unwrap().values().filter(|value| has(value)).count(), 1);
            }
            let patches = |document: &Value| -> Vec<Value> {
                let paths = document["paths"].as_object().unwrap().values();
                let patches = paths.map(|path| path["patch"].clone());
                patches.filter(|patch| patch["x-kubernetes-group-version-kind"] == gvk).collect()
            };
            for name in parameters::PATCH.iter().filter(|_| kind.verbs.contains(&"patch")) {
                let is_it = |parameter: &Value| parameter["name"] == *name;
                let found = patches(&own);
                let lists = found.iter().map(|patch| patch["parameters"].as_array().unwrap());
                assert!(lists.clone().all(|list| list.iter().any(is_it)), "{}: {name}", kind.kind);
                assert!(lists.count() > 0, "{}", kind.kind);
                let reference = json!({"$ref": format!("#/parameters/{name}")});
                assert!(
                    patches(&all)
                        .iter()
                        .all(|patch| patch["parameters"].as_array().unwrap().contains(&reference))
                );
                assert!(!patches(&all).is_empty());
            }
        }
    }

    #[test]
    fn protobuf_says_the_same_as_json() {
        let (json, protobuf) = (read(v2()), gnostic::tests::read(v2_protobuf()));
        for section in ["paths", "definitions", "parameters"] {
            let names = |of: &Value| of[section].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&json), names(&protobuf));
            for name in names(&json) {
                assert_eq!(json[section][&name], protobuf[section][&name], "{section} {name}");
            }
        }
        assert_eq!(json, protobuf);
    }

    #[test]
    fn definitions_are_kubernetes_own() {
        let document = read(v3("apis/discovery.k8s.io/v1").expect("a document"));
        let schemas = &document["components"]["schemas"];
        let undescribed = |mut value: Value| {
            value.as_object_mut().unwrap().remove("description");
            value
        };
        let slice = &schemas["io.k8s.api.discovery.v1.EndpointSlice"];
        assert_eq!(slice["required"], json!(["addressType"]));
        assert_eq!(
            undescribed(slice["properties"]["metadata"].clone()),
            json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}],
                   "default": {}})
        );
        let endpoint = &schemas["io.k8s.api.discovery.v1.Endpoint"];
        assert_eq!(endpoint["required"], json!(["addresses"]));
        assert_eq!(
            undescribed(endpoint["properties"]["addresses"].clone()),
            json!({"type": "array", "items": {"type": "string", "default": ""}, "x-kubernetes-list-type": "set"})
        );
        assert_eq!(schemas["io.k8s.api.core.v1.ObjectReference"]["x-kubernetes-map-type"], "atomic");
        let core = read(v3("api/v1").expect("a document"));
        let service = &core["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"];
        assert_eq!(
            undescribed(service["ports"].clone()),
            json!({"type": "array",
                   "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"}], "default": {}},
                   "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                   "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "port"})
        );
        let port = &core["components"]["schemas"]["io.k8s.api.core.v1.ServicePort"];
        assert_eq!(port["required"], json!(["port"]));
        assert_eq!(port["properties"]["protocol"]["default"], "TCP");
        assert_eq!(port["properties"]["port"]["default"], 0);
        let event = &core["components"]["schemas"]["io.k8s.api.core.v1.Event"];
        assert_eq!(event["required"], json!(["involvedObject", "metadata"]));
        assert!(!String::from_utf8_lossy(v2()).contains("\"default\""), "2.0 goes without defaults");
    }

    #[test]
    fn the_index_leads_to_every_document() {
        let index = v3_index();
        let paths = index["paths"].as_object().unwrap();
        assert_eq!(
            paths.keys().collect::<Vec<_>>(),
            [
                "api/v1",
                "apis/apps/v1",
                "apis/authentication.k8s.io/v1",
                "apis/authorization.k8s.io/v1",
                "apis/coordination.k8s.io/v1",
                "apis/discovery.k8s.io/v1",
                "apis/events.k8s.io/v1",
                "apis/networking.k8s.io/v1"
            ]
        );
        for (path, entry) in paths {
            let address = entry["serverRelativeURL"].as_str().unwrap();
            let (place, hash) = address.split_once("?hash=").expect("an address with a hash");
            assert_eq!(place, format!("/openapi/v3/{path}"));
            assert_eq!(hash.len(), 64);
        }
        assert_eq!(v3("api/v2"), None);
    }

    /// All of them stay in memory once they were asked for.
    #[test]
    fn documents_are_small() {
        let v3: usize = documents_of_v3().iter().map(|(path, _)| v3(path).unwrap().len()).sum();
        let sizes = [v2().len(), v2_protobuf().len(), v3];
        assert!(sizes.iter().sum::<usize>() < 1_500_000, "{sizes:?}");
    }
}
