//! Parts of objects that have paths of their own: what is shown of them, sent to them, and created there.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::body;
use crate::kinds::{Acted, Does, Kind};
use crate::rest::{self, Place, Rest, WriteOptions, create, delete};
use crate::scale;
use crate::schema::{Schema, TypeId};
use crate::status::Status;

/// What a GET of a part shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// The object.
    Object,
    /// Something else, of this kind.
    Part(&'static Kind, Bytes),
}

/// Answers what a GET of a place shows, whose object is this.
pub fn shown(place: &Place, text: &Bytes) -> Shown {
    match place.does() {
        Some(Does::Scale) => {
            let scale = scale::scale_of(&rest::object(text));
            Shown::Part(&scale::KIND, body::text(&scale, scale::KIND.of_type()).into())
        }
        None | Some(Does::Status | Does::Some { .. } | Does::Act(_) | Does::Token | Does::Connect(_)) => {
            Shown::Object
        }
    }
}

/// Answers group and version, kind and type of what a PUT of a place has.
pub fn expected(place: &Place) -> (String, &'static str, TypeId) {
    match place.subresource().and_then(|part| part.kind) {
        Some((group, version, kind)) => {
            let is_core = group.is_empty();
            let package = if is_core { "core" } else { group.split('.').next().unwrap_or(group) };
            let of = Schema::get().find(&format!("{package}.{version}.{kind}"));
            let api_version = if is_core { version.to_owned() } else { format!("{group}/{version}") };
            (api_version, kind, of.expect("a test looks up the type of every part"))
        }
        None => (place.kind.api_version(), place.kind.kind, place.kind.of_type()),
    }
}

impl Rest {
    /// Creates something at a part of an object, to which it happens. Answers what a client gets for that.
    pub async fn act(&self, place: Place, mut given: Value, options: WriteOptions) -> Result<Value, Status> {
        let Some(Does::Act(act)) = place.does() else { return Err(Status::method_not_allowed()) };
        create::check_place(&place, &mut given)?;
        self.write(options.is_dry_run, move |writing| {
            let kind = place.kind;
            let mut object = writing.read(kind, &place.key())?.ok_or_else(|| place.not_found())?;
            match act(writing, &mut object, &given)? {
                Acted::Changed => drop(create::put(writing, kind, object)?),
                // Which of the two asked for a dry run does not matter.
                Acted::Delete(options) if options.is_dry_run => {}
                Acted::Delete(options) => drop(delete::delete(writing, &place, &options)?),
            }
            Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
        })
        .await
    }
}
