//! A whole server over loopback, with a source and a forwarder that are channels.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use super::*;
use crate::object::{Change, Key, Kind};
use crate::script::{object, query, render, settings};

struct Stage {
    server: SocketAddr,
    health: SocketAddr,
    ready: SocketAddr,
    changes: mpsc::Sender<Change>,
    asked: mpsc::Receiver<Asked>,
    stop: watch::Sender<bool>,
    server_task: tokio::task::JoinHandle<Result<(), Error>>,
}

fn start(recursion: &str, rate: Option<u32>) -> Stage {
    start_with(recursion, rate, no_blocks())
}

fn start_with(recursion: &str, rate: Option<u32>, blocks: watch::Receiver<Arc<Blocks>>) -> Stage {
    let mut sockets = Sockets::default();
    let server = sockets.open("127.0.0.1:0".parse().unwrap(), 2).unwrap();
    let [health, ready] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let (changes, from) = mpsc::channel(10);
    let (elsewhere, asked) = mpsc::channel(200);
    let (stop, stopping) = watch::channel(false);
    let (health_at, ready_at) = (health.local_addr().unwrap(), ready.local_addr().unwrap());
    let settings = Settings {
        zone: settings(),
        sockets,
        policy: Policy {
            recursion: vec![recursion.parse().unwrap()],
            udp_size: 1232,
            rate,
            cookies: Some(CookieSecret::random()),
        },
        health: Some(health),
        ready: Some(ready),
        metrics: None,
        lameduck: Duration::from_millis(300),
        elsewhere: Some(elsewhere),
        blocks,
    };
    let server_task = tokio::spawn(serve(settings, from, stopping));
    Stage { server, health: health_at, ready: ready_at, changes, asked, stop, server_task }
}

impl Stage {
    async fn tell(&self, line: &str) {
        self.changes.send(Change::Put(object(line))).await.unwrap();
    }

    async fn sync(&self) {
        for kind in [Kind::Service, Kind::Slice, Kind::Namespace] {
            self.changes.send(Change::Synced(kind)).await.unwrap();
        }
    }

    /// Asks over UDP from a port of its own.
    async fn ask(&self, text: &str) -> String {
        let (server, message) = (self.server, query(text, None));
        blocking(move || ask_udp(server, &message)).await
    }

    /// Asks until the answer is the expected one.
    async fn expect(&self, text: &str, expected: &str) {
        let begun = Instant::now();
        loop {
            let found = self.ask(text).await;
            if found.lines().next() == Some(expected) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{text}: {found}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn page(&self, address: SocketAddr, path: &'static str) -> String {
        blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.lines().next().unwrap().to_owned()
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn ask_udp(server: SocketAddr, message: &[u8]) -> String {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.connect(server).unwrap();
    client.send(message).unwrap();
    let mut buffer = [0; 4096];
    client.recv(&mut buffer).map_or_else(|_| "silence".to_owned(), |len| render(&buffer[..len]))
}

#[tokio::test]
async fn from_the_first_query_to_the_last() {
    let stage = start("127.0.0.0/8", None);
    let web = "A web.default.svc.cluster.local";
    stage.tell("service default/web 10.96.0.7 http/tcp:80").await;
    stage.expect(web, "SERVFAIL").await;
    assert_eq!(stage.page(stage.health, "/health").await, "HTTP/1.1 200 OK");
    assert_eq!(stage.page(stage.ready, "/ready").await, "HTTP/1.1 503 Service Unavailable");
    stage.sync().await;
    stage.expect(web, "NOERROR aa").await;
    assert_eq!(stage.page(stage.ready, "/ready").await, "HTTP/1.1 200 OK");
    assert_eq!(stage.page(stage.ready, "/health").await, "HTTP/1.1 404 Not Found");
    // A change is seen at once, a new list changes nothing.
    stage.changes.send(Change::Gone(Kind::Service, Key::new("default", "web"))).await.unwrap();
    stage.expect(web, "NXDOMAIN aa").await;
    stage.tell("service default/web 10.96.0.8").await;
    stage.sync().await;
    stage.expect(web, "NOERROR aa").await;
    // It goes on for a while, and says so.
    stage.stop.send_replace(true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stage.page(stage.health, "/health").await, "HTTP/1.1 503 Service Unavailable");
    assert!(stage.ask(web).await.contains("10.96.0.8"));
    tokio::time::timeout(Duration::from_secs(5), stage.server_task).await.unwrap().unwrap().unwrap();
    let mut again = Sockets::default();
    assert_eq!(again.open(stage.server, 1).unwrap(), stage.server);
}

#[tokio::test]
async fn a_server_that_is_dropped_leaves_its_address() {
    let stage = start("127.0.0.0/8", None);
    stage.sync().await;
    stage.expect("A default.svc.cluster.local", "NXDOMAIN aa").await;
    stage.server_task.abort();
    let begun = Instant::now();
    // Only a socket without others on its port can have it alone.
    while UdpSocket::bind(stage.server).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn others_are_asked_for_the_rest() {
    let mut stage = start("127.0.0.0/8", None);
    stage.tell("alias default/www example.org").await;
    stage.sync().await;
    stage.expect("A none.default.svc.cluster.local", "NXDOMAIN aa").await;
    let others = async {
        while let Some(asked) = stage.asked.recv().await {
            let mut answer = asked.message.clone();
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = 1;
            answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\xc0\x00\x02\x01");
            assert_eq!((asked.client.to_string().as_str(), asked.is_udp), ("127.0.0.1", true));
            asked.answer.send(answer).unwrap();
        }
    };
    let server = stage.server;
    let questions = ["A Example.org", "A www.default.svc.cluster.local"];
    let asking = blocking(move || questions.map(|text| ask_udp(server, &query(text, None))));
    let answers = tokio::select! {
        () = others => panic!(),
        answers = asking => answers,
    };
    assert_eq!(answers[0], "NOERROR\nExample.org. 5 A 192.0.2.1");
    assert_eq!(
        answers[1],
        "NOERROR\nwww.default.svc.cluster.local. 5 CNAME example.org.\nexample.org. 5 A 192.0.2.1"
    );
}

#[tokio::test]
async fn when_too_many_wait_the_next_is_told_at_once() {
    let (elsewhere, _unanswered) = mpsc::channel(10);
    let policy =
        Policy { recursion: vec!["127.0.0.0/8".parse().unwrap()], udp_size: 1232, rate: None, cookies: None };
    let zone = watch::channel(crate::script::zone(settings(), "")).1;
    let mut front = Front::new(policy, zone, (Some(elsewhere), no_blocks()));
    front.waiting = Arc::new(Semaphore::new(1));
    let waiting = Arc::clone(&front.waiting);
    let mut sockets = Sockets::default();
    let server = sockets.open("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let mut doors = Doors::new(front);
    doors.open(sockets).unwrap();
    let message = query("A example.org", None);
    let first = UdpSocket::bind("127.0.0.1:0").unwrap();
    first.send_to(&message, server).unwrap();
    let begun = Instant::now();
    while waiting.available_permits() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = message.clone();
    assert_eq!(blocking(move || ask_udp(server, &asked)).await, "SERVFAIL");
    let over_tcp = blocking(move || {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&[&[0, message.len() as u8], &message[..]].concat()).unwrap();
        let mut answer = vec![0; message.len() + 2];
        stream.read_exact(&mut answer).unwrap();
        render(&answer[2..])
    });
    assert_eq!(over_tcp.await, "SERVFAIL");
    assert_eq!(waiting.available_permits(), 0);
    doors.close().await;
}

#[tokio::test]
async fn only_known_networks_may_recurse() {
    let stage = start("192.0.2.0/24", None);
    stage.sync().await;
    stage.expect("A default.svc.cluster.local", "NXDOMAIN aa").await;
    stage.expect("A example.org", "REFUSED").await;
}

#[tokio::test]
async fn a_greedy_client_is_sent_to_tcp() {
    let stage = start("127.0.0.0/8", Some(10));
    stage.sync().await;
    let server = stage.server;
    let answers = blocking(move || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        client.connect(server).unwrap();
        for _ in 0..40 {
            client.send(&query("A cluster.local", None)).unwrap();
        }
        let mut buffer = [0; 4096];
        let mut counts = [0, 0];
        while let Ok(len) = client.recv(&mut buffer) {
            counts[usize::from(render(&buffer[..len]) == "NOERROR tc")] += 1;
        }
        counts
    })
    .await;
    // Ten, and one more for every tenth of a second that it takes; half of the rest is told, half meets silence.
    assert!((10..=20).contains(&answers[0]) && (10..=17).contains(&answers[1]), "{answers:?}");
}

#[test]
fn whatever_the_order_of_queries_some_are_told() {
    let message = query("A cluster.local", None);
    for (first, step) in (0..8).flat_map(|first| [(first, 1), (first, 2), (first, 3), (first, 4)]) {
        let is_told = |nth: u32| {
            let asking = Asking { turn: first + nth * step, ..crate::script::ASKING };
            matches!(over_limit(&message, (&asking, false), &mut [0; 512]), Outcome::Reply(_))
        };
        let told = (0..16).filter(|nth| is_told(*nth)).count();
        assert!((4..=12).contains(&told), "{first} {step}: {told}");
    }
}

#[test]
fn a_thread_that_ended_is_noticed() {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let threads = [std::thread::spawn(move || assert!(ended.recv().is_err()))];
    assert!(check(&threads).is_ok());
    drop(end);
    let begun = Instant::now();
    while check(&threads).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What stands for faults in answering: a name that nobody else asks for.
pub(super) fn panic_where_wanted(message: &[u8]) {
    assert!(!message.windows(6).any(|part| part == b"\x05fault"), "a test");
}

#[tokio::test]
async fn a_panic_is_one_answer_that_fails() {
    let configured = crate::config::Settings::parse(". {\n}", &|_| None).unwrap();
    let metrics = crate::metrics::DnsMetrics::register(&telemetry::Metrics::default(), "");
    let (_keep, told) = watch::channel(Arc::new(Blocks::new(&configured.servers, &metrics).unwrap()));
    let stage = start_with("127.0.0.0/8", None, told);
    stage.sync().await;
    stage.expect("A default.svc.cluster.local", "NXDOMAIN aa").await;
    for _ in 0..3 {
        assert_eq!(stage.ask("A fault.cluster.local").await, "SERVFAIL");
        assert_eq!(stage.ask("A cluster.local").await.lines().next(), Some("NOERROR aa"));
    }
    assert_eq!(metrics.panics.get(), 3.0);
}

#[tokio::test]
async fn who_shows_a_cookie_has_no_limit() {
    let stage = start("127.0.0.0/8", Some(2));
    stage.sync().await;
    let server = stage.server;
    let with_cookie = |cookie: &[u8]| {
        let mut message = query("A cluster.local", Some((1232, false)));
        let len = message.len();
        message[len - 1] = cookie.len() as u8 + 4;
        message.extend([0, 10, 0, cookie.len() as u8]);
        message.extend(cookie);
        message
    };
    // Half of what is refused meets silence, which need not be waited for.
    let [long, short] = [5000, 200].map(Duration::from_millis);
    let ask = async |message: Vec<u8>, patience: Duration| {
        blocking(move || {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.set_read_timeout(Some(patience)).unwrap();
            client.connect(server).unwrap();
            client.send(&message).unwrap();
            let mut buffer = [0; 4096];
            let len = client.recv(&mut buffer).ok()?;
            let code = render(&buffer[..len]).split_whitespace().next().unwrap().to_owned();
            // Both halves are the last 24 bytes.
            Some((code, buffer[len - 24..len].to_vec()))
        })
        .await
    };
    // Over the limit a client is told what would be a cookie, if not with every answer.
    let refused = async |shown: &[u8]| {
        let begun = Instant::now();
        loop {
            let answer = ask(with_cookie(shown), short).await;
            if let Some((_, cookie)) = answer.filter(|(code, _)| code == "BADCOOKIE") {
                assert_eq!(&cookie[..8], b"abcdefgh");
                return cookie;
            }
            assert!(begun.elapsed() < Duration::from_secs(20));
        }
    };
    let cookie = refused(b"abcdefgh").await;
    for _ in 0..20 {
        assert_eq!(ask(with_cookie(&cookie), long).await, Some(("NOERROR".to_owned(), cookie.clone())));
    }
    let mut wrong = cookie.clone();
    wrong[23] ^= 1;
    refused(&wrong).await;
}

#[tokio::test]
async fn tcp_takes_several_queries_at_once() {
    let mut stage = start("127.0.0.0/8", None);
    stage.tell("service default/web 10.96.0.7").await;
    stage.sync().await;
    stage.expect("A web.default.svc.cluster.local", "NOERROR aa").await;
    let server = stage.server;
    let exchange = blocking(move || {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        // The first waits for somebody else, the second does not wait for it; the frames come in pieces.
        let questions = ["A example.org", "A web.default.svc.cluster.local"].map(|text| query(text, None));
        let frames: Vec<u8> =
            questions.iter().flat_map(|query| [&[0, query.len() as u8], &query[..]].concat()).collect();
        for piece in frames.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        let mut texts = Vec::new();
        while !answers.is_empty() {
            let len = usize::from(u16::from_be_bytes([answers[0], answers[1]]));
            texts.push(render(&answers[2..2 + len]).lines().next().unwrap().to_owned());
            answers.drain(..2 + len);
        }
        texts
    });
    let others = async {
        let asked = stage.asked.recv().await.unwrap();
        assert!(!asked.is_udp);
        tokio::time::sleep(Duration::from_millis(100)).await;
        // Nobody knows: the client is told to try again.
        drop(asked);
    };
    let (texts, ()) = tokio::join!(exchange, others);
    assert_eq!(texts, ["NOERROR aa", "SERVFAIL"]);
    // What is no query ends the connection.
    let rest = blocking(move || {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"\0\x03GET").unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map(|_| rest)
    })
    .await;
    assert_eq!(rest.ok(), Some(Vec::new()));
}

#[tokio::test]
async fn names_are_given_or_stand_for_others() {
    let corefile = ". {\n hosts /nonexistent {\n 10.0.0.1 a.org\n ttl 60\n fallthrough\n }\n \
        rewrite name www.org web.default.svc.cluster.local\n rewrite name suffix .own.org .default.svc.cluster.local\n \
        rewrite name x.org a.org\n rewrite name far.org far.net\n}";
    let configured = crate::config::Settings::parse(corefile, &|_| None).unwrap();
    let metrics = crate::metrics::DnsMetrics::register(&telemetry::Metrics::default(), "");
    let blocks = Arc::new(Blocks::new(&configured.servers, &metrics).unwrap());
    let (_keep, told) = watch::channel(blocks);
    let mut stage = start_with("127.0.0.0/8", None, told);
    stage.tell("service default/web 10.96.0.7 http/tcp:80").await;
    stage.sync().await;
    stage.expect("A web.default.svc.cluster.local", "NOERROR aa").await;
    for (text, expected) in [
        ("A a.org", "NOERROR aa\na.org. 60 A 10.0.0.1"),
        ("A WWW.org", "NOERROR aa\nWWW.org. 5 A 10.96.0.7"),
        ("A web.own.org", "NOERROR aa\nweb.own.org. 5 A 10.96.0.7"),
        ("A x.org", "NOERROR aa\nx.org. 60 A 10.0.0.1"),
    ] {
        assert_eq!(stage.ask(text).await, expected, "{text}");
    }
    assert!(stage.ask("A none.own.org").await.starts_with("NXDOMAIN aa"));
    let others = async {
        let asked = stage.asked.recv().await.unwrap();
        assert_eq!(Query::read(&asked.message).unwrap().name.to_string(), "far.net.");
        let mut answer = asked.message.clone();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[7] = 1;
        answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x05\x00\x04\xc0\x00\x02\x01");
        asked.answer.send(answer).unwrap();
    };
    let server = stage.server;
    let asking = blocking(move || ask_udp(server, &query("A far.org", None)));
    let ((), answer) = tokio::join!(others, asking);
    assert_eq!(answer, "NOERROR\nfar.org. 5 A 192.0.2.1");
}

#[tokio::test]
async fn blocks_show_zones_of_their_own() {
    let zone = |name: &str, objects: &str| {
        let settings = crate::zone::Settings { zone: name.parse().unwrap(), ..settings() };
        watch::channel(crate::script::zone(settings, objects)).1
    };
    let one = zone("one.local", "service default/web 10.96.0.1\nalias default/far web.default.svc.two.local");
    let two = zone("two.local", "service default/web 10.97.0.1");
    let text = "one.local {\n kubernetes\n}\ntwo.local in-addr.arpa {\n kubernetes\n}\n. {\n hosts /nonexistent {\n \
                10.0.0.9 a.org web.default.svc.one.local\n fallthrough\n }\n}\n";
    let configured = crate::config::Settings::parse(text, &|_| None).unwrap();
    let metrics = crate::metrics::DnsMetrics::register(&telemetry::Metrics::default(), "");
    let made = crate::blocks::Made::new(&configured.servers, &metrics).unwrap();
    let blocks = made.at("dns://:53", &[(0, vec![one]), (1, vec![two]), (2, Vec::new())]);
    let (_keep, told) = watch::channel(Arc::new(blocks));
    let (asked, questions) = mpsc::channel(10);
    tokio::spawn(crate::blocks::attend(questions, told.clone()));
    let Stage { server, asked: mut from, stop: _stop, .. } = start_with("127.0.0.0/8", None, told);
    tokio::spawn(async move {
        while let Some(question) = from.recv().await {
            asked.send(question).await.unwrap();
        }
    });
    let ask = async |text: &'static str| blocking(move || ask_udp(server, &query(text, None))).await;
    for (text, expected) in [
        ("A web.default.svc.one.local", "NOERROR aa\nweb.default.svc.one.local. 5 A 10.96.0.1"),
        ("A web.default.svc.two.local", "NOERROR aa\nweb.default.svc.two.local. 5 A 10.97.0.1"),
        (
            "PTR 1.0.97.10.in-addr.arpa",
            "NOERROR aa\n1.0.97.10.in-addr.arpa. 5 PTR web.default.svc.two.local.",
        ),
        ("A a.org", "NOERROR aa\na.org. 3600 A 10.0.0.9"),
        (
            "A far.default.svc.one.local",
            "NOERROR aa\nfar.default.svc.one.local. 5 CNAME web.default.svc.two.local.\n\
             web.default.svc.two.local. 5 A 10.97.0.1",
        ),
        ("A web.default.svc.three.local", "REFUSED"),
    ] {
        let found = ask(text).await;
        assert_eq!(found.replace("NOERROR\n", "NOERROR aa\n"), expected, "{text}");
    }
    assert!(ask("A none.default.svc.one.local").await.starts_with("NXDOMAIN aa"));
}
