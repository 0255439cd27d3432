//! Where a server is and who asks: from a kubeconfig, or as given. Pure.

use serde_json::{Value, json};

use crate::cases::yaml::Yaml;

/// A server and the bearer token of its administrator.
///
/// The server's certificate is never checked: the recorded answers are not about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub url: String,
    pub token: String,
}

impl Access {
    /// Takes a server's address and a token as given.
    pub fn new(url: &str, token: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), token: token.to_owned() }
    }

    /// Reads the current context of a kubeconfig, which must give a token.
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
        let token = user["user"]["token"].as_str().ok_or("kubeconfig: the user has no token")?;
        Ok(Self::new(url, token))
    }

    /// A kubeconfig of the same meaning, with a namespace to work in.
    pub fn kubeconfig(&self, namespace: &str) -> String {
        let cluster = json!({"server": self.url, "insecure-skip-tls-verify": true});
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": self.token}}],
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
        assert_eq!(Access::of_kubeconfig(&access.kubeconfig("default")), Ok(access));
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
