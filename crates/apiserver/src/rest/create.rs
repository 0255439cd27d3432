//! Create.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::body;
use crate::kinds::{Kind, Scope};
use crate::meta;
use crate::mistake;
use crate::names;
use crate::rest::managers;
use crate::rest::{Place, Rest, WriteOptions, Written};
use crate::status::Status;
use crate::writing::Writing;

/// How often another name is tried when a generated one is taken.
const TRIES: usize = 8;
/// The most bytes of an object: as many as etcd takes in a request (its `--max-request-bytes`).
const LARGEST: usize = 1536 * 1024;

impl Rest {
    /// Creates an object, as it was decoded.
    pub async fn create(
        &self,
        place: Place,
        object: Value,
        options: WriteOptions,
    ) -> Result<Written, Status> {
        self.write(options.is_dry_run, move |writing| create(writing, &place, object, &options)).await
    }
}

/// Creates an object in a transaction.
pub(crate) fn create(
    writing: &mut Writing<'_>,
    place: &Place,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Written, Status> {
    check_place(place, &mut object)?;
    (place.kind.rules.defaults)(&mut object);
    managers::record(writing, place, options, (None, &mut object));
    finish(writing, place, object)
}

/// Creates an object that is defaulted and whose managers are recorded.
pub(crate) fn finish(writing: &mut Writing<'_>, place: &Place, mut object: Value) -> Result<Written, Status> {
    let (kind, rules) = (place.kind, &place.kind.rules);
    check_namespace(writing, place, &object)?;
    let has_revision = !object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty();
    fill_in(writing, place, &mut object);
    (rules.begin)(writing, &mut object, None)?;
    (rules.prepare)(&mut object);
    body::canonical(&mut object, kind.of_type());
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut mistakes = meta::check(&object, kind, rules.name);
    mistakes.extend((rules.validate)(&object));
    if !mistakes.is_empty() {
        return Err(mistake::refuse(kind, &name, &mistakes));
    }
    let mistakes = meta::check(&object, kind, names::path_segment);
    if !mistakes.is_empty() {
        return Err(mistake::refuse(kind, &name, &mistakes));
    }
    if has_revision {
        // Kubernetes takes the blame (500); it is the client's.
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    if writing.has(kind.table, &kind.key(&object)) {
        return Err(Status::already_exists(kind, &name));
    }
    let warnings = (rules.warnings)(&object, None);
    Ok(Written { code: 201, object: put(writing, kind, object)?, warnings })
}

/// Writes an object that a client changed, and answers its text; or refuses it for its size.
///
/// What is only marked or freed by the server goes through [`store`]: what became too large must be able to go.
pub(crate) fn put(writing: &mut Writing<'_>, kind: &Kind, object: Value) -> Result<Bytes, Status> {
    let text = store(writing, kind, object);
    check_size(kind, &text)?;
    Ok(text)
}

/// Refuses what Kubernetes could not store. It has objects in protobuf, which nearly always takes less than JSON.
fn check_size(kind: &Kind, text: &[u8]) -> Result<(), Status> {
    if text.len() <= LARGEST {
        return Ok(());
    }
    let mut message = Vec::with_capacity(text.len());
    body::protobuf::put_text(&mut message, text, kind.of_type());
    if message.len() > LARGEST { Err(Status::object_too_large(message.len(), LARGEST)) } else { Ok(()) }
}

/// Writes an object and answers its text.
pub(crate) fn store(writing: &mut Writing<'_>, kind: &Kind, mut object: Value) -> Bytes {
    if writing.is_dry_run {
        return body::text(&object, kind.of_type()).into();
    }
    let stored = writing.put_object(kind, &mut object);
    if kind.rules.conversion.is_none() { stored } else { body::text(&object, kind.of_type()).into() }
}

/// The namespace of an object is that of the path.
pub(crate) fn check_place(place: &Place, object: &mut Value) -> Result<(), Status> {
    let given = object["metadata"]["namespace"].as_str().unwrap_or_default();
    if given.is_empty() || given == place.namespace {
        if place.kind.scope == Scope::Namespaced {
            object["metadata"]["namespace"] = place.namespace.as_str().into();
        }
        return Ok(());
    }
    match place.kind.scope {
        Scope::Namespaced => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        Scope::Cluster => {
            if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove("namespace");
            }
            Ok(())
        }
    }
}

/// New objects need a namespace that is there and stays.
fn check_namespace(writing: &Writing<'_>, place: &Place, object: &Value) -> Result<(), Status> {
    if place.kind.scope == Scope::Cluster {
        return Ok(());
    }
    let kind = Kind::find("", "v1", "namespaces").expect("namespaces are served");
    let namespace = writing.object(kind, &place.namespace);
    let namespace = namespace.ok_or_else(|| Status::not_found(kind, &place.namespace))?;
    if !namespace["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let why = format!(
        "unable to create new content in namespace {} because it is being terminated",
        place.namespace
    );
    let mut status = Status::forbidden(place.kind, name, &why);
    if let Some(details) = &mut status.details {
        let cause = json!({"reason": "NamespaceTerminating", "field": "metadata.namespace",
                           "message": format!("namespace {} is being terminated", place.namespace)});
        details.insert("causes".to_owned(), json!([cause]));
    }
    Err(status)
}

/// Fills in what the server says about an object.
fn fill_in(writing: &mut Writing<'_>, place: &Place, object: &mut Value) {
    let (uid, time) = (writing.chance.uid(), managers::time(writing));
    let meta = &mut object["metadata"];
    meta["uid"] = uid.into();
    meta["creationTimestamp"] = time.into();
    if let Some(meta) = meta.as_object_mut() {
        for field in ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            meta.remove(field);
        }
    }
    let text = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
    let (name, prefix) = (text("name"), text("generateName"));
    if !name.is_empty() || prefix.is_empty() {
        return;
    }
    // The end must fit behind the longest prefix.
    let mut end = prefix.len().min(58);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = String::new();
    for _ in 0..TRIES {
        name = format!("{}{}", &prefix[..end], writing.chance.suffix());
        if !writing.has(place.kind.table, &place.kind.key_of(&place.namespace, &name)) {
            break;
        }
    }
    object["metadata"]["name"] = name.into();
}
