//! Why a request of a controller failed.

use crate::answer;
use crate::frame::Form;

/// How much of a foreign answer is shown.
const SHOWN: usize = 80;

/// Why a request failed; a fragment that fits after "failed to ...:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server understood and said no.
    #[error("the server refused it with {code} {reason}: {message}")]
    Refused {
        /// The HTTP status code.
        code: u16,
        /// Kubernetes' word for it, such as `NotFound`; empty where it gave none.
        reason: String,
        /// What it said.
        message: String,
    },
    /// No answer came that makes sense, or the credentials are not good (any more). Whether a write took place is not
    /// known.
    #[error("{0}")]
    Unreachable(String),
}

impl ClientError {
    /// Answers whether the object was changed meanwhile: read it and decide again.
    pub fn is_conflict(&self) -> bool {
        self.is(409, "Conflict")
    }

    /// Answers whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.is(404, "NotFound")
    }

    /// Answers whether the name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.is(409, "AlreadyExists")
    }

    /// Answers whether the same request may succeed later.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code == 429 || *code >= 500,
            Self::Unreachable(_) => true,
        }
    }

    fn is(&self, wanted: u16, word: &str) -> bool {
        match self {
            Self::Refused { code, reason, .. } => *code == wanted && reason == word,
            Self::Unreachable(_) => false,
        }
    }
}

/// Reads a refusal in whatever form it came.
pub(super) fn refused(code: u16, form: Option<Form>, body: &[u8]) -> ClientError {
    let Some(status) = answer::status(form, body) else {
        let message = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).trim().to_owned();
        return ClientError::Refused { code, reason: String::new(), message };
    };
    ClientError::Refused { code, reason: status.reason, message: status.message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (code, body, expected) in [
            (409, r#"{"kind":"Status","reason":"Conflict","message":"m"}"#, "conflict"),
            (409, r#"{"kind":"Status","reason":"AlreadyExists","message":"m"}"#, "exists"),
            (404, r#"{"kind":"Status","reason":"NotFound","message":"m"}"#, "missing"),
            (404, "404 page not found", ""),
            (422, r#"{"kind":"Status","reason":"Invalid","message":"m"}"#, ""),
            (429, "busy", "again"),
            (503, r#"{"kind":"Status","reason":"ServiceUnavailable","message":"m"}"#, "again"),
        ] {
            let error = refused(code, Some(Form::Json), body.as_bytes());
            let said = [
                (error.is_conflict(), "conflict"),
                (error.is_already_exists(), "exists"),
                (error.is_not_found(), "missing"),
                (error.is_retriable(), "again"),
            ];
            let said: Vec<&str> = said.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
            assert_eq!(said.join(" "), expected, "{code} {body}");
        }
        let foreign = refused(502, None, b"<html>\n");
        assert_eq!(foreign.to_string(), "the server refused it with 502 : <html>");
    }
}
