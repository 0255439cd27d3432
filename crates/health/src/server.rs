//! Listening and answering, the same for every port.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use telemetry::{CounterVec, Metrics};
use tokio::net::TcpListener;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

use crate::answer::{self, Answer};
use crate::snapshot::Snapshot;

/// How often a port that somebody else has is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// How long a client may take for the head of its request.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// A port of the agent's own.
#[derive(Clone)]
pub struct Port {
    /// Where it is served; an unspecified address stands for those of both families.
    pub address: SocketAddr,
    /// Whether to give up when it cannot be served; else it is tried again for ever.
    pub hard_fail: bool,
    /// Is told once that it cannot be served.
    pub failed: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").field("address", &self.address).field("hard_fail", &self.hard_fail).finish()
    }
}

/// A port cannot be served. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("serve the {what} port at {address}: {error}")]
pub struct Error {
    what: &'static str,
    address: SocketAddr,
    error: io::Error,
}

/// Serves `/healthz` and `/livez`, for ever or until the port cannot be had.
pub async fn serve_health(port: Port, snapshots: Receiver<Snapshot>, metrics: Metrics) -> Result<(), Error> {
    let count = |path: &str| {
        let (name, help) =
            (format!("kubeproxy_proxy_{path}_total"), format!("Answers to /{path}, by status code."));
        metrics.counter(&name, &help, &["code"])
    };
    let (healthz, livez) = (count("healthz"), count("livez"));
    let answer = move |request: Request<Incoming>| {
        let counted = |answer: Answer, counter: &CounterVec| {
            counter.with_label_values(&[answer.status().as_str()]).inc();
            answer
        };
        let (snapshot, now) = (snapshots.borrow(), (Instant::now(), SystemTime::now()));
        std::future::ready(match request.uri().path() {
            "/healthz" => counted(answer::health(&snapshot, now, true), &healthz),
            "/livez" => counted(answer::health(&snapshot, now, false), &livez),
            _ => answer::not_found(),
        })
    };
    serve(bound("health", &port).await?, answer).await;
    Ok(())
}

/// Binds, again and again until it works: whoever has the port may be a predecessor that is about to end.
pub(crate) async fn bound(what: &'static str, port: &Port) -> Result<TcpListener, Error> {
    let mut complained = false;
    loop {
        let error = match listen(port.address, Scope::of(port.address)) {
            Ok(listener) => {
                if complained {
                    info!(what, address = %port.address, "the port is served now");
                }
                return Ok(listener);
            }
            Err(error) => error,
        };
        let error = Error { what, address: port.address, error };
        if !complained || port.hard_fail {
            (port.failed)(&error.to_string());
        }
        if port.hard_fail {
            return Err(error);
        }
        if !complained {
            complained = true;
            warn!(what, address = %port.address, error = %error.error, "the port cannot be served yet; trying again every five seconds");
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Whose connections a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those of the address's family.
    OneFamily,
    /// Those of both; the address is unspecified.
    BothFamilies,
}

impl Scope {
    /// As a listener of Go's standard library, and so kube-proxy's: `0.0.0.0` and `::` both mean everything.
    fn of(address: SocketAddr) -> Self {
        if address.ip().is_unspecified() { Self::BothFamilies } else { Self::OneFamily }
    }
}

/// Listens. A machine without IPv6 has no socket for both families; then it is one for IPv4.
pub(crate) fn listen(address: SocketAddr, scope: Scope) -> io::Result<TcpListener> {
    let unspecified = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, address.port()));
    match scope {
        Scope::OneFamily => listen_on(address, scope),
        Scope::BothFamilies => match listen_on(unspecified, scope) {
            Err(error) if error.kind() != io::ErrorKind::AddrInUse && address.is_ipv4() => {
                listen_on(address, Scope::OneFamily)
            }
            result => result,
        },
    }
}

fn listen_on(address: SocketAddr, scope: Scope) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, scope == Scope::OneFamily)?;
    }
    bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Answers every connection in a task of its own, until this future is dropped.
pub(crate) async fn serve<F: Future<Output = Answer> + Send + 'static>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // Too many open files, or a client that is gone already: the next one may do better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let answer = answer.clone();
        let respond = service_fn(move |request: Request<Incoming>| {
            let answered = answer(request);
            async move { Ok::<Response<_>, Infallible>(answered.await) }
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
