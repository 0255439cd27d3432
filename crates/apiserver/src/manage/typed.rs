//! What stands where in an object, as those who share it see it: what is owned part by part, and what as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{Element, Set};
use super::value::Json;
use crate::body::quoted;
use crate::schema::{Field, Schema, Shape, Topology, TypeId};

/// A place in an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    /// What parts it has.
    pub(super) parts: Parts<'a>,
    /// Whether it is owned as a whole.
    pub(super) is_atomic: bool,
}

/// What parts a value has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parts<'a> {
    /// None.
    None(Scalar),
    /// Fields.
    Fields(TypeId),
    /// Keys with values of this shape.
    Keys(&'a Shape),
    /// Places with values of this shape.
    Places(&'a Shape),
    /// Values, each once.
    Values(&'a Shape),
    /// Objects that are told apart by these fields.
    Objects(&'a Shape, &'a [&'static str]),
    /// Whatever its value has.
    Any,
}

/// What a value without parts can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Number,
    Text,
    Bool,
    Any,
}

impl<'a> At<'a> {
    /// The object itself.
    pub(super) fn root(of: TypeId) -> Self {
        Self { parts: Parts::Fields(of), is_atomic: false }
    }

    fn field_of(field: &'a Field) -> Self {
        Self::new(&field.shape, &field.topology)
    }

    fn new(shape: &'a Shape, topology: &'a Topology) -> Self {
        let parts = match (shape, topology) {
            (Shape::Text | Shape::Bytes, _) => Parts::None(Scalar::Text),
            (Shape::Bool, _) => Parts::None(Scalar::Bool),
            (Shape::Int32 | Shape::Int64 | Shape::Double, _) => Parts::None(Scalar::Number),
            (Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrString, _) => {
                Parts::None(Scalar::Any)
            }
            (Shape::Fields | Shape::Raw, _) => Parts::Any,
            (Shape::Object(of), _) => Parts::Fields(*of),
            (Shape::Map(of), _) => Parts::Keys(of),
            (Shape::List(of), Topology::Set) => Parts::Values(of),
            (Shape::List(of), Topology::Keyed(keys)) => Parts::Objects(of, keys),
            (Shape::List(of), Topology::Granular | Topology::Atomic) => Parts::Places(of),
        };
        Self { parts, is_atomic: *topology == Topology::Atomic || matches!(parts, Parts::Places(_)) }
    }

    /// Whether its parts can be owned one by one.
    pub(super) fn is_shared(self) -> bool {
        !self.is_atomic && !matches!(self.parts, Parts::None(_))
    }

    fn part(shape: &'a Shape) -> Self {
        Self::new(shape, &Topology::Granular)
    }

    /// The same place, knowing what stands there, where the type does not say it.
    pub(super) fn holding(self, value: Option<&Value>) -> Self {
        match (self.parts, value) {
            (Parts::Any, Some(Value::Array(_))) => {
                Self { parts: Parts::Places(&Shape::Raw), is_atomic: true }
            }
            (Parts::Any, Some(Value::Object(_))) => {
                Self { parts: Parts::Keys(&Shape::Raw), is_atomic: false }
            }
            (Parts::Any, _) => Self { parts: Parts::None(Scalar::Any), is_atomic: false },
            _ => self,
        }
    }

    /// Answers the place of a field or a key; `None`: there is no such field.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        match self.parts {
            Parts::Fields(of) => Schema::get().field(of, name).map(Self::field_of),
            Parts::Keys(shape) => Some(Self::part(shape)),
            Parts::Any => Some(self),
            Parts::None(_) | Parts::Places(_) | Parts::Values(_) | Parts::Objects(..) => None,
        }
    }

    /// Answers the place of an entry of a list.
    pub(super) fn entry(self) -> Self {
        match self.parts {
            Parts::Places(shape) | Parts::Values(shape) | Parts::Objects(shape, _) => Self::part(shape),
            Parts::None(_) | Parts::Fields(_) | Parts::Keys(_) | Parts::Any => {
                Self { parts: Parts::Any, is_atomic: false }
            }
        }
    }

    /// Answers the place that an element leads to, if it can.
    fn step(self, element: &Element) -> Option<Self> {
        match (element, self.parts) {
            (Element::Field(name), _) => self.field(name),
            (
                Element::Key(_) | Element::Value(_) | Element::Index(_),
                Parts::Places(_) | Parts::Values(_) | Parts::Objects(..),
            ) => Some(self.entry()),
            _ => None,
        }
    }

    /// Whether a part is a field that the type names, not a key that somebody made up.
    fn names(self, element: &Element) -> bool {
        match (self.parts, element) {
            (Parts::Fields(of), Element::Field(name)) => Schema::get().field(of, name).is_some(),
            _ => false,
        }
    }

    /// Answers by what an entry of a list that is shared is told apart; or why it cannot be.
    pub(super) fn element(self, entry: &Value) -> Result<Element, String> {
        match self.parts {
            Parts::Objects(shape, keys) => key(shape, keys, entry),
            Parts::Values(_) => match entry {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".to_owned())
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    Ok(Element::Value(Json(entry.clone())))
                }
            },
            Parts::None(_) | Parts::Fields(_) | Parts::Keys(_) | Parts::Places(_) | Parts::Any => {
                Err("no list whose entries are told apart".to_owned())
            }
        }
    }
}

/// Answers the values of an entry's keys; those that have a default need not be given.
fn key(shape: &Shape, keys: &[&str], entry: &Value) -> Result<Element, String> {
    let fields = match entry.as_object() {
        Some(fields) => fields,
        None if entry.is_null() => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        None => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let default = |name: &str| {
        let Shape::Object(of) = shape else { return None };
        Schema::get().field(*of, name).and_then(|field| field.default.clone())
    };
    let mut found = Map::new();
    for name in keys {
        let value = fields.get(*name).cloned().or_else(|| default(name)).ok_or_else(|| {
            format!(
                "associative list with keys has an element that omits key field {} (and doesn't have default value)",
                quoted(name)
            )
        })?;
        found.insert((*name).to_owned(), value);
    }
    Ok(Element::key(found))
}

/// Answers the entries of a list, or the fields of an object. What has the wrong type, or is nothing, has none.
pub(super) fn entries(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether nothing is in a value with parts.
pub(super) fn is_hollow(value: Option<&Value>) -> bool {
    entries(value).is_empty() && value.and_then(Value::as_object).is_none_or(Map::is_empty)
}

/// Answers all that an object says: its leaves, and the entries and keys that it has.
pub(super) fn said(at: At<'_>, value: &Value) -> Result<Set, String> {
    let mut set = Set::default();
    say(at, value, &mut Vec::new(), &mut set)?;
    Ok(set)
}

fn say(at: At<'_>, value: &Value, path: &mut Vec<Element>, set: &mut Set) -> Result<(), String> {
    let at = at.holding(Some(value));
    if !at.is_shared() {
        set.insert(path);
        return Ok(());
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let element = Element::Field(name.clone());
        let is_leaf = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        let is_own = is_leaf || !at.names(&element);
        let Some(inner) = at.field(name) else { continue };
        path.push(element);
        say(inner, value, path, set)?;
        if is_own {
            set.insert(path);
        }
        path.pop();
    }
    let mut seen: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for entry in entries(Some(value)) {
        seen.entry(at.element(entry)?).or_default().push(entry);
    }
    for (element, same) in seen {
        path.push(element);
        // Of entries that stand there twice nobody can say which is meant: they are owned as one.
        if let [only] = same[..] {
            say(at.entry(), only, path, set)?;
        }
        set.insert(path);
        path.pop();
    }
    Ok(())
}

/// Answers a set in which the fields of objects are owned whenever something in them is; keys of maps are not.
pub(super) fn with_named(at: Option<At<'_>>, set: &Set) -> Set {
    set.rebuilt(|element, is_member, below| {
        let inner = at.and_then(|at| at.step(element));
        let is_named = !below.is_empty() && at.is_some_and(|at| at.names(element));
        (is_member || is_named, with_named(inner, below))
    })
}

/// Answers a set that owns as a whole what can only be owned as a whole: it may come from a client, or from another time.
pub(super) fn fitted(at: Option<At<'_>>, set: &Set) -> Set {
    set.rebuilt(|element, is_member, below| match at.and_then(|at| at.step(element)) {
        Some(inner) if inner.is_atomic && !below.is_empty() => (true, Set::default()),
        inner => (is_member, fitted(inner, below)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn root(name: &str) -> At<'static> {
        At::root(Schema::get().find(name).unwrap_or_else(|| panic!("{name} is no type")))
    }

    #[test]
    fn an_object_says_its_leaves() {
        let check = |name: &str, object: Value, wanted: Value| {
            assert_eq!(said(root(name), &object).map(|set| set.print()), Ok(wanted), "{object}");
        };
        check(
            "core.v1.Service",
            json!({"metadata": {"labels": {"a": "b"}, "annotations": {}, "finalizers": ["x/y"]},
                   "spec": {"selector": {"a": "b"}, "externalIPs": ["10.0.0.1"], "clusterIP": null,
                            "ports": [{"port": 80, "targetPort": "http"}, {"port": 81}, {"port": 81, "name": "again"}]}}),
            json!({"f:metadata": {"f:labels": {"f:a": {}}, "f:annotations": {}, "f:finalizers": {"v:\"x/y\"": {}}},
                   "f:spec": {"f:selector": {}, "f:externalIPs": {}, "f:clusterIP": {},
                              "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:targetPort": {}},
                                          "k:{\"port\":81,\"protocol\":\"TCP\"}": {}}}}),
        );
        assert_eq!(
            said(root("core.v1.Service"), &json!({"spec": {"ports": [{}]}})).unwrap_err(),
            "associative list with keys has an element that omits key field \"port\" (and doesn't have default value)"
        );
    }

    #[test]
    fn sets_are_fitted_to_the_types() {
        let set = Set::read(&json!({"f:spec": {"f:selector": {".": {}, "f:a": {}}, "f:ports": {"k:{\"port\":1}": {"f:name": {}}},
                                               "f:gone": {"f:x": {}}}, "f:metadata": {"f:labels": {"f:a": {}}}}))
        .unwrap();
        let at = Some(root("core.v1.Service"));
        let spec = |selector: Value| {
            json!({"f:spec": {"f:selector": selector, "f:ports": {"k:{\"port\":1}": {"f:name": {}}}, "f:gone": {"f:x": {}}},
                   "f:metadata": {"f:labels": {"f:a": {}}}})
        };
        assert_eq!(fitted(at, &set).print(), spec(json!({})));
        let named = with_named(at, &set);
        let field = |name: &str| Element::Field(name.to_owned());
        for (path, is_member) in [
            (vec![field("spec")], true),
            (vec![field("spec"), field("ports")], true),
            (vec![field("metadata"), field("labels")], true),
            (vec![field("spec"), field("gone")], false),
        ] {
            assert_eq!(named.has(&path), is_member, "{path:?}");
        }
    }
}
