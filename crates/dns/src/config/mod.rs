//! What the DNS server is told to do: CoreDNS' Corefile, or a file of ours with the same meaning.
//!
//! Both become one [`Settings`]; every mistake is listed at once, with its line and column or with its field. What is
//! understood of a Corefile does here what it does there; what is not is refused, never passed over. It does *not* act on any of it.

mod check;
mod corefile;
mod domain;
mod reload;
mod settings;
mod words;
mod yaml;

use std::fmt;

pub use reload::{Environment, follow, read};
pub use settings::{
    Api, Cache, Completion, Fallthrough, Forward, Health, HealthCheck, Hosts, Kubernetes, PodMode, Policy,
    Prefetch, Rewrite, RewriteRule, SearchPath, Server, Settings, Share, Stale, Upstream,
};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Line and column such as `3:5`, or a field such as `servers[0].cache.ttl`.
    pub place: String,
    /// What about it.
    pub reason: String,
}

impl Remark {
    fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.place.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.place, self.reason)
    }
}

/// Every mistake there is, each on a line of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Mistakes(pub Vec<Remark>);

impl Settings {
    /// Reads a text: a Corefile, a ConfigMap with one in it, or a file of ours.
    pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        // Each of a ConfigMap, a file of ours and a manifest in JSON says what it is; a server block has a brace after a zone.
        let is_yaml = text.lines().any(|line| line.starts_with("apiVersion:") || line.starts_with("kind:"));
        if !is_yaml && !text.trim_start().starts_with("{\"") {
            return corefile::parse(text, variable);
        }
        let value = yaml::value(text)?;
        if value.get("kind").and_then(serde_json::Value::as_str) != Some("ConfigMap") {
            return yaml::parse(&value);
        }
        let corefile =
            value.get("data").and_then(|data| data.get("Corefile")).and_then(serde_json::Value::as_str);
        let missing = || Mistakes(vec![Remark::new("data.Corefile", "is missing from this ConfigMap")]);
        corefile::parse(corefile.ok_or_else(missing)?, variable)
    }
}
