//! The shapes of Kubernetes' objects: what fields there are, how they are written, and how they are merged. One table of
//! facts serves decoding, protobuf, patches, server-side apply and OpenAPI alike.
//!
//! What it does *not* know: which values are valid, or what they mean.

mod read;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

/// Every type there is.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    by_name: BTreeMap<&'static str, TypeId>,
}

/// Names a [`Type`] of the [`Schema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(usize);

impl TypeId {
    /// Answers where it stands among all types.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// An object with fields.
#[derive(Debug)]
pub struct Type {
    /// Group, version and name, such as `core.v1.Service`.
    pub name: &'static str,
    /// Its fields by protobuf number; those without a number first.
    pub fields: Vec<Field>,
}

/// A field of an object.
#[derive(Debug)]
pub struct Field {
    /// Its number in protobuf; 0: it exists in JSON only.
    pub number: u32,
    /// Its name in JSON. Of an inlined object it is nowhere to be seen.
    pub name: &'static str,
    /// Whether it is always there, empty or not.
    pub is_required: bool,
    /// What stands there.
    pub shape: Shape,
    /// How two appliers share it.
    pub topology: Topology,
    /// How a strategic merge patch changes it.
    pub patch: Patch,
    /// What stands there when nothing is given, where the API's types say so.
    pub default: Option<Value>,
    /// Whether its fields stand in the object itself in JSON; in protobuf they are an object of their own.
    pub is_inline: bool,
}

/// What stands in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int32,
    /// A whole number.
    Int64,
    /// A number.
    Double,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A point in time with whole seconds.
    Time,
    /// A point in time with microseconds.
    MicroTime,
    /// An amount such as `100m` or `1Gi`.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// A set of fields (`FieldsV1`): any JSON.
    Fields,
    /// Any JSON.
    Raw,
    /// An object.
    Object(TypeId),
    /// A list.
    List(Box<Shape>),
    /// A map from texts.
    Map(Box<Shape>),
}

/// How appliers share what has parts (structured-merge-diff's words).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// Part by part: fields of an object, entries of a map. Lists without another word are atomic.
    Granular,
    /// As a whole.
    Atomic,
    /// A list of values, each once.
    Set,
    /// A list of objects, told apart by these fields.
    Keyed(Vec<&'static str>),
}

/// How a strategic merge patch changes a field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch {
    /// Whether a list is merged instead of replaced.
    pub merges: bool,
    /// By which field entries of a merged list are told apart; `None`: they are plain values.
    pub key: Option<&'static str>,
    /// Whether fields that `$retainKeys` does not name are removed.
    pub retains_keys: bool,
}

impl Schema {
    /// Answers the facts, read once.
    pub fn get() -> &'static Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| read::read(include_str!("kubernetes.txt")).expect("a test reads the table"))
    }

    /// Answers the type of a name such as `core.v1.Service`.
    pub fn find(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// Answers a type.
    pub fn of(&self, id: TypeId) -> &Type {
        &self.types[id.0]
    }

    /// Answers the field of a type by its name in JSON, those of inlined objects included.
    pub fn field(&self, id: TypeId, name: &str) -> Option<&Field> {
        self.fields(id).find(|field| field.name == name)
    }

    /// Answers every field of a type as JSON has them: without inlined objects, with their fields.
    pub fn fields(&self, id: TypeId) -> impl Iterator<Item = &Field> {
        let inlined = |field: &Field| {
            if let Shape::Object(id) = field.shape { field.is_inline.then_some(id) } else { None }
        };
        let fields = &self.of(id).fields;
        let own = fields.iter().filter(|field| !field.is_inline);
        own.chain(fields.iter().filter_map(inlined).flat_map(|id| self.of(id).fields.iter()))
    }

    /// Answers every type, sorted by name.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        self.by_name.values().map(|id| (*id, self.of(*id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(path: &str) -> &'static Field {
        let (name, fields) = path.split_once(' ').expect("type, then fields");
        let schema = Schema::get();
        let mut id = schema.find(name).expect("a type");
        let mut found = None;
        for name in fields.split('.') {
            let field = schema.field(id, name).unwrap_or_else(|| panic!("{path}: no {name}"));
            let mut shape = &field.shape;
            while let Shape::List(inner) | Shape::Map(inner) = shape {
                shape = inner;
            }
            if let Shape::Object(inner) = shape {
                id = *inner;
            }
            found = Some(field);
        }
        found.expect("at least one")
    }

    #[test]
    fn the_table_is_read() {
        let ports = field("core.v1.Service spec.ports");
        assert_eq!(ports.number, 1);
        assert_eq!(ports.topology, Topology::Keyed(vec!["port", "protocol"]));
        assert_eq!(ports.patch, Patch { merges: true, key: Some("port"), retains_keys: false });
        assert_eq!(field("core.v1.Service spec.selector").topology, Topology::Atomic);
        assert_eq!(field("core.v1.Service metadata.labels").topology, Topology::Granular);
        assert_eq!(field("core.v1.Service metadata.finalizers").topology, Topology::Set);
        assert!(field("core.v1.Pod spec.containers.name").is_required);
        assert_eq!(field("core.v1.Pod spec.containers.livenessProbe.httpGet.port").shape, Shape::IntOrString);
        assert_eq!(field("core.v1.Pod spec.volumes.configMap.name").shape, Shape::Text);
        assert_eq!(field("core.v1.Secret data").shape, Shape::Map(Box::new(Shape::Bytes)));
        assert!(field("apps.v1.Deployment spec.strategy").patch.retains_keys);
    }

    #[test]
    fn numbers_and_names_are_unique_in_a_type() {
        let schema = Schema::get();
        for (id, kind) in schema.types() {
            let mut numbers: Vec<u32> = kind.fields.iter().map(|f| f.number).filter(|n| *n > 0).collect();
            let mut names: Vec<&str> = schema.fields(id).map(|field| field.name).collect();
            let (all_numbers, all_names) = (numbers.len(), names.len());
            numbers.sort_unstable();
            numbers.dedup();
            names.sort_unstable();
            names.dedup();
            assert_eq!((numbers.len(), names.len()), (all_numbers, all_names), "{}", kind.name);
        }
    }
}
