//! Clients that do not keep to the protocol, or take more than their share: they are cut off, everybody else is served.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use testkit::answers::{Call, Client, connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::machine::Machine;
use super::replay::block_on;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
/// A client with nothing wrong may wait so long while others misbehave.
const AT_ONCE: Duration = Duration::from_secs(15);
/// A client that gives nothing is cut off by then.
const CUT_OFF: Duration = Duration::from_secs(20);

fn address(machine: &Machine) -> String {
    machine.server.access().url.trim_start_matches("https://").to_owned()
}

/// Somebody who has nothing to do with it is answered.
async fn check_served(machine: &Machine) {
    let call = Call::new(Method::GET, COLLECTION);
    let answer = timeout(AT_ONCE, async { Client::new(machine.server.access()).call(&call).await }).await;
    assert_eq!(answer.expect("others are served").unwrap().code, 200);
}

/// What comes until the server closes the connection.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = timeout(CUT_OFF, stream.read_to_end(&mut bytes)).await;
    // A reset is an end, too.
    drop(read.expect("it is cut off"));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn head(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admintoken\r\n{headers}\r\n")
}

/// Sends what it can and answers what comes back.
async fn exchange(machine: &Machine, text: &str) -> String {
    let mut stream = connect(&address(machine), "http/1.1", None).await.unwrap();
    // The server may close it before it has read everything.
    drop(stream.write_all(text.as_bytes()).await);
    rest(&mut stream).await
}

#[test]
fn what_is_no_request_is_refused_or_cut_off() {
    let machine = Machine::start();
    block_on(async {
        for garbage in [&[0_u8; 4096][..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff"] {
            let mut stream = TcpStream::connect(address(&machine)).await.unwrap();
            stream.write_all(garbage).await.unwrap();
            let answer = rest(&mut stream).await;
            assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
        }
        let close = "Connection: close\r\n";
        let large = "x".repeat(3 * 1024 * 1024 + 1);
        let many: String = (0..10_000).map(|number| format!("X-{number}: y\r\n")).collect();
        for (what, text, wanted) in [
            (
                "a body one byte too large",
                head(&format!("POST {COLLECTION}"), &format!("{close}Content-Length: {}\r\n", large.len()))
                    + &large,
                "HTTP/1.1 413",
            ),
            ("10,000 headers", head("GET /version", &(close.to_owned() + &many)), "HTTP/1.1 431"),
            (
                "a header of a megabyte",
                head("GET /version", &format!("{close}X: {}\r\n", &large[..1 << 20])),
                "HTTP/1.1 431",
            ),
            ("a path of a megabyte", head(&format!("GET /{}", &large[..1 << 20]), close), "HTTP/1.1 4"),
            ("no HTTP", "BLAH\r\n\r\n".to_owned(), "HTTP/1.1 400"),
            (
                "two lengths",
                head(&format!("POST {COLLECTION}"), "Content-Length: 2\r\nContent-Length: 3\r\n") + "{}",
                "HTTP/1.1 400",
            ),
            (
                "a chunk that is none",
                head(&format!("POST {COLLECTION}"), &format!("{close}Transfer-Encoding: chunked\r\n"))
                    + "zz\r\n",
                "HTTP/1.1 400",
            ),
            ("nothing wrong", head("GET /version", close), "HTTP/1.1 200"),
        ] {
            let answer = exchange(&machine, &text).await;
            assert!(answer.starts_with(wanted), "{what}: {answer:.300}");
            check_served(&machine).await;
        }
    });
}

#[test]
fn slow_clients_are_cut_off_and_others_served() {
    let machine = Machine::start();
    block_on(async {
        let begin = Instant::now();
        let mut drops = tokio::task::JoinSet::new();
        for number in 0..200 {
            let address = address(&machine);
            drops.spawn(async move {
                // Half of them do not even say hello.
                if number % 2 == 0 {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    return drip(&mut stream, b"\x16\x03\x01\x02\x00\x01").await;
                }
                let mut stream = connect(&address, "http/1.1", None).await.unwrap();
                drip(&mut stream, b"GET /version HTTP/1.1\r\nHost: x\r\n").await;
            });
        }
        for _ in 0..10 {
            check_served(&machine).await;
            sleep(Duration::from_millis(300)).await;
        }
        while let Some(dropped) = drops.join_next().await {
            dropped.unwrap();
        }
        assert!(begin.elapsed() < CUT_OFF * 2, "{:?}", begin.elapsed());
        check_served(&machine).await;
    });
}

/// A byte a second, again and again, until the connection is closed.
async fn drip(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) {
    for byte in bytes.iter().cycle() {
        let mut answer = [0; 1024];
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        let read = timeout(Duration::from_secs(1), stream.read(&mut answer)).await;
        if let Ok(Ok(0) | Err(_)) = read {
            return;
        }
    }
}

#[test]
fn whoever_is_impersonated_is_never_ignored() {
    let machine = Machine::start();
    block_on(async {
        for name in ["bob", "b\u{f6}b", "\u{ff}"] {
            let headers = format!("Impersonate-User: {name}\r\nConnection: close\r\n");
            let answer = exchange(&machine, &head("GET /api/v1/secrets", &headers)).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{name}: {answer}");
        }
    });
}

#[test]
fn what_is_far_too_long_is_cut_off() {
    let machine = Machine::start();
    block_on(async {
        // No instant is so far away.
        let path = format!("{COLLECTION}?watch=true&timeoutSeconds={}", i64::MAX);
        let (answer, _) =
            Client::new(machine.server.access()).watch(&Call::new(Method::GET, &path)).await.unwrap();
        assert_eq!(answer.code, 200);
        // Clients take no header of any length.
        let object = json!({"metadata": {"name": "long"}, "x".repeat(200_000): 1});
        let answer =
            Client::new(machine.server.access()).call(&Call::json(Method::POST, COLLECTION, &object)).await;
        let answer = answer.unwrap();
        assert_eq!((answer.code, answer.headers["warning"].len() < 300), (201, true));
    });
}

/// What everybody who is somebody may ask.
const QUESTION: &str = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// The head of a request of somebody with no role, whose body has so many bytes.
fn question(length: usize) -> String {
    let headers =
        format!("Impersonate-User: bob\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n");
    head(QUESTION, &headers)
}

#[test]
fn who_sends_slowly_takes_nobodys_turn_and_who_sends_much_is_turned_away() {
    let machine = Machine::start();
    let answered = async || {
        // It asks nothing, and is told so.
        let text = question(2) + "{}";
        let mut stream = connect(&address(&machine), "http/1.1", None).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(CUT_OFF, stream.read_exact(&mut answer)).await.expect("it is answered").unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    block_on(async {
        let mut held = Vec::new();
        for _ in 0..700 {
            let mut stream = connect(&address(&machine), "http/1.1", None).await.unwrap();
            stream.write_all((question(100) + "{").as_bytes()).await.unwrap();
            held.push(stream);
        }
        // Their bodies do not come, and others like them are answered all the same.
        assert_eq!(answered().await, "HTTP/1.1 422");
        check_served(&machine).await;
        drop(held);
        // Twelve such bodies are more than all of them together may have.
        let body = format!("{{\"x\":\"{}", "x".repeat(2_900_000));
        let mut held = Vec::new();
        let mut refusal = String::new();
        for _ in 0..20 {
            let mut stream = connect(&address(&machine), "http/1.1", None).await.unwrap();
            stream.write_all((question(body.len() + 2) + &body).as_bytes()).await.unwrap();
            let mut answer = [0; 400];
            if let Ok(Ok(read)) = timeout(Duration::from_millis(500), stream.read(&mut answer)).await {
                refusal = String::from_utf8_lossy(&answer[..read]).into_owned();
                break;
            }
            held.push(stream);
        }
        assert!(refusal.starts_with("HTTP/1.1 429") && refusal.contains("retry-after: 1"), "{refusal}");
        assert!((8..=13).contains(&held.len()), "{} were taken", held.len());
        check_served(&machine).await;
        drop(held);
        let begin = Instant::now();
        while answered().await != "HTTP/1.1 422" {
            assert!(begin.elapsed() < CUT_OFF, "it has to be over some time");
        }
    });
}

#[test]
fn who_is_refused_is_told_although_the_body_does_not_come() {
    let machine = Machine::start();
    block_on(async {
        let mut stream = connect(&address(&machine), "http/1.1", None).await.unwrap();
        let text = format!("POST {COLLECTION} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{{");
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        timeout(CUT_OFF, stream.read_exact(&mut answer)).await.expect("it is answered").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 403");
    });
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), bytes].concat()
}

/// GET / with the administrator's token, as HPACK without any table.
fn get_root() -> Vec<u8> {
    let literal =
        |index: &[u8], value: &str| [index, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    [vec![0x82, 0x84, 0x87], literal(&[0x01], "x"), literal(&[0x0f, 0x08], "Bearer admintoken")].concat()
}

#[test]
fn rapid_resets_cost_nobody_else() {
    let machine = Machine::start();
    block_on(async {
        for _ in 0..4 {
            let mut stream = connect(&address(&machine), "h2", None).await.unwrap();
            let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
            stream.write_all(&preface).await.unwrap();
            for number in 0..20_000_u32 {
                let id = number * 2 + 1;
                let pair = [frame(1, 5, id, &get_root()), frame(3, 0, id, &8_u32.to_be_bytes())].concat();
                if stream.write_all(&pair).await.is_err() {
                    break;
                }
            }
            check_served(&machine).await;
        }
        // Streams of one connection that all want something get it.
        let mut stream = connect(&address(&machine), "h2", None).await.unwrap();
        let preface = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0, 0, &[]),
            &frame(8, 0, 0, &0x3fff_0000_u32.to_be_bytes()),
        ]
        .concat();
        stream.write_all(&preface).await.unwrap();
        for number in 0..300_u32 {
            stream.write_all(&frame(1, 5, number * 2 + 1, &get_root())).await.unwrap();
        }
        stream.flush().await.unwrap();
        let (mut ended, mut head) = (0, [0; 9]);
        while ended < 300 {
            timeout(CUT_OFF, stream.read_exact(&mut head)).await.unwrap().unwrap();
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut bytes = vec![0; length];
            stream.read_exact(&mut bytes).await.unwrap();
            assert!(head[3] != 7 && head[3] != 3, "refused: {head:?}");
            ended += usize::from(head[3] == 0 && head[4] & 1 == 1);
        }
        let memory = memory(&machine);
        assert!(memory < 400 << 20, "{memory} bytes");
    });
}

/// The most memory that the server ever had, in bytes.
fn memory(machine: &Machine) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.server.id().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_watch_that_is_not_read_expires_and_costs_no_memory() {
    let machine = Machine::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let access = machine.server.access();
        let mut client = Client::new(access);
        let object = json!({"metadata": {"name": "a"}, "data": {"text": "x".repeat(8000)}});
        let created = client.call(&Call::json(Method::POST, COLLECTION, &object)).await.unwrap();
        assert_eq!(created.code, 201);
        let mut lazy = Vec::new();
        for _ in 0..20 {
            let mut stream = connect(&address(&machine), "http/1.1", None).await.unwrap();
            let text = head(&format!("GET {COLLECTION}?watch=true&resourceVersion=0"), "");
            stream.write_all(text.as_bytes()).await.unwrap();
            lazy.push(stream);
        }
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..20_u64 {
            let mut client = Client::new(access);
            writers.spawn(async move {
                for number in 0..300 {
                    let patch = json!({"data": {format!("w{writer}"): number.to_string()}}).to_string();
                    let call = Call::new(Method::PATCH, &format!("{COLLECTION}/a"))
                        .with_body("application/merge-patch+json", patch);
                    let answer = client.call(&call).await.unwrap();
                    assert_eq!(answer.code, 200, "{}", answer.json());
                }
            });
        }
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
        let memory = memory(&machine);
        assert!(memory < 300 << 20, "{memory} bytes");
        for stream in &mut lazy {
            let (mut bytes, mut tail) = (vec![0; 1 << 16], Vec::new());
            let mut end = String::new();
            while let Ok(Ok(count @ 1..)) = timeout(AT_ONCE, stream.read(&mut bytes)).await {
                tail.extend_from_slice(&bytes[..count]);
                tail.drain(..tail.len().saturating_sub(2000));
                end = String::from_utf8_lossy(&tail).into_owned();
                if end.contains("\"ERROR\"") {
                    break;
                }
            }
            assert!(end.contains("\"ERROR\"") && end.contains("\"code\":410"), "{end}");
        }
        check_served(&machine).await;
    });
}

#[test]
fn a_stop_ends_watches_properly_and_soon() {
    use rustix::process::{Pid, Signal, kill_process};
    let mut machine = Machine::start();
    let child = block_on(async {
        let call = Call::new(Method::GET, &format!("{COLLECTION}?watch=true"));
        let mut watches = Vec::new();
        for _ in 0..50 {
            let (answer, frames) = Client::new(machine.server.access()).watch(&call).await.unwrap();
            assert_eq!(answer.code, 200);
            watches.push(frames);
        }
        let mut raw = connect(&address(&machine), "http/1.1", None).await.unwrap();
        let text = head(&format!("GET {COLLECTION}?watch=true&resourceVersion=1"), "");
        raw.write_all(text.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(200)).await;
        let child = machine.server.take().unwrap();
        let begin = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        // The last chunk says that nothing is missing.
        let text = rest(&mut raw).await;
        assert!(text.ends_with("0\r\n\r\n"), "{text}");
        for frames in &mut watches {
            while let Some(frame) = timeout(CUT_OFF, frames.next()).await.unwrap() {
                assert_eq!(frame["type"], "ADDED", "{frame}");
            }
        }
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        child
    });
    let begin = Instant::now();
    let mut child = child;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(begin.elapsed() < AT_ONCE, "it still runs"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{status}: {}", machine.server.log());
}
