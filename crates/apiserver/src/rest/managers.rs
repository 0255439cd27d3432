//! Who set which fields: what each way into the API hands to `manage`.

use serde_json::{Value, json};

use crate::body::time::Precision;
use crate::body::{self, Expected, Strictness};
use crate::kinds::{Does, Kind};
use crate::manage::{self, Configuration, Manager};
use crate::rest::change::check_name;
use crate::rest::create::check_place;
use crate::rest::{Place, WriteOptions, Written, change, create};
use crate::scale;
use crate::schema::TypeId;
use crate::status::Status;
use crate::writing::Writing;

/// The time of a write as objects have it.
pub(crate) fn time(writing: &Writing<'_>) -> String {
    writing.now.print(Precision::Seconds).unwrap_or_default()
}

/// Who writes to a place.
fn with_manager<T>(
    writing: &Writing<'_>,
    (place, part): (&Place, &Part<'_>),
    options: &WriteOptions,
    run: impl FnOnce(&Manager<'_>) -> T,
) -> T {
    let time = time(writing);
    run(&Manager {
        name: &options.manager,
        api_version: part.api_version,
        subresource: &place.part,
        time: &time,
        ignored: manage::resets(place.kind, &place.part),
    })
}

/// What is written: an object, or a document that stands for a part of one.
pub(crate) struct Part<'a> {
    pub(crate) api_version: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) of: TypeId,
}

impl<'a> Part<'a> {
    /// The object of a place, or what is exchanged for its part.
    pub(crate) fn of(place: &Place, api_version: &'a str) -> Part<'a> {
        if matches!(place.does(), Some(Does::Scale)) {
            return Part { api_version: "autoscaling/v1", kind: "Scale", of: scale::KIND.of_type() };
        }
        Part { api_version, kind: place.kind.kind, of: place.kind.of_type() }
    }

    pub(crate) fn expected(&self) -> Expected<'_> {
        Expected { api_version: self.api_version, kind: self.kind, of: self.of }
    }
}

/// Records what a create, an update or a patch sets.
pub(crate) fn record(
    writing: &Writing<'_>,
    place: &Place,
    options: &WriteOptions,
    (live, new): (Option<&Value>, &mut Value),
) {
    let api_version = place.kind.api_version();
    let part = Part::of(place, &api_version);
    with_manager(writing, (place, &part), options, |manager| manage::update(part.of, live, new, manager));
}

/// Applies a configuration: to an object, or as a new one.
pub(crate) fn apply(
    writing: &mut Writing<'_>,
    place: &Place,
    options: &WriteOptions,
    (live, applied): (Option<&Value>, Value),
) -> Result<Written, Status> {
    check_uid(place, live, &applied)?;
    let (mut new, finish) = laid_over(writing, place, options, (live, &applied))?;
    check_place(place, &mut new)?;
    check_name(place, &new)?;
    (place.kind.rules.defaults)(&mut new);
    finish.finish(&mut new, live);
    match live {
        None => create::finish(writing, place, new),
        Some(old) => {
            change::check_revision(place, old, &mut new)?;
            change::finish(writing, place, old, new)
        }
    }
}

/// Answers the object with the configuration laid over it, decoded again.
pub(crate) fn laid_over(
    writing: &Writing<'_>,
    place: &Place,
    options: &WriteOptions,
    (live, applied): (Option<&Value>, &Value),
) -> Result<(Value, manage::Applied), Status> {
    let api_version = place.kind.api_version();
    let part = Part::of(place, &api_version);
    let configuration = Configuration { object: applied, force: options.force };
    let applied = with_manager(writing, (place, &part), options, |manager| {
        manage::apply(part.of, live, configuration, manager)
    })?;
    let text = applied.object.to_string();
    let decoded = body::decode(text.as_bytes(), "application/json", &part.expected(), Strictness::Ignore);
    let (new, _) = decoded.map_err(|error| Status::bad_request(error.to_string()))?;
    Ok((new, applied))
}

/// A configuration for one object must not make another.
fn check_uid(place: &Place, live: Option<&Value>, applied: &Value) -> Result<(), Status> {
    let uid = applied["metadata"]["uid"].as_str().unwrap_or_default();
    if live.is_some() || uid.is_empty() {
        return Ok(());
    }
    let why =
        format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
    Err(Status::conflict(place.kind, &place.name, &why))
}

/// The scale of an object, with those owners who own what it has.
pub(crate) fn scale_of(kind: &Kind, object: &Value) -> Value {
    let mut scale = scale::scale_of(object);
    let owners = manage::scale::of_object(&object["metadata"]["managedFields"], &kind.api_version());
    if !owners.is_null() {
        scale["metadata"]["managedFields"] = owners;
    }
    scale
}

/// Gives an object the scale that was written, and its owners.
pub(crate) fn rescale(place: &Place, old: &Value, scale: &Value) -> Result<Value, Status> {
    let mut new = old.clone();
    scale::apply_scale(&mut new, scale, place.kind)?;
    let (was, is) = (&old["metadata"]["managedFields"], &scale["metadata"]["managedFields"]);
    let owners = manage::scale::to_object(was, is, &place.kind.api_version());
    new["metadata"]["managedFields"] = if owners.is_null() { json!([]) } else { owners };
    Ok(new)
}
