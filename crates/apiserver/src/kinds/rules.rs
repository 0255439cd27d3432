//! What a kind does with its objects when they are written and shown, beyond what every kind does.

use serde_json::Value;

use crate::age::age;
use crate::body::time::Instant;
use crate::mistake::Mistake;
use crate::names;
use crate::status::Status;
use crate::writing::Writing;

/// The rules of a kind. `..Rules::PLAIN` stands for those that it does not need.
///
/// A write goes through them in this order: what was sent is decoded, and `defaults` completes it; `begin` takes what the
/// object needs of others; `prepare` (or `prepare_update`, `prepare_status`) takes back what the client may not set;
/// `validate` (...) judges. Metadata is checked for every kind alike, before `validate`.
#[derive(Clone, Copy)]
pub struct Rules {
    /// What its name can be: answers what is wrong.
    pub name: fn(&str) -> Vec<String>,
    /// Fills in what was not given. Runs after every decoding, also of patched objects: it must not matter how often.
    pub defaults: fn(&mut Value),
    /// Makes a new object what a new object is: generation, an empty status.
    pub prepare: fn(&mut Value),
    /// Takes back what an update (`new`, `old`) may not change: the status; counts the generation.
    pub prepare_update: fn(&mut Value, &Value),
    /// Judges a new object, but for its metadata.
    pub validate: fn(&Value) -> Vec<Mistake>,
    /// Judges an update (`new`, `old`), but for its metadata.
    pub validate_update: fn(&Value, &Value) -> Vec<Mistake>,
    /// Takes back what an update of the status may not change: all but the status. By default exactly that.
    pub prepare_status: fn(&mut Value, &Value),
    /// Judges an update of the status, but for the metadata.
    pub validate_status: fn(&Value, &Value) -> Vec<Mistake>,
    /// What the client should know about what it wrote (`new`, `old`); in the `Warning` header.
    pub warnings: fn(&Value, Option<&Value>) -> Vec<String>,
    /// Takes what a new or changed object (`new`, `old`) needs of others: addresses, ports. Before `prepare` and
    /// `validate`, since a refused write leaves nothing behind.
    pub begin: fn(&mut Writing<'_>, &mut Value, Option<&Value>) -> Result<(), Status>,
    /// Gives back what an object that is deleted now had of others.
    pub release: fn(&mut Writing<'_>, &Value),
    /// Whether a PUT of one that is not there creates it.
    pub is_created_by_update: bool,
    /// Whether an update need not say which resourceVersion it is for.
    pub is_updated_unconditionally: bool,
    /// Whether a DELETE answers the object instead of a Status.
    pub is_answered_when_deleted: bool,
    /// Whether an object is done with after an update: it is being deleted and nobody has to finish something any more.
    pub is_finished: fn(&Value) -> bool,
    /// Refuses to delete what must stay.
    pub check_delete: fn(&Value) -> Result<(), Status>,
    /// Marks an object as being deleted in the kind's own way, at a time; answers whether it stays for that.
    pub mark_deleted: fn(&mut Value, Instant) -> bool,
    /// Whether it is marked and given time before it goes; then `grace` says how long.
    pub is_graceful: bool,
    /// How long it stays when it is deleted, in seconds, when the client asks for nothing (`None`) or for so long;
    /// `None`: it goes at once. Only Pods stay.
    pub grace: fn(&Value, Option<i64>) -> Option<i64>,
    /// What every client of the kind is warned of, whatever it asks for; in the `Warning` header.
    pub deprecation: Option<&'static str>,
    /// The columns of its table, without the first, which is its name. If one of them is called `Name`, they are all.
    pub columns: &'static [Column],
    /// The cells of its row, for each of the columns. `now`: seconds since 1970.
    pub cells: fn(&Value, i64) -> Vec<Value>,
    /// Makes what is stored of what is sent, and back, for a kind that shares its table with another.
    pub conversion: Option<Conversion>,
}

/// How a kind is stored as another.
#[derive(Clone, Copy)]
pub struct Conversion {
    /// From this kind.
    pub to_stored: fn(Value) -> Value,
    /// To this kind.
    pub from_stored: fn(Value) -> Value,
}

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading.
    pub name: &'static str,
    /// `string`, `integer` or `date`.
    pub shape: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0: always shown; 1: with `-o wide`.
    pub priority: u8,
}

impl Rules {
    /// The rules of a kind that has none of its own.
    pub const PLAIN: Self = Self {
        name: names::dns_subdomain,
        defaults: |_| {},
        prepare: |_| {},
        prepare_update: |_, _| {},
        validate: |_| Vec::new(),
        validate_update: |_, _| Vec::new(),
        prepare_status: only_status,
        validate_status: |_, _| Vec::new(),
        warnings: |_, _| Vec::new(),
        begin: |_, _, _| Ok(()),
        release: |_, _| {},
        is_created_by_update: false,
        is_updated_unconditionally: true,
        is_answered_when_deleted: false,
        is_finished,
        check_delete: |_| Ok(()),
        mark_deleted: |_, _| false,
        is_graceful: false,
        grace: |_, _| None,
        deprecation: None,
        columns: &[Column::AGE],
        cells: |object, now| vec![created(object, now)],
        conversion: None,
    };
}

impl Column {
    /// How long ago the object was made.
    pub const AGE: Self = Self::new("Age", "string", "How long ago it was made.");

    /// A column that is always shown.
    pub const fn new(name: &'static str, shape: &'static str, description: &'static str) -> Self {
        Self { name, shape, description, priority: 0 }
    }

    /// A column that is shown with `-o wide`.
    pub const fn wide(name: &'static str, shape: &'static str, description: &'static str) -> Self {
        Self { name, shape, description, priority: 1 }
    }
}

/// The cell of [`Column::AGE`].
pub(crate) fn created(object: &Value, now: i64) -> Value {
    age(&object["metadata"]["creationTimestamp"], now).into()
}

/// The first three of a list, and how many more there are.
pub(crate) fn first_three(all: &[String]) -> String {
    match all {
        [first, second, third, more @ ..] if !more.is_empty() => {
            format!("{first},{second},{third} + {} more...", more.len())
        }
        few => few.join(","),
    }
}

/// Takes a part of an object from another one, also if it has none.
pub(crate) fn take(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new[field] = value.clone(),
        None => remove(new, field),
    }
}

/// Removes a field of an object.
pub(crate) fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// The text at a JSON pointer; nothing is the empty text.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The parts of a list at a JSON pointer; nothing is the empty list.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rules")
    }
}

/// Whether an object is being deleted, has no time left and no finalizers.
pub(crate) fn is_finished(object: &Value) -> bool {
    let meta = &object["metadata"];
    let is_over = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0;
    meta["deletionTimestamp"].is_string()
        && is_over
        && meta["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// Takes the status of `new` and the rest of `old`, metadata but for `managedFields` and `resourceVersion` included.
pub(crate) fn only_status(new: &mut Value, old: &Value) {
    let mut kept = old.clone();
    match new.get_mut("status") {
        Some(status) => kept["status"] = status.take(),
        None => drop(kept.as_object_mut().and_then(|fields| fields.remove("status"))),
    }
    for field in ["managedFields", "resourceVersion"] {
        match new["metadata"].get_mut(field) {
            Some(value) => kept["metadata"][field] = value.take(),
            None => drop(kept["metadata"].as_object_mut().and_then(|meta| meta.remove(field))),
        }
    }
    *new = kept;
}
