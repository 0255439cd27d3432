//! A client for controllers: objects of any kind as JSON, read, written and followed; leader election; and Events.
//!
//! It retries nothing by itself but following: what a refused write means is the caller's business.
//!
//! ```text
//! let client = Client::connect(&ApiConfig::new(Some(kubeconfig), None, "")).await?;
//! let pod = client.get("/api/v1/namespaces/default/pods/web").await?;
//! tokio::spawn(follow(client.clone(), Collection::all("/api/v1/pods"), decode, sender));
//! lead(client, lease, work).await;
//! ```

mod error;
mod events;
mod follow;
mod lead;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::Error;
use crate::api::ApiConfig;
use crate::connection::{Connection, Renewable, beginning};
use crate::failure::Failure;
use crate::frame::Form;
use crate::query::escape_into;
use crate::stream::read_all;
use crate::timing::Timing;

pub use error::ClientError;
pub use events::{Note, Recorder};
pub use follow::{Collection, Told, follow};
pub use lead::{Lease, lead};

/// A client of one API server. Clones share the connections.
#[derive(Clone)]
pub struct Client {
    // Held while a request is made ready, not while it is on its way.
    connection: Arc<Mutex<Renewable>>,
    timing: Arc<Timing>,
    observer: Option<Observer>,
}

/// Who is told of each request: its method, the code of the answer if there was one, and how long that took.
pub type Observer = Arc<dyn Fn(&Method, Option<u16>, Duration) + Send + Sync>;

/// In which words a change is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 7396.
    Merge,
    /// Kubernetes' own merge, which knows the keys of lists.
    Strategic,
    /// RFC 6902.
    Json,
    /// Server-side apply.
    Apply {
        /// Who owns the fields.
        manager: String,
        /// Whether to take fields from other owners.
        force: bool,
    },
}

impl Client {
    /// Reads the configuration; connects to nothing yet. It is read again when the server cannot be reached or refuses
    /// the credentials.
    pub async fn connect(config: &ApiConfig) -> Result<Self, Error> {
        let checked = Connection::prepare(config).await.map_err(|failure| Error::Configuration {
            error: failure.to_string(),
            remedy: failure.remedy(),
        })?;
        Ok(Self {
            connection: Arc::new(Mutex::new(Renewable::with(config.clone(), checked))),
            timing: Arc::new(config.timing.clone()),
            observer: None,
        })
    }

    /// Answers this client, of whose requests somebody is told.
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Answers the URL of the server.
    pub async fn server(&self) -> String {
        self.connection.lock().await.server().to_owned()
    }

    /// Answers the object or list at `path`, which may have a query.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.exchange(Method::GET, path, None).await
    }

    /// Creates an object in the collection at `path` and answers it as stored.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, ClientError> {
        self.exchange(Method::POST, path, Some((JSON, object))).await
    }

    /// Replaces the object at `path` and answers it as stored. With a `resourceVersion`, only that version of it.
    pub async fn update(&self, path: &str, object: &Value) -> Result<Value, ClientError> {
        self.exchange(Method::PUT, path, Some((JSON, object))).await
    }

    /// Changes the object at `path` and answers it as stored.
    pub async fn patch(&self, path: &str, how: PatchType, patch: &Value) -> Result<Value, ClientError> {
        let form = match &how {
            PatchType::Merge => "application/merge-patch+json",
            PatchType::Strategic => "application/strategic-merge-patch+json",
            PatchType::Json => "application/json-patch+json",
            PatchType::Apply { .. } => "application/apply-patch+yaml",
        };
        let path = match &how {
            PatchType::Apply { manager, force } => applied(path, manager, *force),
            PatchType::Merge | PatchType::Strategic | PatchType::Json => path.to_owned(),
        };
        self.exchange(Method::PATCH, &path, Some((form, patch))).await
    }

    /// Deletes the object at `path` and answers what the server says about it: a `Status`, or the object where it goes
    /// on living for a while. `options` are `DeleteOptions`, or null for none.
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Value, ClientError> {
        let content = (!options.is_null()).then_some((JSON, options));
        self.exchange(Method::DELETE, path, content).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, &Value)>,
    ) -> Result<Value, ClientError> {
        let content = content.map(|(form, value)| (form, value.to_string().into_bytes()));
        let result = self.answer(method, path, content).await;
        self.note(&result).await;
        let (code, form, body) = result.map_err(|failure| ClientError::Unreachable(failure.to_string()))?;
        if !(200..300).contains(&code) {
            return Err(error::refused(code, form, &body));
        }
        serde_json::from_slice(&body)
            .map_err(|error| ClientError::Unreachable(format!("the answer is no valid JSON: {error}")))
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Vec<u8>)>,
    ) -> Result<(u16, Option<Form>, Bytes), Failure> {
        let response = self.send(method, path, content).await?;
        let code = response.status().as_u16();
        let content_type = response.headers().get(http::header::CONTENT_TYPE);
        let form = content_type.and_then(|value| value.to_str().ok()).and_then(Form::of);
        if !response.status().is_success() {
            let body = beginning(response.into_body(), &self.timing).await;
            if code == 401 {
                return Err(Failure::Unauthorized(error::refused(code, form, &body).to_string()));
            }
            return Ok((code, form, body.into()));
        }
        Ok((code, form, read_all(response.into_body(), self.timing.answer).await?))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Response<Body>, Failure> {
        let begun = Instant::now();
        let result = async {
            let prepared =
                self.connection.lock().await.get().await?.prepared(method.clone(), path, content)?;
            prepared.send(&self.timing).await
        };
        let result = result.await;
        if let Some(observer) = &self.observer {
            let code = result.as_ref().ok().map(|response| response.status().as_u16());
            observer(&method, code, begun.elapsed());
        }
        result
    }

    /// Has the configuration read again when that may help.
    async fn note<T>(&self, result: &Result<T, Failure>) {
        if let Err(failure) = result {
            self.connection.lock().await.failed(failure);
        }
    }
}

const JSON: &str = "application/json";

fn applied(path: &str, manager: &str, force: bool) -> String {
    let mut path = path.to_owned();
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str("fieldManager=");
    escape_into(&mut path, manager);
    if force {
        path.push_str("&force=true");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apply_names_its_manager() {
        assert_eq!(applied("/a", "b c", false), "/a?fieldManager=b%20c");
        assert_eq!(applied("/a?x=y", "b", true), "/a?x=y&fieldManager=b&force=true");
    }
}
