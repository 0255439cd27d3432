//! What Go's types say about fields beyond the schema: which are pointers, which are printed when empty, and what their
//! types are called in messages. Objects are stored and answered as Go's structs print them, so this decides what an
//! object holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use crate::schema::{Field, Schema, Shape, TypeId};

/// What is printed of a field that is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing, whether it was given or not.
    Omitted,
    /// Nothing if it was not given. An empty one that was given stays.
    Pointer,
    /// The empty value of its shape.
    Zero,
    /// `null`.
    Null,
}

/// A field with what Go says about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) field: &'static Field,
    pub(super) presence: Presence,
    /// Whether it is a pointer, a list or a map: `null` empties it.
    pub(super) is_nullable: bool,
    /// The name of its type, or of its parts, if that is none of Go's own.
    named: Option<&'static str>,
}

/// The fields of one type.
#[derive(Debug, Default)]
pub(super) struct Struct {
    /// As in protobuf, by number; those without one first.
    pub(super) own: Vec<Member>,
    /// As in JSON, those of inlined objects included, by name.
    pub(super) flat: BTreeMap<&'static str, Member>,
    /// Its name without group and version.
    pub(super) name: &'static str,
}

/// Answers the fields of a type.
pub(super) fn fields_of(id: TypeId) -> &'static Struct {
    static ALL: OnceLock<Vec<Struct>> = OnceLock::new();
    &ALL.get_or_init(read_all)[id.index()]
}

/// All types, each at its index.
fn read_all() -> Vec<Struct> {
    let marks = marks(include_str!("go.txt"));
    let schema = Schema::get();
    let member = |type_name: &'static str, field: &'static Field| {
        member(field, marks.get(&(type_name, field.name)).copied().unwrap_or_default())
    };
    let one = |(id, kind): (TypeId, &'static crate::schema::Type)| {
        let own: Vec<Member> = kind.fields.iter().map(|field| member(kind.name, field)).collect();
        let mut flat: BTreeMap<&'static str, Member> = BTreeMap::new();
        for part in &own {
            if let (Shape::Object(inner), true) = (&part.field.shape, part.field.is_inline) {
                let inner = schema.of(*inner);
                flat.extend(inner.fields.iter().map(|field| (field.name, member(inner.name, field))));
            } else {
                flat.insert(part.field.name, *part);
            }
        }
        let name = kind.name.rsplit('.').next().unwrap_or(kind.name);
        (id.index(), Struct { own, flat, name })
    };
    let mut all: Vec<(usize, Struct)> = schema.types().map(one).collect();
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, of)| of).collect()
}

#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    is_pointer: bool,
    is_held: bool,
    is_printed: bool,
    is_omitted: bool,
    named: Option<&'static str>,
}

fn marks(text: &'static str) -> HashMap<(&'static str, &'static str), Marks> {
    let mut all = HashMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split(' ');
        let type_name = words.next().unwrap_or_default();
        for word in words {
            let mut marks = Marks::default();
            let mut rest = word;
            while let Some(mark) = rest.chars().next().filter(|mark| "*=!-".contains(*mark)) {
                match mark {
                    '*' => marks.is_pointer = true,
                    '=' => marks.is_held = true,
                    '!' => marks.is_printed = true,
                    _ => marks.is_omitted = true,
                }
                rest = &rest[1..];
            }
            let (name, named) = match rest.split_once(':') {
                Some((name, named)) => (name, Some(named)),
                None => (rest, None),
            };
            marks.named = named;
            all.insert((type_name, name), marks);
        }
    }
    all
}

fn member(field: &'static Field, marks: Marks) -> Member {
    let is_printed = (field.is_required || marks.is_printed) && !marks.is_omitted;
    let (presence, is_nullable) = match &field.shape {
        Shape::Object(_) | Shape::Quantity | Shape::IntOrString => {
            match (field.is_required || marks.is_held || field.is_inline) && !marks.is_pointer {
                true => (Presence::Zero, false),
                false if is_printed => (Presence::Null, true),
                false => (Presence::Pointer, true),
            }
        }
        // `omitempty` does nothing for a time that is held itself; only `creationTimestamp` has `omitzero`.
        Shape::Time | Shape::MicroTime if marks.is_omitted => (Presence::Omitted, false),
        Shape::Time | Shape::MicroTime if field.is_required || marks.is_held => (Presence::Null, false),
        Shape::Time | Shape::MicroTime | Shape::Fields | Shape::Raw => (Presence::Pointer, true),
        Shape::List(_) | Shape::Map(_) if is_printed => (Presence::Null, true),
        Shape::List(_) | Shape::Map(_) => (Presence::Omitted, true),
        Shape::Text | Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Double | Shape::Bytes => {
            match (marks.is_pointer, is_printed) {
                (true, true) => (Presence::Null, true),
                (true, false) => (Presence::Pointer, true),
                (false, true) => (Presence::Zero, false),
                (false, false) => (Presence::Omitted, false),
            }
        }
    };
    Member { field, presence, is_nullable, named: marks.named }
}

impl Member {
    /// Whether protobuf has it even when it is empty: whatever is no pointer, list or map.
    pub(super) fn is_always_encoded(&self) -> bool {
        !self.is_nullable
    }

    /// Answers what Go calls the type of a part of this field, such as `[]v1.ServicePort` or `int32`.
    pub(super) fn type_name(&self, shape: &Shape) -> String {
        let named = |own: &str| match self.named {
            Some(name) if name.contains('.') => name.to_owned(),
            Some(name) => format!("v1.{name}"),
            None => own.to_owned(),
        };
        match shape {
            Shape::Text | Shape::Time | Shape::MicroTime => named("string"),
            Shape::Bool => "bool".to_owned(),
            Shape::Int32 | Shape::IntOrString => "int32".to_owned(),
            Shape::Int64 => "int64".to_owned(),
            Shape::Double => "float64".to_owned(),
            Shape::Bytes => "[]uint8".to_owned(),
            Shape::Quantity => "resource.Quantity".to_owned(),
            Shape::Fields => "v1.FieldsV1".to_owned(),
            Shape::Raw => "runtime.RawExtension".to_owned(),
            Shape::Object(id) => format!("v1.{}", fields_of(*id).name),
            Shape::List(part) => format!("[]{}", self.type_name(part)),
            Shape::Map(part) if **part == Shape::Quantity => named("map[v1.ResourceName]resource.Quantity"),
            Shape::Map(part) => format!("map[string]{}", self.type_name(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_is_of_a_field_that_exists() {
        let schema = Schema::get();
        for (type_name, field) in marks(include_str!("go.txt")).keys() {
            let id = schema.find(type_name).unwrap_or_else(|| panic!("{type_name}: no such type"));
            let exists = schema.of(id).fields.iter().any(|known| known.name == *field);
            assert!(exists, "{type_name} has no {field}");
        }
    }

    #[test]
    fn presence_follows_from_schema_and_marks() {
        let check = |type_name: &str, field: &str, expected: Presence| {
            let id = Schema::get().find(type_name).unwrap();
            assert_eq!(fields_of(id).flat[field].presence, expected, "{type_name}.{field}");
        };
        check("core.v1.ServicePort", "port", Presence::Zero);
        check("core.v1.ServicePort", "targetPort", Presence::Zero);
        check("core.v1.ServicePort", "nodePort", Presence::Omitted);
        check("core.v1.ServicePort", "appProtocol", Presence::Pointer);
        check("core.v1.ServiceStatus", "loadBalancer", Presence::Zero);
        check("core.v1.Probe", "httpGet", Presence::Pointer);
        check("discovery.v1.EndpointSlice", "endpoints", Presence::Null);
        check("discovery.v1.EndpointSlice", "addressType", Presence::Zero);
        check("meta.v1.ObjectMeta", "creationTimestamp", Presence::Omitted);
        check("core.v1.PodCondition", "lastProbeTime", Presence::Null);
        check("core.v1.PodSpec", "containers", Presence::Null);
        check("apps.v1.DeploymentSpec", "selector", Presence::Null);
        check("core.v1.ConfigMapKeySelector", "name", Presence::Omitted);
    }
}
