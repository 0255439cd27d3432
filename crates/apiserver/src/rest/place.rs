//! Where a request is about: a kind, a namespace, a name, a part of the object.

use crate::connect::Connect;
use crate::kinds::{Does, Kind, Scope, Subresource};
use crate::status::Status;

/// A place in the paths of the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The kind.
    pub kind: &'static Kind,
    /// The namespace; empty: none, or all of them.
    pub namespace: String,
    /// The name of the object; empty: the collection.
    pub name: String,
    /// A part of the object; empty: the object.
    pub part: String,
    /// Whether the path is one of the old ones that only watch.
    pub is_old_watch: bool,
}

impl Place {
    /// Reads what stands behind `/api/v1/` or `/apis/GROUP/VERSION/`. `None`: there is no such place.
    pub fn parse(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let (is_old_watch, rest) = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, part, ..] if !matches!(*part, "status" | "finalize") => {
                (*namespace, &rest[2..])
            }
            rest => ("", rest),
        };
        let (plural, rest) = rest.split_first()?;
        let kind = Kind::find(group, version, plural)?;
        let (name, part) = match rest {
            [] => ("", ""),
            [name] => (*name, ""),
            [name, part] => (*name, *part),
            // Only the way through a proxy goes further.
            [name, part, ..] if *part == "proxy" => (*name, *part),
            _ => return None,
        };
        let is_right = match kind.scope {
            // Objects of all namespaces can be listed, not named.
            Scope::Namespaced => !namespace.is_empty() || name.is_empty(),
            Scope::Cluster => namespace.is_empty(),
        };
        let is_known = part.is_empty() || kind.subresources.iter().any(|known| known.name == part);
        (is_right && is_known).then(|| Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            part: part.to_owned(),
            is_old_watch,
        })
    }

    /// Answers the key of the object.
    pub fn key(&self) -> String {
        self.kind.key_of(&self.namespace, &self.name)
    }

    /// Answers how the keys of the collection begin.
    pub fn prefix(&self) -> String {
        if self.namespace.is_empty() { String::new() } else { format!("{}/", self.namespace) }
    }

    /// Answers what is known of the part.
    pub fn subresource(&self) -> Option<&'static Subresource> {
        self.kind.subresources.iter().find(|known| known.name == self.part)
    }

    /// Answers what becomes of the part; `None`: it is about the object.
    pub fn does(&self) -> Option<Does> {
        self.subresource().map(|part| part.does)
    }

    /// Answers what is passed on where, if anything is.
    pub fn connects(&self) -> Option<Connect> {
        match self.does()? {
            Does::Connect(connect) => Some(connect),
            Does::Status | Does::Some { .. } | Does::Scale | Does::Act(_) | Does::Token => None,
        }
    }

    /// There is no such object.
    pub fn not_found(&self) -> Status {
        Status::not_found(self.kind, &self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, wanted: &str) {
        let parts: Vec<&str> = path.split('/').collect();
        let found = Place::parse("", "v1", &parts).map_or_else(String::new, |place| {
            let watch = if place.is_old_watch { " watch" } else { "" };
            format!("{} {} {} {}{watch}", place.kind.kind, place.namespace, place.name, place.part)
        });
        assert_eq!(found, wanted, "{path}");
    }

    #[test]
    fn paths_lead_to_places() {
        check("services", "Service   ");
        check("services/a", "");
        check("namespaces", "Namespace   ");
        check("namespaces/x", "Namespace  x ");
        check("namespaces/x/status", "Namespace  x status");
        check("namespaces/x/services", "Service x  ");
        check("namespaces/x/services/a/status", "Service x a status");
        check("namespaces/x/services/a/nope", "");
        check("namespaces/x/services/a/status/b", "");
        check("namespaces/x/nodes", "");
        check("nodes/n", "Node  n ");
        check("watch/namespaces/x/services/a", "Service x a  watch");
        check("watch", "");
        check("", "");
        check("nope", "");
    }
}
