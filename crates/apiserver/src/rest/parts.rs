//! Parts of objects that have paths of their own: status, scale, binding, log.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::body;
use crate::kinds::Kind;
use crate::kinds::pod::binding;
use crate::rest::{self, Place, Rest, WriteOptions, create};
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
    /// Nothing, and that is right.
    Nothing,
}

/// Answers what a GET of a place shows, whose object is this.
pub fn shown(place: &Place, text: &Bytes) -> Shown {
    match place.part.as_str() {
        "scale" => {
            let scale = scale::scale_of(&rest::object(text));
            Shown::Part(&scale::KIND, body::text(&scale, scale::KIND.of_type()).into())
        }
        // Nobody here runs Pods, so that none has said anything.
        "log" => Shown::Nothing,
        _ => Shown::Object,
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
    /// Gives a Pod to a node. Answers what a client gets for a Binding.
    pub async fn bind(
        &self,
        place: Place,
        mut binding: Value,
        options: WriteOptions,
    ) -> Result<Value, Status> {
        create::check_place(&place, &mut binding)?;
        self.write(options.is_dry_run, move |writing| {
            let kind = place.kind;
            let mut pod = writing.object(kind, &place.key()).ok_or_else(|| place.not_found())?;
            let nodes = Kind::find("", "v1", "nodes").expect("nodes are served");
            let node = writing.object(nodes, binding["target"]["name"].as_str().unwrap_or_default());
            binding::bind(&mut pod, &binding, node.as_ref(), writing.now)?;
            create::put(writing, kind, pod)?;
            Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
        })
        .await
    }
}
