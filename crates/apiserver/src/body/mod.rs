//! Bodies of requests and answers: JSON, YAML and protobuf to objects and back, by the [`schema`](crate::schema).
//!
//! Nothing here says whether an object is valid, and nothing fills in defaults.

mod base64;
mod canonical;
mod fit;
mod go;
mod json;
mod print;
pub mod protobuf;
mod quantity;
mod target;
#[cfg(test)]
mod tests;
pub mod time;
mod transcode;
mod words;
pub mod yaml;

use serde_json::{Map, Value};

pub use canonical::canonical;
use json::Node;
pub use print::{indented, put_document, text};
pub use target::Expected;
pub(crate) use words::quoted;

use crate::schema::TypeId;

/// What becomes of fields that do not exist or stand there twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// They are dropped without a word.
    Ignore,
    /// They are dropped with a warning.
    Warn,
    /// They are refused.
    Strict,
}

/// A field that does not exist or stands there twice, as the `Warning` header has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

/// In what language a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl MediaType {
    /// Reads the header `Content-Type`. Without one it is JSON; `None`: it is unknown, or the header is malformed.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_parameter = |part: &str| {
            part.split_once('=')
                .is_some_and(|(name, value)| !name.trim().is_empty() && !value.trim().is_empty())
        };
        // Go allows one semicolon with nothing behind it.
        let parameters: Vec<&str> = parts.collect();
        let last = parameters.len().saturating_sub(1);
        let is_well_formed =
            |(at, part): (usize, &&str)| is_parameter(part) || (at == last && part.is_empty());
        if !parameters.iter().enumerate().all(is_well_formed) {
            return None;
        }
        match media_type.as_str() {
            "" | "application/json" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// Why a body is no object. Displayed as Kubernetes words the message of its Status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// 415: nobody here speaks this language.
    #[error(
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf"
    )]
    MediaType,
    /// 400: it does not even say what it is.
    #[error("the object provided is unrecognized (must be of type {wanted}): {reason} ({summary})")]
    Unrecognized {
        /// The kind that belongs here.
        wanted: String,
        /// What is wrong.
        reason: String,
        /// How the body begins.
        summary: String,
    },
    /// 400: it says what it is, but that does not belong here, or it is malformed.
    #[error("{kind} in version {} cannot be handled as a {wanted}: {reason}", words::quoted(version))]
    Unfit {
        /// The kind that it says it is.
        kind: String,
        /// The version that it says it is.
        version: String,
        /// The kind that belongs here.
        wanted: String,
        /// What is wrong.
        reason: String,
    },
    /// 400: it is the same kind in another group.
    #[error("the API version in the data ({found}) does not match the expected API version ({wanted})")]
    Version {
        /// The group and version that it says it is.
        found: String,
        /// The group and version that belong here.
        wanted: String,
    },
}

impl BodyError {
    /// Answers the code of the Status: 415 or 400.
    pub fn code(&self) -> u16 {
        match self {
            Self::MediaType => 415,
            Self::Unrecognized { .. } | Self::Unfit { .. } | Self::Version { .. } => 400,
        }
    }

    /// Answers what is wrong without the words around it: what a DELETE answers about its options.
    pub fn reason(&self) -> String {
        match self {
            Self::Unrecognized { reason, .. } | Self::Unfit { reason, .. } => reason.clone(),
            Self::MediaType | Self::Version { .. } => self.to_string(),
        }
    }
}

/// Decodes the body of a request into an object in canonical form, with the `apiVersion` and `kind` that are expected.
///
/// An error says what Kubernetes says; warnings come with [`Strictness::Warn`] only.
pub fn decode(
    bytes: &[u8],
    content_type: &str,
    expected: &Expected<'_>,
    strictness: Strictness,
) -> Result<(Value, Vec<Warning>), BodyError> {
    match MediaType::parse(content_type).ok_or(BodyError::MediaType)? {
        MediaType::Json => {
            let tree = json::parse(bytes).map(Tree::from).map_err(|error| format!("{NO_KIND}{error}"));
            decode_text(bytes, tree, expected, strictness)
        }
        MediaType::Yaml => decode_text(bytes, yaml::parse(bytes), expected, strictness),
        MediaType::Protobuf => decode_protobuf(bytes, expected).map(|object| (object, Vec::new())),
    }
}

/// Before anything else is read, Kubernetes looks for these two.
const NO_KIND: &str = "couldn't get version/kind; json parse error: ";

/// A text that was read.
#[derive(Debug, PartialEq)]
pub(crate) struct Tree {
    node: Node,
    /// Keys that stand there twice, where the node does not show them.
    remarks: Vec<String>,
}

impl From<Node> for Tree {
    fn from(node: Node) -> Self {
        Self { node, remarks: Vec::new() }
    }
}

fn decode_text(
    bytes: &[u8],
    tree: Result<Tree, String>,
    expected: &Expected<'_>,
    strictness: Strictness,
) -> Result<(Value, Vec<Warning>), BodyError> {
    let unrecognized = |reason: String| expected.unrecognized(bytes, reason);
    let tree = tree.map_err(unrecognized)?;
    let (api_version, kind) = target::interpret(&tree.node).map_err(unrecognized)?;
    target::check_version(&api_version).map_err(unrecognized)?;
    let target = expected.target(&api_version, &kind)?;
    let fitted = fit::fit(tree.node, target.of).map_err(|reason| target.unfit(reason))?;
    target.check_convertible()?;
    let object = finished(fitted.fields, target.of, expected);
    let mut warnings = Vec::new();
    match strictness {
        Strictness::Ignore => {}
        Strictness::Warn => {
            warnings = tree.remarks.iter().chain(&fitted.remarks).cloned().map(Warning).collect()
        }
        Strictness::Strict => {
            let doubled = (!tree.remarks.is_empty())
                .then(|| format!("yaml: unmarshal errors:\n  {}", tree.remarks.join("\n  ")));
            let remarks: Vec<String> = doubled.into_iter().chain(fitted.remarks).collect();
            if !remarks.is_empty() {
                return Err(target.unfit(format!("strict decoding error: {}", remarks.join(", "))));
            }
        }
    }
    Ok((object, warnings))
}

fn finished(fields: Map<String, Value>, of: TypeId, expected: &Expected<'_>) -> Value {
    let mut object = canonical::printed(fields, of);
    object.insert("apiVersion".to_owned(), expected.api_version.into());
    object.insert("kind".to_owned(), expected.kind.into());
    Value::Object(object)
}

fn decode_protobuf(bytes: &[u8], expected: &Expected<'_>) -> Result<Value, BodyError> {
    let unrecognized = |error: protobuf::DecodeError| expected.unrecognized(bytes, error.to_string());
    let envelope = protobuf::Envelope::open(bytes).map_err(unrecognized)?;
    let target = expected.target(&envelope.api_version, &envelope.kind)?;
    let object =
        protobuf::decode(envelope.raw, target.of).map_err(|error| target.unfit(error.to_string()))?;
    target.check_convertible()?;
    let Value::Object(fields) = object else { return Ok(object) };
    Ok(finished(fields, target.of, expected))
}

/// Decodes any JSON or YAML as it is, without a type; the error is worded as Go words it.
pub fn plain(bytes: &[u8]) -> Result<Value, String> {
    let tree = match json::parse(bytes) {
        Ok(node) => Tree::from(node),
        Err(_) => yaml::parse(bytes)?,
    };
    fit::any(tree.node)
}

/// Prints bytes as an object has them.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    base64::encode(bytes)
}

/// Reads bytes as an object has them.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    base64::decode(text).unwrap_or_default()
}

/// Answers why bytes are no JSON object, in Go's words.
pub(crate) fn object_mistake(bytes: &[u8]) -> Option<String> {
    match json::parse(bytes) {
        Err(why) => Some(why),
        Ok(node) => match node.kind() {
            "object" | "null" => None,
            kind => {
                Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
            }
        },
    }
}
