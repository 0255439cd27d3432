//! Patches: JSON patch, JSON merge patch and strategic merge patch, as Kubernetes' API server applies them.
//!
//! What it does *not* do: server-side apply, defaults, and whether the patched object is valid. Of its types only those are
//! looked at that Kubernetes looks at while it patches strategically.

mod convert;
mod decode;
pub(crate) mod go;
mod json;
mod lists;
mod merge;
mod strategic;

use serde_json::{Value, json};

use crate::schema::TypeId;

/// How a patch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A list of operations (RFC 6902).
    Json,
    /// An object to be laid over the old one (RFC 7396).
    Merge,
    /// The same, knowing which lists are merged.
    Strategic,
}

/// Why there is no patched object. Its text is the message of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body is no patch of its kind: 400.
    #[error("{0}")]
    Malformed(String),
    /// There are more operations than Kubernetes takes: 413.
    #[error(
        "Request entity is too large: The allowed maximum operations in a JSON patch is {most}, got {given}"
    )]
    TooMany {
        /// How many it takes.
        most: usize,
        /// How many there are.
        given: usize,
    },
    /// The patch does not fit the object: 422. Kubernetes does not tell the client why; the reason here is for logs.
    #[error("the server rejected our request due to an error in our request")]
    Inapplicable(String),
    /// The patched object is none of its type: 422.
    #[error(" \"\" is invalid: patch: {}", cause(value, why))]
    Invalid {
        /// The patch as Go prints it (strategic), or the patched object as JSON.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// Kubernetes calls it its own fault: 500 without a reason, although it is the patch's.
    #[error("{0}")]
    Internal(String),
}

impl Kind {
    /// Answers the kind that a content type names; parameters such as `charset` are passed over.
    pub fn of_content_type(text: &str) -> Option<Self> {
        match text.split(';').next().unwrap_or(text).trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// Answers the patched object. It may have unknown fields and values of wrong types: whoever decodes it next answers
/// [`PatchError::invalid`].
pub fn apply(kind: Kind, patch: &[u8], object: &Value, of: TypeId) -> Result<Value, PatchError> {
    match kind {
        Kind::Json => json::apply(patch, object),
        Kind::Merge => merge::apply(patch, object),
        Kind::Strategic => strategic::apply(patch, object, of),
    }
}

/// Answers where in a JSON patch fields stand that no operation has, such as `[0].zzz`; other patches have the object's fields.
///
/// Kubernetes reports them as `json patch unknown field "[0].zzz"`, among those of the patched object.
pub fn unknown_fields(kind: Kind, patch: &[u8]) -> Vec<String> {
    match kind {
        Kind::Json => json::unknown_fields(patch),
        Kind::Merge | Kind::Strategic => Vec::new(),
    }
}

impl PatchError {
    /// Answers the error for a patched object that cannot be decoded, with what Kubernetes quotes of it.
    pub fn invalid(kind: Kind, patch: &[u8], patched: &Value, why: String) -> Self {
        let value = match kind {
            Kind::Json | Kind::Merge => patched.to_string(),
            Kind::Strategic => decode::json(patch).map(|patch| go::print(&patch)).unwrap_or_default(),
        };
        Self::Invalid { value, why }
    }

    /// Answers the HTTP status.
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed(_) => 400,
            Self::TooMany { .. } => 413,
            Self::Inapplicable(_) | Self::Invalid { .. } => 422,
            Self::Internal(_) => 500,
        }
    }

    /// Answers the `reason` of the Status, if it has one.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(_) => Some("BadRequest"),
            Self::TooMany { .. } => Some("RequestEntityTooLarge"),
            Self::Inapplicable(_) | Self::Invalid { .. } => Some("Invalid"),
            Self::Internal(_) => None,
        }
    }

    /// Answers the `details` of the Status, if it has any: they may be empty, and are with most 422.
    pub fn details(&self) -> Option<Value> {
        match self {
            Self::Malformed(_) | Self::TooMany { .. } | Self::Internal(_) => None,
            Self::Inapplicable(_) => Some(json!({})),
            Self::Invalid { value, why } => Some(json!({
                "causes": [{"reason": "FieldValueInvalid", "message": cause(value, why), "field": "patch"}]
            })),
        }
    }
}

fn cause(value: &str, why: &str) -> String {
    format!("Invalid value: {}: {why}", go::quote(value))
}
