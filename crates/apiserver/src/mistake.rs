//! Mistakes in the fields of an object, in Kubernetes' words (`field.Error` of k8s.io/apimachinery).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::body::quoted;
use crate::kinds::Kind;
use crate::status::{Status, StatusCause};

/// Where a field is, such as `spec.ports[0].name`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A field of the object itself.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// A field of what is here.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An entry of the list that is here.
    pub fn index(&self, at: usize) -> Self {
        Self(format!("{}[{at}]", self.0))
    }

    /// An entry of the map that is here.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What sort of mistake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// What it names does not exist.
    NotFound,
    /// Nothing is there.
    Required,
    /// It is there twice.
    Duplicate,
    /// It cannot be.
    Invalid,
    /// It is none of those that can be.
    NotSupported,
    /// It cannot be here.
    Forbidden,
    /// A text is too long.
    TooLong,
    /// A list is too long.
    TooMany,
    /// It is not the object's fault.
    Internal,
    /// It has the wrong type.
    TypeInvalid,
}

impl Why {
    /// The reason of the cause.
    fn reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
        }
    }
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// What sort of mistake it is.
    pub why: Why,
    /// Where.
    pub field: Path,
    /// What stands there; shown where the words for the sort show it.
    pub value: Value,
    /// More words; may be empty.
    pub detail: String,
    /// The text that shows the value where that is not its JSON: what Go prints of its structs has an order of its own.
    shown: Option<String>,
}

impl Mistake {
    fn new(why: Why, field: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self { why, field: field.clone(), value: value.into(), detail: detail.into(), shown: None }
    }

    /// With the fields of the value in an order, those of its parts if it is a list.
    pub fn ordered(mut self, fields: &[&str]) -> Self {
        self.shown = Some(ordered(&self.value, fields));
        self
    }

    /// With more words.
    pub fn detailed(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// What it names does not exist.
    pub fn not_found(field: &Path, value: impl Into<Value>) -> Self {
        Self::new(Why::NotFound, field, value, "")
    }

    /// Nothing is there.
    pub fn required(field: &Path, detail: impl Into<String>) -> Self {
        Self::new(Why::Required, field, Value::Null, detail)
    }

    /// It is there twice.
    pub fn duplicate(field: &Path, value: impl Into<Value>) -> Self {
        Self::new(Why::Duplicate, field, value, "")
    }

    /// It cannot be.
    pub fn invalid(field: &Path, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Why::Invalid, field, value, detail)
    }

    /// It is none of those that can be; those are shown in the order in which they are given here.
    pub fn not_supported(field: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| quoted(value)).collect();
        let detail = match supported.len() {
            0 => String::new(),
            _ => format!("supported values: {}", supported.join(", ")),
        };
        Self::new(Why::NotSupported, field, value, detail)
    }

    /// It cannot be here.
    pub fn forbidden(field: &Path, detail: impl Into<String>) -> Self {
        Self::new(Why::Forbidden, field, Value::Null, detail)
    }

    /// A text is too long. `most`: bytes.
    pub fn too_long(field: &Path, most: usize) -> Self {
        Self::new(Why::TooLong, field, Value::Null, format!("may not be more than {most} bytes"))
    }

    /// A list is too long.
    pub fn too_many(field: &Path, actual: usize, most: usize) -> Self {
        let items = if most == 1 { "item" } else { "items" };
        Self::new(Why::TooMany, field, actual, format!("must have at most {most} {items}"))
    }

    /// It is not the object's fault.
    pub fn internal(field: &Path, detail: impl Into<String>) -> Self {
        Self::new(Why::Internal, field, Value::Null, detail)
    }

    /// Without the field: what stands in a cause.
    pub fn message(&self) -> String {
        let mut message = self.why.words().to_owned();
        match self.why {
            Why::Required | Why::Forbidden | Why::TooLong | Why::Internal => {}
            Why::NotFound
            | Why::Duplicate
            | Why::Invalid
            | Why::NotSupported
            | Why::TooMany
            | Why::TypeInvalid => {
                message.push_str(": ");
                match (&self.shown, self.value.as_str()) {
                    (Some(shown), _) => message.push_str(shown),
                    (None, Some(text)) => message.push_str(&quoted(text)),
                    (None, None) => message.push_str(&self.value.to_string()),
                }
            }
        }
        if !self.detail.is_empty() {
            message.push_str(": ");
            message.push_str(&self.detail);
        }
        message
    }

    fn cause(&self) -> StatusCause {
        StatusCause {
            reason: self.why.reason().to_owned(),
            message: self.message(),
            field: self.field.to_string(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}

/// Prints an object with its fields in an order.
fn ordered(value: &Value, fields: &[&str]) -> String {
    if let Some(parts) = value.as_array() {
        let parts: Vec<String> = parts.iter().map(|part| ordered(part, fields)).collect();
        return format!("[{}]", parts.join(","));
    }
    if !value.is_object() {
        return value.to_string();
    }
    let known = fields.iter().filter_map(|name| Some((name, value.get(name)?)));
    let known: Vec<String> = known.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", known.join(","))
}

/// Answers the mistakes in one text, each once, as an error of several errors has it.
pub fn aggregate(mistakes: &[Mistake]) -> String {
    let mut seen = BTreeSet::new();
    let texts = mistakes.iter().map(Mistake::to_string);
    let once: Vec<String> = texts.filter(|text| seen.insert(text.clone())).collect();
    match &once[..] {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    }
}

/// Refuses an object for its mistakes.
pub fn refuse(kind: &Kind, name: &str, mistakes: &[Mistake]) -> Status {
    let kind = kind.stored();
    refuse_as(kind.group, kind.kind, name, mistakes)
}

/// Refuses something of a kind that is not served as objects, such as options.
pub fn refuse_as(group: &str, kind: &str, name: &str, mistakes: &[Mistake]) -> Status {
    let causes: Vec<StatusCause> = mistakes.iter().map(Mistake::cause).collect();
    let dotted = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let message = format!("{dotted} {} is invalid: {}", quoted(name), aggregate(mistakes));
    Status::invalid_as((group, kind), name, message, &causes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_worded_as_kubernetes_words_them() {
        let path = Path::new("spec").child("ports").index(0).child("protocol");
        let check = |mistake: Mistake, wanted: &str| assert_eq!(mistake.to_string(), wanted);
        check(
            Mistake::not_supported(&path, "X", &["SCTP", "TCP"]),
            "spec.ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\"",
        );
        check(Mistake::required(&Path::new("a").key("b"), ""), "a[b]: Required value");
        check(
            Mistake::too_many(&path, 3, 1),
            "spec.ports[0].protocol: Too many: 3: must have at most 1 item",
        );
        check(Mistake::invalid(&Path::default(), 7, "no"), "<nil>: Invalid value: 7: no");
        let value = serde_json::json!([{"a": 1, "b": "x"}, {"b": null}]);
        let mistake = Mistake::duplicate(&Path::new("z"), value).ordered(&["b", "a"]).detailed("y");
        check(mistake, r#"z: Duplicate value: [{"b":"x","a":1},{"b":null}]: y"#);
        let twice = [Mistake::required(&path, ""), Mistake::required(&path, "")];
        assert_eq!(aggregate(&twice), "spec.ports[0].protocol: Required value");
        let slice = Kind::find("discovery.k8s.io", "v1", "endpointslices").expect("it is served");
        let status = refuse(
            slice,
            "a",
            &[Mistake::required(&Path::new("x"), "y"), Mistake::duplicate(&Path::new("z"), true)],
        );
        assert_eq!(
            status.message,
            "EndpointSlice.discovery.k8s.io \"a\" is invalid: [x: Required value: y, z: Duplicate value: true]"
        );
    }
}
