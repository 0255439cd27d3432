//! The types of the schema as OpenAPI describes them, by Kubernetes' names (`io.k8s.api.core.v1.Service`).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Dialect, descriptions, operations};
use crate::body::canonical;
use crate::discovery::served;
use crate::kinds::Kind;
use crate::schema::{Field, Schema, Shape, Topology, Type, TypeId};

/// What must be given although it is not always printed, as the API's documents say.
const ALSO_REQUIRED: &[(&str, &str)] = &[
    ("authentication.v1.TokenReviewSpec", "token"),
    ("core.v1.Event", "metadata"),
    ("events.v1.Event", "eventTime"),
    ("networking.v1.IPAddressSpec", "parentRef"),
];
/// What need not be given although it is always printed.
const NOT_REQUIRED: &[(&str, &str)] = &[
    ("authentication.v1.TokenRequest", "spec"),
    ("authentication.v1.TokenRequestSpec", "audiences"),
    ("authentication.v1.TokenRequestStatus", "expirationTimestamp"),
    ("authentication.v1.TokenRequestStatus", "token"),
];
/// Types that are shared as a whole although nothing in the schema holds one outside of an atomic list.
const ALSO_ATOMIC: &[&str] =
    &["core.v1.EndpointAddress", "core.v1.EndpointPort", "discovery.v1.EndpointPort"];
/// What has a definition of its own.
#[derive(Debug, Clone, Copy)]
enum Definition {
    Type(TypeId),
    List(&'static Kind),
    Leaf(Leaf),
}

/// What looks simple in JSON and has a name all the same.
#[derive(Debug, Clone, Copy)]
enum Leaf {
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Fields,
    Patch,
}

/// Answers the definitions that documents about some kinds need, one after the other.
pub(super) fn all(
    dialect: Dialect,
    kinds: &[&'static Kind],
) -> impl Iterator<Item = (String, Value)> + use<> {
    let mut needed = BTreeMap::new();
    for kind in kinds {
        need(&mut needed, Definition::Type(type_named(kind.type_name)));
        if kind.verbs.contains(&"list") {
            need(&mut needed, Definition::List(kind));
        }
        for part in kind.subresources {
            if let Some(of) = operations::type_of(kind, part) {
                need(&mut needed, Definition::Type(of));
            }
        }
    }
    for name in ["meta.v1.Status", "meta.v1.DeleteOptions"] {
        need(&mut needed, Definition::Type(type_named(name)));
    }
    need(&mut needed, Definition::Leaf(Leaf::Patch));
    needed.into_iter().map(move |(name, definition)| (name, described(dialect, definition)))
}

/// Answers Kubernetes' name of a type of the schema.
pub(super) fn name(of: TypeId) -> String {
    let name = Schema::get().of(of).name;
    match name.strip_prefix("meta.") {
        Some(rest) => format!("io.k8s.apimachinery.pkg.apis.meta.{rest}"),
        None => format!("io.k8s.api.{name}"),
    }
}

/// Answers the name of a kind's list.
pub(super) fn list_name(kind: &Kind) -> String {
    format!("{}List", name(type_named(kind.type_name)))
}

/// Answers the name of what any patch is.
pub(super) fn patch_name() -> String {
    leaf_name(Leaf::Patch).to_owned()
}

/// Answers a reference to a definition.
pub(super) fn reference(dialect: Dialect, name: &str) -> Value {
    let place = match dialect {
        Dialect::V2 => "#/definitions/",
        Dialect::V3 => "#/components/schemas/",
    };
    json!({"$ref": format!("{place}{name}")})
}

/// Answers a type that is known to exist.
pub(super) fn type_named(name: &str) -> TypeId {
    Schema::get().find(name).expect("a test looks up what kinds and documents name")
}

/// Takes a definition, and what it is made of.
fn need(needed: &mut BTreeMap<String, Definition>, definition: Definition) {
    let name = match definition {
        Definition::Type(of) => name(of),
        Definition::List(kind) => list_name(kind),
        Definition::Leaf(leaf) => leaf_name(leaf).to_owned(),
    };
    if needed.insert(name, definition).is_some() {
        return;
    }
    match definition {
        Definition::Type(of) => {
            for field in Schema::get().fields(of) {
                if let Some(part) = named_part(&field.shape) {
                    need(needed, part);
                }
            }
        }
        Definition::List(_) => need(needed, Definition::Type(type_named("meta.v1.ListMeta"))),
        Definition::Leaf(_) => {}
    }
}

/// Answers what of a shape has a name.
fn named_part(shape: &Shape) -> Option<Definition> {
    match shape {
        Shape::Text
        | Shape::Bool
        | Shape::Int32
        | Shape::Int64
        | Shape::Double
        | Shape::Bytes
        | Shape::Raw => None,
        Shape::Time => Some(Definition::Leaf(Leaf::Time)),
        Shape::MicroTime => Some(Definition::Leaf(Leaf::MicroTime)),
        Shape::Quantity => Some(Definition::Leaf(Leaf::Quantity)),
        Shape::IntOrString => Some(Definition::Leaf(Leaf::IntOrString)),
        Shape::Fields => Some(Definition::Leaf(Leaf::Fields)),
        Shape::Object(of) => Some(Definition::Type(*of)),
        Shape::List(part) | Shape::Map(part) => named_part(part),
    }
}

fn leaf_name(leaf: Leaf) -> &'static str {
    match leaf {
        Leaf::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Leaf::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Leaf::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Leaf::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Leaf::Fields => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Leaf::Patch => "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    }
}

fn described(dialect: Dialect, definition: Definition) -> Value {
    match definition {
        Definition::Type(of) => described_type(dialect, of),
        Definition::List(kind) => described_list(dialect, kind),
        Definition::Leaf(leaf) => described_leaf(dialect, leaf),
    }
}

fn described_leaf(dialect: Dialect, leaf: Leaf) -> Value {
    match (leaf, dialect) {
        (Leaf::Time, _) => json!({"type": "string", "format": "date-time",
                                  "description": "A point in time, such as 2006-01-02T15:04:05Z."}),
        (Leaf::MicroTime, _) => json!({"type": "string", "format": "date-time",
                                       "description": "A point in time with microseconds."}),
        (Leaf::Quantity, Dialect::V2) => json!({"type": "string", "description": QUANTITY}),
        (Leaf::Quantity, Dialect::V3) => {
            json!({"oneOf": [{"type": "string"}, {"type": "number"}], "description": QUANTITY})
        }
        (Leaf::IntOrString, Dialect::V2) => {
            json!({"type": "string", "format": "int-or-string", "description": INT_OR_STRING})
        }
        (Leaf::IntOrString, Dialect::V3) => {
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string",
                   "description": INT_OR_STRING})
        }
        (Leaf::Fields, _) => {
            json!({"type": "object", "description": "A set of fields, as a tree of their names."})
        }
        (Leaf::Patch, _) => {
            json!({"type": "object", "description": "A change of an object; its media type says how."})
        }
    }
}

const QUANTITY: &str = "An amount such as 500m, 2, or 1Gi.";
const INT_OR_STRING: &str = "A whole number or a text.";

fn described_list(dialect: Dialect, kind: &'static Kind) -> Value {
    let item = reference(dialect, &name(type_named(kind.type_name)));
    let item = sealed(dialect, with_default(dialect, item, Some(json!({}))));
    let meta = reference(dialect, &name(type_named("meta.v1.ListMeta")));
    let mut meta = with_default(dialect, meta, Some(json!({})));
    describe(&mut meta, Some("What is said about the list as a whole."));
    let mut properties = type_meta();
    properties
        .insert("items".to_owned(), json!({"type": "array", "items": item, "description": "The objects."}));
    properties.insert("metadata".to_owned(), sealed(dialect, meta));
    json!({"type": "object", "description": format!("Objects of the kind {}.", kind.kind),
           "properties": properties, "required": ["items"],
           "x-kubernetes-group-version-kind": [gvk(kind.group, kind.version, &format!("{}List", kind.kind))]})
}

fn described_type(dialect: Dialect, of: TypeId) -> Value {
    let schema = Schema::get();
    let kind = schema.of(of);
    let mut always = json!({});
    canonical(&mut always, of);
    let kinds = kinds_of(of);
    let mut properties = if kinds.is_empty() { Map::new() } else { type_meta() };
    let mut required: Vec<&str> = Vec::new();
    for (owner, field) in fields(kind) {
        properties.insert(field.name.to_owned(), property(dialect, (owner, field), &always));
        if is_required(owner, field, &always) {
            required.push(field.name);
        }
    }
    let mut object = json!({"type": "object"});
    describe(&mut object, descriptions::of(kind.name, ""));
    if !properties.is_empty() {
        object["properties"] = properties.into();
    }
    if !required.is_empty() {
        required.sort_unstable();
        object["required"] = json!(required);
    }
    if is_atomic(of) {
        object["x-kubernetes-map-type"] = "atomic".into();
    }
    if !kinds.is_empty() {
        object["x-kubernetes-group-version-kind"] = kinds.into();
    }
    object
}

/// Answers the fields of a type with the type that declares them, which differs for those of inlined objects.
fn fields(kind: &'static Type) -> impl Iterator<Item = (&'static Type, &'static Field)> {
    let inlined = |field: &'static Field| {
        let Shape::Object(of) = field.shape else { return None };
        field.is_inline.then(|| Schema::get().of(of))
    };
    kind.fields.iter().flat_map(move |field| {
        let parts: Vec<(&Type, &Field)> = match inlined(field) {
            Some(inner) => inner.fields.iter().map(|part| (inner, part)).collect(),
            None => vec![(kind, field)],
        };
        parts
    })
}

fn property(dialect: Dialect, (owner, field): (&Type, &Field), always: &Value) -> Value {
    let mut schema = shape(dialect, &field.shape);
    describe(&mut schema, descriptions::of(owner.name, field.name));
    let default = field.default.clone().or_else(|| zero(&field.shape, always.get(field.name)));
    schema = with_default(dialect, schema, default);
    put_topology(&mut schema, field);
    if field.patch.merges || field.patch.retains_keys {
        let words = [(field.patch.merges, "merge"), (field.patch.retains_keys, "retainKeys")];
        let words: Vec<&str> = words.into_iter().filter(|(is_so, _)| *is_so).map(|(_, word)| word).collect();
        schema["x-kubernetes-patch-strategy"] = words.join(",").into();
    }
    if let Some(key) = field.patch.key {
        schema["x-kubernetes-patch-merge-key"] = key.into();
    }
    sealed(dialect, schema)
}

fn put_topology(schema: &mut Value, field: &Field) {
    match (&field.shape, &field.topology) {
        (Shape::List(_), Topology::Atomic) => schema["x-kubernetes-list-type"] = "atomic".into(),
        (_, Topology::Set) => schema["x-kubernetes-list-type"] = "set".into(),
        (_, Topology::Keyed(keys)) => {
            schema["x-kubernetes-list-type"] = "map".into();
            schema["x-kubernetes-list-map-keys"] = json!(keys);
        }
        (Shape::Map(_), Topology::Atomic) => schema["x-kubernetes-map-type"] = "atomic".into(),
        (_, Topology::Atomic | Topology::Granular) => {}
    }
}

/// Answers what stands somewhere, without what its field says about it.
fn shape(dialect: Dialect, shape: &Shape) -> Value {
    let part = |of: &Shape| {
        let zero = zero(of, Some(&empty(of)));
        sealed(dialect, with_default(dialect, self::shape(dialect, of), zero))
    };
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Double => json!({"type": "number", "format": "double"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        // Not nothing at all: kubectl's templates fail at an empty schema.
        Shape::Raw => json!({"x-kubernetes-preserve-unknown-fields": true}),
        Shape::List(of) => json!({"type": "array", "items": part(of)}),
        Shape::Map(of) => json!({"type": "object", "additionalProperties": part(of)}),
        Shape::Time => reference(dialect, leaf_name(Leaf::Time)),
        Shape::MicroTime => reference(dialect, leaf_name(Leaf::MicroTime)),
        Shape::Quantity => reference(dialect, leaf_name(Leaf::Quantity)),
        Shape::IntOrString => reference(dialect, leaf_name(Leaf::IntOrString)),
        Shape::Fields => reference(dialect, leaf_name(Leaf::Fields)),
        Shape::Object(of) => reference(dialect, &name(*of)),
    }
}

/// Answers what Go writes for an entry of a list or map that is empty, as far as it is a default.
fn empty(shape: &Shape) -> Value {
    match shape {
        Shape::Text => "".into(),
        Shape::Bool => false.into(),
        Shape::Int32 | Shape::Int64 | Shape::Double => 0.into(),
        Shape::Object(_) => json!({}),
        Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Fields
        | Shape::Raw
        | Shape::List(_)
        | Shape::Map(_) => Value::Null,
    }
}

/// Answers the default of a place where something always stands: the empty one, for objects without their fields.
fn zero(shape: &Shape, stands: Option<&Value>) -> Option<Value> {
    let empty = empty(shape);
    stands.filter(|value| !value.is_null() && !empty.is_null()).map(|_| empty.clone())
}

/// Kubernetes takes all defaults out of documents of 2.0, since some clients of them cannot read a default beside a
/// reference.
fn with_default(dialect: Dialect, mut schema: Value, default: Option<Value>) -> Value {
    if let (Dialect::V3, Some(default)) = (dialect, default) {
        schema["default"] = default;
    }
    schema
}

/// In 3.0, what stands beside `$ref` is not read: there, a reference with more is a list of one.
fn sealed(dialect: Dialect, mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut().filter(|fields| dialect == Dialect::V3 && fields.len() > 1)
    else {
        return schema;
    };
    if let Some(reference) = fields.remove("$ref") {
        fields.insert("allOf".to_owned(), json!([{"$ref": reference}]));
    }
    schema
}

fn describe(schema: &mut Value, text: Option<&str>) {
    if let Some(text) = text {
        schema["description"] = text.into();
    }
}

/// Whether a field must be given: what is always printed, but for metadata, which is `{}` when nothing is said.
fn is_required(owner: &Type, field: &Field, always: &Value) -> bool {
    let name = (owner.name, field.name);
    let is_printed = field.is_required && always.get(field.name).is_some();
    ALSO_REQUIRED.contains(&name) || is_printed && field.name != "metadata" && !NOT_REQUIRED.contains(&name)
}

/// Whether objects of a type are shared as a whole: whoever holds one says so.
fn is_atomic(of: TypeId) -> bool {
    let schema = Schema::get();
    let holds = |field: &Field| {
        !field.is_inline && field.shape == Shape::Object(of) && field.topology == Topology::Atomic
    };
    ALSO_ATOMIC.contains(&schema.of(of).name) || schema.types().any(|(_, kind)| kind.fields.iter().any(holds))
}

/// Answers as which kinds objects of a type describe themselves; none for what is only a part of others.
fn kinds_of(of: TypeId) -> Vec<Value> {
    let name = Schema::get().of(of).name;
    if name == "meta.v1.Status" {
        return vec![gvk("", "v1", "Status")];
    }
    let mut found: Vec<(&str, &str, &str)> = Vec::new();
    for kind in served() {
        if name == "meta.v1.DeleteOptions" {
            found.push((kind.group, kind.version, "DeleteOptions"));
        }
        if name == kind.type_name {
            found.push((kind.group, kind.version, kind.kind));
        }
        let exchanged = kind.subresources.iter().filter(|part| operations::type_of(kind, part) == Some(of));
        found.extend(exchanged.filter_map(|part| part.kind));
    }
    found.dedup();
    found.into_iter().map(|(group, version, kind)| gvk(group, version, kind)).collect()
}

/// Answers group, version and kind as an extension says them.
pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "version": version, "kind": kind})
}

/// The two fields by which an object says what it is.
fn type_meta() -> Map<String, Value> {
    let field = |name: &str| {
        let mut schema = json!({"type": "string"});
        describe(&mut schema, descriptions::of("meta.v1.TypeMeta", name));
        (name.to_owned(), schema)
    };
    ["apiVersion", "kind"].into_iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_name_what_exists() {
        let schema = Schema::get();
        for (of, field) in ALSO_REQUIRED.iter().chain(NOT_REQUIRED) {
            assert!(schema.field(type_named(of), field).is_some(), "{of} {field}");
        }
        for (of, field) in NOT_REQUIRED {
            assert!(
                schema.field(type_named(of), field).unwrap().is_required,
                "{of} {field} needs no exception"
            );
        }
        for of in ALSO_ATOMIC {
            assert!(schema.find(of).is_some(), "{of}");
        }
    }
}
