//! Queries against what is kept and those who are asked, with a server that counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use telemetry::Metrics;
use tokio::net::UdpSocket;

use super::*;
use crate::cache::{response, shown};
use crate::config::{Forward, Stale, Upstream};
use crate::wire::{Rcode, write_query};

/// A server that answers everything with an address of its own after a while, until it is told not to.
struct Fake {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    async fn start(last: u8, ttl: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("there is a port");
        let address = socket.local_addr().expect("it is bound");
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let task = tokio::spawn(async move {
            let mut room = [0; 4096];
            loop {
                let (len, from) = socket.recv_from(&mut room).await.expect("loopback works");
                let query = Query::read(&room[..len]).expect("a query");
                count.fetch_add(1, Ordering::Relaxed);
                let name = query.name.to_string();
                let lines = format!("answer {name} A {ttl} 1.2.3.{last}");
                tokio::time::sleep(Duration::from_millis(20)).await;
                let reply = response(query.id(), (&name, query.kind), Rcode::NO_ERROR, &lines);
                socket.send_to(&reply, from).await.expect("loopback works");
            }
        });
        Self { address, asked, task }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn usual_cache() -> crate::config::Cache {
    crate::config::Cache { zones: vec![Name::root()], ..Default::default() }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn forward(from: &str, to: &Fake) -> Forward {
    let mut forward = Forward::new(name(from));
    forward.to = vec![Upstream::Plain(to.address)];
    forward.max_fails = 0;
    forward
}

fn elsewhere(server: Server) -> Arc<Elsewhere> {
    let metrics = DnsMetrics::register(&Metrics::default(), "");
    Arc::new(Elsewhere::new(&server, &metrics).expect("it is right"))
}

/// Asks as a server does; answers how, and what.
async fn ask(elsewhere: &Arc<Elsewhere>, text: &str) -> String {
    let (mut asked, mut out) = ([0; 300], [0; 512]);
    let len = write_query(&mut asked, (7, 0x100), (name(text).as_wire(), Type::A), None).expect("it fits");
    let query = Query::read(&asked[..len]).expect("it is one");
    let (how, len) = match elsewhere.at_once(&query, &mut out, (512, 1232)) {
        AtOnce::Answered { len, refresh } => {
            let how = if refresh.is_some() { "at once, again" } else { "at once" };
            refresh.into_iter().for_each(|waiting| elsewhere.refresh(waiting));
            (how, len)
        }
        AtOnce::Waits(waiting) => match elsewhere.wait(&waiting, false).await {
            Ok(told) => ("later", told.kept.write(&query, told.ttl, (&mut out, 512, 1232)).expect("it fits")),
            Err(failure) => return failure.rcode().to_string(),
        },
        AtOnce::Nobody => return "nobody".to_owned(),
    };
    format!("{how}: {} {}", shown(&out[..len]), out[len - 1])
}

#[tokio::test]
async fn zones_have_their_own_servers() {
    let (all, org, sub) = (Fake::start(1, 30).await, Fake::start(2, 30).await, Fake::start(3, 30).await);
    let mut except = forward("org", &org);
    except.except = vec![name("not.org")];
    let server =
        Server { forwards: vec![forward(".", &all), except, forward("sub.org", &sub)], ..Server::default() };
    let elsewhere = elsewhere(server);
    for (name, last) in
        [("a.net", 1), ("a.org", 2), ("org", 2), ("a.not.org", 1), ("a.sub.org", 3), ("asub.org", 2)]
    {
        assert_eq!(ask(&elsewhere, name).await, format!("later: NOERROR, {name}. A 30 {last}"), "{name}");
    }
    let only = self::elsewhere(Server { forwards: vec![forward("sub.org", &sub)], ..Server::default() });
    assert_eq!(ask(&only, "a.org").await, "nobody");
}

#[tokio::test]
async fn many_clients_are_one_question() {
    let fake = Fake::start(1, 900).await;
    let mut cache = usual_cache();
    cache.success.longest = 60;
    let elsewhere =
        elsewhere(Server { cache: Some(cache), forwards: vec![forward(".", &fake)], ..Server::default() });
    let (a, b, c) =
        tokio::join!(ask(&elsewhere, "a.org"), ask(&elsewhere, "A.ORG"), ask(&elsewhere, "a.org"));
    assert_eq!([a.as_str(), &b, &c], ["later: NOERROR, a.org. A 60 1"; 3]);
    assert_eq!(ask(&elsewhere, "a.org").await, "at once: NOERROR, a.org. A 60 1");
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn a_question_that_comes_once_is_no_loop() {
    let fake = Fake::start(1, 30).await;
    let elsewhere = elsewhere(Server {
        cache: Some(usual_cache()),
        forwards: vec![forward(".", &fake)],
        finds_loops: true,
        ..Server::default()
    });
    let loops = elsewhere.loops().expect("they are looked for");
    let (mut asked, mut out) = ([0; 300], [0; 512]);
    let len = loops.write(&mut asked, 7).expect("it fits");
    let query = Query::read(&asked[..len]).expect("it is one");
    // As it is over UDP: what is kept is looked for first, then who is asked.
    let mut comes = || {
        assert!(elsewhere.kept(&query, &mut out, (512, 1232)).is_none());
        matches!(elsewhere.at_once(&query, &mut out, (512, 1232)), AtOnce::Waits(_))
    };
    assert_eq!([comes(), comes()], [true, false]);
}

#[tokio::test]
async fn old_answers_help_while_nobody_answers() {
    for (verifies, first, second) in [(false, "at once, again", "at once"), (true, "later", "at once")] {
        let fake = Fake::start(1, 1).await;
        let mut cache = usual_cache();
        cache.success.shortest = 1;
        cache.stale = Some(Stale { age: Duration::from_secs(60), verifies });
        let elsewhere = elsewhere(Server {
            cache: Some(cache),
            forwards: vec![forward(".", &fake)],
            ..Server::default()
        });
        assert_eq!(ask(&elsewhere, "a.org").await, "later: NOERROR, a.org. A 1 1");
        fake.task.abort();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(ask(&elsewhere, "a.org").await, format!("{first}: NOERROR, a.org. A 0 1"));
        assert_eq!(ask(&elsewhere, "a.org").await, format!("{second}: NOERROR, a.org. A 0 1"));
    }
}
