//! The connection to an API server: configuration, credentials, requests.
//!
//! Built on kube's configuration and client, but not on its default stack: that one logs every failure as an error by
//! itself, retries on its own, and reads rotated tokens a minute late.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext,
};
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder};

use crate::answer;
use crate::api::ApiConfig;
use crate::failure::{Failure, error_text};
use crate::frame::Form;
use crate::stream::read_all;
use crate::timing::Timing;

/// How much of a foreign answer is shown.
const SHOWN: usize = 80;
/// How much of a refusal is read.
const MAX_REFUSAL: usize = 1 << 20;

/// A client of one API server.
pub(crate) struct Connection {
    client: kube::Client,
    server: String,
    token: Option<TokenFile>,
}

/// A request that can be sent without the connection it was made for.
pub(crate) struct Prepared {
    client: kube::Client,
    request: Request<Body>,
}

/// A connection that is made anew, from the configuration as it is then, when a failure asks for it.
pub(crate) struct Renewable {
    config: ApiConfig,
    current: Option<Connection>,
    /// Whether the configuration is to be read again before the next request.
    stale: bool,
}

/// A token that is read anew for each request, since they are rare and it rotates.
struct TokenFile {
    path: PathBuf,
    /// The last token that could be read: some set-ups remove the file, see
    /// <https://github.com/kubernetes/kubernetes/issues/68164>.
    last: Option<String>,
}

impl Connection {
    /// Reads the configuration and prepares a client; connects to nothing yet.
    pub(crate) async fn prepare(config: &ApiConfig) -> Result<Self, Failure> {
        let mut kube = load(config).await?;
        if kube.proxy_url.is_some() {
            return Err(Failure::Configuration(
                "HTTP proxies (proxy-url, HTTPS_PROXY) are not supported".into(),
            ));
        }
        let token = kube.auth_info.token_file.take().map(PathBuf::from);
        let token = token.map(|path| TokenFile { path, last: None });
        let server = kube.cluster_url.to_string();
        let timing = config.timing.clone();
        // A credential plugin may run for seconds.
        let client = tokio::task::spawn_blocking(move || client(&kube, &timing)).await;
        let client = client.map_err(BoxError::from).flatten();
        let client = client.map_err(|error| Failure::Configuration(error_text(&*error)))?;
        Ok(Self { client, server, token })
    }

    /// Takes over the last token of the connection before, in case its file is gone just now.
    pub(crate) fn after(mut self, before: Option<Self>) -> Self {
        if let (Some(token), Some(before)) = (&mut self.token, before.and_then(|before| before.token))
            && token.path == before.path
        {
            token.last = before.last;
        }
        self
    }

    /// Answers the URL of the server.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Asks for `path`; answers the form and body of a success.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        watch: bool,
        timing: &Timing,
    ) -> Result<(Form, Body), Failure> {
        let accept = match watch {
            true => "application/vnd.kubernetes.protobuf;stream=watch, application/json",
            false => "application/vnd.kubernetes.protobuf, application/json",
        };
        let request = self.request(Method::GET, path)?.header(header::ACCEPT, accept);
        self.answer(request.body(Body::empty()), timing).await
    }

    /// Creates the object `json` in the collection at `path`.
    pub(crate) async fn create(&mut self, path: &str, json: Vec<u8>, timing: &Timing) -> Result<(), Failure> {
        let request = self.request(Method::POST, path)?.header(header::CONTENT_TYPE, "application/json");
        self.write(request, json, timing).await
    }

    /// Applies a merge patch (RFC 7396) to the object at `path`.
    pub(crate) async fn merge(&mut self, path: &str, patch: Vec<u8>, timing: &Timing) -> Result<(), Failure> {
        let form = "application/merge-patch+json";
        let request = self.request(Method::PATCH, path)?.header(header::CONTENT_TYPE, form);
        self.write(request, patch, timing).await
    }

    async fn write(
        &mut self,
        request: http::request::Builder,
        body: Vec<u8>,
        timing: &Timing,
    ) -> Result<(), Failure> {
        let request = request.header(header::ACCEPT, "application/json").body(Body::from(body));
        let (_, body) = self.answer(request, timing).await?;
        // It says nothing new, but only a body that was read leaves the connection for the next request.
        read_all(body, timing.answer).await.map(drop)
    }

    /// Answers a request for JSON with what is to be sent, if anything, as its type and bytes.
    pub(crate) fn prepared(
        &mut self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Vec<u8>)>,
    ) -> Result<Prepared, Failure> {
        let mut request = self.request(method, path)?.header(header::ACCEPT, "application/json");
        let body = match content {
            Some((form, bytes)) => {
                request = request.header(header::CONTENT_TYPE, form);
                Body::from(bytes)
            }
            None => Body::empty(),
        };
        self.with_client(request.body(body))
    }

    fn with_client(&self, request: http::Result<Request<Body>>) -> Result<Prepared, Failure> {
        let request = request.map_err(|error| Failure::Configuration(error.to_string()))?;
        Ok(Prepared { client: self.client.clone(), request })
    }

    async fn answer(
        &mut self,
        request: http::Result<Request<Body>>,
        timing: &Timing,
    ) -> Result<(Form, Body), Failure> {
        accepted(self.with_client(request)?.send(timing).await?, timing).await
    }

    fn request(&mut self, method: Method, path: &str) -> Result<http::request::Builder, Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            // Servers from 1.37 on would compress a watch in a way that cannot be decoded event by event.
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, concat!("signalbox/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &mut self.token {
            request = request.header(header::AUTHORIZATION, token.header()?);
        }
        Ok(request)
    }
}

impl Prepared {
    /// Sends it and waits for the head of the answer, whatever it says.
    pub(crate) async fn send(self, timing: &Timing) -> Result<Response<Body>, Failure> {
        let sent = timeout(timing.answer, self.client.send(self.request)).await;
        let response = sent.map_err(|_| Failure::NoAnswer(timing.answer))?;
        response.map_err(|error| Failure::of_transport(&error))
    }
}

impl Renewable {
    pub(crate) fn new(config: ApiConfig) -> Self {
        Self { config, current: None, stale: false }
    }

    /// One whose configuration was read already.
    pub(crate) fn with(config: ApiConfig, current: Connection) -> Self {
        Self { config, current: Some(current), stale: false }
    }

    /// Answers the connection; nothing is read or connected before the first call.
    pub(crate) async fn get(&mut self) -> Result<&mut Connection, Failure> {
        let connection = match self.current.take() {
            Some(current) if !self.stale => current,
            before => match Connection::prepare(&self.config).await {
                Ok(fresh) => fresh.after(before),
                Err(failure) => {
                    self.current = before;
                    return Err(failure);
                }
            },
        };
        self.stale = false;
        Ok(self.current.insert(connection))
    }

    /// Notes a failure of a request.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        self.stale |= failure.wants_new_connection();
    }

    /// Answers the URL of the server; empty before the first connection.
    pub(crate) fn server(&self) -> &str {
        self.current.as_ref().map_or("", Connection::server)
    }
}

impl TokenFile {
    fn header(&mut self) -> Result<HeaderValue, Failure> {
        let path = &self.path;
        let failed = |what: String| Failure::Configuration(format!("token file {}: {what}", path.display()));
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        // One that is empty is being written.
        let read =
            read.and_then(|token| if token.trim().is_empty() { Err("is empty".into()) } else { Ok(token) });
        let token = match read {
            Ok(token) => token,
            Err(error) => self.last.take().ok_or_else(|| failed(error))?,
        };
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| failed("it holds characters that no token has".into()))?;
        value.set_sensitive(true);
        self.last = Some(token);
        Ok(value)
    }
}

/// Finds out where the server is and who we are.
async fn load(config: &ApiConfig) -> Result<kube::Config, Failure> {
    let failed = |error: &(dyn StdError + 'static)| Failure::Configuration(error_text(error));
    let master = config.master.as_deref().filter(|master| !master.is_empty());
    let master = master.map(parse_master).transpose()?;
    let mut loaded = match (&config.kubeconfig, &master) {
        (Some(path), _) => from_file(path, master.is_some()).await?,
        (None, Some(master)) if config.tls.is_some() => with_files(master, config.tls.as_ref()).await?,
        (None, Some(master)) => kube::Config::new(master.clone()),
        (None, None) => kube::Config::incluster_env().map_err(|error| failed(&error))?,
    };
    if let Some(master) = master {
        loaded.cluster_url = master;
    }
    Ok(loaded)
}

/// A `--master` may be a URL or just `host:port`, which means HTTP as in Kubernetes' own clients.
fn parse_master(master: &str) -> Result<http::Uri, Failure> {
    let url = if master.contains("://") { master.to_owned() } else { format!("http://{master}") };
    url.parse().map_err(|error| Failure::Configuration(format!("--master {master:?}: {error}")))
}

async fn from_file(path: &Path, master: bool) -> Result<kube::Config, Failure> {
    let named = |error: kube::config::KubeconfigError| {
        Failure::Configuration(format!("kubeconfig {}: {}", path.display(), error_text(&error)))
    };
    let mut kubeconfig = Kubeconfig::read_from(path).map_err(named)?;
    if master {
        // The server may be left to --master alone.
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server.get_or_insert_with(|| "http://localhost".into());
        }
    }
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(named)
}

/// What a kubeconfig with these files would say.
async fn with_files(master: &http::Uri, tls: Option<&[PathBuf; 3]>) -> Result<kube::Config, Failure> {
    let text = |at: usize| tls.map(|files| files[at].display().to_string());
    let name = "given".to_owned();
    let cluster =
        Cluster { server: Some(master.to_string()), certificate_authority: text(2), ..Cluster::default() };
    let user = AuthInfo { client_certificate: text(0), client_key: text(1), ..AuthInfo::default() };
    let context = Context { cluster: name.clone(), user: Some(name.clone()), ..Context::default() };
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster {
            name: name.clone(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: name.clone(),
            auth_info: Some(user),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: name.clone(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(name),
        ..Kubeconfig::default()
    };
    let failed = |error: kube::config::KubeconfigError| Failure::Configuration(error_text(&error));
    kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(failed)
}

fn client(config: &kube::Config, timing: &Timing) -> Result<kube::Client, BoxError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(timing.connect));
    // A peer that vanished without a word is found within a minute.
    // The kernel counts these in whole seconds, at least one.
    let at_least_a_second = |time: std::time::Duration| Some(time.max(std::time::Duration::from_secs(1)));
    connector.set_keepalive(at_least_a_second(timing.answer));
    connector.set_keepalive_interval(at_least_a_second(timing.connect));
    connector.set_keepalive_retries(Some(3));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http = legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// Tells success from refusal.
pub(crate) async fn accepted(response: Response<Body>, timing: &Timing) -> Result<(Form, Body), Failure> {
    let code = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let form = Form::of(&content_type);
    match form {
        Some(form) if code.is_success() => return Ok((form, response.into_body())),
        Some(_) | None => {}
    }
    let body = beginning(response.into_body(), timing).await;
    // This is how Go's server says that a path does not exist, such as that of a group it does not have.
    if code == http::StatusCode::NOT_FOUND && body.starts_with(b"404 page not found") {
        return Err(Failure::Missing("404 page not found".into()));
    }
    let foreign = || {
        let beginning = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned();
        Failure::Foreign { code: code.as_u16(), content_type, beginning }
    };
    Err(Failure::of_answer(code.as_u16(), answer::status(form, &body), foreign))
}

/// Reads at most [`MAX_REFUSAL`] bytes, or what comes in time.
pub(crate) async fn beginning(mut body: Body, timing: &Timing) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_REFUSAL {
        let Ok(Some(Ok(frame))) = timeout(timing.answer, body.frame()).await else { break };
        bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_may_be_a_url_or_an_address() {
        let check = |master: &str, expected: &str| {
            assert_eq!(parse_master(master).unwrap().to_string(), expected);
        };
        check("https://10.0.0.1:6443", "https://10.0.0.1:6443/");
        check("10.0.0.1:8080", "http://10.0.0.1:8080/");
        assert!(parse_master("http://[::1").is_err());
    }
}
