//! Paths and queries of lists and watches.

use std::borrow::Cow;
use std::time::Duration;

use objects::Kind;

/// What to ask for one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    path: Cow<'static, str>,
    labels: Cow<'static, str>,
    fields: String,
    /// Whether objects may be left out by `fields` without harm, so that the selector may be dropped.
    fields_are_optional: bool,
}

impl Query {
    /// Answers the query of a kind, with the selectors of kube-proxy: Services of other proxies, headless Services and
    /// their slices never come.
    pub(crate) fn of(kind: Kind, node_name: &str) -> Self {
        let (path, labels) = match kind {
            Kind::Service => ("/api/v1/services", "!service.kubernetes.io/service-proxy-name"),
            Kind::EndpointSlice => {
                ("/apis/discovery.k8s.io/v1/endpointslices", "!service.kubernetes.io/headless")
            }
            Kind::Node => ("/api/v1/nodes", ""),
            Kind::ServiceCidr => ("/apis/networking.k8s.io/v1/servicecidrs", ""),
        };
        let fields = match kind {
            Kind::Service => "spec.clusterIP!=None".to_owned(),
            Kind::Node => format!("metadata.name={node_name}"),
            Kind::EndpointSlice | Kind::ServiceCidr => String::new(),
        };
        Self { path: path.into(), labels: labels.into(), fields, fields_are_optional: kind == Kind::Service }
    }

    /// Answers the query of a kind without these selectors: names follow from what the rules need not see.
    pub(crate) fn whole(kind: Kind, node_name: &str) -> Self {
        let mut query = Self::of(kind, node_name);
        if matches!(kind, Kind::Service | Kind::EndpointSlice) {
            (query.labels, query.fields) = ("".into(), String::new());
        }
        query
    }

    /// Answers the query of any collection.
    pub(crate) fn new(path: String, labels: String, fields: String) -> Self {
        Self { path: path.into(), labels: labels.into(), fields, fields_are_optional: false }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Stops selecting by fields, if that is harmless. Answers whether that changes anything.
    pub(crate) fn drop_fields(&mut self) -> bool {
        let drops = self.fields_are_optional && !self.fields.is_empty();
        if drops {
            self.fields.clear();
        }
        drops
    }

    /// Answers the query of one page of a list.
    pub(crate) fn list(&self, limit: Option<u32>, next: &str) -> String {
        let limit = limit.map(|limit| limit.to_string()).unwrap_or_default();
        self.with(&[("limit", &limit), ("continue", next)])
    }

    /// Answers the query of a watch that goes on at `revision`, or that begins with a list.
    pub(crate) fn watch(&self, revision: Option<&str>, life: Duration) -> String {
        let seconds = life.as_secs().max(1).to_string();
        let common = [("watch", "true"), ("allowWatchBookmarks", "true"), ("timeoutSeconds", &*seconds)];
        let rest = match revision {
            Some(revision) => [("resourceVersion", revision), ("", "")],
            None => [("sendInitialEvents", "true"), ("resourceVersionMatch", "NotOlderThan")],
        };
        self.with(&[common.as_slice(), &rest].concat())
    }

    /// Puts selectors and parameters together; empty ones are left out.
    fn with(&self, parameters: &[(&str, &str)]) -> String {
        let selectors = [("labelSelector", &*self.labels), ("fieldSelector", &self.fields)];
        let mut query = String::new();
        for (name, value) in selectors.iter().chain(parameters).filter(|(_, value)| !value.is_empty()) {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            escape_into(&mut query, value);
        }
        format!("{}{query}", self.path)
    }
}

/// Writes `value` so that it may stand in a path or a query as one word.
pub(crate) fn escape_into(query: &mut String, value: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.push('%');
            query.push(char::from(DIGITS[usize::from(byte >> 4)]));
            query.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped_and_have_no_empty_parameters() {
        let mut services = Query::of(Kind::Service, "n1");
        assert_eq!(
            services.list(Some(500), "a+b/=&\n"),
            "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name\
             &fieldSelector=spec.clusterIP%21%3DNone&limit=500&continue=a%2Bb%2F%3D%26%0A"
        );
        assert!(services.drop_fields() && !services.drop_fields());
        assert_eq!(
            services.watch(Some("7"), Duration::from_secs(400)),
            "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&watch=true\
             &allowWatchBookmarks=true&timeoutSeconds=400&resourceVersion=7"
        );
        let mut node = Query::of(Kind::Node, "n1");
        assert!(!node.drop_fields());
        assert_eq!(node.list(None, ""), "/api/v1/nodes?fieldSelector=metadata.name%3Dn1");
        assert_eq!(
            Query::of(Kind::ServiceCidr, "").watch(None, Duration::ZERO),
            "/apis/networking.k8s.io/v1/servicecidrs?watch=true&allowWatchBookmarks=true&timeoutSeconds=1\
             &sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
    }
}
