//! Kubeconfigs: all that a client needs in one file.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::files::{self, Readers};
use super::{AccessError, base64};

/// How each of them begins.
const HEAD: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: signalbox\n  cluster:\n";

/// A client's certificate and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// The user that it is for.
    pub user: String,
    /// In PEM.
    pub certificate: String,
    /// In PEM. A secret.
    pub key: String,
}

/// Says nothing of the key.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Answers the file's text. `server`: an URL; `authority`: what the client trusts, in PEM.
pub(super) fn text(server: &str, authority: &str, client: &Client) -> String {
    // A text in JSON is one in YAML.
    let quoted = |text: &str| Value::from(text).to_string();
    let data = |text: &str| base64(text.as_bytes());
    format!(
        "{HEAD}    certificate-authority-data: {}\n    server: {}\ncontexts:\n- name: {context}\n  context:\n    cluster: signalbox\n    user: {user}\n\
         current-context: {context}\npreferences: {{}}\nusers:\n- name: {user}\n  user:\n    \
         client-certificate-data: {}\n    client-key-data: {}\n",
        data(authority),
        quoted(server),
        data(&client.certificate),
        data(&client.key),
        context = quoted(&format!("{}@signalbox", client.user)),
        user = quoted(&client.user),
    )
}

/// Writes a kubeconfig, which only its owner can read, if it is another one than before. One that is not this server's
/// alone is refused: it may be all that its owner has.
pub fn write(file: &Path, text: &str) -> Result<(), AccessError> {
    match files::read(file, Readers::Owner)? {
        Some(old) if old == text => return Ok(()),
        Some(old) if !is_own(&old, text) => {
            return Err(AccessError::damaged(file, "it is a kubeconfig of other servers"));
        }
        Some(_) | None => {}
    }
    files::write(file, text, Readers::Owner)
}

/// Whether an old file is of this server: as it was written, or as kubectl writes it when it changes something.
fn is_own(old: &str, new: &str) -> bool {
    let authority = new.lines().find(|line| line.contains("certificate-authority-data"));
    let knows_authority = authority.is_some_and(|line| old.contains(line.trim()));
    old.matches("server:").count() == 1 && (knows_authority || old.starts_with(HEAD))
}
