//! Who owns which field of an object (`managedFields`), and server-side apply (structured-merge-diff).
//!
//! A write goes through here when what was sent is decoded and completed with defaults, and *before* the kind's rules take
//! addresses, reset what the client may not set, or count the generation: what those fill in is nobody's. Objects are not
//! stored here, and whether they are valid is not asked.

mod apply;
mod check;
mod compare;
mod conflicts;
mod entries;
mod merge;
mod resets;
pub mod scale;
mod set;
#[cfg(test)]
mod tests;
mod typed;
mod update;
mod value;

use serde_json::{Map, Value};

pub use conflicts::{ApplyError, Conflict};
use entries::Entries;
pub use resets::resets;

use crate::body::canonical;
use crate::schema::TypeId;

/// Who writes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Manager<'a> {
    /// The `fieldManager` of the request, or else the product that its `User-Agent` names. Empty: `unknown`.
    pub name: &'a str,
    /// Group and version of what is written, such as `apps/v1`.
    pub api_version: &'a str,
    /// The part of the object that is written: empty for the whole, or such as `status`.
    pub subresource: &'a str,
    /// Now, as in `2006-01-02T15:04:05Z`.
    pub time: &'a str,
    /// The fields that this path resets, such as `["status"]`: a write never owns them. See [`resets`].
    pub ignored: &'a [&'a [&'a str]],
}

/// Records who set what after a create (`live` is nothing), an update or a patch.
///
/// `new` is as it was decoded and completed; its `managedFields` may be the client's and are replaced. Malformed ones are
/// dropped for those of `live`; `[{}]` forgets all owners, and then nobody is recorded until somebody applies.
pub fn update(of: TypeId, live: Option<&Value>, new: &mut Value, manager: &Manager<'_>) {
    let given = update::given(live, new, manager);
    if given.is_empty() && live.is_some() {
        return given.write(new);
    }
    let blank = blank(of);
    match update::record(of, [live.unwrap_or(&blank), new], given, manager) {
        Ok(entries) => entries.write(new),
        Err(_) => live.and_then(|live| Entries::of(live).ok()).unwrap_or_default().write(new),
    }
}

/// What somebody applies.
#[derive(Debug, Clone, Copy)]
pub struct Configuration<'a> {
    /// The object as it was sent, not decoded: only what it says is applied.
    pub object: &'a Value,
    /// Whether fields are taken from their owners.
    pub force: bool,
}

/// Applies a configuration to an object, or makes one of it (`live` is nothing).
pub fn apply(
    of: TypeId,
    live: Option<&Value>,
    applied: Configuration<'_>,
    manager: &Manager<'_>,
) -> Result<Applied, ApplyError> {
    let blank = blank(of);
    let outcome = apply::apply(of, live.unwrap_or(&blank), applied, manager)?;
    Ok(Applied { object: outcome.object, entries: outcome.entries })
}

/// What an apply makes of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, without `managedFields`. What was applied stands there as it was written: it has to be decoded again, and
    /// completed with defaults.
    pub object: Value,
    entries: Entries,
}

impl Applied {
    /// Writes the owners into the decoded and completed object. If nothing but times is different from the object as it was
    /// (`live`), they are as they were: then there is nothing to store.
    pub fn finish(self, new: &mut Value, live: Option<&Value>) {
        self.entries.write(new);
        let Some(live) = live else { return };
        let was = &live["metadata"]["managedFields"];
        let is = &new["metadata"]["managedFields"];
        if without_times(was) == without_times(is) && without_owners(live) == without_owners(new) {
            let was = was.clone();
            if !was.is_null() {
                new["metadata"]["managedFields"] = was;
            }
        }
    }
}

fn without_times(entries: &Value) -> Value {
    let mut entries = entries.clone();
    for entry in entries.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        entry.remove("time");
    }
    entries
}

fn without_owners(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    object
}

/// Answers an object without its type and its owners, which are nobody's.
fn bare(object: &Value) -> Value {
    let mut object = without_owners(object);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    object
}

/// Answers an object before anything is set in it.
fn blank(of: TypeId) -> Value {
    let mut blank = Value::Object(Map::new());
    canonical(&mut blank, of);
    blank
}
