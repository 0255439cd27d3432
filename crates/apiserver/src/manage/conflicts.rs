//! What keeps a configuration from being applied, as clients read it.

use serde_json::{Value, json};

use super::entries::{Id, Operation};
use super::set::{Element, Set, shown};
use crate::body::quoted;
use crate::status::Status;

/// A field that somebody else owns and that would get another value.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// Who owns it, in words.
    pub owner: String,
    /// Where it is, such as `.spec.replicas`.
    pub field: String,
    pub(super) path: Vec<Element>,
}

/// Why nothing was applied.
#[derive(Debug, Clone, PartialEq)]
pub enum ApplyError {
    /// 400: the configuration is none for this object.
    Malformed(String),
    /// 500: it does not fit its type, which Kubernetes takes for its own fault.
    Unfit(String),
    /// 409: others own some of its fields. Sorted by owner.
    Conflicts(Vec<Conflict>),
}

/// Answers the fields in a set, each as a conflict with the owner of an entry.
pub(super) fn with(id: &Id, fields: &Set) -> impl Iterator<Item = Conflict> + use<> {
    let owner = owner(id);
    fields.paths().into_iter().map(move |path| Conflict { owner: owner.clone(), field: shown(&path), path })
}

fn owner(id: &Id) -> String {
    let mut words = quoted(&id.manager);
    if !id.subresource.is_empty() {
        words.push_str(&format!(" with subresource {}", quoted(&id.subresource)));
    }
    match id.operation {
        Operation::Apply => words,
        Operation::Update => format!("{words} using {}", id.api_version),
    }
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::Malformed(why) => Self::bad_request(why),
            ApplyError::Unfit(message) => Self::new(500, "", message),
            ApplyError::Conflicts(conflicts) => {
                let causes: Value = conflicts.iter().map(cause).collect();
                Self::new(409, "Conflict", message(&conflicts)).about(json!({ "causes": causes }))
            }
        }
    }
}

fn cause(conflict: &Conflict) -> Value {
    let message = format!("conflict with {}", conflict.owner);
    json!({"reason": "FieldManagerConflict", "message": message, "field": conflict.field})
}

fn message(conflicts: &[Conflict]) -> String {
    if let [Conflict { owner, field, .. }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {owner}: {field}");
    }
    let mut lines: Vec<String> = Vec::new();
    let mut owner = "";
    for conflict in conflicts {
        if conflict.owner != owner {
            owner = &conflict.owner;
            lines.push(format!("conflicts with {owner}:"));
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts_are_worded_as_kubernetes_words_them() {
        let id = |manager: &str, operation, subresource: &str| Id {
            manager: manager.to_owned(),
            operation,
            api_version: "v1".to_owned(),
            subresource: subresource.to_owned(),
        };
        let fields = |fields: Value| Set::read(&fields).unwrap();
        let mut all: Vec<Conflict> =
            with(&id("a", Operation::Apply, ""), &fields(json!({"f:data": {"f:x": {}, "f:y": {}}})))
                .collect();
        all.extend(with(&id("b", Operation::Update, "status"), &fields(json!({"f:kind": {}}))));
        let status = Status::from(ApplyError::Conflicts(all));
        assert_eq!(
            status.message,
            "Apply failed with 3 conflicts: conflicts with \"a\":\n- .data.x\n- .data.y\n\
             conflicts with \"b\" with subresource \"status\" using v1:\n- .kind"
        );
        assert_eq!(
            status.json()["details"]["causes"][1],
            json!({"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".data.y"})
        );
    }
}
