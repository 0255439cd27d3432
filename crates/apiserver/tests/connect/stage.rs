//! A server with a node and Pods that are this test: whatever is dialled, `Far` answers.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use apiserver::access::{Authority, Names, Policy, StaticTokens, Tokens};
use apiserver::body::time::Instant;
use apiserver::connect::{Dial, Kubelets, Outward};
use apiserver::rest::{Clock, Rest};
use apiserver::serve::{Access, Door, Server, listen};
use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use store::{Store, Window};
use telemetry::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Nothing takes longer.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A connection of a client to the server.
pub(crate) type Near = client::TlsStream<TcpStream>;

/// A connection of the server to the far end, by what it was dialled as.
pub(crate) struct Far {
    pub(crate) stream: Box<dyn Stream>,
    pub(crate) address: SocketAddr,
    /// The user of the certificate that the server showed.
    pub(crate) user: String,
}

pub(crate) trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// A server that listens, and what it dials.
pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    trusted: Arc<ClientConfig>,
    far: tokio::sync::Mutex<TcpListener>,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
    pub(crate) stop: watch::Sender<bool>,
    folder: PathBuf,
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

const NOW: Instant = Instant { seconds: 1_790_000_000, nanos: 0 };

fn now() -> Instant {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Instant { seconds: since.as_secs().try_into().unwrap(), nanos: 0 }
}

fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let folder = folder();
        let authority = Authority::open(&folder, &Names::default(), now()).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        authority
    })
}

fn folder() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("signalbox-connect-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a test that must not hang.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { timeout(SOON * 3, test).await.expect("it ends") })
}

impl Stage {
    /// One whose kubelet's certificate nobody checks.
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    /// `authority`: whose certificates kubelets must have.
    pub(crate) async fn with(kubelets: Option<String>) -> Self {
        let folder = folder();
        let store = Store::open(&folder.join("objects.redb"), Window::default()).unwrap();
        let rest = Rest { store, clock: Clock { now: || NOW, seed: apiserver::chance::seed } };
        fill(&rest).await;
        let far = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (there, dialled) = (far.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let noted = dialled.clone();
        let dial: Dial = Arc::new(move |address: SocketAddr| {
            noted.lock().unwrap().push(address);
            let is_gone = address.port() == 1;
            Box::pin(async move {
                if is_gone {
                    Err(std::io::ErrorKind::ConnectionRefused.into())
                } else {
                    TcpStream::connect(there).await
                }
            })
        });
        let kubelets = Kubelets {
            key: Some(authority().kubelet_client()),
            authority: kubelets,
            address_types: vec!["InternalIP".to_owned()],
        };
        let tokens = "admin,admin,1,system:masters\nreader,eve,2,signalbox:readonly\n";
        let fixed = StaticTokens::read(tokens).unwrap();
        let tokens = Tokens { fixed, key: authority().token_key(), issuer: "https://issuer".to_owned() };
        let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let door = Door {
            address,
            tls: Arc::new(authority().server_config().unwrap()),
            access: Access { tokens, policy: Policy::default() },
            outward: Outward::by(dial, &kubelets).unwrap(),
        };
        let (stop, stopping) = watch::channel(false);
        tokio::spawn(Arc::new(Server::new(rest, Metrics::default(), door, stopping)).run(listener));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority().certificate().as_bytes()).unwrap()).unwrap();
        let trusted = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, trusted: Arc::new(trusted), far: tokio::sync::Mutex::new(far), dialled, stop, folder }
    }

    /// Connects as a client.
    pub(crate) async fn near(&self) -> Near {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(self.trusted.clone()).connect(name, stream).await.unwrap()
    }

    /// Sends a head (its lines, without the token) as somebody.
    pub(crate) async fn send(&self, who: &str, lines: &str) -> Near {
        let mut near = self.near().await;
        let lines = lines.trim().replace('\n', "\r\n");
        let head = format!("{lines}\r\nHost: api.example\r\nAuthorization: Bearer {who}\r\n\r\n");
        near.write_all(head.as_bytes()).await.unwrap();
        near
    }

    /// Sends a head as the administrator and answers the whole answer.
    pub(crate) async fn asked(&self, who: &str, lines: &str) -> String {
        let mut near = self.send(who, &format!("{}\nConnection: close", lines.trim())).await;
        everything(&mut near).await
    }

    /// What is refused, by code and message.
    pub(crate) async fn refused(&self, who: &str, lines: &str) -> String {
        let answer = self.asked(who, lines).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
        assert_eq!(head.split(' ').nth(1).unwrap(), body["code"].to_string(), "{answer}");
        format!("{} {}", body["code"], body["message"].as_str().unwrap())
    }

    /// Accepts what the server dials: a kubelet with TLS.
    pub(crate) async fn kubelet(&self) -> Far {
        let (stream, _) = timeout(SOON, self.far.lock().await.accept()).await.expect("it dials").unwrap();
        let stream = TlsAcceptor::from(kubelet_config()).accept(stream).await.unwrap();
        let user = user(&stream);
        Far { stream: Box::new(stream), address: self.last(), user }
    }

    /// Accepts what the server dials: a program without TLS.
    pub(crate) async fn pod(&self) -> Far {
        let (stream, _) = timeout(SOON, self.far.lock().await.accept()).await.expect("it dials").unwrap();
        Far { stream: Box::new(stream), address: self.last(), user: String::new() }
    }

    /// Accepts a connection on which no TLS succeeds.
    pub(crate) async fn stranger(&self) {
        let (stream, _) = timeout(SOON, self.far.lock().await.accept()).await.expect("it dials").unwrap();
        drop(TlsAcceptor::from(kubelet_config()).accept(stream).await);
    }

    fn last(&self) -> SocketAddr {
        *self.dialled.lock().unwrap().last().unwrap()
    }
}

/// The certificate that the kubelet signed itself.
pub(crate) fn kubelet_certificate() -> &'static (String, String) {
    static SIGNED: OnceLock<(String, String)> = OnceLock::new();
    SIGNED.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    })
}

fn kubelet_config() -> Arc<ServerConfig> {
    let (certificate, key) = kubelet_certificate();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority().certificate().as_bytes()).unwrap()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        );
    Arc::new(config.unwrap())
}

fn user(stream: &server::TlsStream<TcpStream>) -> String {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let Some([shown, ..]) = stream.get_ref().1.peer_certificates() else { return String::new() };
    let (_, certificate) = X509Certificate::from_der(shown).unwrap();
    certificate.subject().to_string()
}

/// Reads a head.
pub(crate) async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let byte = timeout(SOON, stream.read_u8()).await.expect("a head comes");
        read.push(byte.unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&read))));
    }
    String::from_utf8(read).unwrap()
}

/// Reads the body of an answer that says how long it is.
pub(crate) async fn body(stream: &mut (impl tokio::io::AsyncRead + Unpin), head: &str) -> String {
    let length = head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap();
    String::from_utf8(some(stream, length.parse().unwrap()).await).unwrap()
}

/// Reads to the end.
pub(crate) async fn everything(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    drop(timeout(SOON, stream.read_to_end(&mut read)).await.expect("it ends"));
    String::from_utf8_lossy(&read).into_owned()
}

/// Reads exactly so many bytes.
pub(crate) async fn some(stream: &mut (impl tokio::io::AsyncRead + Unpin), count: usize) -> Vec<u8> {
    let mut read = vec![0; count];
    timeout(SOON, stream.read_exact(&mut read)).await.expect("they come").unwrap();
    read
}

/// The lines of a head that say something, sorted, the first one first.
pub(crate) fn lines(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = head.trim().split("\r\n").map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

/// Objects are put where they belong, without the rules of their kinds: those are tried elsewhere.
async fn fill(rest: &Rest) {
    let node = |name: &str, port: u16| {
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
               "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                          "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}})
    };
    let pod = |name: &str, node: &str, address: &str| {
        let containers =
            json!([{"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": 8080}]}]);
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
                             "spec": {"containers": containers, "nodeName": node}, "status": {}});
        if !address.is_empty() {
            pod["status"] = json!({"podIP": address, "podIPs": [{"ip": address}]});
        }
        pod
    };
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"},
                         "spec": {"ports": [{"name": "web", "port": 80}]}});
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "endpoints": [{"addresses": ["10.1.0.5"], "conditions": {"ready": true},
                       "targetRef": {"kind": "Pod", "namespace": "default", "name": "p"}}],
        "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}]});
    let all = [
        ("nodes", "n", node("n", 10_250)),
        ("nodes", "gone", node("gone", 1)),
        ("pods", "default/p", pod("p", "n", "10.1.0.5")),
        ("pods", "default/new", pod("new", "", "")),
        ("pods", "default/lost", pod("lost", "gone", "10.1.0.6")),
        ("pods", "default/near", pod("near", "n", "127.0.0.1")),
        ("services", "default/s", service),
        ("endpointslices", "default/s-1", slice),
    ];
    let written = rest.write(false, move |writing| {
        for (table, key, object) in all {
            writing.put(table, key, Bytes::from(object.to_string()));
        }
        Ok(())
    });
    written.await.unwrap();
}
