//! Forwarding against small servers on loopback that answer well, badly, late or never.

use std::sync::Mutex;

use telemetry::Metrics;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::cache::{response, shown};
use crate::metrics::DnsMetrics;
use crate::wire::{Name, Query, Type};

/// How a query came to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Udp,
    /// Over the connection of this number.
    Stream(usize),
}

/// What is sent after a query, and when; nothing at all ends a connection.
type Behaviour = fn(Way, &Query<'_>) -> Vec<(u64, Vec<u8>)>;

/// A server that behaves in some way, and the ways that it was asked.
struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Way>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

impl Fake {
    async fn start(behaviour: Behaviour) -> Self {
        Self::start_at("127.0.0.1:0", behaviour, None).await
    }

    async fn start_at(at: &str, behaviour: Behaviour, tls: Option<tokio_rustls::TlsAcceptor>) -> Self {
        let tcp = TcpListener::bind(at).await.expect("there is a port");
        let address = tcp.local_addr().expect("it is bound");
        let asked: Arc<Mutex<Vec<Way>>> = Arc::default();
        let mut tasks = Vec::new();
        if let Ok(udp) = UdpSocket::bind(address).await {
            tasks.push(tokio::spawn(packets(udp, behaviour, asked.clone())));
        }
        tasks.push(tokio::spawn(connections(tcp, behaviour, (asked.clone(), tls))));
        Self { address, asked, tasks }
    }

    fn asked(&self) -> Vec<Way> {
        self.asked.lock().expect("nothing panicked").clone()
    }
}

async fn packets(socket: UdpSocket, behaviour: Behaviour, asked: Arc<Mutex<Vec<Way>>>) {
    let socket = Arc::new(socket);
    let mut room = [0; 4096];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut room).await else { continue };
        asked.lock().expect("nothing panicked").push(Way::Udp);
        let query = Query::read(&room[..len]).expect("a query");
        let (replies, socket) = (behaviour(Way::Udp, &query), socket.clone());
        tokio::spawn(async move {
            for (millis, reply) in replies {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                socket.send_to(&reply, from).await.expect("loopback takes it");
            }
        });
    }
}

type Shared = (Arc<Mutex<Vec<Way>>>, Option<tokio_rustls::TlsAcceptor>);

async fn connections(listener: TcpListener, behaviour: Behaviour, (asked, tls): Shared) {
    for number in 0.. {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (asked, tls) = (asked.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        converse(stream, behaviour, (asked, number)).await;
                    }
                }
                None => converse(stream, behaviour, (asked, number)).await,
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    behaviour: Behaviour,
    (asked, number): (Arc<Mutex<Vec<Way>>>, usize),
) {
    while let Ok(len) = stream.read_u16().await {
        let mut message = vec![0; len.into()];
        stream.read_exact(&mut message).await.expect("a whole message");
        asked.lock().expect("nothing panicked").push(Way::Stream(number));
        let query = Query::read(&message).expect("a query");
        let replies = behaviour(Way::Stream(number), &query);
        if replies.is_empty() {
            return;
        }
        for (millis, reply) in replies {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            stream.write_u16(reply.len() as u16).await.expect("it is open");
            stream.write_all(&reply).await.expect("it is open");
            stream.flush().await.expect("it is open");
        }
    }
}

fn reply(query: &Query<'_>, rcode: Rcode, lines: &str) -> Vec<u8> {
    let mut reply = response(query.id(), ("a.org", query.kind), rcode, lines);
    reply[12..query.question_end].copy_from_slice(query.question());
    reply
}

fn address(query: &Query<'_>) -> Vec<u8> {
    reply(query, Rcode::NO_ERROR, "answer a.org A 30 1.2.3.4")
}

fn well(_: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
    vec![(0, address(query))]
}

fn silent(way: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
    if way == Way::Udp { Vec::new() } else { vec![(60_000, address(query))] }
}

/// Broken, too short, somebody else's, about something else; then the answer.
fn noisy(_: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut reply = address(query);
        change(&mut reply);
        (0, reply)
    };
    vec![
        (0, vec![0xff; 40]),
        with(&|reply| reply[0] ^= 1),
        with(&|reply| reply.truncate(5)),
        with(&|reply| reply[13] = b'x'),
        with(&|reply| reply[2] &= 0x7f),
        (0, address(query)),
    ]
}

fn short(way: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
    if way != Way::Udp {
        return well(way, query);
    }
    let mut reply = reply(query, Rcode::NO_ERROR, "");
    reply[2] |= 2;
    vec![(0, reply)]
}

fn old(_: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
    if query.edns.is_none() {
        return well(Way::Udp, query);
    }
    vec![(0, [&query.message[..2], &[0x81, 0x81], &[0; 8]].concat())]
}

fn metrics() -> (Metrics, ForwardMetrics) {
    let metrics = Metrics::default();
    let forward = DnsMetrics::register(&metrics, "").forward;
    (metrics, forward)
}

/// What is asked of these servers, in turn from the first on.
fn settings(to: &[&Fake]) -> Forward {
    let mut settings = Forward::new(Name::root());
    settings.to = to.iter().map(|fake| Upstream::Plain(fake.address)).collect();
    settings.policy = Policy::Sequential;
    settings.health_check.interval = Duration::from_millis(50);
    settings
}

fn forwarder(settings: Forward) -> Forwarder {
    let mut forwarder = Forwarder::new(settings, metrics().1).expect("it is right");
    forwarder.times = Times { first: Duration::from_millis(150), total: Duration::from_millis(1500) };
    forwarder
}

fn key() -> Key {
    Key::new(b"\x01a\x03org\x00", Type::A, (false, false))
}

async fn asked(forwarder: &Forwarder, over_tcp: bool) -> String {
    match forwarder.ask(&key(), over_tcp).await {
        Ok(kept) => shown(&kept.message(key().name(), Type::A).expect("it fits")),
        Err(failure) => format!("{failure:?}").split('(').next().unwrap_or_default().to_owned(),
    }
}

const ANSWER: &str = "NOERROR, a.org. A 30";

#[tokio::test]
async fn servers_of_all_kinds_are_asked() {
    for (what, behaviour, over_tcp, wanted, ways) in [
        ("well", well as Behaviour, false, ANSWER, vec![Way::Udp]),
        ("well", well, true, ANSWER, vec![Way::Stream(0)]),
        ("noisy", noisy, false, ANSWER, vec![Way::Udp]),
        ("short", short, false, ANSWER, vec![Way::Udp, Way::Stream(0)]),
        ("old", old, false, ANSWER, vec![Way::Udp, Way::Udp]),
        ("silent", silent, false, "Silence", vec![Way::Udp; 3]),
        ("late", |_, query| vec![(60, address(query))], false, ANSWER, vec![Way::Udp]),
        ("lost", lost, false, ANSWER, vec![Way::Udp; 2]),
        (
            "refusing",
            |_, query| vec![(0, reply(query, Rcode::REFUSED, ""))],
            false,
            "REFUSED",
            vec![Way::Udp],
        ),
    ] {
        let fake = Fake::start(behaviour).await;
        let mut settings = settings(&[&fake]);
        settings.max_fails = 0;
        let forwarder = forwarder(settings);
        assert_eq!(asked(&forwarder, over_tcp).await, wanted, "{what}");
        assert_eq!(fake.asked(), ways, "{what}");
    }
}

/// Every second packet is lost, as seen by its number.
fn lost(_: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    if COUNT.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) { Vec::new() } else { well(Way::Udp, query) }
}

#[tokio::test]
async fn letters_may_be_large_and_small() {
    let fake = Fake::start(well).await;
    let mut settings = settings(&[&fake]);
    settings.random_case = true;
    let forwarder = forwarder(settings);
    for _ in 0..5 {
        assert_eq!(asked(&forwarder, false).await, ANSWER);
    }
    // One that writes the name as it likes is no answer then.
    let small = Fake::start(|_, query| {
        let mut reply = address(query);
        reply[12..19].make_ascii_lowercase();
        vec![(0, reply)]
    });
    let small = small.await;
    let mut settings = self::settings(&[&small]);
    settings.random_case = true;
    let forwarder = self::forwarder(settings);
    let mut key = String::from("\u{1}a");
    key.push('\u{3f}');
    key.push_str(&"b".repeat(63));
    key.push('\0');
    let key = Key::new(key.as_bytes(), Type::A, (false, false));
    assert!(matches!(forwarder.ask(&key, false).await, Err(Failure::Silence(_))));
}

#[tokio::test]
async fn connections_are_used_again() {
    let fake = Fake::start(well).await;
    let mut settings = settings(&[&fake]);
    settings.force_tcp = true;
    let forwarder = forwarder(settings);
    for _ in 0..3 {
        assert_eq!(asked(&forwarder, false).await, ANSWER);
    }
    assert_eq!(fake.asked(), [Way::Stream(0); 3]);

    // One that the other side has closed meanwhile is replaced.
    fn once(way: Way, query: &Query<'_>) -> Vec<(u64, Vec<u8>)> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if COUNT.fetch_add(1, Ordering::Relaxed) == 1 { Vec::new() } else { well(way, query) }
    }
    let fake = Fake::start(once).await;
    let mut settings = self::settings(&[&fake]);
    settings.force_tcp = true;
    let forwarder = self::forwarder(settings);
    for _ in 0..2 {
        assert_eq!(asked(&forwarder, false).await, ANSWER);
    }
    assert_eq!(fake.asked(), [Way::Stream(0), Way::Stream(0), Way::Stream(1)]);
}

#[tokio::test]
async fn who_is_silent_is_left_out_until_it_answers() {
    let (dead, alive) = (Fake::start(silent).await, Fake::start(well).await);
    let forwarder = forwarder(settings(&[&dead, &alive]));
    assert_eq!(asked(&forwarder, false).await, ANSWER);
    let peers = forwarder.peers.borrow().clone();
    let down = |at: usize, wanted: bool| {
        let peer = peers[at].clone();
        async move {
            while peer.is_down() != wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    timeout(Duration::from_secs(10), down(0, true)).await.expect("it is noticed");
    let before = alive.asked().len();
    let begin = Instant::now();
    assert_eq!(asked(&forwarder, false).await, ANSWER);
    assert!(begin.elapsed() < Duration::from_millis(140));
    assert_eq!(alive.asked().len(), before + 1);

    let at = dead.address.to_string();
    drop(dead);
    let again = loop {
        tokio::task::yield_now().await;
        if TcpListener::bind(&at).await.is_ok() && UdpSocket::bind(&at).await.is_ok() {
            break Fake::start_at(&at, well, None).await;
        }
    };
    timeout(Duration::from_secs(10), down(0, false)).await.expect("it is noticed");
    assert_eq!(asked(&forwarder, false).await, ANSWER);
    assert!(!again.asked().is_empty());
}

#[tokio::test]
async fn no_more_than_wanted_are_under_way_and_who_is_gone_does_not_count() {
    let fake = Fake::start(|_, query| vec![(100, address(query))]).await;
    let mut settings = settings(&[&fake]);
    settings.max_concurrent = 2;
    let forwarder = forwarder(settings);
    let (a, b, c) =
        tokio::join!(asked(&forwarder, false), asked(&forwarder, false), asked(&forwarder, false));
    assert_eq!([a.as_str(), &b, &c], [ANSWER, ANSWER, "Busy"]);
    for _ in 0..5 {
        assert!(timeout(Duration::from_millis(10), asked(&forwarder, false)).await.is_err());
    }
    assert_eq!(forwarder.permits.available_permits(), 2);
    assert_eq!(asked(&forwarder, false).await, ANSWER);
}

#[tokio::test]
async fn tls_is_checked() {
    let names = vec!["127.0.0.1".to_owned(), "dns.example.org".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("it can be made");
    let path = std::env::temp_dir().join(format!("signalbox-dns-{}.pem", std::process::id()));
    std::fs::write(&path, made.cert.pem()).expect("the temporary directory can be written");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they are known")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("they go together");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let fake = Fake::start_at("127.0.0.1:0", well, Some(acceptor)).await;
    for (authority, name, wanted) in [
        (Some(&path), None, ANSWER),
        (Some(&path), Some("dns.example.org"), ANSWER),
        (Some(&path), Some("other.example.org"), "Silence"),
        (None, None, "Silence"),
    ] {
        let mut settings = settings(&[]);
        settings.to = vec![Upstream::Tls(fake.address)];
        settings.tls_authority = authority.cloned();
        settings.tls_server_name = name.map(str::to_owned);
        settings.max_fails = 0;
        let forwarder = forwarder(settings);
        assert_eq!(asked(&forwarder, false).await, wanted, "{authority:?} {name:?}");
        assert_eq!(asked(&forwarder, false).await, wanted, "{authority:?} {name:?}");
    }
    assert_eq!(fake.asked(), [Way::Stream(0), Way::Stream(0), Way::Stream(1), Way::Stream(1)]);
    std::fs::remove_file(&path).expect("it was written");
}

#[tokio::test]
async fn files_that_name_servers_are_followed() {
    let path = std::env::temp_dir().join(format!("signalbox-resolv-{}", std::process::id()));
    let mut settings = settings(&[]);
    settings.to = vec![Upstream::File(path.clone())];
    let forwarder = forwarder(settings);
    assert_eq!(asked(&forwarder, false).await, "Nobody");
    let servers =
        || forwarder.peers.borrow().iter().map(|peer| peer.address.to_string()).collect::<Vec<_>>().join(" ");
    for (text, is_other, wanted) in [
        ("nameserver 127.0.0.2\n", true, "127.0.0.2:53"),
        ("nameserver 127.0.0.2\nsearch a.org\n", false, "127.0.0.2:53"),
        ("nameserver 127.0.0.3\nnameserver 127.0.0.2\n", true, "127.0.0.3:53 127.0.0.2:53"),
        ("", false, "127.0.0.3:53 127.0.0.2:53"),
    ] {
        let known = forwarder.peers.borrow().last().cloned();
        std::fs::write(&path, text).expect("the temporary directory can be written");
        assert_eq!(forwarder.look(), is_other, "{text}");
        assert_eq!(servers(), wanted);
        if let Some(known) = known {
            assert!(Arc::ptr_eq(&known, forwarder.peers.borrow().last().expect("there is one")));
        }
    }
    std::fs::remove_file(&path).expect("it was written");
    assert!(!forwarder.look());
}

#[test]
fn policies_are_orders() {
    for (policy, turn, wanted) in [
        (Policy::Sequential, 5, [0, 1, 2]),
        (Policy::RoundRobin, 0, [0, 1, 2]),
        (Policy::RoundRobin, 1, [1, 2, 0]),
        (Policy::RoundRobin, 5, [2, 0, 1]),
    ] {
        assert_eq!(order(policy, 3, turn), wanted, "{policy:?} {turn}");
    }
    let mut seen: Vec<Vec<usize>> = (0..6).map(|turn| order(Policy::Random, 3, turn)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
    assert_eq!(order(Policy::RoundRobin, 0, 3), [0; 0]);
}
