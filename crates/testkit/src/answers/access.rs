//! Where a server is and who asks: from a kubeconfig, or as given. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cases::yaml::Yaml;

/// A server and how its administrator proves to be that.
///
/// The server's certificate is never checked: the recorded answers are not about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub url: String,
    pub(super) proof: Proof,
}

/// What is shown to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Proof {
    Token(String),
    /// Certificate and key in PEM.
    Certificate(Vec<u8>, Vec<u8>),
}

impl Access {
    /// Takes a server's address and a token as given.
    pub fn new(url: &str, token: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), proof: Proof::Token(token.to_owned()) }
    }

    /// Reads the current context of a kubeconfig, which must hold a token or a certificate.
    pub fn of_kubeconfig(text: &str) -> Result<Self, String> {
        let config = Yaml::parse(text)?.to_json();
        let named = |list: &str, name: &Value| {
            let mut items = config[list].as_array().into_iter().flatten();
            items
                .find(|item| item["name"] == *name)
                .cloned()
                .ok_or_else(|| format!("kubeconfig: no {name} in {list}"))
        };
        let context = named("contexts", &config["current-context"])?;
        let cluster = named("clusters", &context["context"]["cluster"])?;
        let user = named("users", &context["context"]["user"])?;
        let url = cluster["cluster"]["server"].as_str().ok_or("kubeconfig: the cluster has no server")?;
        let user = &user["user"];
        if let Some(token) = user["token"].as_str() {
            return Ok(Self::new(url, token));
        }
        let decoded = |field: &str| {
            let text = user[field]
                .as_str()
                .ok_or("kubeconfig: the user has neither a token nor a certificate in it")?;
            STANDARD.decode(text).map_err(|error| format!("kubeconfig: {field}: {error}"))
        };
        let proof = Proof::Certificate(decoded("client-certificate-data")?, decoded("client-key-data")?);
        Ok(Self { proof, ..Self::new(url, "") })
    }

    /// A kubeconfig of the same meaning, with a namespace to work in.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        let user = match &self.proof {
            Proof::Token(token) => json!({"token": token}),
            Proof::Certificate(certificate, key) => json!({
                "client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key),
            }),
        };
        let cluster = json!({"server": self.url, "insecure-skip-tls-verify": true});
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let access = Access::new("https://127.0.0.1:6443/", "secret");
        assert_eq!(access.url, "https://127.0.0.1:6443");
        let certificate = Proof::Certificate(b"certificate".to_vec(), b"key".to_vec());
        for access in [access.clone(), Access { proof: certificate, ..access }] {
            assert_eq!(Access::of_kubeconfig(&access.kubeconfig("default")), Ok(access));
        }
    }

    #[test]
    fn says_what_a_kubeconfig_lacks() {
        let cluster = "clusters: [{name: c, cluster: {server: http://x}}]\n";
        let context = "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n";
        for (text, expected) in [
            ("{}".to_owned(), "kubeconfig: no null in contexts"),
            (context.to_owned(), "kubeconfig: no \"c\" in clusters"),
            (format!("{context}{cluster}"), "kubeconfig: no \"u\" in users"),
            (
                format!("{context}{cluster}users: [{{name: u, user: {{}}}}]"),
                "kubeconfig: the user has no token",
            ),
        ] {
            assert_eq!(Access::of_kubeconfig(&text).unwrap_err(), expected);
        }
    }
}
