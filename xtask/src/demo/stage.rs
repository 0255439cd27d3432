//! The cluster, asked and told as kubectl does it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use sys::netns::Namespace;
use testkit::up::Up;
use tokio::runtime::Runtime;
use watch::ApiConfig;
use watch::client::{Client, PatchType};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "default";

/// A pod as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) is_ready: bool,
}

/// An endpoint of the Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    pub(crate) pod: String,
    pub(crate) is_ready: bool,
}

pub(crate) struct Stage {
    runtime: Runtime,
    client: Client,
}

impl Stage {
    pub(crate) fn new(up: &Up) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = ApiConfig::new(Some(up.kubeconfig()), None, "");
        let client =
            runtime.block_on(Client::connect(&config)).map_err(|error| anyhow!("failed to {error}"))?;
        Ok(Self { runtime, client })
    }

    /// Applies every object of a file.
    pub(crate) fn apply(&self, file: &Path) -> Result<()> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
        for object in objects {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let path = match object["kind"].as_str() {
                Some("Deployment") => format!("{}/{name}", deployments()),
                Some("Service") => format!("/api/v1/namespaces/{NAMESPACE}/services/{name}"),
                Some("Pod") => format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"),
                other => bail!("{}: {other:?} is not part of the story", file.display()),
            };
            let how = PatchType::Apply { manager: "demo".to_owned(), force: false };
            self.asked(self.client.patch(&path, how, &object))?;
        }
        Ok(())
    }

    /// Changes the Deployment.
    pub(crate) fn change(&self, patch: &Value) -> Result<()> {
        let path = format!("{}/backend", deployments());
        self.asked(self.client.patch(&path, PatchType::Strategic, patch)).map(drop)
    }

    pub(crate) fn delete_pod(&self, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
        self.asked(self.client.delete(&path, &Value::Null)).map(drop)
    }

    pub(crate) fn deployment(&self) -> Result<Value> {
        self.asked(self.client.get(&format!("{}/backend", deployments())))
    }

    /// Where the Service is.
    pub(crate) fn service(&self) -> Result<SocketAddr> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/services/backend-service");
        let service = self.asked(self.client.get(&path))?;
        let address = service["spec"]["clusterIP"].as_str().and_then(|address| address.parse().ok());
        Ok(SocketAddr::new(address.context("the Service has no address")?, 80))
    }

    /// The pods of an app that are not on their way out, by name.
    pub(crate) fn pods(&self, app: &str) -> Result<Vec<Pod>> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3D{app}");
        let list = self.asked(self.client.get(&path))?;
        let stays = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        let mut pods: Vec<_> = items(&list).filter(stays).map(pod).collect();
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(pods)
    }

    /// Waits until an app has so many ready pods, and no others.
    pub(crate) fn ready_pods(&self, app: &str, count: usize) -> Result<Vec<Pod>> {
        self.until(&format!("{count} ready pods of {app}"), || {
            let pods = self.pods(app)?;
            let is_done = pods.len() == count && pods.iter().all(|pod| pod.is_ready);
            Ok(is_done.then_some(pods))
        })
    }

    /// What the slices of the Service hold.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        let path = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dbackend-service"
        );
        let list = self.asked(self.client.get(&path))?;
        let all = items(&list).flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let mut endpoints: Vec<_> = all
            .map(|one| Endpoint {
                address: text(&one["addresses"][0]),
                pod: text(&one["targetRef"]["name"]),
                is_ready: one["conditions"]["ready"] == true,
            })
            .collect();
        endpoints.sort();
        Ok(endpoints)
    }

    /// Asks until there is an answer.
    pub(crate) fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let begin = Instant::now();
        loop {
            if let Some(found) = ask()? {
                return Ok(found);
            }
            if begin.elapsed() > LIMIT {
                bail!("waited for {what} for {} s in vain", LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn asked<T>(&self, asking: impl Future<Output = Result<T, watch::client::ClientError>>) -> Result<T> {
        self.runtime.block_on(asking).map_err(|error| anyhow!("the API server: {error}"))
    }
}

impl Pod {
    /// The network of the pod.
    pub(crate) fn namespace(&self) -> Namespace {
        Namespace::named(&format!("sb-{}", self.uid))
    }
}

fn deployments() -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn pod(object: &Value) -> Pod {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    Pod {
        name: text(&object["metadata"]["name"]),
        uid: text(&object["metadata"]["uid"]),
        node: text(&object["spec"]["nodeName"]),
        address: object["status"]["podIP"].as_str().and_then(|address| address.parse().ok()),
        is_ready: conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True"),
    }
}
