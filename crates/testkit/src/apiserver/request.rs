//! A request, taken apart.

use http::Method;
use serde_json::Value;

use super::fault::Verb;
use super::resource::{Location, Resource};
use super::status::Refusal;

/// What a client asked, kept for tests to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `GET`, `PUT`, ...
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, decoded, in the order given.
    pub query: Vec<(String, String)>,
    /// The header `Accept`; empty without it.
    pub accept: String,
    /// The header `Accept-Encoding`; empty without it.
    pub accept_encoding: String,
    /// The header `Authorization`; empty without it.
    pub authorization: String,
}

impl Record {
    /// Answers the first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a path means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/healthz`, `/version`, `/api`, ...: paths that are no resource.
    Meta(String),
    /// A collection, in one namespace or (empty) in all.
    Collection(Resource, String),
    /// An object or its `status`.
    Object { location: Location, status: bool },
}

/// A request with its body.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) record: Record,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn new(parts: &http::request::Parts, body: Vec<u8>) -> Self {
        let header =
            |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let record = Record {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parse_query(parts.uri.query().unwrap_or("")),
            accept: header(http::header::ACCEPT),
            accept_encoding: header(http::header::ACCEPT_ENCODING),
            authorization: header(http::header::AUTHORIZATION),
        };
        let content_type = header(http::header::CONTENT_TYPE);
        Self { method: parts.method.clone(), record, content_type, body }
    }

    pub(super) fn parameter(&self, name: &str) -> &str {
        self.record.parameter(name).unwrap_or("")
    }

    /// Answers a number from the query; 0 stands for absent, as in Kubernetes.
    pub(super) fn number(&self, name: &str) -> Result<u64, Refusal> {
        let text = self.parameter(name);
        if text.is_empty() {
            return Ok(0);
        }
        text.parse().map_err(|_| {
            Refusal::bad_request(format!("{name}: strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.parameter(name), "1" | "true")
    }

    pub(super) fn target(&self) -> Result<Target, Refusal> {
        let parts: Vec<&str> = self.record.path.split('/').filter(|part| !part.is_empty()).collect();
        let (api_version, rest) = match parts.as_slice() {
            ["api", "v1", rest @ ..] if !rest.is_empty() => ("v1".to_owned(), rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (format!("{group}/{version}"), rest),
            _ => return Ok(Target::Meta(self.record.path.clone())),
        };
        let find = |plural: &str| {
            let mut served = Resource::ALL.into_iter().filter(|r| r.api_version() == api_version);
            served.find(|r| r.plural() == plural).ok_or_else(Refusal::no_such_path)
        };
        let object = |plural: &str, namespace: &str, name: &str, status: bool| {
            let resource = find(plural)?;
            Ok(Target::Object { location: Location::new(resource, namespace, name), status })
        };
        match *rest {
            ["namespaces", name] => object("namespaces", "", name, false),
            ["namespaces", name, "status"] => object("namespaces", "", name, true),
            ["namespaces", namespace, plural] => Ok(Target::Collection(find(plural)?, namespace.to_owned())),
            ["namespaces", namespace, plural, name] => object(plural, namespace, name, false),
            ["namespaces", namespace, plural, name, "status"] => object(plural, namespace, name, true),
            [plural] => Ok(Target::Collection(find(plural)?, String::new())),
            [plural, name] => object(plural, "", name, false),
            [plural, name, "status"] => object(plural, "", name, true),
            _ => Err(Refusal::no_such_path()),
        }
    }

    /// Answers resource and kind of request, as faults are chosen by them.
    pub(super) fn class(&self) -> (Option<Resource>, Verb) {
        match self.target() {
            Ok(Target::Collection(resource, _)) if self.method == Method::GET => {
                (Some(resource), if self.is_set("watch") { Verb::Watch } else { Verb::List })
            }
            Ok(Target::Collection(resource, _)) if self.method == Method::POST => {
                (Some(resource), Verb::Create)
            }
            Ok(Target::Collection(resource, _)) => (Some(resource), Verb::Other),
            Ok(Target::Object { location, .. }) if self.method == Method::PATCH => {
                (Some(location.resource), Verb::Patch)
            }
            Ok(Target::Object { location, .. }) => (Some(location.resource), Verb::Other),
            Ok(Target::Meta(_)) | Err(_) => (None, Verb::Other),
        }
    }

    pub(super) fn json_body(&self) -> Result<Value, Refusal> {
        if !self.content_type.is_empty() && !self.content_type.contains("json") {
            let message = format!("the body of the request was in an unknown format: {}", self.content_type);
            return Err(Refusal::new(415, "UnsupportedMediaType", message));
        }
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::bad_request(format!("the body is no JSON: {error}")))
    }
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(key), percent_decoded(value))
        })
        .collect()
}

fn percent_decoded(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or(b'0'), bytes.next().unwrap_or(b'0')];
                let digits = std::str::from_utf8(&digits).unwrap_or("3F");
                decoded.push(u8::from_str_radix(digits, 16).unwrap_or(b'?'));
            }
            byte => decoded.push(byte),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str) -> Request {
        let (parts, ()) = http::Request::builder().uri(uri).body(()).unwrap().into_parts();
        Request::new(&parts, Vec::new())
    }

    #[test]
    fn paths_and_queries_are_taken_apart() {
        let watch = request("/api/v1/services?watch=1&labelSelector=%21a%2Fb%2Cc%3D1&limit=5&continue=a+b");
        assert_eq!(watch.class(), (Some(Resource::Services), Verb::Watch));
        assert_eq!(watch.parameter("labelSelector"), "!a/b,c=1");
        assert_eq!(watch.parameter("continue"), "a b");
        assert_eq!(watch.number("limit"), Ok(5));
        let status = request("/api/v1/namespaces/shop/services/web/status").target().unwrap();
        let location = Location::new(Resource::Services, "shop", "web");
        assert_eq!(status, Target::Object { location, status: true });
        let slices = request("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices").target().unwrap();
        assert_eq!(slices, Target::Collection(Resource::EndpointSlices, "shop".into()));
        assert_eq!(request("/apis/discovery.k8s.io/v1beta1/endpointslices").target().unwrap_err().code, 404);
        assert_eq!(request("/api/v1").target().unwrap(), Target::Meta("/api/v1".into()));
    }
}
