//! A client of HTTP/2, over TLS or without, as plain as possible: what it costs is measured with what it asks.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, TE};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// JSON, as the API has it.
pub(super) const JSON: &str = "application/json";
/// Protobuf, as the API has it.
pub(super) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What clients of Go allow to be on its way for one answer, and for all of a connection.
const WINDOW: u32 = 4 << 20;
const ALL_WINDOWS: u32 = 1 << 30;

/// How a server is reached.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// `None`: without TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) token: String,
}

/// One connection.
#[derive(Clone)]
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    target: Target,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// The language of the answer.
    pub(super) accept: &'a str,
    /// The body, and its language.
    pub(super) body: Bytes,
    pub(super) content_type: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn get(path: &'a str, accept: &'a str) -> Self {
        Self { method: "GET", path, accept, body: Bytes::new(), content_type: JSON }
    }

    pub(super) fn json(method: &'a str, path: &'a str, body: impl Into<Bytes>) -> Self {
        Self { method, path, accept: JSON, body: body.into(), content_type: JSON }
    }
}

/// Trusts the authority whose certificate is in a file.
pub(super) fn trust(file: &Path) -> Result<Arc<ClientConfig>> {
    let mut trusted = RootCertStore::empty();
    trusted.add(CertificateDer::from_pem_file(file).with_context(|| file.display().to_string())?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

impl Client {
    pub(super) async fn connect(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect(target.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        match &target.tls {
            None => Self::over(stream, target).await,
            Some(tls) => {
                let name = ServerName::IpAddress(target.address.ip().into());
                let connector = TlsConnector::from(tls.clone());
                Self::over(connector.connect(name, stream).await.context("the handshake")?, target).await
            }
        }
    }

    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        target: &Target,
    ) -> Result<Self> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(ALL_WINDOWS);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.context("HTTP/2")?;
        tokio::spawn(connection);
        Ok(Self { sender, target: target.clone() })
    }

    /// Asks, and answers with the beginning of the answer.
    pub(super) async fn begin(&mut self, asked: Asked<'_>) -> Result<Response<Incoming>> {
        let scheme = if self.target.tls.is_some() { "https" } else { "http" };
        let mut request = Request::builder();
        // etcd takes an empty one for a wrong one.
        if !self.target.token.is_empty() {
            request = request.header(AUTHORIZATION, format!("Bearer {}", self.target.token));
        }
        let request = request
            .method(asked.method)
            .uri(format!("{scheme}://{}{}", self.target.address, asked.path))
            .header(ACCEPT, asked.accept)
            .header(CONTENT_TYPE, asked.content_type)
            .header(TE, "trailers")
            .body(Full::new(asked.body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Asks, and answers with all of the answer, which must be a good one.
    pub(super) async fn ask(&mut self, asked: Asked<'_>) -> Result<Bytes> {
        let what = format!("{} {}", asked.method, asked.path);
        let response = self.begin(asked).await.with_context(|| what.clone())?;
        let status = response.status();
        let body = response.into_body().collect().await.with_context(|| what.clone())?.to_bytes();
        if !status.is_success() {
            bail!("{what}: {status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)]));
        }
        Ok(body)
    }

    /// Asks, and answers how many bytes came, which are forgotten at once.
    pub(super) async fn count(&mut self, asked: Asked<'_>) -> Result<usize> {
        let response = self.begin(asked).await?;
        ensure!(response.status().is_success(), "{}", response.status());
        let (mut body, mut length) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }
}
