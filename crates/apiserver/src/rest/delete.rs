//! Delete: at once, or as a mark while a grace period runs or somebody has to finish something.

use serde_json::{Value, json};

use crate::body::time::{Instant, Precision, parse};
use crate::kinds::Kind;
use crate::rest::options::Propagation;
use crate::rest::{self, DeleteOptions, ListOptions, Place, Rest, Written, create, managers, read};
use crate::status::Status;
use crate::writing::Writing;

/// The finalizer of an object whose dependents shall lose it as their owner.
pub(crate) const ORPHAN: &str = "orphan";
/// The finalizer of an object whose dependents shall go first.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

/// How many objects of a collection are deleted at a time: they share the wait for the disk.
const STRIDE: usize = 64;

/// What a delete did.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The object is gone; its name and UID.
    Gone(String, String),
    /// The object stays for a while, or its kind shows it when it goes.
    Object(Written),
}

impl Rest {
    /// Deletes an object.
    pub async fn delete(&self, place: Place, options: DeleteOptions) -> Result<Deleted, Status> {
        self.write(options.is_dry_run, move |writing| delete(writing, &place, &options)).await
    }

    /// Deletes every object of a collection that is selected, each for itself, and answers what went.
    pub async fn delete_collection(
        &self,
        place: &Place,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<read::Listed, Status> {
        let mut listed = self.list(place, list)?;
        for texts in listed.items.chunks_mut(STRIDE) {
            let deletes = texts.iter().map(|text| {
                let object = rest::object(text);
                let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
                let one = Place { name: field("name"), namespace: field("namespace"), ..place.clone() };
                let (rest, options) = (self.clone(), options.clone());
                tokio::spawn(async move { rest.delete(one, options).await })
            });
            let deletes: Vec<_> = deletes.collect();
            for (text, delete) in texts.iter_mut().zip(deletes) {
                let ended = delete.await.map_err(|error| Status::internal(&error.to_string()))?;
                match ended {
                    Ok(Deleted::Object(written)) => *text = written.object,
                    Ok(Deleted::Gone(..)) => {}
                    // Somebody else was faster.
                    Err(status) if status.code == 404 => {}
                    Err(status) => return Err(status),
                }
            }
        }
        Ok(listed)
    }
}

/// Deletes an object in a transaction.
pub(crate) fn delete(
    writing: &mut Writing<'_>,
    place: &Place,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let (kind, rules) = (place.kind, &place.kind.rules);
    let old = writing.object(kind, &place.key()).ok_or_else(|| place.not_found())?;
    check_preconditions(place, &old, options)?;
    (rules.check_delete)(&old)?;
    let mut object = old.clone();
    if (rules.mark_deleted)(&mut object, writing.now) {
        return Ok(keep(writing, kind, (&old, object)));
    }
    let meta = &old["metadata"];
    let known = meta["deletionGracePeriodSeconds"].as_i64().filter(|_| meta["deletionTimestamp"].is_string());
    if rules.is_graceful
        && let Some(known) = known
    {
        // Once it is marked, its time can only become shorter.
        let Some(grace) = options.grace.filter(|asked| *asked < known) else {
            return Ok(Deleted::Object(shown(kind, &old)));
        };
        shorten(&mut object, known.saturating_sub(grace));
        return Ok(end(writing, kind, (&old, object), grace == 0));
    }
    keep_for_dependents(&mut object, options);
    if rules.is_graceful {
        let grace = (rules.grace)(&object, options.grace).unwrap_or(0);
        mark(writing, &mut object, grace);
        return Ok(end(writing, kind, (&old, object), grace == 0));
    }
    if has_finalizers(&object) {
        if known.is_none() {
            mark(writing, &mut object, 0);
        }
        return Ok(keep(writing, kind, (&old, object)));
    }
    Ok(end(writing, kind, (&old, object), true))
}

/// Removes an object in a transaction, and what it had of others.
pub(crate) fn remove(writing: &mut Writing<'_>, kind: &Kind, object: &Value) {
    (kind.rules.release)(writing, object);
    writing.delete(kind.table, &kind.key(object));
}

/// The object goes if its time is over and nobody has to finish something; else it stays, as it is now.
fn end(
    writing: &mut Writing<'_>,
    kind: &Kind,
    (old, object): (&Value, Value),
    is_time_over: bool,
) -> Deleted {
    if !is_time_over || has_finalizers(&object) {
        return keep(writing, kind, (old, object));
    }
    remove(writing, kind, &object);
    if kind.rules.is_answered_when_deleted {
        let mut written = shown(kind, &object);
        written.object = rest::with_revision(&written.object, writing.revision);
        return Deleted::Object(written);
    }
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    Deleted::Gone(field("name"), field("uid"))
}

fn keep(writing: &mut Writing<'_>, kind: &Kind, (old, mut object): (&Value, Value)) -> Deleted {
    crate::body::canonical(&mut object, kind.of_type());
    if object == *old {
        return Deleted::Object(shown(kind, old));
    }
    let object = create::store(writing, kind, object);
    Deleted::Object(Written { code: 200, object, warnings: Vec::new() })
}

fn shown(kind: &Kind, object: &Value) -> Written {
    let object = crate::body::text(object, kind.of_type()).into();
    Written { code: 200, object, warnings: Vec::new() }
}

fn check_preconditions(place: &Place, old: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let kind = place.kind;
    let text = |field: &str| old["metadata"][field].as_str().unwrap_or_default();
    let checks =
        [("UID", &options.uid, text("uid")), ("ResourceVersion", &options.revision, text("resourceVersion"))];
    for (what, asked, known) in checks {
        let Some(asked) = asked.as_deref().filter(|asked| *asked != known) else { continue };
        if kind.rules.is_graceful {
            let words = if what == "UID" { "UID" } else { "ResourceVersion" };
            let why = format!(
                "the {words} in the precondition ({asked}) does not match the {words} in record ({known}). The object \
                 might have been deleted and then recreated"
            );
            return Err(Status::conflict_of_kind(kind, &place.name, &why));
        }
        let why =
            format!("Precondition failed: {what} in precondition: {asked}, {what} in object meta: {known}");
        return Err(Status::conflict(kind, &place.name, &why));
    }
    Ok(())
}

fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has_finalizers(object: &Value) -> bool {
    !finalizers(object).is_empty()
}

/// An object whose dependents must be looked after stays until that is done.
fn keep_for_dependents(object: &mut Value, options: &DeleteOptions) {
    let known = finalizers(object);
    let has = |name: &str| known.iter().any(|known| known == name);
    let (orphans, waits) = match options.propagation {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        None => (has(ORPHAN), has(FOREGROUND)),
    };
    if (orphans, waits) == (has(ORPHAN), has(FOREGROUND)) {
        return;
    }
    let mut wanted: Vec<String> =
        known.into_iter().filter(|name| name != ORPHAN && name != FOREGROUND).collect();
    wanted.extend(orphans.then(|| ORPHAN.to_owned()));
    wanted.extend(waits.then(|| FOREGROUND.to_owned()));
    object["metadata"]["finalizers"] = json!(wanted);
}

/// Says that an object is being deleted.
fn mark(writing: &Writing<'_>, object: &mut Value, grace: i64) {
    let meta = &mut object["metadata"];
    if !meta["deletionTimestamp"].is_string()
        && let Some(generation) = meta["generation"].as_i64().filter(|generation| *generation > 0)
    {
        meta["generation"] = generation.saturating_add(1).into();
    }
    let at = Instant { seconds: writing.now.seconds.saturating_add(grace), nanos: 0 };
    // A time beyond the calendar is now.
    let time = at.print(Precision::Seconds).unwrap_or_else(|| managers::time(writing));
    meta["deletionTimestamp"] = time.into();
    meta["deletionGracePeriodSeconds"] = grace.into();
}

/// Moves the end of an object that is being deleted.
fn shorten(object: &mut Value, by: i64) {
    let meta = &mut object["metadata"];
    let known = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    meta["deletionGracePeriodSeconds"] = known.saturating_sub(by).into();
    let end = meta["deletionTimestamp"].as_str().and_then(|end| parse(end, Precision::Seconds).ok());
    let end = end.map(|end| Instant { seconds: end.seconds.saturating_sub(by), ..end });
    if let Some(end) = end.and_then(|end| end.print(Precision::Seconds)) {
        meta["deletionTimestamp"] = end.into();
    }
}
