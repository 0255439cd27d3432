//! The paths of what is passed on: they answer texts, or whatever somebody else says.

use super::operations::{Body, Operation, Path, capitalized, id_of, short_group};
use super::parameters;
use crate::connect::{Connect, Passes};
use crate::kinds::{Kind, Scope, Subresource};

/// Answers the paths of a part; `collection`: how that of the objects begins.
pub(super) fn paths(
    (kind, part): (&'static Kind, &'static Subresource),
    connect: Connect,
    collection: &str,
) -> Vec<Path> {
    let path = format!("{collection}/{{name}}/{}", part.name);
    let (methods, ends): (&[&'static str], &[&str]) = match connect.passes {
        Passes::Text => (&["get"], &[""]),
        Passes::Bytes => (&["get", "post"], &[""]),
        Passes::Requests => (&["get", "put", "post", "delete", "options", "head", "patch"], &["", "/{path}"]),
    };
    let named = match kind.scope {
        Scope::Namespaced => vec!["name", "namespace"],
        Scope::Cluster => vec!["name"],
    };
    let of_end = |end: &&str| {
        let behind = if end.is_empty() { None } else { Some("path") };
        let operation = |method: &&'static str| operation((kind, part), connect.passes, (method, end));
        Path {
            path: format!("{path}{end}"),
            parameters: named.iter().copied().chain(behind).collect(),
            operations: methods.iter().map(operation).collect(),
        }
    };
    ends.iter().map(of_end).collect()
}

fn operation(
    (kind, part): (&'static Kind, &'static Subresource),
    passes: Passes,
    (method, end): (&'static str, &str),
) -> Operation {
    let (action, word, to) = match passes {
        Passes::Text => ("get", "read", ""),
        Passes::Bytes | Passes::Requests => ("connect", "connect", method),
    };
    let with_path = if end.is_empty() { "" } else { "WithPath" };
    let what = format!("{}{}{with_path}", kind.kind, capitalized(part.name));
    Operation {
        method,
        action,
        description: format!(
            "connects {} requests to the {} of a {}",
            method.to_uppercase(),
            part.name,
            kind.kind
        ),
        id: id_of((word, kind), &capitalized(to), &what),
        tag: format!("{}_{}", short_group(kind), kind.version),
        gvk: part.kind.unwrap_or((kind.group, kind.version, kind.kind)),
        query: parameters::of_connection(part.name),
        body: Body::None,
        answers: vec![(200, None)],
    }
}
