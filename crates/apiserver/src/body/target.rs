//! What a body says it is, and whether that belongs where it came.

use super::json::Node;
use super::words::quoted;
use super::{BodyError, NO_KIND};
use crate::schema::{Schema, TypeId};

/// What belongs in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Group and version, such as `apps/v1`.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// Its type.
    pub of: TypeId,
}

/// What a body is decoded as.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) of: TypeId,
    expected: &'a Expected<'a>,
    api_version: String,
    kind: String,
}

/// Answers the `apiVersion` and `kind` that stand in a body; empty: none. Here, and only here, capitals do not matter.
pub(super) fn interpret(node: &Node) -> Result<(String, String), String> {
    let entries = match node {
        Node::Null => return Ok((String::new(), String::new())),
        Node::Map(entries) => entries,
        other @ (Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => {
            return Err(format!(
                "{NO_KIND}json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
                 \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                other.kind()
            ));
        }
    };
    let mut found = (String::new(), String::new());
    let mut mistake = None;
    for (key, value) in entries {
        let (place, name) = match key.to_ascii_lowercase().as_str() {
            "apiversion" => (&mut found.0, "apiVersion"),
            "kind" => (&mut found.1, "kind"),
            _ => continue,
        };
        match value {
            Node::Text(text) => text.clone_into(place),
            Node::Null => {}
            other @ (Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Map(_)) => {
                let kind = other.kind();
                mistake.get_or_insert_with(|| {
                    format!(
                        "{NO_KIND}json: cannot unmarshal {kind} into Go struct field .{name} of type string"
                    )
                });
            }
        }
    }
    mistake.map_or(Ok(found), Err)
}

/// Checks that there is at most a group and a version.
pub(super) fn check_version(api_version: &str) -> Result<(), String> {
    if api_version.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {api_version}"));
    }
    Ok(())
}

impl<'a> Expected<'a> {
    pub(super) fn unrecognized(&self, body: &[u8], reason: String) -> BodyError {
        BodyError::Unrecognized { wanted: self.kind.to_owned(), reason, summary: summary(body) }
    }

    /// Answers what a body that says this is decoded as. What it does not say is taken for granted.
    pub(super) fn target(&'a self, api_version: &str, kind: &str) -> Result<Target<'a>, BodyError> {
        let says_nothing = matches!(api_version, "" | "/");
        let api_version = if says_nothing { self.api_version } else { api_version };
        let (group, version) = group_and_version(api_version);
        let (own_group, own_version) = group_and_version(self.api_version);
        // `apps/` is completed too.
        let api_version = if version.is_empty() && group == own_group && !own_version.is_empty() {
            self.api_version
        } else {
            api_version
        };
        let kind = if kind.is_empty() { self.kind } else { kind };
        let mut target = Target {
            of: self.of,
            expected: self,
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        };
        if (api_version, kind) != (self.api_version, self.kind) {
            target.of = self.known(api_version, kind).ok_or_else(|| {
                let (kind, version) = (quoted(kind), quoted(api_version));
                target.unfit(format!(
                    "no kind {kind} is registered for version {version} in scheme {}",
                    self.scheme()
                ))
            })?;
        }
        Ok(target)
    }

    /// Finds a kind; a type that is no object of its own is none.
    fn known(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let (group, version) = group_and_version(api_version);
        let schema = Schema::get();
        if kind == "DeleteOptions" {
            return schema.find("meta.v1.DeleteOptions");
        }
        if self.is_options() {
            return None;
        }
        let id = schema.find(&format!("{}.{version}.{kind}", package(group)))?;
        schema.field(id, "metadata").filter(|metadata| metadata.is_required).map(|_| id)
    }

    fn is_options(&self) -> bool {
        self.kind == "DeleteOptions"
    }

    /// Where Kubernetes keeps the kinds that it knows; its messages tell.
    fn scheme(&self) -> &'static str {
        if self.is_options() {
            "\"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        } else {
            "\"k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30\""
        }
    }
}

impl Target<'_> {
    pub(super) fn unfit(&self, reason: String) -> BodyError {
        BodyError::Unfit {
            kind: self.kind.clone(),
            version: group_and_version(&self.api_version).1.to_owned(),
            wanted: self.expected.kind.to_owned(),
            reason,
        }
    }

    /// Checks that what was decoded belongs here; Kubernetes does so last.
    pub(super) fn check_convertible(&self) -> Result<(), BodyError> {
        if self.of == self.expected.of {
            return Ok(());
        }
        // Events of both groups are one kind inside.
        if self.kind == "Event" && self.expected.kind == "Event" {
            let (found, wanted) = (self.api_version.clone(), self.expected.api_version.to_owned());
            return Err(BodyError::Version { found, wanted });
        }
        let (_, version) = group_and_version(&self.api_version);
        let (group, _) = group_and_version(self.expected.api_version);
        let (kind, wanted) = (&self.kind, self.expected.kind);
        let inside = if wanted == "Event" { "core" } else { package(group) };
        Err(self.unfit(format!("converting ({version}.{kind}) to ({inside}.{wanted}): unknown conversion")))
    }
}

fn group_and_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Answers what Kubernetes' code calls a group.
fn package(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
}

/// Answers how a body begins: as text if it is JSON, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    const LONGEST: usize = 30;
    let shown = &body[..body.len().min(LONGEST)];
    let more = if body.len() > LONGEST { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let digits: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}
