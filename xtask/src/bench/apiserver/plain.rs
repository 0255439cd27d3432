//! The floor: a server that knows its answers. TLS and HTTP/2 as the API server's, and nothing behind them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context as Polling, Poll};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A chunk of an answer.
const CHUNK: usize = 64 * 1024;
/// Changes that may be on their way.
const CHANGES: usize = 16;

/// A server that runs until its runtime ends.
pub(super) struct Plain {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: RwLock<Bytes>,
    changes: broadcast::Sender<Bytes>,
}

impl Plain {
    /// Starts one with the certificate of the API server whose directory that is.
    pub(super) async fn start(data: &Path) -> Result<Self> {
        let file = |name: &str| data.join("pki").join(name);
        let certificate = CertificateDer::from_pem_file(file("server.crt")).context("its certificate")?;
        let key = PrivateKeyDer::from_pem_file(file("server.key")).context("its key")?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (changes, _) = broadcast::channel(CHANGES);
        let shared = Arc::new(Shared { answer: RwLock::default(), changes });
        let answering = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), answering.clone());
                tokio::spawn(async move {
                    drop(stream.set_nodelay(true));
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| {
                        let shared = shared.clone();
                        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
                    });
                    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    builder.max_concurrent_streams(1000);
                    // A client that goes is the end of it.
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// What it answers from now on, and sends to who watches when it is asked to.
    pub(super) fn answers(&self, answer: impl Into<Bytes>) {
        *self.shared.answer.write().expect("nothing fails while it is held") = answer.into();
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<BoxBody<Bytes, Infallible>> {
    let answer = || shared.answer.read().expect("nothing fails while it is held").clone();
    let body = match request.uri().path() {
        "/watch" => {
            // The head goes before the first change comes.
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            let mut changes = shared.changes.subscribe();
            tokio::spawn(async move {
                while let Ok(change) = changes.recv().await {
                    if sender.send(change).await.is_err() {
                        return;
                    }
                }
            });
            Chunks::Stream(receiver).boxed()
        }
        "/change" => {
            drop(request.into_body().collect().await);
            // Nobody may be watching yet.
            drop(shared.changes.send(answer()));
            Chunks::Ready(answer()).boxed()
        }
        _ => Chunks::Ready(answer()).boxed(),
    };
    Response::new(body)
}

enum Chunks {
    Ready(Bytes),
    Stream(tokio::sync::mpsc::Receiver<Bytes>),
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Polling<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Ready(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Ready(bytes) => {
                let chunk = bytes.split_to(bytes.len().min(CHUNK));
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Self::Stream(receiver) => {
                receiver.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }
}
