//! The kinds that are served, a file each: what a kind is called, where it is, and by what it can be selected.
//!
//! What it does *not* say: which fields there are (`schema` does).

mod config_map;
mod deployment;
mod endpoint_slice;
mod endpoints;
mod event;
mod ip_address;
pub(crate) mod labels;
mod lease;
pub mod namespace;
mod node;
pub mod pod;
mod replica_set;
mod rules;
mod secret;
pub(crate) mod service;
mod service_account;
mod service_cidr;
mod workload;

use serde_json::Value;

use crate::connect::Connect;
use crate::mistake::Mistake;
use crate::rest::DeleteOptions;
use crate::schema::{Schema, TypeId};
use crate::status::Status;
use crate::writing::Writing;

pub(crate) use rules::created;
pub use rules::{Column, Conversion, Rules};

/// A kind in one version of its group.
#[derive(Debug)]
pub struct Kind {
    /// Its group; empty: the core group.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// Its name, such as `Service`.
    pub kind: &'static str,
    /// Its type in the schema.
    pub type_name: &'static str,
    /// Its name in paths, such as `services`.
    pub plural: &'static str,
    /// What people may say for one, such as `service`.
    pub singular: &'static str,
    /// What people may say for short.
    pub short_names: &'static [&'static str],
    /// Groups of kinds that people may ask for together.
    pub categories: &'static [&'static str],
    /// Where its objects are.
    pub scope: Scope,
    /// What can be done, sorted.
    pub verbs: &'static [&'static str],
    /// What else there is of an object, sorted by name.
    pub subresources: &'static [Subresource],
    /// By which fields, other than name and namespace, it can be selected.
    pub selectable: &'static [Selectable],
    /// Where its objects are kept: kinds that are one thing in several groups share a table.
    pub table: &'static str,
    /// What happens when its objects are written and shown.
    pub rules: Rules,
}

/// Two kinds are one if they are in the same place.
impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.version, self.plural) == (other.group, other.version, other.plural)
    }
}

/// Where objects are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In namespaces.
    Namespaced,
    /// Nowhere else.
    Cluster,
}

/// Something of an object that has a path of its own.
#[derive(Debug)]
pub struct Subresource {
    /// Its name, such as `status`.
    pub name: &'static str,
    /// Group, version and kind of what is exchanged; `None`: the object itself.
    pub kind: Option<(&'static str, &'static str, &'static str)>,
    /// What can be done, sorted.
    pub verbs: &'static [&'static str],
    /// What becomes of it.
    pub does: Does,
}

/// What becomes of what clients do to a part of an object.
#[derive(Debug, Clone, Copy)]
pub enum Does {
    /// The object is exchanged, and its status is taken, as `Rules::prepare_status` and `validate_status` say.
    Status,
    /// The object is exchanged, and something else of it is taken.
    Some {
        /// Takes back what an update (`new`, `old`) of this part may not change.
        prepare: fn(&mut Value, &Value),
        /// Judges an update, but for the metadata.
        validate: fn(&Value) -> Vec<Mistake>,
    },
    /// How many of something there are, which is shown and changed as a Scale.
    Scale,
    /// What is created here is not kept: it happens to the object.
    Act(Act),
    /// A token for a ServiceAccount is asked for.
    Token,
    /// The request is passed on to where the object is.
    Connect(Connect),
}

/// What happens to an object (the second) when something (the third) is created at a part of it.
pub type Act = fn(&mut Writing<'_>, &mut Value, &Value) -> Result<Acted, Status>;

/// What happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acted {
    /// It is another one now.
    Changed,
    /// It shall go.
    Delete(Box<DeleteOptions>),
}

/// A field that objects can be selected by.
#[derive(Debug, PartialEq, Eq)]
pub struct Selectable {
    /// What a selector says, such as `spec.type`.
    pub label: &'static str,
    /// Where its text is.
    pub value: FieldValue,
}

/// How the text of a selectable field follows from an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValue {
    /// The text at this JSON pointer; nothing is the empty text.
    Text(&'static str),
    /// `true` or `false` at this pointer; nothing is false.
    Flag(&'static str),
    /// The number at this pointer; nothing is 0.
    Number(&'static str),
    /// The text at the first of these pointers that has one.
    FirstText(&'static [&'static str]),
}

/// Everything that can be done to most kinds.
pub(crate) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// What can be done to a part of an object.
pub(crate) const PART_VERBS: &[&str] = &["get", "patch", "update"];
/// What can be done to a part that becomes a connection of another protocol.
pub(crate) const UPGRADE_VERBS: &[&str] = &["create", "get"];
/// What can be done to a part that every request is passed on to.
pub(crate) const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
/// The status of an object, which is the whole object with only its status taken.
pub(crate) const STATUS: Subresource =
    Subresource { name: "status", kind: None, verbs: PART_VERBS, does: Does::Status };
/// How many of something there are.
pub(crate) const SCALE: Subresource = Subresource {
    name: "scale",
    kind: Some(("autoscaling", "v1", "Scale")),
    verbs: PART_VERBS,
    does: Does::Scale,
};

/// Every kind, sorted by group in the order of their priority, then by name in paths.
pub const KINDS: &[&Kind] = &[
    &config_map::KIND,
    &endpoints::KIND,
    &event::CORE,
    &namespace::KIND,
    &node::KIND,
    &pod::KIND,
    &secret::KIND,
    &service_account::KIND,
    &service::KIND,
    &deployment::KIND,
    &replica_set::KIND,
    &event::KIND,
    &ip_address::KIND,
    &service_cidr::KIND,
    &lease::KIND,
    &endpoint_slice::KIND,
];

impl Kind {
    /// Answers `group/version`, without the slash for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Answers its type.
    pub fn of_type(&self) -> TypeId {
        Schema::get().find(self.type_name).expect("a test looks up the type of every kind")
    }

    /// Answers the kind as which its objects are kept. Refusals speak of that one, whichever the client asked for.
    pub fn stored(&self) -> &Self {
        let is = |kind: &&&'static Self| kind.table == self.table && kind.rules.conversion.is_none();
        match self.rules.conversion {
            Some(_) => KINDS.iter().find(is).copied().unwrap_or(self),
            None => self,
        }
    }

    /// Answers under which key an object is kept.
    pub fn key(&self, object: &Value) -> String {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        self.key_of(text("namespace"), text("name"))
    }

    /// Answers under which key the object of a name is kept.
    pub fn key_of(&self, namespace: &str, name: &str) -> String {
        match self.scope {
            Scope::Namespaced => format!("{namespace}/{name}"),
            Scope::Cluster => name.to_owned(),
        }
    }

    /// Answers the kind at a place in the paths.
    pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Self> {
        let is = |kind: &&&Kind| (kind.group, kind.version, kind.plural) == (group, version, plural);
        KINDS.iter().find(is).copied()
    }

    /// Answers the kind that an object says to be.
    pub fn of(object: &Value) -> Option<&'static Self> {
        let (api_version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        KINDS.iter().find(|known| known.kind == kind && known.api_version() == api_version).copied()
    }
}

impl FieldValue {
    /// Answers the text by which an object is selected.
    pub fn of(self, object: &Value) -> String {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        match self {
            Self::Text(pointer) => text(pointer).to_owned(),
            Self::Flag(pointer) => {
                object.pointer(pointer).and_then(Value::as_bool).unwrap_or(false).to_string()
            }
            Self::Number(pointer) => object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0).to_string(),
            Self::FirstText(pointers) => {
                let found = pointers.iter().map(|pointer| text(pointer)).find(|text| !text.is_empty());
                found.unwrap_or_default().to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;

    #[test]
    fn every_kind_has_a_type_and_its_fields() {
        let schema = Schema::get();
        for kind in KINDS {
            let of = schema.find(kind.type_name).unwrap_or_else(|| panic!("{}: no type", kind.kind));
            assert!(schema.field(of, "metadata").is_some(), "{}", kind.kind);
            assert_eq!(Kind::find(kind.group, kind.version, kind.plural), Some(*kind));
            assert!(
                kind.verbs.is_sorted() && kind.subresources.iter().map(|sub| sub.name).is_sorted(),
                "{}",
                kind.kind
            );
            for selectable in kind.selectable {
                let pointers: &[&str] = match &selectable.value {
                    FieldValue::Text(pointer) | FieldValue::Flag(pointer) | FieldValue::Number(pointer) => {
                        std::slice::from_ref(pointer)
                    }
                    FieldValue::FirstText(pointers) => pointers,
                };
                for pointer in pointers {
                    let mut id = of;
                    for name in pointer.trim_start_matches('/').split('/') {
                        let field = schema
                            .field(id, name)
                            .unwrap_or_else(|| panic!("{} {pointer}: no {name}", kind.kind));
                        if let crate::schema::Shape::Object(inner) = field.shape {
                            id = inner;
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn fields_have_texts() {
        let object = serde_json::json!({"spec": {"on": true, "many": 3}, "b": "x"});
        assert_eq!(FieldValue::Flag("/spec/on").of(&object), "true");
        assert_eq!(FieldValue::Flag("/spec/off").of(&object), "false");
        assert_eq!(FieldValue::Number("/spec/many").of(&object), "3");
        assert_eq!(FieldValue::Text("/spec/none").of(&object), "");
        assert_eq!(FieldValue::FirstText(&["/a", "/b"]).of(&object), "x");
    }
}
