//! The node's own server, asked directly: who may, what it refuses, the protocols that kubectl does not speak, and clients that
//! do not behave.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use testkit::answers::connect;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::world::World;
use crate::{PYTHON, is_ready, shell};

const SERVER: &str = "192.0.2.1:10250";
const LIMIT: Duration = Duration::from_secs(20);
/// A connection that speaks WebSocket once it was answered.
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ";
const SPDY: &str =
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n";

trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Who asks.
#[derive(Clone)]
struct Client {
    certificate: Option<(String, String)>,
}

impl Client {
    fn nobody() -> Self {
        Self { certificate: None }
    }

    fn administrator(world: &World) -> Self {
        let read = |name: &str| std::fs::read_to_string(world.key(name)).unwrap();
        Self { certificate: Some((read("admin.crt"), read("admin.key"))) }
    }

    /// Sends a request and answers the connection, and all of the head of the answer.
    async fn ask(&self, method: &str, path: &str, headers: &str) -> (impl Stream + use<>, String) {
        let certificate = self.certificate.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        let mut stream = connect(SERVER, "http/1.1", certificate).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }

    /// Answers the code and the body.
    async fn get(&self, path: &str) -> (u16, String) {
        let (mut stream, head) = self.ask("GET", path, "Connection: close\r\n").await;
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = Vec::new();
        // The end of the connection may come without the good-bye of TLS.
        let _ = timeout(LIMIT, stream.read_to_end(&mut body)).await.unwrap();
        let mut body = String::from_utf8(body).unwrap();
        if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            body = chunks(&body);
        }
        (code, body)
    }

    async fn upgraded(&self, path: &str, headers: &str) -> (impl Stream + use<>, String) {
        let (stream, head) = self.ask("GET", path, headers).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{path} {head}");
        (stream, head.to_ascii_lowercase())
    }
}

fn chunks(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text.push_str(&rest[..length]);
        body = &rest[length + 2..];
    }
    text
}

/// Sends a message as a client does, with a mask of zeros.
async fn send(stream: &mut (impl Stream + ?Sized), first: u8, payload: &[u8]) {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126, "a short message");
    stream.write_all(&[&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()).await.unwrap();
    stream.flush().await.unwrap();
}

/// The next frame: its first byte and what is in it; `None`: the connection has ended.
async fn receive(stream: &mut (impl Stream + ?Sized)) -> Option<(u8, Vec<u8>)> {
    let first = timeout(LIMIT, stream.read_u8()).await.unwrap().ok()?;
    let length = match stream.read_u8().await.unwrap() {
        126 => usize::from(stream.read_u16().await.unwrap()),
        127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    Some((first, payload))
}

/// All frames to the end, as text; those that follow each other in one channel are one.
async fn conversation(stream: &mut (impl Stream + ?Sized)) -> String {
    let mut said: Vec<(u8, String)> = Vec::new();
    while let Some((first, payload)) = receive(stream).await {
        let (key, text) = match first {
            0x88 => (255, format!("closed {}", u16::from_be_bytes([payload[0], payload[1]]))),
            0x8a => (254, format!("pong {}", String::from_utf8_lossy(&payload))),
            _ => (payload[0], String::from_utf8_lossy(&payload[1..]).into_owned()),
        };
        match said.last_mut() {
            Some((last, before)) if *last == key => before.push_str(&text),
            _ => said.push((key, text)),
        }
        if first == 0x88 {
            break;
        }
    }
    said.into_iter().map(|(key, text)| format!("{key}:{text}")).collect::<Vec<_>>().join("|")
}

/// Runs a conversation in the node's network.
fn within(world: &World, talk: impl AsyncFnOnce() + Send) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(talk());
    };
    world.node.run(run).unwrap();
}

fn world_with_a_pod(name: &str) -> Option<World> {
    let world = World::start(&[])?;
    let web = json!({"name": "web", "image": "none",
        "command": [PYTHON, "-c", "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8080)"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}});
    let both = shell("both", "echo out; sleep 0.2; echo err >&2; sleep 1000");
    let uid = world.pod(name, json!({"containers": [web, both], "terminationGracePeriodSeconds": 1}));
    world.await_pod(name, "ready", is_ready);
    let said = || world.log(&uid, "both", workload::LogOptions::default());
    world.until("everything is said", || (said() == "out\nerr\n").then_some(()));
    Some(world)
}

#[test]
fn who_may_ask_the_node_and_what_it_refuses() {
    let Some(world) = world_with_a_pod("shop") else { return };
    world.pod("waits", json!({"containers": [{"name": "main", "image": "nowhere"}]}));
    world.await_pod("waits", "without an image", |pod| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    });
    let node = world.get("/api/v1/nodes/node-1").unwrap();
    assert_eq!(node["status"]["daemonEndpoints"], json!({"kubeletEndpoint": {"Port": 10250}}));
    let reader = reader(&world);
    within(&world, async || {
        let (nobody, administrator) = (Client::nobody(), Client::administrator(&world));
        assert_eq!(nobody.get("/healthz").await, (200, "ok".to_owned()));
        assert_eq!(nobody.get("/pods").await, (401, "Unauthorized".to_owned()));
        assert_eq!(reader.get("/healthz").await.0, 200);
        assert_eq!(
            reader.get("/containerLogs/default/shop/both").await,
            (403, "Forbidden (user=reader, resource=nodes, subresource=proxy)".to_owned())
        );
        let (code, pods) = administrator.get("/pods").await;
        let pods: Value = serde_json::from_str(&pods).unwrap();
        assert_eq!((code, &pods["kind"]), (200, &json!("PodList")));
        let names: Vec<_> =
            pods["items"].as_array().unwrap().iter().map(|pod| &pod["metadata"]["name"]).collect();
        assert!(names.contains(&&json!("shop")) && names.contains(&&json!("waits")), "{names:?}");
        let running = |pod: &&Value| pod["status"]["phase"] == "Running";
        assert_eq!(pods["items"].as_array().unwrap().iter().filter(running).count(), 1);

        for (path, expected) in [
            ("/containerLogs/default/shop/both", (200, "out\nerr\n")),
            ("/containerLogs/default/shop/both?stream=Stderr", (200, "err\n")),
            ("/containerLogs/default/shop/both?tailLines=1&limitBytes=2", (200, "er")),
            ("/containerLogs/default/shop/both?tailLines=x", (400, "invalid value \"x\" of tailLines")),
            ("/containerLogs/default/none/both", (404, "pod \"none\" does not exist")),
            ("/containerLogs/other/shop/both", (404, "pod \"shop\" does not exist")),
            ("/containerLogs/default/shop/none", (404, "container \"none\" not found in pod \"shop\"")),
            (
                "/containerLogs/default/waits/main",
                (400, "container \"main\" in pod \"waits\" is waiting to start: image can't be pulled"),
            ),
            ("/exec/default/waits/main?command=ls&output=1", (500, "container not found (\"main\")")),
            ("/exec/default/none/main?command=ls&output=1", (404, "pod does not exist")),
            (
                "/exec/default/shop/both?command=ls",
                (400, "you must specify at least 1 of stdin, stdout, stderr"),
            ),
            (
                "/attach/default/shop/both?output=1",
                (400, "unable to upgrade: missing upgrade headers in request"),
            ),
            ("/portForward/default/none", (404, "pod does not exist")),
            ("/run/default/shop/both", (404, "404 page not found")),
        ] {
            let (code, text) = administrator.get(path).await;
            assert_eq!((code, text.as_str()), expected, "{path}");
        }
        let (_, metrics) = administrator.get("/metrics").await;
        let counted =
            "kubelet_http_requests_total{long_running=\"true\",method=\"GET\",path=\"portForward\"} 1";
        assert!(metrics.contains(counted), "{metrics}");
    });
}

/// Somebody whom the server's authority knows, who may not ask nodes.
fn reader(world: &World) -> Client {
    let kubeconfig = world.kubeconfig_of("reader");
    let found = |field: &str| {
        let line = kubeconfig.lines().find_map(|line| line.trim().strip_prefix(field)).unwrap();
        let bytes = STANDARD.decode(line.trim().trim_matches('"')).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    Client { certificate: Some((found("client-certificate-data:"), found("client-key-data:"))) }
}

#[test]
fn every_protocol_of_websocket_is_spoken() {
    const SUCCESS: &str = r#"{"metadata":{},"status":"Success"}"#;
    let Some(world) = world_with_a_pod("shop") else { return };
    within(&world, async || {
        let client = Client::administrator(&world);
        let cat = "/exec/default/shop/both?command=cat&input=1&output=1&error=1";

        // The fifth version can say that there is no more input.
        let (mut stream, head) =
            client.upgraded(cat, &format!("{WEBSOCKET}v5.channel.k8s.io, v4.channel.k8s.io\r\n")).await;
        assert!(head.contains("sec-websocket-protocol: v5.channel.k8s.io"), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        send(&mut stream, 0x82, b"\0one ").await;
        send(&mut stream, 0x89, b"there?").await;
        send(&mut stream, 0x02, b"\0tw").await;
        send(&mut stream, 0x80, b"o").await;
        send(&mut stream, 0x82, b"\xff\0").await;
        let said = conversation(&mut stream).await.replace("254:pong there?|", "");
        assert_eq!(said.replace("|1:", ""), format!("1:one two|3:{SUCCESS}|255:closed 1000"));
        drop(stream);

        let exits =
            "/exec/default/shop/both?command=sh&command=-c&command=echo+no+%3E%262;exit+3&stderr=true";
        let why = "error executing command [sh -c echo no >&2;exit 3], exit code 3";
        let (mut stream, _) = client.upgraded(exits, &format!("{WEBSOCKET}v4.channel.k8s.io\r\n")).await;
        let said = conversation(&mut stream).await;
        assert!(said.starts_with("2:no\n|3:{") && said.contains(r#""reason":"ExitCode""#), "{said}");
        // Before the fourth there were words instead of a Status.
        let (mut stream, _) = client.upgraded(exits, &format!("{WEBSOCKET}channel.k8s.io\r\n")).await;
        let expected = format!("2:no\n|3:command terminated with non-zero exit code: {why}|255:closed 1000");
        assert_eq!(conversation(&mut stream).await, expected);

        let (mut stream, _) = client.upgraded(cat, &format!("{WEBSOCKET}v4.base64.channel.k8s.io\r\n")).await;
        assert_eq!(receive(&mut stream).await.unwrap(), (0x81, b"1".to_vec()));
        send(&mut stream, 0x81, b"0aGVsbG8=").await;
        assert_eq!(receive(&mut stream).await.unwrap(), (0x81, b"1aGVsbG8=".to_vec()));
        send(&mut stream, 0x88, b"\x03\xe8").await;
        assert_eq!(receive(&mut stream).await.unwrap(), (0x88, b"\x03\xe8".to_vec()));

        let path = "/portForward/default/shop?port=8080&port=81";
        let (mut stream, _) = client.upgraded(path, &format!("{WEBSOCKET}v4.channel.k8s.io\r\n")).await;
        let mut begun = Vec::new();
        let mut complaint = String::new();
        while begun.len() < 4 || complaint.is_empty() {
            let (_, payload) = receive(&mut stream).await.unwrap();
            match payload[..] {
                [channel, low, high] => begun.push((channel, u16::from_le_bytes([low, high]))),
                _ => complaint = format!("{}:{}", payload[0], String::from_utf8_lossy(&payload[1..])),
            }
        }
        begun.sort_unstable();
        assert_eq!(begun, [(0, 8080), (1, 8080), (2, 81), (3, 81)]);
        assert!(complaint.starts_with("3:error forwarding port 81 to pod shop_default"), "{complaint}");
        send(&mut stream, 0x82, b"\0GET /none HTTP/1.0\r\n\r\n").await;
        let said = conversation(&mut stream).await;
        assert!(said.starts_with("0:HTTP/1.0 404 ") && said.ends_with("|255:closed 1000"), "{said}");
    });
}

#[test]
fn clients_that_do_not_behave_harm_nobody() {
    let Some(world) = world_with_a_pod("shop") else { return };
    let memory = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", world.running())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let before = memory();
    within(&world, async || {
        let client = Client::administrator(&world);
        let flood = "/exec/default/shop/both?command=cat&command=/dev/zero&output=1";
        let cat = "/exec/default/shop/both?command=sleep&command=12345&input=1&output=1";
        // Some do not read, some write what nobody reads.
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(client.upgraded(flood, &format!("{WEBSOCKET}v4.channel.k8s.io\r\n")).await.0);
        }
        let (mut writer, _) = client.upgraded(cat, &format!("{WEBSOCKET}v4.channel.k8s.io\r\n")).await;
        let message = [&[0x82, 0xfe, 0xff, 0xff, 0, 0, 0, 0][..], &[0; 65_535]].concat();
        let endless = async {
            loop {
                writer.write_all(&message).await.unwrap();
            }
        };
        assert!(timeout(Duration::from_secs(2), endless).await.is_err(), "somebody read everything");
        let more = memory().saturating_sub(before);
        assert!(more < 40_000, "{more} kB more");

        // Nonsense ends a connection, whatever it is.
        for (path, headers, nonsense) in [
            (cat, format!("{WEBSOCKET}v4.channel.k8s.io\r\n"), &b"\xff\xff\xff\xff\xff\xff\xff\xff"[..]),
            (cat, format!("{WEBSOCKET}v4.base64.channel.k8s.io\r\n"), b"\x81\x82\0\0\0\0x!"),
            (cat, SPDY.to_owned(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            (cat, SPDY.to_owned(), b"\x80\x03\x00\x01\x00\xff\xff\xff"),
            (cat, SPDY.to_owned(), b"\x80\x03\x00\x01\x00\x00\x00\x0e\0\0\0\x01\0\0\0\0\0\0nonsense"),
            (
                "/portForward/default/shop",
                format!("{WEBSOCKET}SPDY/3.1+portforward.k8s.io\r\n"),
                b"\x82\x88\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
            ),
        ] {
            let (mut stream, _) = client.upgraded(path, &headers).await;
            stream.write_all(nonsense).await.unwrap();
            stream.flush().await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let ended = timeout(LIMIT, stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok(), "{nonsense:02x?} {headers}");
        }
        assert_eq!(Client::nobody().get("/healthz").await.0, 200);
    });
    // What was started for clients that are gone has ended.
    world.until("no program is left", || {
        let programs = std::fs::read_dir("/proc").unwrap().flatten();
        let words = |process: PathBuf| std::fs::read(process.join("cmdline")).unwrap_or_default();
        let mut left = programs.map(|process| words(process.path()));
        let is_ours = |words: &[u8]| words == b"cat\0/dev/zero\0" || words == b"sleep\x0012345\0";
        (!left.any(|words| is_ours(&words))).then_some(())
    });
}
