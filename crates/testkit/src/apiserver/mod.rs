//! An in-memory API server for tests, with the faults that real ones have.
//!
//! It serves namespaces, nodes, services, endpointslices, servicecidrs and events as the real API server does where a
//! Service proxy depends on it: defaults, lists in pages, watches with bookmarks and initial events, 410 after
//! compaction, JSON and protobuf. It is *not* the product's API server: nothing but events is validated, nobody is
//! authorised, patches are merge patches only.

mod body;
mod connection;
mod defaults;
mod discovery;
mod encode;
mod event;
mod fault;
mod listing;
mod request;
mod resource;
mod router;
mod selector;
mod shared;
mod status;
mod store;
mod thread;
mod tls;
mod watching;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

pub use fault::{Fault, FaultRule, Verb};
pub use request::Record;
pub use resource::Resource;
pub use status::Refusal;

use defaults::Allocator;
use resource::Location;
use shared::Shared;
use store::{Store, Write};
use thread::{Running, Serving};

/// How to start an [`ApiServer`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one, which a restart keeps.
    pub listen: SocketAddr,
    /// The network namespace to listen in, such as `/run/netns/sbcp`; `None` for the caller's.
    pub netns: Option<PathBuf>,
    /// Whether to speak TLS, with a fresh authority that [`ApiServer::kubeconfig`] names.
    pub tls: bool,
    /// The ranges for ClusterIPs, the default family first; also the content of the ServiceCIDR `kubernetes`.
    pub service_ranges: Vec<String>,
    /// What may change while the server runs.
    pub behaviour: Behaviour,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            netns: None,
            tls: false,
            service_ranges: vec!["10.96.0.0/16".into(), "fd00:10:96::/112".into()],
            behaviour: Behaviour::default(),
        }
    }
}

/// What kind of server it plays; can be changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// Whether clients that accept protobuf get it.
    pub protobuf: bool,
    /// What happens to `sendInitialEvents`.
    pub watch_list: WatchList,
    /// Whether `servicecidrs` exist; before Kubernetes 1.33 they did not.
    pub service_cidrs: bool,
    /// Whether the fields `spec.clusterIP` and `spec.type` of Services can be selected by.
    pub service_fields: bool,
    /// How often a quiet watch gets a bookmark.
    pub bookmark_interval: Duration,
    /// The bearer token that requests must have, if any.
    pub token: Option<String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            protobuf: true,
            watch_list: WatchList::Served,
            service_cidrs: true,
            service_fields: true,
            bookmark_interval: Duration::from_secs(60),
            token: None,
        }
    }
}

/// What a server does with `sendInitialEvents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchList {
    /// It serves it.
    Served,
    /// It refuses it with 422, as real servers do whose feature gate is off.
    Forbidden,
    /// It has never heard of it and sends what exists without saying where it ends.
    Ignored,
}

/// The server, running or stopped. Dropping it stops it.
pub struct ApiServer {
    shared: Arc<Shared>,
    serving: Serving,
    running: Option<Running>,
    ca_pem: Option<String>,
}

impl ApiServer {
    /// Starts a server that has the namespaces `default` and `kube-system` and the ServiceCIDR `kubernetes`.
    pub fn start(options: Options) -> io::Result<Self> {
        let ranges: Vec<&str> = options.service_ranges.iter().map(String::as_str).collect();
        let allocator = Allocator::new(&ranges);
        let cidrs = allocator.ranges();
        let shared = Arc::new(Shared::new(Store::new(allocator), options.behaviour));
        let tls = match options.tls {
            true => Some(tls::fresh(&[options.listen.ip()]).map_err(io::Error::other)?),
            false => None,
        };
        let (acceptor, ca_pem) = tls.map(|tls| (tls.acceptor, tls.ca_pem)).unzip();
        let mut serving =
            Serving { shared: shared.clone(), listen: options.listen, netns: options.netns, tls: acceptor };
        let running = Running::start(serving.clone())?;
        serving.listen = running.address;
        let server = Self { shared, serving, running: Some(running), ca_pem };
        for name in ["default", "kube-system"] {
            server.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        server.apply(json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
                            "metadata": {"name": "kubernetes"}, "spec": {"cidrs": cidrs}}));
        Ok(server)
    }

    /// Answers where it listens, also while it is stopped.
    pub fn address(&self) -> SocketAddr {
        self.serving.listen
    }

    /// Answers its URL.
    pub fn url(&self) -> String {
        let scheme = if self.ca_pem.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// Answers the certificate authority in PEM; `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// Answers a kubeconfig for it, as JSON, which is YAML, too. It has the token of this moment.
    pub fn kubeconfig(&self) -> String {
        let mut cluster = json!({"server": self.url()});
        if let Some(ca) = &self.ca_pem {
            cluster["certificate-authority-data"] = json!(base64(ca.as_bytes()));
        }
        let user = self.shared.behaviour().token.map_or_else(|| json!({}), |token| json!({"token": token}));
        let context = json!({"cluster": "test", "user": "test"});
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": context}],
        });
        format!("{config:#}\n")
    }

    /// Creates or replaces an object, status included (a missing status stays), and answers it as stored.
    ///
    /// # Panics
    /// When the object cannot be stored: no kind, no name, or a ClusterIP or node port that is taken.
    pub fn apply(&self, object: Value) -> Value {
        self.try_apply(object).unwrap_or_else(|refusal| panic!("apply: {refusal}"))
    }

    /// As [`Self::apply`], for objects that may be refused.
    pub fn try_apply(&self, object: Value) -> Result<Value, Refusal> {
        let location = Location::of(&object).map_err(Refusal::bad_request)?;
        self.shared.with_store(|store| store.put(&location, object, Write::Everything)).map(unshared)
    }

    /// Creates or replaces an object as it is, without defaults, however odd.
    ///
    /// # Panics
    /// When the object has no kind or no name.
    pub fn apply_as_is(&self, object: Value) -> Value {
        let location = Location::of(&object).unwrap_or_else(|reason| panic!("apply as is: {reason}"));
        unshared(self.shared.with_store(|store| store.put_as_is(&location, object)))
    }

    /// Deletes an object, or marks it when it has finalizers. Answers whether it existed.
    ///
    /// # Panics
    /// When the kind is unknown.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let location = location(kind, namespace, name);
        self.shared.with_store(|store| store.delete(&location)).is_ok()
    }

    /// Applies a merge patch (RFC 7396) to an object, or to its status alone, and answers it as stored.
    ///
    /// # Panics
    /// When there is no such object or the result cannot be stored.
    pub fn merge_patch(
        &self,
        (kind, namespace, name): (&str, &str, &str),
        body: &Value,
        status: bool,
    ) -> Value {
        let location = location(kind, namespace, name);
        let write = if status { Write::OnlyStatus } else { Write::KeepStatus };
        let patched = self.shared.with_store(|store| router::merge(store, &location, body, write));
        patched.map(unshared).unwrap_or_else(|refusal| panic!("merge patch of {location}: {refusal}"))
    }

    /// Answers an object.
    ///
    /// # Panics
    /// When the kind is unknown.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let location = location(kind, namespace, name);
        self.shared.with_store(|store| store.get(&location)).map(unshared)
    }

    /// Answers all objects of a resource, sorted by namespace and name.
    pub fn list(&self, resource: Resource) -> Vec<Value> {
        self.shared.snapshot(resource).0.into_iter().map(unshared).collect()
    }

    /// Forgets the history: who is not up to date must list anew.
    pub fn compact(&self) {
        self.shared.with_store(Store::compact);
    }

    /// Goes back to what was at an older revision, as a server whose store was restored from a backup. To be called
    /// while it is stopped.
    ///
    /// # Panics
    /// When that revision was compacted.
    pub fn restore(&self, revision: u64) {
        assert!(self.running.is_none(), "a server that runs is not restored");
        self.shared.with_store(|store| store.restore(revision));
    }

    /// Answers the revision of the last write.
    pub fn revision(&self) -> u64 {
        self.shared.with_store(|store| store.revision())
    }

    /// Stops serving and cuts all connections, like a killed server. The data stays.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Serves again at the same address with the same data.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.running = Some(Running::start(self.serving.clone())?);
        Ok(())
    }

    /// Changes what kind of server it plays, for requests from now on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        self.shared.change_behaviour(change);
    }

    /// Lets requests fail from now on. Rules are tried in the order in which they were added.
    pub fn inject(&self, rule: FaultRule) {
        self.shared.rules().push(rule);
    }

    /// Takes all faults back. Bodies that were begun keep theirs.
    pub fn clear_faults(&self) {
        self.shared.rules().clear();
    }

    /// Takes the requests that came since the last call.
    pub fn take_requests(&self) -> Vec<Record> {
        std::mem::take(&mut *self.shared.records())
    }
}

fn location(kind: &str, namespace: &str, name: &str) -> Location {
    let resource = Resource::named(kind).unwrap_or_else(|| panic!("kind {kind} is not served"));
    Location::new(resource, namespace, name)
}

fn unshared(object: Arc<Value>) -> Value {
    Arc::unwrap_or_clone(object)
}

/// Writes bytes in base64 (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let padded = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            let digit = if place <= chunk.len() { ALPHABET[sextet as usize] } else { b'=' };
            text.push(char::from(digit));
        }
    }
    text
}

#[cfg(test)]
mod tests;
