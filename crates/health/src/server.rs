//! The agent's own two ports.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

use crate::answer::{self, Answer};
use crate::snapshot::Snapshot;

/// How often a port that somebody else has is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a client may take for the head of its request.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// Serves `/healthz` and `/livez`, for ever.
pub async fn serve_health(address: SocketAddr, snapshots: Receiver<Snapshot>) {
    let answer = move |path: &str| {
        let (snapshot, now) = (snapshots.borrow(), (Instant::now(), SystemTime::now()));
        match path {
            "/healthz" => answer::health(&snapshot, now, true),
            "/livez" => answer::health(&snapshot, now, false),
            _ => answer::not_found(),
        }
    };
    serve(bound("health", address).await, answer).await;
}

/// Serves `/healthz` (always fine, it is about this port) and `/proxyMode`, for ever.
pub async fn serve_status(address: SocketAddr, mode: &'static str) {
    let answer = move |path: &str| match path {
        "/healthz" => answer::text(StatusCode::OK, "ok"),
        "/proxyMode" => answer::text(StatusCode::OK, mode),
        _ => answer::not_found(),
    };
    serve(bound("status", address).await, answer).await;
}

/// Binds, again and again until it works: whoever has the port may be a predecessor that is about to end.
async fn bound(what: &'static str, address: SocketAddr) -> TcpListener {
    let mut complained = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                if complained {
                    info!(what, %address, "the port is served now");
                }
                return listener;
            }
            Err(error) if !complained => {
                complained = true;
                warn!(what, %address, %error, "the port cannot be served yet; trying again every five seconds");
            }
            Err(_) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Answers every connection in a task of its own, until this future is dropped.
pub(crate) async fn serve(listener: TcpListener, answer: impl Fn(&str) -> Answer + Clone + Send + 'static) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Too many open files, or a client that is gone already: the next one may do better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let answer = answer.clone();
        let respond = service_fn(move |request: Request<hyper::body::Incoming>| {
            let answered = answer(request.uri().path());
            async move { Ok::<_, Infallible>(answered) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_LIMIT)
            .serve_connection(TokioIo::new(stream), respond);
        connections.spawn(async move {
            // A client that breaks off, or speaks no HTTP, harms itself only.
            drop(connection.await);
        });
    }
}
