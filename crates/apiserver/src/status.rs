//! Refusals: the Status that a client gets instead of what it asked for, in Kubernetes' words.

use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status code.
    pub code: u16,
    /// The reason that programs go by; empty for none.
    pub reason: &'static str,
    /// What people read.
    pub message: String,
    /// What it is about; `None` for none.
    pub details: Option<Map<String, Value>>,
    /// Where an expired list can go on.
    pub continue_at: Option<String>,
}

/// One of several reasons, about one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCause {
    /// The kind of reason, such as `FieldValueInvalid`.
    pub reason: String,
    /// What people read.
    pub message: String,
    /// The path of the field.
    pub field: String,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None, continue_at: None }
    }

    pub(crate) fn about(mut self, details: Value) -> Self {
        self.details = Some(match details {
            Value::Object(details) => details,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Map::new()
            }
        });
        self
    }

    /// The request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// There is no such path.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").about(json!({}))
    }

    /// There is no such object.
    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource(kind));
        Self::new(404, "NotFound", message).about(object(kind, name))
    }

    /// There is one already.
    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource(kind));
        Self::new(409, "AlreadyExists", message).about(object(kind, name))
    }

    /// It is another one than the client believes.
    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource(kind));
        Self::new(409, "Conflict", message).about(object(kind, name))
    }

    /// The same in the words that name the kind instead of its place.
    pub fn conflict_of_kind(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.kind);
        Self::new(409, "Conflict", message).about(json!({"name": name, "kind": kind.kind}))
    }

    /// It was changed since the client read it.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// Its fields are wrong. `message` lists the causes.
    pub fn invalid(kind: &Kind, name: &str, message: impl Into<String>, causes: &[StatusCause]) -> Self {
        Self::invalid_as((kind.group, kind.kind), name, message, causes)
    }

    /// The fields of something of a group and kind are wrong. `message` lists the causes.
    pub fn invalid_as(
        (group, kind): (&str, &str),
        name: &str,
        message: impl Into<String>,
        causes: &[StatusCause],
    ) -> Self {
        let cause = |cause: &StatusCause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field});
        let mut details = Map::new();
        let texts = [("name", name), ("group", group), ("kind", kind)];
        details.extend(
            texts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(k, v)| (k.to_owned(), v.into())),
        );
        if !causes.is_empty() {
            details.insert("causes".to_owned(), causes.iter().map(cause).collect());
        }
        Self::new(422, "Invalid", message).about(Value::Object(details))
    }

    /// The client may not do that.
    pub fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource(kind));
        Self::new(403, "Forbidden", message).about(object(kind, name))
    }

    /// The client is nobody.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// The path knows other methods.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).about(json!({}))
    }

    /// The body is in no form that is understood.
    pub fn unsupported_media_type() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types include: \
                       application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The history from which to go on is forgotten. `what`: `list` or `watch`.
    pub fn expired(what: &str) -> Self {
        Self::new(410, "Expired", format!("The resourceVersion for the provided {what} is too old."))
    }

    /// The revision is yet to come.
    pub fn too_new(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let causes = [json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"})];
        Self::new(504, "Timeout", message).about(json!({"causes": causes, "retryAfterSeconds": 1}))
    }

    /// The body is larger than any object may be.
    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message).about(json!({}))
    }

    /// The object is larger than any object may be.
    pub fn object_too_large(size: usize, limit: usize) -> Self {
        let message =
            format!("Request entity too large: the object would have {size} bytes, limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message).about(json!({}))
    }

    /// The client, or somebody behind the server, was too slow.
    pub fn timed_out(why: &str) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {why}")).about(json!({}))
    }

    /// The server has enough to do.
    pub fn too_many_requests() -> Self {
        let message = "Too many requests, please try again later.";
        Self::new(429, "TooManyRequests", message).about(json!({"retryAfterSeconds": 1}))
    }

    /// It is the server's own fault.
    pub fn internal(why: &str) -> Self {
        let causes = [json!({"message": why})];
        let message = format!("Internal error occurred: {why}");
        Self::new(500, "InternalError", message).about(json!({"causes": causes}))
    }

    /// Somebody behind the server refused. `said`: what came with that; `what`: a part, such as `pods/log`, and its object.
    pub(crate) fn of_other(code: u16, said: &str, (what, name): (&str, &str)) -> Self {
        let of_nothing =
            format!("the server responded with the status code {code} but did not return more information");
        let (reason, message) = match code {
            400 => return Self::bad_request(said),
            500 => return Self::internal(said),
            401 => ("Unauthorized", "the server has asked for the client to provide credentials"),
            403 => ("Forbidden", said),
            404 => ("NotFound", "the server could not find the requested resource"),
            405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
            409 => ("Conflict", "the server reported a conflict"),
            422 => ("Invalid", "the server rejected our request due to an error in our request"),
            429 => (
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            ),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => (
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            code if code > 500 => {
                let said = crate::body::quoted(said);
                let message =
                    format!("an error on the server ({said}) has prevented the request from succeeding");
                return Self::new(code, "InternalError", format!("{message} ( {what} {name})"))
                    .about(json!({"name": name, "kind": what}));
            }
            _ => ("", of_nothing.as_str()),
        };
        Self::new(code, reason, format!("{message} ( {what} {name})"))
            .about(json!({"name": name, "kind": what}))
    }

    /// Answers after how many seconds the client shall try again.
    pub fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// Answers the body.
    pub fn json(&self) -> Value {
        let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                              "message": self.message, "code": self.code});
        if !self.reason.is_empty() {
            body["reason"] = self.reason.into();
        }
        if let Some(continue_at) = &self.continue_at {
            body["metadata"] = json!({"continue": continue_at});
        }
        if let Some(details) = &self.details {
            body["details"] = Value::Object(details.clone());
        }
        body
    }
}

/// `services`, `ipaddresses.networking.k8s.io`.
fn resource(kind: &Kind) -> String {
    let kind = kind.stored();
    if kind.group.is_empty() { kind.plural.to_owned() } else { format!("{}.{}", kind.plural, kind.group) }
}

fn object(kind: &Kind, name: &str) -> Value {
    let kind = kind.stored();
    let mut details = json!({"name": name, "kind": kind.plural});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are Kubernetes' own, as recorded from its API server.
    #[test]
    fn refusals_are_kubernetes_own() {
        let kind = |group: &str, plural: &str| Kind::find(group, "v1", plural).expect("it is served");
        let check = |status: Status, wanted: Value| {
            let mut body = status.json();
            for known in ["kind", "apiVersion", "metadata", "status"] {
                body.as_object_mut().expect("an object").remove(known);
            }
            assert_eq!(body, wanted);
        };
        check(
            Status::not_found(kind("networking.k8s.io", "ipaddresses"), "10.96.0.37"),
            json!({"message": "ipaddresses.networking.k8s.io \"10.96.0.37\" not found", "reason": "NotFound", "code": 404,
                   "details": {"name": "10.96.0.37", "group": "networking.k8s.io", "kind": "ipaddresses"}}),
        );
        assert_eq!(Status::not_found(kind("events.k8s.io", "events"), "e").message, "events \"e\" not found");
        check(
            Status::already_exists(kind("", "namespaces"), "n-twice"),
            json!({"message": "namespaces \"n-twice\" already exists", "reason": "AlreadyExists", "code": 409,
                   "details": {"name": "n-twice", "kind": "namespaces"}}),
        );
        check(
            Status::too_new(9_999_999_999, 7),
            json!({"message": "Timeout: Too large resource version: 9999999999, current: 7", "reason": "Timeout", "code": 504,
                   "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                               "retryAfterSeconds": 1}}),
        );
        assert_eq!(Status::too_new(2, 1).retry_after(), Some(1));
        check(
            Status::no_such_path(),
            json!({"message": "the server could not find the requested resource", "reason": "NotFound", "code": 404, "details": {}}),
        );
        check(
            Status::expired("list"),
            json!({"message": "The resourceVersion for the provided list is too old.", "reason": "Expired", "code": 410}),
        );
        let cause = StatusCause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: "spec.parentRef.name".into(),
        };
        let invalid = Status::invalid(
            kind("", "services"),
            "a",
            "Service \"a\" is invalid: spec.x: Required value",
            &[cause],
        );
        assert_eq!(invalid.json()["details"]["causes"][0]["field"], "spec.parentRef.name");
        assert_eq!(invalid.json()["details"]["kind"], "Service");
    }
}
