//! Refusals, as the `Status` objects that Kubernetes answers with.

use std::fmt;

use serde_json::{Value, json};

use super::resource::Location;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason, such as `NotFound`.
    pub reason: String,
    /// The message for people.
    pub message: String,
}

impl Refusal {
    /// Makes a refusal.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(422, "Invalid", message)
    }

    pub(super) fn not_found(location: &Location) -> Self {
        let group = location.resource.group();
        let dot = if group.is_empty() { "" } else { "." };
        Self::new(404, "NotFound", format!("{}{dot}{group} {:?} not found", location.resource, location.name))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub(super) fn already_exists(location: &Location) -> Self {
        let message = format!("{} {:?} already exists", location.resource, location.name);
        Self::new(409, "AlreadyExists", message)
    }

    pub(super) fn conflict(location: &Location) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {:?}: the object has been modified; please apply your changes to \
             the latest version and try again",
            location.resource, location.name
        );
        Self::new(409, "Conflict", message)
    }

    pub(super) fn expired(what: &str) -> Self {
        Self::new(410, "Expired", format!("The resourceVersion for the provided {what} is too old."))
    }

    /// Answers the `Status` object.
    pub fn to_object(&self) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
               "reason": self.reason, "code": self.code})
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}
