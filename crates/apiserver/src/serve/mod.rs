//! The API over HTTP: connections, TLS, limits. Requests are answered in `handle`.

mod accept;
mod answer;
mod documents;
mod handle;
mod metrics;
mod route;
mod stream;
mod table;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use crate::rest::Rest;
use crate::status::Status;
use answer::Chunks;
use handle::Handling;
use metrics::Counts;
use route::Route;

/// How long a client may take for the head of a request, and for its part of a handshake.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How many requests are answered at a time, watches left out.
const MOST_REQUESTS: usize = 600;
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
    requests: Semaphore,
}

impl Server {
    /// Makes a server of objects. `stopping` becomes true when it shall end.
    pub fn new(rest: Rest, metrics: Metrics, address: SocketAddr, stopping: watch::Receiver<bool>) -> Self {
        let counts = Counts::new(&metrics);
        let requests = Semaphore::new(MOST_REQUESTS);
        Self { rest, metrics, counts, address: address.to_string(), stopping, requests }
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
            let stream = match accepted {
                Ok((stream, _)) => stream,
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
            let server = self.clone();
            tokio::spawn(async move {
                server.connection(stream).await;
                drop(permit);
            });
        }
        drop(listener);
        let all = u32::try_from(MOST_CONNECTIONS).unwrap_or(u32::MAX);
        drop(tokio::time::timeout(STOP_TIME, connections.acquire_many(all)).await);
    }

    async fn connection(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let server = self.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(1000)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stopping = self.stopping.clone();
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stopped(&mut stopping) => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                let Ok(ended) = tokio::time::timeout(STOP_TIME, connection).await else { return };
                ended
            }
        };
        if let Err(error) = ended {
            debug!(%error, "a connection ended with an error");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Chunks> {
        #[expect(clippy::disallowed_methods, reason = "it belongs to the shell that serves")]
        let begin = std::time::Instant::now();
        let route = Route::parse(request.uri().path());
        let (mut handling, acceptable) = Handling::begin(self, request);
        let (verb, resource, part) = match &route {
            Route::Resource(place) => {
                let verb = handle::verb(&handling.method, place, &handling.query).unwrap_or("other");
                (verb, place.kind.plural, place.part.clone())
            }
            _ => ("other", "", String::new()),
        };
        let is_watch = verb == "watch";
        let response = match acceptable {
            Err(status) => handling.refusal(&status),
            Ok(()) => {
                let permit = if is_watch { None } else { Some(self.requests.try_acquire()) };
                match permit {
                    Some(Err(_)) => {
                        self.counts.turned_away("requests");
                        handling.refusal(&Status::too_many_requests())
                    }
                    permit @ (Some(Ok(_)) | None) => {
                        let _counted = (!is_watch).then(|| self.counts.inflight("all"));
                        let answered = handling.answer(route).await;
                        drop(permit);
                        answered.unwrap_or_else(|status| handling.refusal(&status))
                    }
                }
            }
        };
        let took = (!is_watch).then(|| begin.elapsed());
        self.counts.answered((verb, resource, &part), response.status().as_u16(), took);
        response
    }

    pub(crate) fn review(
        &self,
        review: &route::Review,
        body: &[u8],
        handling: &Handling<'_>,
    ) -> Result<Response<Chunks>, Status> {
        let _ = (review, body, handling);
        Err(Status::no_such_path())
    }

    pub(crate) fn token(
        &self,
        place: &crate::rest::Place,
        given: &serde_json::Value,
        handling: &Handling<'_>,
    ) -> Result<Response<Chunks>, Status> {
        let _ = (place, given, handling);
        Err(Status::no_such_path())
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
