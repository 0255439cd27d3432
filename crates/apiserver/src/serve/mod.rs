//! The API over HTTP: connections, TLS, limits. Requests are answered in `handle`.

mod accept;
mod answer;
mod asked;
mod connect;
mod documents;
mod gate;
mod handle;
mod joined;
mod limits;
mod metrics;
mod passing;
mod progress;
mod route;
mod stream;
mod table;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use telemetry::Metrics;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use crate::connect::Outward;
use crate::rest::{Place, Rest};
use crate::status::Status;
use answer::Chunks;
use asked::RequestBody;
pub use gate::Access;
use gate::{Asked, Peer};
use handle::Handling;
use limits::{Throttle, TooMany};
use metrics::Counts;
use progress::Progress;
use route::Route;

/// How long a client may take for the head of a request, and for its part of a handshake.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes of the head of a request.
const MOST_HEAD: u32 = 64 * 1024;
/// How a client of HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How many connections there are at a time.
const MOST_CONNECTIONS: usize = 16_384;
/// How long open requests may take when the server stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A server of the API.
pub struct Server {
    pub(crate) rest: Rest,
    pub(crate) metrics: Metrics,
    pub(crate) counts: Counts,
    /// Where clients find it.
    pub(crate) address: String,
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) access: Access,
    pub(crate) outward: Outward,
    tls: TlsAcceptor,
    pub(crate) throttle: Throttle,
}

/// How a server is reached, and by whom.
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, and whose it accepts.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may do what.
    pub access: Access,
    /// How it reaches nodes and Pods.
    pub outward: Outward,
}

/// What a request knows of the connection that it came over.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) client: IpAddr,
    /// The connection's place, which is kept for as long as its bytes are passed on.
    #[expect(dead_code, reason = "it is given back when it is dropped")]
    pub(crate) permit: Arc<OwnedSemaphorePermit>,
}

impl Server {
    /// Makes a server of objects. `stopping` becomes true when it shall end.
    pub fn new(rest: Rest, metrics: Metrics, door: Door, stopping: watch::Receiver<bool>) -> Self {
        let counts = Counts::new(&metrics);
        let (address, tls) = (door.address.to_string(), TlsAcceptor::from(door.tls));
        Self {
            rest,
            metrics,
            counts,
            address,
            stopping,
            access: door.access,
            outward: door.outward,
            tls,
            throttle: Throttle::default(),
        }
    }

    /// Serves connections until it shall stop, and then ends those that are open.
    pub async fn run(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stopping) => break,
            };
            let (stream, client) = match accepted {
                Ok((stream, from)) => (stream, from.ip()),
                Err(error) => {
                    // Out of file descriptors, mostly: others end while this one waits.
                    warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = connections.clone().try_acquire_owned() else {
                self.counts.turned_away("connections");
                continue;
            };
            drop(stream.set_nodelay(true));
            let line = Line { client, permit: Arc::new(permit) };
            let server = self.clone();
            tokio::spawn(async move {
                // Who does not know how to begin is nobody's business.
                if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIME, server.tls.accept(stream)).await {
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    let peer =
                        Peer(Arc::new(certificates.iter().map(|one| one.clone().into_owned()).collect()));
                    server.connection(stream, peer, line).await;
                }
            });
        }
        drop(listener);
        let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
        drop(tokio::time::timeout(STOP_TIME, connections.acquire_many(all)).await);
    }

    /// Answers a request that came over no connection, as it would that of a client without a certificate.
    pub async fn answer_bytes(
        &self,
        request: Request<Bytes>,
    ) -> Response<impl Body<Data = Bytes, Error = io::Error> + use<>> {
        let request = request.map(|bytes| RequestBody::Whole(Full::new(bytes)));
        self.answer(request, &Peer::default()).await
    }

    async fn connection(self: Arc<Self>, stream: TlsStream<TcpStream>, peer: Peer, line: Line) {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let server = self.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, peer) = (server.clone(), peer.clone());
            let mut request = request.map(RequestBody::Incoming);
            request.extensions_mut().insert(line.clone());
            async move { Ok::<_, Infallible>(server.answer(request, &peer).await) }
        });
        if is_http2 {
            let stream = Progress::new(stream, PATIENCE, Some((PREFACE.len(), HEAD_TIME)));
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(1000)
                .max_header_list_size(MOST_HEAD)
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(Duration::from_secs(20));
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            return self.drive(connection, |connection| connection.graceful_shutdown()).await;
        }
        let stream = Progress::new(stream, PATIENCE, None);
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MOST_HEAD as usize);
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        self.drive(connection, |connection| connection.graceful_shutdown()).await;
    }

    /// Serves a connection to its end, or until the server stops; then it shall `end` soon.
    async fn drive<C>(&self, connection: C, end: impl FnOnce(Pin<&mut C>))
    where
        C: Future<Output = hyper::Result<()>>,
    {
        tokio::pin!(connection);
        let mut stopping = self.stopping.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stopped(&mut stopping) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                end(connection.as_mut());
                let Ok(ended) = tokio::time::timeout(STOP_TIME, connection).await else { return };
                ended
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection ended with an error");
        }
    }

    async fn answer(&self, request: Request<RequestBody>, peer: &Peer) -> Response<Chunks> {
        #[expect(clippy::disallowed_methods, reason = "it belongs to the shell that serves")]
        let begin = std::time::Instant::now();
        let path = request.uri().path().to_owned();
        let route = Route::parse(&path);
        let (mut handling, acceptable) = Handling::begin(self, request);
        let (verb, resource, part) = match route.place() {
            Some(place) => {
                let verb = handle::verb(&handling.method, place, &handling.query).unwrap_or("other");
                (verb, place.kind.plural, place.part.clone())
            }
            None => ("other", "", String::new()),
        };
        let connects = route.place().and_then(Place::connects).is_some();
        let is_long = verb == "watch" || connects;
        let asked = (&route, path.as_str());
        let response = match self.let_in(&mut handling, asked, peer).and(acceptable) {
            Err(status) => handling.refusal(&status),
            Ok(()) => match self.take_turn(&mut handling, (is_long, connects)).await {
                Err(status) => handling.refusal(&status),
                Ok(()) => {
                    let _counted = (!is_long).then(|| self.counts.inflight("all"));
                    let answered = handling.answer(route).await;
                    let response = answered.unwrap_or_else(|status| handling.refusal(&status));
                    // Its turn is over when the client has its answer.
                    let held = std::mem::take(&mut handling.held);
                    response.map(|chunks| chunks.holding(held))
                }
            },
        };
        handling.drain().await;
        let took = (!is_long).then(|| begin.elapsed());
        self.counts.answered((verb, resource, &part), response.status().as_u16(), took);
        response
    }

    /// Reads the body, unless it is passed on, and waits for nobody: a client that has too much going on is told to come back.
    async fn take_turn(
        &self,
        handling: &mut Handling<'_>,
        (is_long, connects): (bool, bool),
    ) -> Result<(), Status> {
        let turned_away = |TooMany(what)| {
            self.counts.turned_away(what);
            Status::too_many_requests()
        };
        // A body that comes slowly takes nobody's turn.
        if !connects {
            handling.read_ahead().await?;
        }
        let (identity, held) = (&handling.identity, &mut handling.held);
        let turn =
            if is_long { self.throttle.watch(identity, held) } else { self.throttle.request(identity, held) };
        turn.map_err(turned_away)
    }

    /// Finds out who asks, and refuses what they may not do.
    fn let_in(
        &self,
        handling: &mut Handling<'_>,
        (route, path): (&Route, &str),
        peer: &Peer,
    ) -> Result<(), Status> {
        handling.identity = self.access.identity(&self.rest, peer, &handling.headers)?;
        let asked = Asked { method: &handling.method, path, query: &handling.query, route };
        self.access.check(&handling.identity, &asked)
    }
}

/// Waits until the server shall stop.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stops| *stops).await);
}

/// Listens where it is told to.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
