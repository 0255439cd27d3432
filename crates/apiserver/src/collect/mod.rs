//! What the server does to objects by itself: those whose owners are gone go, deleted namespaces are emptied, ranges of
//! addresses are held while they are needed.
//!
//! [`graph`] follows all changes and answers what is to be looked at; the decisions ([`decide`], [`namespace`]) are pure and
//! answer [`Action`]s; [`act`] carries them out, each in a transaction; [`run`](mod@run) drives it. Nothing is remembered that
//! a start does not read again. What it does *not* do: end Pods on nodes, and know when a range is needed (`allocate` does).

mod act;
mod decide;
mod graph;
mod namespace;
mod run;
#[cfg(test)]
mod tests;
mod upkeep;

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;

use crate::kinds::{KINDS, Kind, Scope};
use crate::rest::options::Propagation;

pub use run::run;
pub use upkeep::{expire_events, hold_addresses};

/// An object by its place.
#[derive(Clone)]
pub(crate) struct Object {
    /// The kind as which it is kept.
    pub(crate) kind: &'static Kind,
    /// Its key.
    pub(crate) key: Arc<str>,
}

/// Something that may need an action.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// An object that is owned, or whose dependents need something.
    Object(Object),
    /// A namespace that is being deleted, by name.
    Namespace(Arc<str>),
    /// The ranges of addresses.
    Ranges,
}

/// What is to be done to one object, if it still has this UID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) object: Object,
    pub(crate) uid: String,
    pub(crate) what: What,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// It is deleted, if it still has this revision where one is named.
    Delete { revision: Option<String>, propagation: Propagation },
    /// Its references to the owners with these UIDs are removed.
    Disown(Vec<String>),
    /// Its owners need not wait for it any more.
    Unblock,
    /// A finalizer is removed.
    Finish(&'static str),
    /// Conditions are set in its status.
    Report(Vec<Condition>),
    /// A namespace is let go, if nothing is in it.
    FinalizeNamespace,
}

/// A condition as a status has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) name: &'static str,
    pub(crate) is_true: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What of an object decides over life and death.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Meta {
    pub(crate) uid: String,
    resource_version: String,
    deletion_timestamp: Option<String>,
    finalizers: Vec<String>,
    #[serde(rename = "ownerReferences")]
    pub(crate) owners: Vec<Owner>,
}

/// A reference to an owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Owner {
    api_version: String,
    kind: String,
    name: String,
    pub(crate) uid: String,
    #[serde(rename = "blockOwnerDeletion")]
    blocks: Option<bool>,
}

/// Where an owner is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// There, if it exists.
    At(Object),
    /// Its kind is not served here, or it cannot own this object: nobody can say whether it exists.
    Unknown,
}

impl Object {
    pub(crate) fn new(kind: &'static Kind, key: &str) -> Self {
        Self { kind, key: key.into() }
    }

    /// Namespace and name; the first is empty for what is in none.
    pub(crate) fn namespace_and_name(&self) -> (&str, &str) {
        match self.kind.scope {
            Scope::Namespaced => self.key.split_once('/').unwrap_or(("", &self.key)),
            Scope::Cluster => ("", &self.key),
        }
    }

    fn place(&self) -> (&str, &str) {
        (self.kind.table, &self.key)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.table, self.key)
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Object {}

impl PartialOrd for Object {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Object {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}

impl Meta {
    /// Reads it out of a stored object, of which nothing else is looked at.
    pub(crate) fn read(stored: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Head {
            metadata: Meta,
        }
        // What is stored was printed here.
        serde_json::from_slice::<Head>(stored).unwrap_or_default().metadata
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub(crate) fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|known| known == finalizer)
    }

    /// Whether it is being deleted and a finalizer keeps it.
    pub(crate) fn waits_for(&self, finalizer: &str) -> bool {
        self.is_deleted() && self.has(finalizer)
    }
}

impl Owner {
    /// Whether the owner waits for the object when it is deleted in the foreground.
    pub(crate) fn blocks(&self) -> bool {
        self.blocks == Some(true)
    }

    /// Answers where the owner of an object is: owners of namespaced kinds are in the namespace of the object.
    pub(crate) fn of(&self, object: &Object) -> Whereabouts {
        let is = |kind: &&&Kind| kind.kind == self.kind && kind.api_version() == self.api_version;
        let Some(kind) = KINDS.iter().find(is) else { return Whereabouts::Unknown };
        let (namespace, _) = object.namespace_and_name();
        if kind.scope == Scope::Namespaced && object.kind.scope == Scope::Cluster {
            return Whereabouts::Unknown;
        }
        Whereabouts::At(Object::new(kind, &kind.key_of(namespace, &self.name)))
    }
}

/// Every kind that has a table, once for each table.
pub(crate) fn kinds() -> Vec<&'static Kind> {
    let mut found: Vec<&'static Kind> = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.rules.conversion.is_none()) {
        if !found.iter().any(|known| known.table == kind.table) {
            found.push(kind);
        }
    }
    found
}
