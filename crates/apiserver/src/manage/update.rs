//! What a write that is no apply makes of who owns what.

use serde_json::Value;

use super::compare::Changes;
use super::conflicts::{self, Conflict};
use super::entries::{self, Entries, Entry, Id, Operation};
use super::set::Set;
use super::typed::{At, fitted};
use super::{Manager, bare};
use crate::kinds::{KINDS, Kind};
use crate::schema::{Schema, TypeId};

/// What can be nobody's.
pub(super) const NOBODYS: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Answers the entries that a write begins with: those that a client gave with the object, if it may and they are well-formed,
/// or else those of the object as it is.
pub(super) fn given(live: Option<&Value>, new: &Value, manager: &Manager<'_>) -> Entries {
    let of_live = || live.and_then(|live| Entries::of(live).ok()).unwrap_or_default();
    if !manager.subresource.is_empty() {
        return of_live();
    }
    if entries::is_reset(new) {
        return Entries::default();
    }
    Entries::of(new).ok().filter(|entries| !entries.is_empty()).unwrap_or_else(of_live)
}

/// Records what changed as the manager's. Objects of which some part cannot be told apart have no answer.
pub(super) fn record(
    of: TypeId,
    [old, new]: [&Value; 2],
    mut entries: Entries,
    manager: &Manager<'_>,
) -> Result<Entries, String> {
    fit(of, &mut entries);
    let ignored = Set::of_fields(manager.ignored);
    let changes = Changes::between(At::root(of), &bare(old), &bare(new))?.without(&ignored);
    take(of, &changes, &mut entries, (manager, None));
    let changed = changes.modified.union(&changes.added).difference(&Set::of_fields(NOBODYS));
    if !changed.is_empty() {
        let id = Id::of(manager, Operation::Update);
        let before = entries.0.remove(&id).map(|entry| entry.fields).unwrap_or_default();
        let (api_version, time) = (manager.api_version.to_owned(), Some(manager.time.to_owned()));
        entries.0.insert(id, Entry { fields: before.union(&changed), api_version, time });
    }
    entries.cap();
    Ok(entries)
}

/// Makes the entries own what the types allow.
pub(super) fn fit(of: TypeId, entries: &mut Entries) {
    for entry in entries.0.values_mut() {
        entry.fields = fitted(Some(At::root(of)), &entry.fields);
    }
}

/// Takes what changed from everybody else but the one who applies (`own`), and drops those who own nothing any more.
pub(super) fn take(
    of: TypeId,
    changes: &Changes,
    entries: &mut Entries,
    (manager, own): (&Manager<'_>, Option<&Id>),
) {
    let taken = changes.modified.union(&changes.added).union(&changes.removed);
    entries.0.retain(|id, entry| {
        if Some(id) == own {
            return !entry.fields.is_empty();
        }
        match standing(of, &entry.api_version, manager) {
            Standing::Same => entry.fields = entry.fields.difference(&taken),
            Standing::Other => {}
            Standing::Gone => return false,
        }
        !entry.fields.is_empty()
    });
}

/// Answers with whom a change would be in conflict, but for the one who makes it.
pub(super) fn conflicts(
    of: TypeId,
    changes: &Changes,
    entries: &Entries,
    (manager, own): (&Manager<'_>, &Id),
) -> Vec<Conflict> {
    let taken = changes.modified.union(&changes.added);
    let others = entries
        .0
        .iter()
        .filter(|(id, entry)| *id != own && standing(of, &entry.api_version, manager) == Standing::Same);
    others.flat_map(|(id, entry)| conflicts::with(id, &entry.fields.intersection(&taken))).collect()
}

/// How the version of an entry stands to that of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is the same.
    Same,
    /// The kind has it as well, with fields of its own.
    Other,
    /// There is no such version (any more).
    Gone,
}

fn standing(of: TypeId, api_version: &str, manager: &Manager<'_>) -> Standing {
    if api_version == manager.api_version {
        return Standing::Same;
    }
    let is_served = |kind: &&Kind| kind.kind == kind_of(of) && kind.api_version() == api_version;
    if KINDS.iter().any(is_served) { Standing::Other } else { Standing::Gone }
}

/// Answers the name of a kind, such as `Service`.
pub(super) fn kind_of(of: TypeId) -> &'static str {
    let name = Schema::get().of(of).name;
    name.rsplit('.').next().unwrap_or(name)
}
