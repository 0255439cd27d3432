//! Label and field selectors, as far as Service proxies use them.

use serde_json::Value;

use super::status::Refusal;

/// Label and field requirements that an object must meet, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    subject: Subject,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    Label(String),
    Field(&'static str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Present,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

/// The field selectors that the real server knows for these resources, with where they are found.
const FIELDS: [(&str, &str); 4] = [
    ("metadata.name", "/metadata/name"),
    ("metadata.namespace", "/metadata/namespace"),
    ("spec.clusterIP", "/spec/clusterIP"),
    ("spec.type", "/spec/type"),
];

impl Selector {
    /// Reads a `labelSelector` and a `fieldSelector`; both may be empty.
    pub(super) fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(labels) {
            requirements.push(label_requirement(part)?);
        }
        for part in fields.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            requirements.push(field_requirement(part)?);
        }
        Ok(Self(requirements))
    }

    /// Narrows the selector to one namespace.
    pub(super) fn within(mut self, namespace: &str) -> Self {
        let test = Test::In(vec![namespace.to_owned()]);
        self.0.push(Requirement { subject: Subject::Field("/metadata/namespace"), test });
        self
    }

    /// Answers whether an object meets all requirements.
    pub(super) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.is_met_by(object))
    }
}

impl Requirement {
    fn is_met_by(&self, object: &Value) -> bool {
        let value = match &self.subject {
            Subject::Label(key) => object["metadata"]["labels"].get(key).and_then(Value::as_str),
            // An absent field equals the empty string.
            Subject::Field(pointer) => Some(object.pointer(pointer).and_then(Value::as_str).unwrap_or("")),
        };
        match &self.test {
            Test::Present => value.is_some(),
            Test::Absent => value.is_none(),
            Test::In(allowed) => value.is_some_and(|value| allowed.iter().any(|a| a == value)),
            Test::NotIn(refused) => value.is_none_or(|value| refused.iter().all(|r| r != value)),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_u32, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn label_requirement(part: &str) -> Result<Requirement, Refusal> {
    let (key, test) = if let Some(key) = part.strip_prefix('!') {
        (key, Test::Absent)
    } else if let Some((key, value)) = split_operator(part) {
        (key, value)
    } else if let Some((key, values)) = part.split_once(" notin ") {
        (key, Test::NotIn(value_set(values)?))
    } else if let Some((key, values)) = part.split_once(" in ") {
        (key, Test::In(value_set(values)?))
    } else {
        (part, Test::Present)
    };
    let key = key.trim();
    if key.is_empty() || key.contains(|c: char| c.is_whitespace() || "=!(),".contains(c)) {
        return Err(Refusal::bad_request(format!("unable to parse requirement: {part}")));
    }
    Ok(Requirement { subject: Subject::Label(key.to_owned()), test })
}

/// Splits `key==value`, `key!=value` and `key=value`.
fn split_operator(part: &str) -> Option<(&str, Test)> {
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((key, value)) = part.split_once("!=") {
        return Some((key, Test::NotIn(one(value))));
    }
    part.split_once("==").or_else(|| part.split_once('=')).map(|(key, value)| (key, Test::In(one(value))))
}

fn value_set(text: &str) -> Result<Vec<String>, Refusal> {
    let inner = text.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let inner = inner.ok_or_else(|| Refusal::bad_request(format!("unable to parse requirement: {text}")))?;
    Ok(inner.split(',').map(|value| value.trim().to_owned()).collect())
}

fn field_requirement(part: &str) -> Result<Requirement, Refusal> {
    let Some((key, test)) = split_operator(part) else {
        return Err(Refusal::bad_request(format!("invalid selector: {part:?}; can't understand {part:?}")));
    };
    let field = FIELDS.iter().find(|(name, _)| *name == key.trim());
    let (_, pointer) =
        field.ok_or_else(|| Refusal::bad_request(format!("field label not supported: {}", key.trim())))?;
    Ok(Requirement { subject: Subject::Field(pointer), test })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields_select() {
        let object = json!({"metadata": {"name": "web", "labels": {"a": "1", "b/c": "x"}}, "spec": {"clusterIP": "None"}});
        let check = |labels: &str, fields: &str, expected: bool| {
            let selector = Selector::parse(labels, fields).unwrap();
            assert_eq!(selector.matches(&object), expected, "{labels} {fields}");
        };
        check("", "", true);
        check("a", "", true);
        check("!a", "", false);
        check("!service.kubernetes.io/service-proxy-name", "", true);
        check("a=1,b/c=x", "", true);
        check("a==2", "", false);
        check("a!=2", "", true);
        check("z!=2", "", true);
        check("a in (1,2),b/c notin (y, z)", "", true);
        check("a in (2)", "", false);
        check("", "metadata.name=web", true);
        check("", "spec.clusterIP!=None", false);
        check("", "spec.type!=ExternalName,metadata.namespace=", true);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Selector::parse("a in 1", "").is_err());
        assert!(Selector::parse("=1", "").is_err());
        let refusal = Selector::parse("", "spec.color=red").unwrap_err();
        assert_eq!(refusal.to_string(), "400 BadRequest: field label not supported: spec.color");
    }
}
