//! A server that says who answers: the program behind the image `signalbox/whoami`, for tutorials and tests.
//!
//! It ends as a good server does: after SIGTERM it goes on until nobody is sent to it any more.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

/// Less than Kubernetes' usual grace period.
const LONGEST: Duration = Duration::from_secs(25);

/// How it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whoami {
    /// Where it listens.
    pub port: u16,
    /// Who it is.
    pub name: String,
    /// A word in every answer, such as a version.
    pub greeting: String,
    /// For how long nobody may have come before it ends, once it was told to.
    pub linger: Duration,
}

#[derive(Debug)]
struct State {
    whoami: Whoami,
    is_healthy: AtomicBool,
    is_ending: AtomicBool,
    requests: AtomicU64,
    started: Instant,
    /// When somebody asked last who was not a probe, in milliseconds since the start.
    asked: AtomicU64,
}

impl Whoami {
    /// Serves until a signal ends it.
    pub async fn run(self) -> io::Result<()> {
        // Before it listens: a signal that came first would end it at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = listen(self.port).await?;
        let linger = self.linger;
        let state = Arc::new(State {
            whoami: self,
            is_healthy: AtomicBool::new(true),
            is_ending: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            started: Instant::now(),
            asked: AtomicU64::new(0),
        });
        let mut door = Door { listener, state: state.clone(), open: JoinSet::new() };
        tokio::select! {
            () = async { loop { door.accept().await } } => {}
            _ = terminate.recv() => {
                state.is_ending.store(true, Ordering::Relaxed);
                door.linger(linger).await;
            }
            _ = interrupt.recv() => {}
        }
        let mut open = door.open;
        drop(door.listener);
        // What has begun is finished, but for those who do not come to an end.
        drop(tokio::time::timeout(linger, async { while open.join_next().await.is_some() {} }).await);
        Ok(())
    }
}

/// Where connections come in, and those that are open.
struct Door {
    listener: TcpListener,
    state: Arc<State>,
    open: JoinSet<()>,
}

impl Door {
    /// Takes a connection.
    async fn accept(&mut self) {
        match self.listener.accept().await {
            Ok((stream, peer)) => drop(self.open.spawn(serve(stream, peer.ip(), self.state.clone()))),
            // Too many files are open, mostly.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        // What has ended is forgotten.
        while self.open.try_join_next().is_some() {}
    }

    /// Goes on until nobody has come for a while: the news that it ends has reached everybody.
    async fn linger(&mut self, quiet: Duration) {
        let (begin, told) = (Instant::now(), self.state.started.elapsed());
        let before = self.state.requests.load(Ordering::Relaxed);
        let late = loop {
            let late = self.state.asked().saturating_sub(told);
            let left = (late + quiet).saturating_sub(begin.elapsed());
            if left.is_zero() || begin.elapsed() > LONGEST {
                break late;
            }
            // In time or not, what counts is when the last one came.
            drop(tokio::time::timeout(left, self.accept()).await);
        };
        let count = self.state.requests.load(Ordering::Relaxed) - before;
        println!(
            "ending after {count} more requests, the last of them {} ms after SIGTERM",
            late.as_millis()
        );
    }
}

/// Both families where there are two.
async fn listen(port: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Err(_) => TcpListener::bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)).await,
    }
}

async fn serve(stream: TcpStream, peer: IpAddr, state: Arc<State>) {
    let here = stream.local_addr().map(|address| address.ip());
    let addresses = (peer.to_canonical(), here.unwrap_or(Ipv4Addr::UNSPECIFIED.into()).to_canonical());
    let service = service_fn(move |request| {
        let state = state.clone();
        async move { Ok::<_, Infallible>(state.answer(&request, addresses)) }
    });
    // A client that breaks off is its own business.
    drop(
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await,
    );
}

impl State {
    fn asked(&self) -> Duration {
        Duration::from_millis(self.asked.load(Ordering::Relaxed))
    }

    fn answer(&self, request: &Request<Incoming>, (peer, here): (IpAddr, IpAddr)) -> Response<Full<Bytes>> {
        let healthy = |is_healthy| self.is_healthy.store(is_healthy, Ordering::Relaxed);
        let (status, text) = match (request.method(), request.uri().path()) {
            (_, "/healthz") if !self.is_healthy.load(Ordering::Relaxed) => {
                (StatusCode::SERVICE_UNAVAILABLE, "not ok\n".to_owned())
            }
            (_, "/healthz") => (StatusCode::OK, "ok\n".to_owned()),
            (&Method::POST, "/fail") => {
                healthy(false);
                (StatusCode::OK, "/healthz answers 503 from now on\n".to_owned())
            }
            (&Method::POST, "/recover") => {
                healthy(true);
                (StatusCode::OK, "/healthz answers 200 from now on\n".to_owned())
            }
            (_, path) => {
                let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.asked.store(now, Ordering::Relaxed);
                let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
                let Whoami { name, greeting, .. } = &self.whoami;
                let text = if path == "/name" {
                    format!("{name}\n")
                } else {
                    format!("{name} ({greeting}) at {here}: request {number} for {path} from {peer}\n")
                };
                (StatusCode::OK, text)
            }
        };
        let mut response = Response::new(Full::new(text.into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.is_ending.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
