//! Any bytes as a message, answered out of a zone; and what must hold then.

use std::sync::OnceLock;

use dns::answer;
use dns::answer::{Asking, Outcome, complete};
use dns::object::{Change, Endpoint, Key, Kind, Object, Port, Service, Slice, Target};
use dns::wire::{HEADER, LONGEST, Message, Name, NameBuffer, Query, Reply, Section, Type, flag, write_query};
use dns::zone::{Builder, Pods, Searches, Settings, Zone};

/// A zone with something of every sort.
pub(crate) fn zone() -> &'static Zone {
    static ZONE: OnceLock<Zone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let mut settings = Settings::new("cluster.local".parse().expect("a name"));
        settings.pods = Pods::Insecure;
        settings.searches = Searches::Any;
        settings.servers = vec![[10, 96, 0, 10].into()];
        let mut builder = Builder::new(settings, 1);
        let port = |name: &str, number| Port { name: name.into(), protocol: "tcp".into(), number };
        let service = |name: &str, target| {
            let ports = vec![port("http", 80), port("", 81)];
            Change::Put(Object::Service(Service { key: Key::new("default", name), target, ports }))
        };
        let endpoint = |last: u16| Endpoint {
            addresses: vec![[10, 0, (last >> 8) as u8, last as u8].into()],
            hostname: (last == 1).then(|| "one".into()),
            pod: None,
        };
        let slice = |service: &str, count| {
            Change::Put(Object::Slice(Slice {
                key: Key::new("default", service),
                service: Some(service.into()),
                ports: vec![port("http", 8080)],
                endpoints: (1..=count).map(endpoint).collect(),
            }))
        };
        let alias = |name: &str| Target::Alias(name.parse().expect("a name"));
        let changes = [
            Change::Put(Object::Namespace("default".into())),
            service(
                "web",
                Target::Addresses(vec![[10, 96, 0, 7].into(), "fd00::7".parse().expect("an address")]),
            ),
            service("db", Target::Endpoints),
            slice("db", 3),
            service("crowd", Target::Endpoints),
            slice("crowd", 4500),
            service("www", alias("www.example.org")),
            service("own", alias("web.default.svc.cluster.local")),
            service("round", alias("about.default.svc.cluster.local")),
            service("about", alias("round.default.svc.cluster.local")),
        ];
        let synced = [Kind::Service, Kind::Slice, Kind::Namespace].map(Change::Synced);
        for change in changes.into_iter().chain(synced) {
            builder.apply(change, 2);
        }
        builder.zone()
    })
}

/// Queries for names of every sort.
pub(crate) fn queries() -> Vec<Vec<u8>> {
    let names = [
        ".",
        "cluster.local",
        "svc.cluster.local",
        "default.svc.cluster.local",
        "web.default.svc.cluster.local",
        "_http._tcp.web.default.svc.cluster.local",
        "db.default.svc.cluster.local",
        "crowd.default.svc.cluster.local",
        "one.db.default.svc.cluster.local",
        "www.default.svc.cluster.local",
        "own.default.svc.cluster.local",
        "round.default.svc.cluster.local",
        "10-1-2-3.default.pod.cluster.local",
        "7.0.96.10.in-addr.arpa",
        "0.96.10.in-addr.arpa",
        "dns-version.cluster.local",
        "www.example.org",
        "www.example.org.default.svc.cluster.local",
        "own.default.default.svc.cluster.local",
    ];
    let kinds = [
        Type::A,
        Type::AAAA,
        Type::SRV,
        Type::PTR,
        Type::TXT,
        Type::SOA,
        Type::NS,
        Type::CNAME,
        Type::ANY,
        Type::AXFR,
    ];
    let mut queries = Vec::new();
    for name in names.map(|name| name.parse::<Name>().expect("a name")) {
        for kind in kinds {
            for edns in [None, Some((512, false)), Some((4096, true))] {
                let mut out = [0; 400];
                let len = write_query(&mut out, (0x4321, 0x0100), (name.as_wire(), kind), edns)
                    .expect("a query fits");
                queries.push(out[..len].to_vec());
            }
        }
    }
    queries
}

/// Plays a message in every way; answers the replies.
pub(crate) fn play(message: &[u8]) -> Vec<Vec<u8>> {
    walk(message);
    let mut replies = Vec::new();
    for (is_udp, may_recurse, turn) in [(true, true, 0), (true, false, 1), (false, true, u32::MAX)] {
        let asking = Asking { is_udp, may_recurse, turn, udp_size: 1232, client: [10, 0, 0, 1].into() };
        let mut out = vec![0; LONGEST];
        match answer(zone(), message, &asking, &mut out) {
            Outcome::Reply(len) => {
                check(message, &out[..len], &asking);
                replies.push(out[..len].to_vec());
            }
            Outcome::Silence(_) => {}
            Outcome::Elsewhere => assert!(may_recurse),
            Outcome::Alias(_) => {
                assert!(may_recurse);
                // The message itself stands for whatever another server may say.
                if let Outcome::Reply(len) = complete(zone(), message, Some(message), (&asking, &mut out)) {
                    check(message, &out[..len], &asking);
                }
            }
        }
        // Little room is no reason for more than an answer that does not come.
        let mut little = [0; 40];
        if let Outcome::Reply(len) = answer(zone(), message, &asking, &mut little) {
            assert!(len <= little.len());
        }
    }
    replies
}

/// A reply has the number and the question of its query, has no more than the client takes, and can be read to its end.
fn check(message: &[u8], reply: &[u8], asking: &Asking) {
    assert_eq!(reply[..2], message[..2]);
    assert!(reply[2] & 0x80 != 0 && reply.len() >= HEADER);
    let Ok(query) = Query::read(message) else {
        return assert!(reply.len() <= HEADER + 11 && reply[3] & 15 != 3);
    };
    let limit = if asking.is_udp { query.udp_size().min(1232) } else { LONGEST };
    assert!(reply.len() <= limit, "{} {limit}", reply.len());
    let read = Message::read(reply).expect("a message");
    assert_eq!(read.question(), query.question());
    let mut end = read.question_end();
    let mut count = 0;
    for record in read.records() {
        let record = record.expect("a record");
        record.read_name(&mut NameBuffer::new()).expect("a name");
        end = record.end;
        count += 1;
    }
    let counts =
        [Section::Answer, Section::Authority, Section::Additional].map(|section| read.count(section));
    assert_eq!((end, count), (reply.len(), counts.iter().sum::<u16>()));
    assert_eq!(read.flags() & flag::RECURSION_AVAILABLE != 0, asking.may_recurse);
}

/// Another server's answer is walked over and copied, whatever it is.
fn walk(message: &[u8]) {
    let Ok(read) = Message::read(message) else { return };
    let _ = read.rcode();
    let (asked, mut out) = ([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'x', 0, 0, 1, 0, 1], [0; 2048]);
    let query = Query::read(&asked).expect("a query");
    let mut reply = Reply::to(&query, &mut out, 2048, 1232).expect("room");
    for record in read.records().filter_map(Result::ok) {
        let mut name = NameBuffer::new();
        let _ = (record.read_name(&mut name), record.read_target(&mut name), record.negative_ttl());
        let _ = reply.push_copy(record.section, &record, record.ttl);
    }
    let len = reply.finish();
    let copy = Message::read(&out[..len]).expect("a message");
    assert!(copy.records().all(|record| record.is_ok()));
}
