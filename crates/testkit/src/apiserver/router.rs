//! From a request to its answer.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::Answer;
use super::connection::Connection;
use super::discovery::{self, Meta};
use super::encode::Form;
use super::fault::{Fault, Verb};
use super::listing;
use super::request::{Request, Target};
use super::resource::{Location, Resource};
use super::selector::Selector;
use super::shared::Shared;
use super::status::Refusal;
use super::store::Write;
use super::watching::Watch;

/// How many frames of a watch wait for a slow client.
const WATCH_BACKLOG: usize = 64;

/// Answers one request; an error breaks the connection off.
pub(super) async fn answer(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: http::Request<Incoming>,
) -> io::Result<Response<Answer>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes().to_vec();
    let request = Request::new(&parts, body);
    shared.records().push(request.record.clone());
    let (resource, verb) = request.class();
    let fault = shared.pick_fault(resource, verb);
    match &fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Reset) => {
            connection.reset_on_close();
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Some(Fault::Answer { code, content_type, body }) => {
            let code = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(response(code, content_type, Answer::complete(body.clone())));
        }
        Some(
            Fault::HangAfter(_)
            | Fault::ResetAfter(_)
            | Fault::EndAfter(_)
            | Fault::GarbageAfter(..)
            | Fault::Slow(_)
            | Fault::GoneEvent,
        )
        | None => {}
    }
    let gone = fault == Some(Fault::GoneEvent) && verb == Verb::Watch;
    let answer =
        dispatch(&shared, &request, gone).unwrap_or_else(|refusal| refused(&shared, &request, &refusal));
    Ok(answer.map(|body| body.with(fault.as_ref(), &connection)))
}

fn dispatch(shared: &Arc<Shared>, request: &Request, gone: bool) -> Result<Response<Answer>, Refusal> {
    let behaviour = shared.behaviour();
    let expected = behaviour.token.as_ref().map(|token| format!("Bearer {token}"));
    if expected.is_some_and(|expected| expected != request.record.authorization) {
        return Err(Refusal::new(401, "Unauthorized", "Unauthorized"));
    }
    let form = Form::negotiate(&request.record.accept, behaviour.protobuf).ok_or_else(|| {
        let message = "only the following media types are accepted: application/json, application/yaml, \
                       application/vnd.kubernetes.protobuf";
        Refusal::new(406, "NotAcceptable", message)
    })?;
    let is_served = |resource: Resource| resource != Resource::ServiceCidrs || behaviour.service_cidrs;
    match request.target()? {
        Target::Meta(path) => {
            let served: Vec<Resource> = Resource::ALL.into_iter().filter(|r| is_served(*r)).collect();
            match discovery::meta(&path, &served).ok_or_else(Refusal::no_such_path)? {
                Meta::Text(text) => Ok(response(StatusCode::OK, "text/plain", Answer::complete(text))),
                Meta::Object(object) => Ok(object_response(Form::Json, StatusCode::OK, &object)),
            }
        }
        Target::Collection(resource, _) if !is_served(resource) => Err(Refusal::no_such_path()),
        Target::Object { location, .. } if !is_served(location.resource) => Err(Refusal::no_such_path()),
        Target::Collection(resource, namespace) if request.method == Method::POST => {
            create(shared, request, (resource, &namespace), form)
        }
        Target::Collection(resource, namespace) if request.method == Method::GET => {
            let selector = selector(request, resource, &namespace, behaviour.service_fields)?;
            if request.is_set("watch") {
                let watch = Watch::accept(shared, resource, selector, (request, form))?;
                return Ok(watch_response(watch, form, gone));
            }
            let page =
                shared.with_store(|store| listing::page(store, resource, &selector, (request, form)))?;
            Ok(response(StatusCode::OK, &form.content_type(false), Answer::complete(page)))
        }
        Target::Object { location, status } => object_request(shared, request, (&location, status), form),
        Target::Collection(..) => {
            Err(Refusal::new(405, "MethodNotAllowed", "the method is not allowed here"))
        }
    }
}

fn selector(
    request: &Request,
    resource: Resource,
    namespace: &str,
    service_fields: bool,
) -> Result<Selector, Refusal> {
    let fields = request.parameter("fieldSelector");
    if fields.contains("spec.") && !(resource == Resource::Services && service_fields) {
        return Err(Refusal::bad_request("field label not supported: spec.clusterIP"));
    }
    let selector = Selector::parse(request.parameter("labelSelector"), fields)?;
    Ok(if namespace.is_empty() { selector } else { selector.within(namespace) })
}

fn watch_response(watch: Watch, form: Form, gone: bool) -> Response<Answer> {
    let (sender, pieces) = mpsc::channel(WATCH_BACKLOG);
    tokio::spawn(watch.run(gone, sender));
    response(StatusCode::OK, &form.content_type(true), Answer::stream(pieces))
}

fn create(
    shared: &Shared,
    request: &Request,
    (resource, namespace): (Resource, &str),
    form: Form,
) -> Result<Response<Answer>, Refusal> {
    let mut object = request.json_body()?;
    object["kind"] = json!(resource.kind());
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    let location = Location::of(&object).map_err(Refusal::bad_request)?;
    let stored = shared.with_store(|store| store.create(&location, object))?;
    Ok(object_response(form, StatusCode::CREATED, &stored))
}

fn object_request(
    shared: &Shared,
    request: &Request,
    (location, status): (&Location, bool),
    form: Form,
) -> Result<Response<Answer>, Refusal> {
    let write = if status { Write::OnlyStatus } else { Write::KeepStatus };
    let stored = match request.method {
        Method::GET => {
            shared.with_store(|store| store.get(location)).ok_or_else(|| Refusal::not_found(location))?
        }
        Method::PUT => {
            let object = request.json_body()?;
            shared.with_store(|store| store.put(location, object, write))?
        }
        Method::PATCH => {
            // Strategic merge needs the schema of lists; a client that insists on it is told so.
            if !request.content_type.starts_with("application/merge-patch+json") {
                let message = "this test server knows application/merge-patch+json only";
                return Err(Refusal::new(415, "UnsupportedMediaType", message));
            }
            let patch = request.json_body()?;
            shared.with_store(|store| merge(store, location, &patch, write))?
        }
        Method::DELETE if !status => shared.with_store(|store| store.delete(location))?,
        _ => return Err(Refusal::new(405, "MethodNotAllowed", "the method is not allowed here")),
    };
    Ok(object_response(form, StatusCode::OK, &stored))
}

/// Applies a merge patch (RFC 7396) to a stored object.
pub(super) fn merge(
    store: &mut super::store::Store,
    location: &Location,
    patch: &Value,
    write: Write,
) -> Result<Arc<Value>, Refusal> {
    let current = store.get(location).ok_or_else(|| Refusal::not_found(location))?;
    let mut object = Value::clone(&current);
    merge_value(&mut object, patch);
    store.put(location, object, write)
}

fn merge_value(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_value(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn refused(shared: &Shared, request: &Request, refusal: &Refusal) -> Response<Answer> {
    let form = Form::negotiate(&request.record.accept, shared.behaviour().protobuf).unwrap_or(Form::Json);
    let code = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    object_response(form, code, &refusal.to_object())
}

fn object_response(form: Form, code: StatusCode, object: &Value) -> Response<Answer> {
    let body: Bytes = form.object(object);
    response(code, &form.content_type(false), Answer::complete(body))
}

fn response(code: StatusCode, content_type: &str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    if let Ok(value) = content_type.parse()
        && !content_type.is_empty()
    {
        response.headers_mut().insert(http::header::CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_patch_follows_the_rfc() {
        let check = |target: Value, patch: Value, expected: Value| {
            let mut merged = target;
            merge_value(&mut merged, &patch);
            assert_eq!(merged, expected);
        };
        check(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
        check(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
        check(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
        check(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}));
        check(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    }
}
