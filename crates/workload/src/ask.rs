//! Asks a container from outside: probes and hooks, from within its pod's network.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use bytes::{Buf, Bytes};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use crate::network::Node;
use crate::pod::{Act, Http};
use crate::process::run_in;
use crate::tls;

/// How much of an answer is shown.
const SHOWN: usize = 200;

/// The longest answer about health, in bytes; one has seven.
const MOST_HEALTH: usize = 16 * 1024;

/// Where to ask.
pub(crate) struct Place<'a> {
    /// The folder of the run.
    pub folder: &'a Path,
    /// The pod's network.
    pub network: Node,
    /// The pod's address.
    pub address: Option<IpAddr>,
}

/// Does it; `Err` says in what way the answer is no.
pub(crate) async fn perform(act: &Act, place: Place<'_>) -> Result<(), String> {
    match act {
        Act::Exec(words) => run_in(place.folder, words).await,
        Act::Http(get) => ask_http(get, &place).await,
        Act::Tcp(host, port) => connect(&place, host, *port).await.map(drop),
        Act::Grpc(port, service) => ask_grpc(&place, *port, service).await,
        Act::Sleep(time) => {
            tokio::time::sleep(*time).await;
            Ok(())
        }
    }
}

/// Connects from within a network.
pub(crate) async fn dial(network: &Node, address: SocketAddr) -> io::Result<TcpStream> {
    let open = || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    // A socket stays in the network in which it was opened.
    let socket = match network {
        None => open()?,
        Some(namespace) => namespace.run(open).map_err(io::Error::other)??,
    };
    socket.connect(address).await
}

async fn connect(place: &Place<'_>, host: &str, port: u16) -> Result<TcpStream, String> {
    let address = match (host, place.address) {
        ("", Some(address)) => address,
        ("", None) => return Err("the pod has no address".to_owned()),
        (host, _) => resolve(host).await?,
    };
    let address = SocketAddr::new(address, port);
    dial(&place.network, address).await.map_err(|error| format!("dial tcp {address}: {error}"))
}

async fn resolve(host: &str) -> Result<IpAddr, String> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(address);
    }
    let mut found =
        tokio::net::lookup_host((host, 0)).await.map_err(|error| format!("lookup {host}: {error}"))?;
    found.next().map(|address| address.ip()).ok_or_else(|| format!("lookup {host}: no such host"))
}

async fn ask_http(get: &Http, place: &Place<'_>) -> Result<(), String> {
    let stream = connect(place, &get.host, get.port).await?;
    let request = http_request(get, place)?;
    let response = if get.tls {
        let name = place.address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        send_http1(tls::connect(stream, name).await?, request).await?
    } else {
        send_http1(stream, request).await?
    };
    let status = response.status();
    // Like Kubernetes: a redirect is a good answer.
    if (200..400).contains(&status.as_u16()) {
        return Ok(());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

fn http_request(get: &Http, place: &Place<'_>) -> Result<Request<Full<Bytes>>, String> {
    let host = if get.host.is_empty() {
        place.address.map_or(String::new(), |a| a.to_string())
    } else {
        get.host.clone()
    };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let mut request = Request::get(get.path.as_str())
        .header("Host", format!("{host}:{}", get.port))
        .header("User-Agent", "kube-probe/1.36")
        .header("Accept", "*/*")
        .header("Connection", "close")
        .body(Full::default())
        .map_err(|error| format!("the path {:?} cannot be asked for: {error}", get.path))?;
    for (name, value) in &get.headers {
        let (name, value) = (HeaderName::try_from(name), HeaderValue::try_from(value));
        let (Ok(name), Ok(value)) = (name, value) else { continue };
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

async fn send_http1<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| format!("Get {:?}: {error}", request.uri().to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let shown = request.uri().to_string();
    let _driver = Driver::start(connection);
    sender.send_request(request).await.map_err(|error| format!("Get {shown:?}: {error}"))
}

/// Drives a connection for as long as it is held.
struct Driver(tokio::task::JoinHandle<()>);

impl Driver {
    fn start(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> Self {
        // What goes wrong shows at the request.
        Self(tokio::spawn(async move { drop(connection.await) }))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask_grpc(place: &Place<'_>, port: u16, service: &str) -> Result<(), String> {
    let stream = connect(place, "", port).await?;
    let failed = |error: hyper::Error| format!("failed to ask for the health of {service:?}: {error}");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    let _driver = Driver::start(connection);
    let request = Request::post(format!(
        "http://{}/grpc.health.v1.Health/Check",
        SocketAddr::new(place.address.unwrap_or(IpAddr::from([127, 0, 0, 1])), port)
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("user-agent", "kube-probe/1.36")
    .body(Full::new(health_question(service)))
    .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MOST_HEALTH).collect().await;
    let body = body.map_err(|error| format!("failed to ask for the health of {service:?}: {error}"))?;
    let code = |headers: &http::HeaderMap| {
        headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u32>().ok())
    };
    // A server that has nothing to say sends its trailers as headers.
    let code = body.trailers().and_then(code).or_else(|| code(&head.headers)).unwrap_or(2);
    if code != 0 {
        return Err(format!("error: the health of {service:?} is not told, gRPC status {code}"));
    }
    match health_answer(&body.to_bytes()) {
        Some(1) => Ok(()),
        Some(2) => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        other => Err(format!("service unhealthy (responded with {})", other.unwrap_or(0))),
    }
}

/// `HealthCheckRequest { string service = 1; }` as one uncompressed message.
fn health_question(service: &str) -> Bytes {
    let service = &service.as_bytes()[..service.len().min(SHOWN.min(127))];
    let mut message = Vec::new();
    if let Ok(length) = u8::try_from(service.len())
        && length > 0
    {
        message.extend_from_slice(&[0x0a, length]);
        message.extend_from_slice(service);
    }
    let length = u32::try_from(message.len()).unwrap_or(0);
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// The status of a `HealthCheckResponse { ServingStatus status = 1; }`; 0 is its default.
fn health_answer(mut bytes: &[u8]) -> Option<u8> {
    let compressed = bytes.try_get_u8().ok()?;
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    let message = bytes.get(..length).filter(|_| compressed == 0)?;
    match message {
        [0x08, status, ..] => Some(*status),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_messages() {
        assert_eq!(&health_question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&health_question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        for (bytes, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[1, 0, 0, 0, 0], None),
            (&[0, 0, 0, 0, 9, 8], None),
            (&[], None),
        ] {
            assert_eq!(health_answer(bytes), expected, "{bytes:?}");
        }
    }
}
