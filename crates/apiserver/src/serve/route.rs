//! What a path means.

use crate::access::Review;
use crate::kinds::{Kind, Scope};
use crate::rest::Place;
use crate::rest::options::unescaped;

/// What a request is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Route {
    /// `/healthz`, `/livez`, `/readyz`, or one check of them.
    Health {
        /// Which of the three.
        endpoint: String,
        /// The check; empty: all.
        check: String,
    },
    /// `/version`.
    Version,
    /// `/metrics`.
    Metrics,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1`, `/apis/GROUP/VERSION`.
    Resources(String, String),
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`, or a document of it.
    OpenApiV3(String),
    /// `/debug/compact`: to forget the history up to a revision.
    Compact,
    /// A list of paths.
    Index,
    /// What is only asked: reviews of access.
    Review(Question),
    /// An object, a collection of them, or a part of one.
    Resource(Place),
    /// Nothing.
    Nowhere,
}

/// Something that is asked by creating it, and never kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Question {
    /// What is asked.
    pub(crate) review: Review,
    /// Its kind.
    pub(crate) kind: &'static Kind,
    /// The namespace; empty: none.
    pub(crate) namespace: String,
}

impl Route {
    /// Reads a path.
    pub(crate) fn parse(path: &str) -> Self {
        let path = unescaped(path, false);
        let parts: Vec<&str> = path.trim_start_matches('/').trim_end_matches('/').split('/').collect();
        match parts[..] {
            [""] => Self::Index,
            [endpoint @ ("healthz" | "livez" | "readyz")] => {
                Self::Health { endpoint: endpoint.to_owned(), check: String::new() }
            }
            [endpoint @ ("healthz" | "livez" | "readyz"), ref check @ ..] => {
                Self::Health { endpoint: endpoint.to_owned(), check: check.join("/") }
            }
            ["debug", "compact"] => Self::Compact,
            ["version"] => Self::Version,
            ["metrics"] => Self::Metrics,
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group(group.to_owned()),
            ["api", version] => Self::Resources(String::new(), version.to_owned()),
            ["apis", group, version] => Self::Resources(group.to_owned(), version.to_owned()),
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3", ref rest @ ..] => Self::OpenApiV3(rest.join("/")),
            ["api", version, ref rest @ ..] => Self::resource("", version, rest),
            ["apis", group, version, ref rest @ ..] => Self::resource(group, version, rest),
            _ => Self::Nowhere,
        }
    }

    /// Answers which objects it is about, if it is about objects.
    pub(crate) fn place(&self) -> Option<&Place> {
        if let Self::Resource(place) = self { Some(place) } else { None }
    }

    fn review(group: &str, version: &str, rest: &[&str]) -> Option<Self> {
        let (namespace, plural) = match rest {
            ["namespaces", namespace, plural] => (*namespace, *plural),
            [plural] => ("", *plural),
            _ => return None,
        };
        let review = Review::find(group, version, plural)?;
        let kind = review.kind();
        let is_right = (kind.scope == Scope::Namespaced) != namespace.is_empty();
        is_right.then(|| Self::Review(Question { review, kind, namespace: namespace.to_owned() }))
    }

    fn resource(group: &str, version: &str, rest: &[&str]) -> Self {
        let review = || Self::review(group, version, rest);
        Place::parse(group, version, rest).map(Self::Resource).or_else(review).unwrap_or(Self::Nowhere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let check = |path: &str, wanted: &str| {
            assert!(format!("{:?}", Route::parse(path)).starts_with(wanted), "{path}")
        };
        check("/", "Index");
        check("/healthz/ping", "Health { endpoint: \"healthz\", check: \"ping\" }");
        check("/apis/apps/v1/", "Resources(\"apps\", \"v1\")");
        check("/openapi/v3/apis/apps/v1", "OpenApiV3(\"apis/apps/v1\")");
        check("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "Review");
        check("/api/v1/namespaces/x/configmaps/a%2Fb", "Nowhere");
        check("/nope", "Nowhere");
        let Route::Resource(place) = Route::parse("/api/v1/namespaces/x/configmaps/a%20b") else {
            panic!("a place")
        };
        assert_eq!(place.name, "a b");
    }
}
