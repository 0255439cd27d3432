//! Bytes as requests to a server without sockets, and what must hold whatever they are.
//!
//! The fuzz target of the same name uses this file, too.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use apiserver::access::{Authority, Names, Policy, StaticTokens, Tokens};
use apiserver::allocate::{self, Cluster, NodePorts};
use apiserver::body::time::Instant;
use apiserver::body::{Expected, Strictness, decode, protobuf, yaml};
use apiserver::connect::{Dial, Kubelets, Outward};
use apiserver::kinds::{KINDS, Kind};
use apiserver::range::Range;
use apiserver::rest::{Clock, ListOptions, Place, Rest};
use apiserver::serve::{Access, Door, Server};
use apiserver::start;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Body;
use serde_json::Value;
use store::{Store, Window};
use telemetry::Metrics;
use tokio::runtime::Runtime;

/// What stands between two requests of one input.
pub(crate) const BETWEEN: &[u8] = b"\n\0\n";
/// The most requests of one input.
const MOST: usize = 24;
/// How long a watch may take to show its first events.
const GLANCE: Duration = Duration::from_millis(2);

/// A folder in memory, where there is such a place, that goes when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base.join(format!("signalbox-hostile-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server, fresh from its first start.
pub(crate) struct Played {
    pub(crate) runtime: Runtime,
    pub(crate) rest: Rest,
    server: Option<Server>,
    _stop: tokio::sync::watch::Sender<bool>,
    _folder: Folder,
}

/// One request, as far as hyper would let it through.
pub(crate) struct Asked {
    request: Request<Bytes>,
}

impl Asked {
    /// Reads it: a line with method and path, lines of headers, an empty line, and the body.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (line, mut rest) = cut(bytes)?;
        let at = line.iter().position(|byte| *byte == b' ')?;
        let method = Method::from_bytes(&line[..at]).ok()?;
        let path = std::str::from_utf8(&line[at + 1..]).ok()?;
        let uri: Uri = path.parse().ok().filter(|_| path.starts_with('/'))?;
        let mut request = Request::new(Bytes::new());
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        let headers = request.headers_mut();
        headers.insert("authorization", HeaderValue::from_static("Bearer t"));
        while let Some((line, behind)) = cut(rest) {
            rest = behind;
            if line.is_empty() {
                break;
            }
            let at = line.iter().position(|byte| *byte == b':')?;
            let value = line[at + 1..].trim_ascii();
            headers.insert(HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(value).ok()?);
        }
        *request.body_mut() = Bytes::copy_from_slice(rest);
        Some(Self { request })
    }

    /// Whether it can leave addresses noted wrongly, as Kubernetes allows.
    fn is_behind_services_backs(&self) -> bool {
        let path = self.request.uri().path().to_ascii_lowercase();
        // A path may be written in many ways.
        path.contains("ipaddr") || path.contains('%')
    }
}

fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]), &bytes[at + 1..]))
}

/// Where an input is cut into requests.
pub(crate) fn parts(input: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts.truncate(MOST);
    parts
}

/// Plays an input against a server of its own, and checks everything. Answers how many requests were sent.
pub(crate) fn play(input: &[u8]) -> usize {
    let asked: Vec<Asked> = parts(input).into_iter().filter_map(Asked::read).collect();
    if asked.is_empty() {
        return 0;
    }
    let played = Played::start();
    let count = asked.len();
    let may_be_wrong = asked.iter().any(Asked::is_behind_services_backs);
    for asked in asked {
        played.ask(asked);
    }
    played.check(may_be_wrong);
    count
}

impl Played {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = Store::open(&folder.0.join("objects.redb"), Window::default()).unwrap();
        let now = || Instant { seconds: 1_790_000_000, nanos: 0 };
        let rest = Rest { store, clock: Clock { now, seed: || *b"0123456789abcdef" } };
        let range = |text: &str| Range::parse(text).unwrap();
        let cluster = Cluster {
            service_ranges: vec![range("10.96.0.0/12"), range("fd00:10:96::/112")],
            node_ports: NodePorts { first: 30_000, last: 32_767 },
            server: vec![[127, 0, 0, 1].into()],
            server_port: 6443,
        };
        assert_eq!(runtime.block_on(start::prepare(&rest, cluster)), Ok(Vec::new()));
        // Making keys takes longer than most inputs.
        static AUTHORITY: OnceLock<Authority> = OnceLock::new();
        let authority = AUTHORITY.get_or_init(|| {
            let folder = Folder::new();
            Authority::open(&folder.0, &Names::default(), now()).unwrap()
        });
        let fixed = StaticTokens::read("t,admin,1,system:masters").unwrap();
        let tokens = Tokens { fixed, key: authority.token_key(), issuer: "https://issuer".to_owned() };
        // Nothing goes out, whatever objects say.
        let nowhere: Dial =
            Arc::new(|_| Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) }));
        let door = Door {
            address: ([127, 0, 0, 1], 6443).into(),
            tls: Arc::new(authority.server_config().unwrap()),
            access: Access { tokens, policy: Policy::default() },
            outward: Outward::by(nowhere, &Kubelets::default()).unwrap(),
        };
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let server = Some(Server::new(rest.clone(), Metrics::default(), door, stopping));
        Self { runtime, rest, server, _stop: stop, _folder: folder }
    }

    /// Sends a request, checks what is answered, and answers it: the code and the body.
    pub(crate) fn ask(&self, asked: Asked) -> (u16, Vec<u8>) {
        let server = self.server.as_ref().expect("it lives as long");
        let said = format!("{} {}", asked.request.method(), asked.request.uri());
        let path = asked.request.uri().path().to_owned();
        self.runtime.block_on(async {
            let response = server.answer_bytes(asked.request).await;
            check_answer(&said, &path, response).await
        })
    }

    /// Stores a text behind the server's back.
    pub(crate) fn store(&self, table: &'static str, key: &'static str, text: &str) {
        let text = text.to_owned();
        let stored = self.rest.write(false, move |writing| {
            writing.put(table, key, text);
            Ok(())
        });
        assert_eq!(self.runtime.block_on(stored), Ok(()));
    }

    /// Everything can be read as it was written, and what is noted agrees with the Services.
    pub(crate) fn check(&self, may_be_wrong: bool) {
        for kind in KINDS {
            let place = Place {
                kind,
                namespace: String::new(),
                name: String::new(),
                part: String::new(),
                is_old_watch: false,
            };
            let listed = self.rest.list(&place, &ListOptions::default()).unwrap();
            for text in listed.items {
                check_object(kind, &text);
            }
        }
        if may_be_wrong {
            return;
        }
        let repaired = self.rest.write(true, |writing| Ok(allocate::repair(writing)));
        assert_eq!(self.runtime.block_on(repaired), Ok(Vec::new()));
    }
}

/// What is stored can be read, and means the same in every language.
pub(crate) fn check_object(kind: &Kind, text: &[u8]) {
    let shown = String::from_utf8_lossy(text).into_owned();
    let object: Value = serde_json::from_slice(text).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let api_version = kind.api_version();
    let expected = Expected { api_version: &api_version, kind: kind.kind, of: kind.of_type() };
    let message = protobuf::encode(&object, expected.of);
    for (media_type, bytes) in [
        ("application/json", text.to_vec()),
        ("application/yaml", yaml::encode(&object).into_bytes()),
        ("application/vnd.kubernetes.protobuf", protobuf::Envelope::seal(&api_version, kind.kind, &message)),
    ] {
        let read = decode(&bytes, media_type, &expected, Strictness::Strict);
        let (read, _) = read.unwrap_or_else(|error| panic!("{media_type}: {error}: {shown}"));
        assert_eq!(read, object, "{media_type}: {shown}");
    }
}

async fn check_answer<B>(said: &str, path: &str, response: Response<B>) -> (u16, Vec<u8>)
where
    B: Body<Data = Bytes, Error = std::io::Error>,
{
    let (head, body) = response.into_parts();
    let code = head.status.as_u16();
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
    let content_type = header("content-type").to_owned();
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    let is_whole = body.size_hint().exact().is_some();
    while let Ok(frame) = tokio::time::timeout(GLANCE, body.frame()).await {
        let Some(frame) = frame else { break };
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap_or_default());
    }
    check_bytes(&format!("{said}: {code} {content_type}"), path, (code, &content_type, is_whole), &bytes);
    (code, bytes)
}

fn check_bytes(said: &str, path: &str, (code, content_type, is_whole): (u16, &str, bool), bytes: &[u8]) {
    let text = || format!("{said}: {}", String::from_utf8_lossy(bytes));
    // Some mistakes are 500 in Kubernetes, too; none is one of the store.
    let shown = String::from_utf8_lossy(bytes);
    let is_store = shown.contains("to the store") || shown.contains("decide what to write");
    assert!(matches!(code, 200 | 201 | 202 | 204 | 400..=500 | 504) && !is_store, "{}", text());
    if code == 204 {
        return assert!(bytes.is_empty(), "{}", text());
    }
    let is_health = ["healthz", "livez", "readyz"].iter().any(|name| path.contains(name));
    if content_type.starts_with("text/plain") || is_health {
        return assert!(code == 200 || is_health, "{}", text());
    }
    match content_type {
        "application/vnd.kubernetes.protobuf" => {
            let envelope =
                protobuf::Envelope::open(bytes).unwrap_or_else(|error| panic!("{error}: {}", text()));
            assert!(code < 400 || envelope.kind == "Status", "{}", text());
        }
        "application/vnd.kubernetes.protobuf;stream=watch" => assert_eq!(code, 200, "{}", text()),
        "application/yaml" => {
            let expected = ["kind: Status", "code: "];
            let shown = String::from_utf8(bytes.to_vec()).unwrap();
            assert!(code < 400 || expected.iter().all(|part| shown.contains(part)), "{}", text());
        }
        _ if code >= 400 => {
            let status: Value =
                serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", text()));
            assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &code.into()), "{}", text());
        }
        _ if is_whole && !content_type.contains("proto-openapi") => {
            let read = serde_json::from_slice::<Value>(bytes);
            read.unwrap_or_else(|error| panic!("{error}: {}", text()));
        }
        _ if content_type == "application/json" => {
            for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                let event: Value =
                    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", text()));
                assert!(event["type"].is_string() && event["object"].is_object(), "{}", text());
            }
        }
        _ => {}
    }
}
