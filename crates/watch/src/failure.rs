//! What can go wrong between this process and the API server, and what to do about it.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::answer::{Malformed, Status};

/// Why a list or a watch failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("failed to load the credentials: {0}")]
    Configuration(String),
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    #[error("cannot find the server's address: {0}")]
    Unresolvable(String),
    #[error("cannot trust the server: {0}")]
    Untrusted(String),
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    #[error("the server refused the credentials: {0}")]
    Unauthorized(String),
    #[error("the server refused access: {0}")]
    Forbidden(String),
    #[error("the server does not have this resource: {0}")]
    Missing(String),
    #[error("the server forgot this part of the history: {0}")]
    Gone(String),
    #[error("the server refused the request with {0}: {1}")]
    Refused(u16, String),
    #[error("the server answered {code} with {content_type:?} instead of objects: {beginning:?}")]
    Foreign { code: u16, content_type: String, beginning: String },
    #[error("the answer {0}")]
    Malformed(#[from] Malformed),
    #[error("the answer claims an object of {0} bytes")]
    TooLarge(usize),
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("the watch ended inside an event")]
    Truncated,
    #[error("the watch ended at once")]
    EndedAtOnce,
    #[error("the server does not say where the initial events end")]
    NoEndOfInitialEvents,
}

impl Failure {
    /// Answers whether all kinds fail this way, so that one report is enough.
    pub(crate) fn is_of_server(&self) -> bool {
        match self {
            Self::Configuration(_)
            | Self::Unreachable(_)
            | Self::Unresolvable(_)
            | Self::Untrusted(_)
            | Self::NoAnswer(_)
            | Self::Unauthorized(_) => true,
            Self::Forbidden(_)
            | Self::Missing(_)
            | Self::Gone(_)
            | Self::Refused(..)
            | Self::Foreign { .. }
            | Self::Malformed(_)
            | Self::TooLarge(_)
            | Self::Silent(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::EndedAtOnce
            | Self::NoEndOfInitialEvents => false,
        }
    }

    /// Answers whether fresh credentials and a fresh connection may help.
    pub(crate) fn wants_new_connection(&self) -> bool {
        self.is_of_server() || matches!(self, Self::Broken(_) | Self::Silent(_) | Self::Forbidden(_))
    }

    /// Answers whether the server that answers next may be another one.
    pub(crate) fn ends_acquaintance(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NoAnswer(_) | Self::Broken(_) | Self::Silent(_))
    }

    /// Answers whether a watch may not go on where it was, because something of the history was not understood.
    pub(crate) fn loses_history(&self) -> bool {
        match self {
            Self::Gone(_) | Self::Malformed(_) | Self::TooLarge(_) | Self::NoEndOfInitialEvents => true,
            // What was wrong with a watch may be its revision.
            Self::Refused(400 | 422, _) => true,
            Self::Configuration(_)
            | Self::Unreachable(_)
            | Self::Unresolvable(_)
            | Self::Untrusted(_)
            | Self::NoAnswer(_)
            | Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::Missing(_)
            | Self::Refused(..)
            | Self::Foreign { .. }
            | Self::Silent(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::EndedAtOnce => false,
        }
    }

    /// Answers what a person can do about it; empty when it usually passes by itself.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Configuration(_) => {
                "check the kubeconfig file, or the service account of the pod, and the files it names"
            }
            Self::Unreachable(_) | Self::NoAnswer(_) => {
                "check that the API server runs and that its address in the kubeconfig (or --master) is right and \
                 reachable from this node"
            }
            Self::Unresolvable(_) => {
                "check the server's name in the kubeconfig (or --master) and the name servers of this node; the name \
                 must not depend on the cluster's own DNS"
            }
            Self::Untrusted(_) => {
                "check certificate-authority and server in the kubeconfig: the server's certificate must be signed \
                 by that authority, be valid now, and name that server"
            }
            Self::Unauthorized(_) => {
                "check the token or the client certificate of the user in the kubeconfig"
            }
            Self::Forbidden(_) => "bind the user to the ClusterRole system:node-proxier",
            Self::Missing(_) => "check that the address is that of a Kubernetes API server",
            Self::Foreign { .. } => "check for a proxy or login portal between this node and the API server",
            Self::Gone(_)
            | Self::Refused(..)
            | Self::Malformed(_)
            | Self::TooLarge(_)
            | Self::Silent(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::EndedAtOnce
            | Self::NoEndOfInitialEvents => "",
        }
    }

    /// Reads an answer whose code is no success. `status` is `None` when its body is not Kubernetes' own.
    pub(crate) fn of_answer(code: u16, status: Option<Status>, foreign: impl FnOnce() -> Self) -> Self {
        let Some(status) = status else {
            // These codes mean what they say whoever answers.
            return match code {
                401 => Self::Unauthorized("401 Unauthorized".into()),
                410 => Self::Gone("410 Gone".into()),
                _ => foreign(),
            };
        };
        Self::of_status(Status { code, ..status })
    }

    /// Reads a `Status`.
    pub(crate) fn of_status(status: Status) -> Self {
        match (status.code, status.reason.as_str()) {
            (401, _) => Self::Unauthorized(status.message),
            (403, _) => Self::Forbidden(status.message),
            (404, _) => Self::Missing(status.message),
            (410, _) | (_, "Expired" | "Gone") => Self::Gone(status.message),
            // A server that was restored from a backup says `Too large resource version`, with 504.
            (_, "Timeout") if status.message.contains("resource version") => Self::Gone(status.message),
            (code, _) => Self::Refused(code, status.message),
        }
    }

    /// Finds out why no answer came.
    pub(crate) fn of_transport(error: &(dyn StdError + 'static)) -> Self {
        let text = error_text(error);
        for cause in causes(error) {
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::Untrusted(tls.to_string());
            }
            if let Some(io) = cause.downcast_ref::<io::Error>()
                && let Some(inner) = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
            {
                return Self::Untrusted(inner.to_string());
            }
        }
        // Other layers hide the error's type, but not its text.
        if let Some(at) = text.find("invalid peer certificate") {
            return Self::Untrusted(text[at..].to_owned());
        }
        // The resolver's error has a type of its own that hyper-util does not show.
        if text.contains("dns error") || text.contains("failed to lookup address") {
            return Self::Unresolvable(text);
        }
        Self::Unreachable(text)
    }
}

/// Answers an error and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Writes an error with its causes, without repetitions.
pub(crate) fn error_text(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error) {
        let part = cause.to_string();
        if text.contains(&part) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let check = |code: u16, reason: &str, expected: &str| {
            let status = Status { reason: reason.into(), message: "because".into(), ..Status::default() };
            let failure = Failure::of_answer(code, Some(status), || Failure::Truncated);
            assert_eq!(failure.to_string(), expected);
        };
        check(401, "Unauthorized", "the server refused the credentials: because");
        check(403, "Forbidden", "the server refused access: because");
        check(404, "NotFound", "the server does not have this resource: because");
        check(410, "Expired", "the server forgot this part of the history: because");
        check(500, "Expired", "the server forgot this part of the history: because");
        check(504, "Timeout", "the server refused the request with 504: because");
        check(500, "InternalError", "the server refused the request with 500: because");
        let ahead = "Too large resource version: 9, current: 7";
        let ahead =
            Status { code: 504, reason: "Timeout".into(), message: ahead.into(), ..Status::default() };
        assert!(matches!(Failure::of_status(ahead), Failure::Gone(_)));
        let foreign = Failure::of_answer(502, None, || Failure::Truncated);
        assert_eq!(foreign.to_string(), "the watch ended inside an event");
    }

    #[test]
    fn texts_do_not_repeat_themselves() {
        let inner = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let outer = io::Error::other(inner);
        assert_eq!(error_text(&outer), "connection refused");
    }
}
