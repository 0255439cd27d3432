//! Who may do what: certificates, tokens, roles, and the answers about them.
//!
//! [`Authority`] keeps the keys, [`Identity`] is who asks, [`Policy`] says what they may do, [`review`] answers questions
//! about it. What it does *not* do: speak HTTP, or keep objects.

pub mod authority;
mod certificate;
mod files;
pub mod identity;
pub mod impersonation;
pub mod kubeconfig;
pub mod rbac;
pub mod review;
#[cfg(test)]
mod tests;
mod tls;
pub mod token_request;
pub mod tokens;

use std::path::PathBuf;

pub use authority::{Authority, Names};
pub use identity::{Credentials, Identity};
pub use rbac::{Attributes, Decision, Policy};
pub use review::Review;
pub use tls::ClientKey;
pub use tokens::{Facts, StaticTokens, TokenKey, Tokens};

/// Why there is no secure server. Fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The system refused something about a file.
    #[error("{doing} {file}: {source}", file = file.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file is not what it should be. It is left as it is.
    #[error("use {file}: {why}", file = file.display())]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate could not be made.
    #[error("make a certificate for {name}: {why}")]
    Unsigned {
        /// Whose.
        name: String,
        /// Why not.
        why: String,
    },
    /// TLS refused its configuration.
    #[error("set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A grant of a role is not understood.
    #[error("grant {text:?}: {why}")]
    Grant {
        /// The grant.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

impl AccessError {
    fn damaged(file: &std::path::Path, why: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), why: why.into() }
    }
}

/// Unpadded base64 for URLs, as tokens have it.
fn base64url(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

fn from_base64url(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
