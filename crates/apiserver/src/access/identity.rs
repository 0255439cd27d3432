//! Who a request is, by its certificate or its token.
//!
//! What it does *not* decide: whether a certificate is of the authority; rustls did that before the request was read.

use std::collections::BTreeMap;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};

use super::certificate;
use super::tokens::{Facts, Tokens};
use crate::status::Status;

/// Who says nothing about himself.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of those.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group of everybody else.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Which credential it was, so that it can be found in logs.
pub(super) const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// Somebody who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name.
    pub user: String,
    /// What tells users of one name apart; may be empty.
    pub uid: String,
    /// The groups that the user is in.
    pub groups: Vec<String>,
    /// What else is known.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// What a request brings to say who it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The client's certificates, which rustls found to be of the authority; the first is its own.
    pub certificates: &'a [CertificateDer<'a>],
    /// The header `Authorization`.
    pub authorization: Option<&'a str>,
}

impl Identity {
    /// Answers who a request is. A certificate counts before a token; nothing at all is anonymous.
    pub fn of(credentials: &Credentials<'_>, tokens: &Tokens, facts: &Facts<'_>) -> Result<Self, Status> {
        let by_certificate = credentials.certificates.first().map(|der| Self::of_certificate(der, facts.now));
        if let Some(Ok(Some(identity))) = by_certificate {
            return Ok(identity);
        }
        match bearer(credentials.authorization.unwrap_or_default()) {
            Some(token) => {
                tokens.review(token, &[], facts).map(|(who, _)| who).map_err(|_| Status::unauthorized())
            }
            None => by_certificate.unwrap_or(Ok(None)).map(|_| Self::anonymous()),
        }
    }

    /// Who says nothing about himself.
    pub fn anonymous() -> Self {
        Self { user: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// A connection may live longer than the certificate that it began with. A certificate that names nobody is none.
    fn of_certificate(der: &CertificateDer<'_>, now: i64) -> Result<Option<Self>, Status> {
        let said = certificate::read(der).ok_or_else(Status::unauthorized)?;
        if now > said.not_after {
            return Err(Status::unauthorized());
        }
        if said.name.is_empty() {
            return Ok(None);
        }
        let print: String = digest(&SHA256, der).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let extra = BTreeMap::from([(CREDENTIAL.to_owned(), vec![format!("X509SHA256={print}")])]);
        let identity = Self { user: said.name, uid: String::new(), groups: said.groups, extra };
        Ok(Some(identity.authenticated()))
    }

    /// Puts it into the group of everybody who is somebody.
    pub(super) fn authenticated(mut self) -> Self {
        if !self.is_in(AUTHENTICATED) && !self.is_in(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }

    /// Whether the user is in a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known == group)
    }

    /// Answers it as a `UserInfo` of authentication.k8s.io/v1.
    pub(super) fn json(&self) -> Value {
        let mut info = json!({});
        if !self.user.is_empty() {
            info["username"] = self.user.clone().into();
        }
        if !self.uid.is_empty() {
            info["uid"] = self.uid.clone().into();
        }
        if !self.groups.is_empty() {
            info["groups"] = self.groups.clone().into();
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// The token in the header `Authorization`; other ways to say who one is are not known, and count as nothing.
fn bearer(header: &str) -> Option<&str> {
    let mut words = header.trim().splitn(3, ' ');
    let is_bearer = words.next()?.eq_ignore_ascii_case("bearer");
    words.next().filter(|token| is_bearer && !token.is_empty())
}
