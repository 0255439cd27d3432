//! Kubeconfigs: all that a client needs in one file.

use std::fmt;
use std::path::Path;

use serde_json::Value;

use super::files::{self, Readers};
use super::{AccessError, base64};

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
        "apiVersion: v1\nkind: Config\nclusters:\n- name: signalbox\n  cluster:\n    certificate-authority-data: {}\n    \
         server: {}\ncontexts:\n- name: {context}\n  context:\n    cluster: signalbox\n    user: {user}\n\
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

/// Writes a kubeconfig, which only its owner can read, if it is another one than before.
pub fn write(file: &Path, text: &str) -> Result<(), AccessError> {
    if files::read(file, Readers::Owner)?.as_deref() == Some(text) {
        return Ok(());
    }
    files::write(file, text, Readers::Owner)
}
