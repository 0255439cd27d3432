//! Paths and operations in the words of both versions of OpenAPI.

use serde_json::{Map, Value, json};

use super::operations::{self, Body, Operation, Path};
use super::parameters::{self, Parameter};
use super::{Dialect, definitions};
use crate::kinds::Kind;

/// In what an object is answered.
const PRODUCED: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// In what a watch is answered.
const STREAMED: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
/// In what a patch is sent.
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// Answers the paths of some kinds, one after the other.
pub(super) fn paths(
    dialect: Dialect,
    kinds: &[&'static Kind],
) -> impl Iterator<Item = (String, Value)> + use<> {
    let kinds = kinds.to_vec();
    let all = kinds.into_iter().flat_map(operations::paths);
    all.map(move |path| {
        let item = item(dialect, &path);
        (path.path, item)
    })
}

/// Answers the parameters that operations of version 2.0 refer to.
pub(super) fn shared_parameters() -> impl Iterator<Item = (String, Value)> {
    parameters::ALL.iter().map(|of| (of.name.to_owned(), parameter(Dialect::V2, of)))
}

fn item(dialect: Dialect, path: &Path) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        let rendered = match dialect {
            Dialect::V2 => operation_v2(operation),
            Dialect::V3 => operation_v3(operation),
        };
        item.insert(operation.method.to_owned(), rendered);
    }
    item.insert("parameters".to_owned(), parameters_named(dialect, &path.parameters).into());
    item.into()
}

/// Answers what both versions say alike.
fn common(operation: &Operation) -> Value {
    let (group, version, kind) = operation.gvk;
    json!({"description": operation.description, "operationId": operation.id, "tags": [operation.tag],
           "x-kubernetes-action": operation.action,
           "x-kubernetes-group-version-kind": definitions::gvk(group, version, kind)})
}

fn operation_v2(operation: &Operation) -> Value {
    let mut out = common(operation);
    let consumed: &[&str] = if operation.body == Body::Patch { PATCHES } else { &["*/*"] };
    out["consumes"] = json!(consumed);
    out["produces"] = json!(produced(operation));
    out["schemes"] = json!(["https"]);
    let mut parameters = parameters_named(Dialect::V2, operation.query);
    if let Some((name, is_required)) = body(&operation.body) {
        let mut body =
            json!({"in": "body", "name": "body", "schema": definitions::reference(Dialect::V2, &name)});
        if is_required {
            body["required"] = true.into();
        }
        parameters.insert(0, body);
    }
    put_list(&mut out, "parameters", parameters);
    let mut responses = json!({"401": {"description": reason(401)}});
    for (code, name) in &operation.answers {
        let schema = answered(Dialect::V2, name.as_deref());
        responses[code.to_string()] = json!({"description": reason(*code), "schema": schema});
    }
    out["responses"] = responses;
    out
}

fn operation_v3(operation: &Operation) -> Value {
    let mut out = common(operation);
    put_list(&mut out, "parameters", parameters_named(Dialect::V3, operation.query));
    if let Some((name, is_required)) = body(&operation.body) {
        let types = if operation.body == Body::Patch { PATCHES } else { &["*/*"] };
        out["requestBody"] = json!({"content": content(types, &answered(Dialect::V3, Some(&name)))});
        if is_required {
            out["requestBody"]["required"] = true.into();
        }
    }
    let mut responses = json!({"401": {"description": reason(401)}});
    for (code, name) in &operation.answers {
        let content = content(&produced(operation), &answered(Dialect::V3, name.as_deref()));
        responses[code.to_string()] = json!({"description": reason(*code), "content": content});
    }
    out["responses"] = responses;
    out
}

/// Protobuf does not tell an empty list from none.
fn put_list(out: &mut Value, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        out[name] = list.into();
    }
}

/// Answers the name of what is sent, and whether it must be.
fn body(body: &Body) -> Option<(String, bool)> {
    match body {
        Body::None => None,
        Body::Optional(name) => Some((name.clone(), false)),
        Body::Object(name) => Some((name.clone(), true)),
        Body::Patch => Some((definitions::patch_name(), true)),
    }
}

/// Answers the schema of what has a name, or of a text.
fn answered(dialect: Dialect, name: Option<&str>) -> Value {
    name.map_or_else(|| json!({"type": "string"}), |name| definitions::reference(dialect, name))
}

fn content(types: &[&str], schema: &Value) -> Value {
    let schema = json!({"schema": schema});
    types.iter().map(|media_type| ((*media_type).to_owned(), schema.clone())).collect::<Map<_, _>>().into()
}

fn produced(operation: &Operation) -> Vec<&'static str> {
    if operation.answers.iter().all(|(_, name)| name.is_none()) {
        return vec![if operation.action == "connect" { "*/*" } else { "text/plain" }];
    }
    let streamed = if operation.action == "list" { STREAMED } else { &[] };
    [PRODUCED, streamed].concat()
}

/// In 2.0 parameters are said once and referred to. In 3.0 they stand in every operation: kubectl looks there for their
/// names and follows no reference.
fn parameters_named(dialect: Dialect, names: &[&str]) -> Vec<Value> {
    let of = |name: &&str| match dialect {
        Dialect::V2 => json!({"$ref": format!("#/parameters/{name}")}),
        Dialect::V3 => parameter(dialect, parameters::named(name)),
    };
    names.iter().map(of).collect()
}

fn parameter(dialect: Dialect, of: &Parameter) -> Value {
    let mut out = json!({"name": of.name, "in": of.place, "description": of.description});
    match dialect {
        Dialect::V2 => {
            out["type"] = of.value.into();
            out["uniqueItems"] = true.into();
        }
        Dialect::V3 => out["schema"] = json!({"type": of.value, "uniqueItems": true}),
    }
    if of.place == "path" {
        out["required"] = true.into();
    }
    out
}

fn reason(code: u16) -> &'static str {
    match code {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        _ => "Unauthorized",
    }
}
