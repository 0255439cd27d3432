//! Who sends a request, and whether they may.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::handle::verb;
use super::route::Route;
use crate::access::impersonation::Impersonation;
use crate::access::{Attributes, Credentials, Facts, Identity, Policy, Tokens};
use crate::kinds::Kind;
use crate::rest::{Place, Query, Rest};
use crate::select::Selector;
use crate::status::Status;

/// How requests are let in.
#[derive(Debug)]
pub struct Access {
    /// Who has which token.
    pub tokens: Tokens,
    /// Who may do what.
    pub policy: Policy,
}

/// The client at the other end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer(pub(crate) Arc<Vec<CertificateDer<'static>>>);

/// Answers an object of the core group.
pub(crate) fn object_of(rest: &Rest, plural: &str, namespace: &str, name: &str) -> Option<Value> {
    let kind = Kind::find("", "v1", plural)?;
    let (entry, _) = rest.store.get(kind.table, &kind.key_of(namespace, name));
    Some(crate::rest::object(&entry?.value))
}

impl Access {
    /// Answers who a request is from; garbage for a token is nobody.
    pub(crate) fn identity(&self, rest: &Rest, peer: &Peer, headers: &HeaderMap) -> Result<Identity, Status> {
        let object_of = |plural: &str, namespace: &str, name: &str| object_of(rest, plural, namespace, name);
        let facts = Facts { now: (rest.clock.now)().seconds, object_of: &object_of };
        let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or("Bearer ?"));
        let credentials = Credentials { certificates: &peer.0, authorization };
        let identity = Identity::of(&credentials, &self.tokens, &facts)?;
        // Who is impersonated may have any name: a header that is not read would leave the client as who it is.
        let texts: Vec<(&str, Cow<'_, str>)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes())))
            .collect();
        match Impersonation::read(texts.iter().map(|(name, value)| (*name, &**value))) {
            Some(impersonation) => impersonation.apply(&identity, &self.policy),
            None => Ok(identity),
        }
    }

    /// Refuses what the client may not do.
    pub(crate) fn check(&self, identity: &Identity, asked: &Asked<'_>) -> Result<(), Status> {
        let method = asked.method.as_str().to_ascii_lowercase();
        if let Route::Resource(place) = asked.route {
            let name = asked.name(place);
            // What cannot be done at all is refused for that, to whoever may do anything at all here.
            let verb = verb(asked.method, place, asked.query).unwrap_or(&method);
            return self.policy.check(
                identity,
                &Attributes {
                    verb,
                    group: place.kind.group,
                    resource: place.kind.plural,
                    subresource: &place.part,
                    namespace: if place.kind.plural == "namespaces" { &place.name } else { &place.namespace },
                    name: &name,
                    path: "",
                },
            );
        }
        if let Route::Review(review) = asked.route {
            let verb = if *asked.method == Method::POST { "create" } else { &method };
            let wanted = Attributes {
                verb,
                group: review.kind.group,
                resource: review.kind.plural,
                namespace: &review.namespace,
                ..Attributes::default()
            };
            return self.policy.check(identity, &wanted);
        }
        self.policy.check(identity, &Attributes { verb: &method, path: asked.path, ..Attributes::default() })
    }
}

/// A request, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) route: &'a Route,
}

impl Asked<'_> {
    /// A list of one name is about that name.
    fn name(&self, place: &Place) -> String {
        if !place.name.is_empty() {
            return place.name.clone();
        }
        let fields = self.query.get("fieldSelector").unwrap_or_default();
        let selector = Selector::parse(place.kind, "", fields).unwrap_or_default();
        selector.name().unwrap_or_default().to_owned()
    }
}
