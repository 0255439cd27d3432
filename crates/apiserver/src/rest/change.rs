//! Update and patch, of objects and of their parts.

use bytes::Bytes;
use serde_json::Value;

use crate::body::{self, Strictness};
use crate::kinds::Does;
use crate::meta;
use crate::mistake::{self, Mistake, Path};
use crate::patch::{self, PatchError};
use crate::rest::create::{self, check_place};
use crate::rest::managers::{self, Part};
use crate::rest::{self, Place, Rest, WriteOptions, Written};
use crate::status::Status;
use crate::writing::Writing;

/// How an object shall change.
#[derive(Debug, Clone)]
pub enum Change {
    /// To this one, as it was decoded.
    Put(Value),
    /// As a patch says.
    Patch(patch::Kind, Bytes),
    /// So that it is as applied.
    Apply(Value),
}

impl Rest {
    /// Changes an object, or a part of it.
    pub async fn change(
        &self,
        place: Place,
        change: Change,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        self.write(options.is_dry_run, move |writing| {
            let changing = Changing { place: &place, options: &options };
            changing.carry_out(writing, change)
        })
        .await
    }
}

/// A change while it is carried out.
struct Changing<'a> {
    place: &'a Place,
    options: &'a WriteOptions,
}

impl Changing<'_> {
    fn carry_out(&self, writing: &mut Writing<'_>, change: Change) -> Result<Written, Status> {
        let place = self.place;
        let Some(old) = writing.read(place.kind, &place.key())? else {
            return self.create(writing, change);
        };
        if matches!(place.does(), Some(Does::Scale)) {
            return self.scale(writing, &old, change);
        }
        let mut warnings = Vec::new();
        let is_put = matches!(change, Change::Put(_));
        let new = match change {
            Change::Put(new) => new,
            Change::Patch(kind, patch) => self.patched(&old, (kind, &patch), &mut warnings)?,
            Change::Apply(applied) => {
                return managers::apply(writing, place, self.options, (Some(&old), applied));
            }
        };
        if is_put {
            self.check_uid(&old, &new)?;
        }
        let mut written = self.update(writing, &old, new)?;
        written.warnings.splice(0..0, warnings);
        Ok(written)
    }

    /// A scale is changed like an object, and its object gets it then. What is answered is the scale.
    fn scale(&self, writing: &mut Writing<'_>, old: &Value, change: Change) -> Result<Written, Status> {
        let place = self.place;
        let live = managers::scale_of(place.kind, old);
        let mut warnings = Vec::new();
        let is_apply = matches!(change, Change::Apply(_));
        let mut new = match change {
            Change::Put(new) => new,
            Change::Patch(kind, patch) => self.patched(&live, (kind, &patch), &mut warnings)?,
            Change::Apply(applied) => {
                let applied = managers::laid_over(writing, place, self.options, (Some(&live), &applied))?;
                let (mut new, finish) = applied;
                finish.finish(&mut new, Some(&live));
                new
            }
        };
        check_place(place, &mut new)?;
        check_name(place, &new)?;
        if !is_apply {
            managers::record(writing, place, self.options, (Some(&live), &mut new));
        }
        let mut object = managers::rescale(place, old, &new)?;
        check_revision(place, old, &mut object)?;
        let mut written = finish(writing, place, old, object)?;
        let scale = crate::scale::scale_of(&rest::object(&written.object));
        written.object = body::text(&scale, crate::scale::KIND.of_type()).into();
        written.warnings.splice(0..0, warnings);
        Ok(written)
    }

    /// What is not there can be created by some ways to change it.
    fn create(&self, writing: &mut Writing<'_>, change: Change) -> Result<Written, Status> {
        let place = self.place;
        match change {
            Change::Put(mut object) if place.kind.rules.is_created_by_update && place.part.is_empty() => {
                self.may_create()?;
                check_name(place, &object)?;
                if let Some(meta) = object["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                }
                create::create(writing, place, object, self.options)
            }
            Change::Apply(applied) if place.part.is_empty() => {
                self.may_create()?;
                managers::apply(writing, place, self.options, (None, applied))
            }
            Change::Put(_) | Change::Patch(..) | Change::Apply(_) => Err(place.not_found()),
        }
    }

    fn may_create(&self) -> Result<(), Status> {
        self.options.create_refusal.as_ref().map_or(Ok(()), |status| Err((**status).clone()))
    }

    fn patched(
        &self,
        old: &Value,
        (kind, patch): (patch::Kind, &[u8]),
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let api_version = self.place.kind.api_version();
        let part = Part::of(self.place, &api_version);
        let patched = patch::apply(kind, patch, old, part.of).map_err(|error| refuse_patch(&error))?;
        let expected = part.expected();
        let unknown: Vec<String> = patch::unknown_fields(kind, patch)
            .into_iter()
            .map(|field| format!("json patch unknown field {}", body::quoted(&field)))
            .collect();
        let text = patched.to_string();
        let decoded = body::decode(text.as_bytes(), "application/json", &expected, self.options.strictness);
        let wrong = |why: String| refuse_patch(&PatchError::invalid(kind, patch, &patched, why));
        const STRICT: &str = "strict decoding error: ";
        match decoded {
            Ok((object, remarks)) => {
                if self.options.strictness == Strictness::Strict && !unknown.is_empty() {
                    return Err(wrong(format!("{STRICT}{}", unknown.join(", "))));
                }
                if self.options.strictness == Strictness::Warn {
                    warnings.extend(unknown);
                }
                warnings.extend(remarks.into_iter().map(|remark| remark.0));
                Ok(object)
            }
            Err(error) => {
                let reason = error.reason();
                let rest = reason.strip_prefix(STRICT).filter(|_| !unknown.is_empty());
                Err(wrong(match rest {
                    Some(rest) => format!("{STRICT}{}, {rest}", unknown.join(", ")),
                    None => reason,
                }))
            }
        }
    }

    fn update(&self, writing: &mut Writing<'_>, old: &Value, mut new: Value) -> Result<Written, Status> {
        let place = self.place;
        check_place(place, &mut new)?;
        check_name(place, &new)?;
        (place.kind.rules.defaults)(&mut new);
        check_revision(place, old, &mut new)?;
        managers::record(writing, place, self.options, (Some(old), &mut new));
        finish(writing, place, old, new)
    }

    /// An update may say which object it means.
    fn check_uid(&self, old: &Value, new: &Value) -> Result<(), Status> {
        let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let (given, known) = (uid(new), uid(old));
        if given.is_empty() || given == known {
            return Ok(());
        }
        let (kind, key) = (self.place.kind, self.place.key());
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{key}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {given}, UID in object meta: {known}",
            kind.plural
        );
        Err(Status::conflict(kind, &self.place.name, &why))
    }
}

/// The name of an object is that of the path.
pub(crate) fn check_name(place: &Place, object: &Value) -> Result<(), Status> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let wanted = &place.name;
    if name.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != wanted {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    Ok(())
}

/// An update may say which version of the object it means, and of some kinds must.
pub(crate) fn check_revision(place: &Place, old: &Value, new: &mut Value) -> Result<(), Status> {
    let kind = place.kind;
    let given = new["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    let known = &old["metadata"]["resourceVersion"];
    let path = Path::new("metadata").child("resourceVersion");
    if given.is_empty() || given == "0" {
        if !kind.rules.is_updated_unconditionally {
            let mistake = Mistake::invalid(&path, 0, "must be specified for an update");
            return Err(mistake::refuse_as(kind.group, kind.plural, &place.name, &[mistake]));
        }
        new["metadata"]["resourceVersion"] = known.clone();
        return Ok(());
    }
    if given.parse::<u64>().is_err() {
        let why = format!("strconv.ParseUint: parsing {}: invalid syntax", body::quoted(given));
        return Err(mistake::refuse(kind, &place.name, &[Mistake::invalid(&path, given, why)]));
    }
    if *known != given { Err(Status::modified(kind, &place.name)) } else { Ok(()) }
}

/// Updates an object that is defaulted and whose managers are recorded, by the rules of its kind.
pub(crate) fn finish(
    writing: &mut Writing<'_>,
    place: &Place,
    old: &Value,
    mut new: Value,
) -> Result<Written, Status> {
    let (kind, rules) = (place.kind, &place.kind.rules);
    let does = place.does();
    let prepare = match does {
        Some(Does::Status) => rules.prepare_status,
        Some(Does::Some { prepare, .. }) => prepare,
        None | Some(Does::Scale | Does::Act(_) | Does::Token | Does::Connect(_)) => {
            (rules.begin)(writing, &mut new, Some(old))?;
            rules.prepare_update
        }
    };
    keep_system_fields(&mut new, old);
    prepare(&mut new, old);
    body::canonical(&mut new, kind.of_type());
    let mut mistakes = meta::check_update(&new, old);
    // The rules of nearly every kind check it once more, and each mistake is listed as often.
    mistakes.extend(mistakes.clone());
    mistakes.extend(meta::finalizers(&new, kind));
    mistakes.extend(match does {
        Some(Does::Status) => (rules.validate_status)(&new, old),
        Some(Does::Some { validate, .. }) => validate(&new),
        None | Some(Does::Scale | Does::Act(_) | Does::Token | Does::Connect(_)) => {
            (rules.validate_update)(&new, old)
        }
    });
    if !mistakes.is_empty() {
        return Err(mistake::refuse(kind, &place.name, &mistakes));
    }
    let warnings = (rules.warnings)(&new, Some(old));
    if (rules.is_finished)(&new) {
        let object = body::text(&new, kind.of_type()).into();
        super::delete::remove(writing, kind, &new);
        return Ok(Written { code: 200, object, warnings });
    }
    if new == *old {
        let object = body::text(old, kind.of_type()).into();
        return Ok(Written { code: 200, object, warnings });
    }
    Ok(Written { code: 200, object: create::put(writing, kind, new)?, warnings })
}

/// What an update cannot change without a word.
fn keep_system_fields(new: &mut Value, old: &Value) {
    let (new, old) = (&mut new["metadata"], &old["metadata"]);
    for field in ["generation", "creationTimestamp"] {
        match &old[field] {
            Value::Null => drop(new.as_object_mut().and_then(|meta| meta.remove(field))),
            known @ (Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_)) => {
                new[field] = known.clone();
            }
        }
    }
    if let Some(meta) = new.as_object_mut() {
        meta.remove("selfLink");
    }
    if new["uid"].as_str().unwrap_or_default().is_empty() {
        new["uid"] = old["uid"].clone();
    }
    if old["deletionTimestamp"].is_string() {
        new["deletionTimestamp"] = old["deletionTimestamp"].clone();
    }
    if old["deletionGracePeriodSeconds"].is_number() && !new["deletionGracePeriodSeconds"].is_number() {
        new["deletionGracePeriodSeconds"] = old["deletionGracePeriodSeconds"].clone();
    }
}

pub(crate) fn refuse_patch(error: &PatchError) -> Status {
    let mut status = Status::new(error.code(), error.reason().unwrap_or_default(), error.to_string());
    status.details = error.details().and_then(|details| details.as_object().cloned());
    status
}
