//! The node's own server, as a kubelet has one: what the API server asks it on behalf of `kubectl logs`, `exec`, `attach`,
//! `cp` and `port-forward`.
//!
//! ```text
//!   TLS, who (who)  ->  route, pods  ->  logs
//!                                    ->  upgrade  ->  websocket, channels  \   command: a program is talked to
//!                                                 ->  spdy                 /   forward: ports are connected
//! ```
//!
//! Nothing is decided here about pods; nobody but the API server and the masters of the cluster is let in.

mod answer;
mod body;
mod certificate;
mod channels;
mod command;
mod forward;
mod logs;
mod pods;
mod refusal;
mod route;
mod spdy;
mod upgrade;
mod websocket;
mod who;
mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener as Listener};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use telemetry::{CounterVec, Metrics};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::hands::now;
use crate::runtime::Runtime;
use crate::settings::Settings;
pub(crate) use pods::Answer;
use pods::Pods;
use who::Who;

/// How long a client may take for the head of a request, and for its part of a handshake.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How many connections there are at a time.
const MOST_CONNECTIONS: usize = 1024;

/// A server that listens, and does not answer yet.
pub(crate) struct Server {
    listeners: Vec<TcpListener>,
    tls: TlsAcceptor,
    port: u16,
}

/// What the answers are made of.
pub(super) struct Node {
    runtime: Runtime,
    pods: Pods,
    metrics: Metrics,
    requests: CounterVec,
}

/// What a connection does after it was answered with other frames than those of HTTP.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Server {
    /// Listens in the node's network, and makes what is missing for it.
    pub(crate) fn listen(settings: &Settings, port: u16) -> io::Result<Self> {
        let mut names = vec![settings.node_name.clone()];
        names.extend(settings.addresses.iter().map(IpAddr::to_string));
        names.dedup();
        let pair = certificate::open(&settings.state_dir, &names, now())?;
        let config = who::config(pair, settings.client_ca.as_deref()).map_err(io::Error::other)?;
        let listen = || listen(&settings.addresses, port);
        // A socket stays in the network in which it was opened.
        let listeners = match &settings.netns {
            None => listen()?,
            Some(name) => sys::netns::Namespace::named(name).run(listen).map_err(io::Error::other)??,
        };
        let port = match listeners.first() {
            Some(listener) => listener.local_addr()?.port(),
            None => port,
        };
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<_>>()?;
        Ok(Self { listeners, tls: TlsAcceptor::from(Arc::new(config)), port })
    }

    /// Answers the port, which the system chose if it was to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Answers for ever; connections end when this is dropped.
    pub(crate) async fn run(self, settings: &Settings, questions: mpsc::Sender<Answer>) {
        let metrics = Metrics::default();
        let help = "Requests by method, path and whether they last.";
        let labels = ["long_running", "method", "path"];
        let requests = metrics.counter("kubelet_http_requests_total", help, &labels);
        let (runtime, pods) = (Runtime::new(settings), Pods::new(questions));
        let node = Arc::new(Node { runtime, pods, metrics, requests });
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            let (node, tls, connections) = (node.clone(), self.tls.clone(), connections.clone());
            accepting.spawn(accept(listener, tls, (node, connections)));
        }
        while accepting.join_next().await.is_some() {}
        // A node without a server runs its pods all the same.
        std::future::pending().await
    }
}

/// Listens at loopback addresses alone where the node has no others, else at all addresses: some may come later.
fn listen(addresses: &[IpAddr], port: u16) -> io::Result<Vec<Listener>> {
    const TRIES: usize = 16;
    let ready = |listener: Listener| listener.set_nonblocking(true).map(|()| listener);
    if addresses.is_empty() || !addresses.iter().all(IpAddr::is_loopback) {
        let all = Listener::bind((Ipv6Addr::UNSPECIFIED, port));
        // A machine may be without IPv6.
        let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        let all = all.or_else(|error| {
            if is_taken(&error) { Err(error) } else { Listener::bind((Ipv4Addr::UNSPECIFIED, port)) }
        });
        return Ok(vec![ready(all?)?]);
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let mut listeners: Vec<Listener> = Vec::new();
        let mut chosen = port;
        let bound: io::Result<()> = addresses.iter().try_for_each(|address| {
            let listener = ready(Listener::bind((*address, chosen))?)?;
            chosen = listener.local_addr()?.port();
            listeners.push(listener);
            Ok(())
        });
        match bound {
            Ok(()) => return Ok(listeners),
            // The port that the system chose for one address may be taken at another.
            Err(error) if port == 0 && tries < TRIES && error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, (node, limit): (Arc<Node>, Arc<Semaphore>)) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: others end while this one waits.
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = limit.clone().try_acquire_owned() else { continue };
        let (node, tls) = (node.clone(), tls.clone());
        connections.spawn(async move {
            if let Err(error) = connection(stream, tls, node).await {
                debug!(error, %from, "a connection ended");
            }
            drop(permit);
        });
    }
}

/// Serves a connection to its end, also after it was upgraded.
async fn connection(stream: TcpStream, tls: TlsAcceptor, node: Arc<Node>) -> Result<(), String> {
    prepare(&stream);
    let watched = stream.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
    let secure = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await;
    let stream = secure.map_err(|_| "no handshake in time")?.map_err(|error| error.to_string())?;
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let who = Who::read(certificates.first());
    let (works, mut work) = mpsc::channel::<Work>(1);
    let service = service_fn(move |request: Request<Incoming>| {
        let (node, who, works) = (node.clone(), who.clone(), works.clone());
        async move { Ok::<_, Infallible>(node.answer(request, who.as_ref(), &works).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    let served = builder.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
    served.map_err(|error| error.to_string())?;
    if let Ok(work) = work.try_recv() {
        tokio::select! {
            () = work => {}
            () = given_up(&watched) => {}
        }
    }
    Ok(())
}

/// Waits until the client has left and nothing of what it said last was taken for a while: the program that it was said to
/// does not read, and nobody would see the end of the connection behind it.
async fn given_up(stream: &OwnedFd) {
    const LOOK: Duration = Duration::from_secs(10);
    let mut before = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let mut asked = [PollFd::new(stream, PollFlags::RDHUP)];
        let has_left = poll(&mut asked, Some(&Timespec::default())).is_ok_and(|count| count > 0);
        let left = has_left.then(|| ioctl_fionread(stream).unwrap_or(0));
        if left.is_some() && left == before {
            return;
        }
        before = left;
    }
}

/// Small frames are not held back, and a client whose machine is gone is noticed.
fn prepare(stream: &TcpStream) {
    use rustix::net::sockopt;
    let done = stream.set_nodelay(true).is_ok()
        && sockopt::set_socket_keepalive(stream, true).is_ok()
        && sockopt::set_tcp_keepidle(stream, Duration::from_secs(30)).is_ok()
        && sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10)).is_ok();
    if !done {
        debug!("a connection cannot be watched for a machine that is gone");
    }
}
