//! Nothing is allocated for a query that is answered at once: names of the zone, names that are not there, and what is
//! kept of others' answers.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[path = "hostile/messages.rs"]
#[allow(dead_code, reason = "only its zone is of use here")]
mod messages;

use std::net::UdpSocket;

use allocation_counter::measure;
use dns::answer::{Asking, Outcome, answer};
use dns::blocks::Blocks;
use dns::config::Settings;
use dns::metrics::DnsMetrics;
use dns::serve::Asked;
use dns::wire::{LONGEST, Name, Query, Type, flag, write_query};
use sys::datagram::{Batch, open};

fn query(name: &str, kind: Type, edns: Option<(u16, bool)>) -> Vec<u8> {
    let name: Name = name.parse().unwrap();
    let mut out = vec![0; 400];
    let len = write_query(&mut out, (7, flag::RECURSION_DESIRED), (name.as_wire(), kind), edns).unwrap();
    out.truncate(len);
    out
}

/// How often it allocates; measured after a first time, in which tables may be made.
fn count(mut work: impl FnMut()) -> u64 {
    work();
    measure(work).count_total
}

#[test]
fn names_of_the_zone_cost_no_allocation() {
    let zone = messages::zone();
    let client = [127, 0, 0, 1].into();
    let asking = Asking { is_udp: true, may_recurse: false, turn: 5, udp_size: 1232, client };
    let mut out = [0; 1232];
    for (name, kind) in [
        ("web.default.svc.cluster.local", Type::A),
        ("WEB.default.svc.cluster.local", Type::AAAA),
        ("_http._tcp.web.default.svc.cluster.local", Type::SRV),
        ("db.default.svc.cluster.local", Type::A),
        ("crowd.default.svc.cluster.local", Type::A),
        ("web.default.svc.cluster.local", Type::MX),
        ("default.svc.cluster.local", Type::A),
        ("cluster.local", Type::SOA),
        ("none.default.svc.cluster.local", Type::SRV),
        ("10-1-2-3.default.pod.cluster.local", Type::A),
        ("7.0.96.10.in-addr.arpa", Type::PTR),
        ("www.example.org", Type::A),
    ] {
        for edns in [None, Some((1232, true))] {
            let message = query(name, kind, edns);
            let mut outcome = Outcome::Elsewhere;
            let allocations = count(|| outcome = answer(zone, &message, &asking, &mut out));
            assert!(matches!(outcome, Outcome::Reply(_)), "{name} {kind}: {outcome:?}");
            assert_eq!(allocations, 0, "{name} {kind}");
        }
    }
}

#[tokio::test]
async fn what_is_kept_costs_no_allocation() {
    let upstream = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = upstream.local_addr().unwrap();
    tokio::spawn(async move {
        let mut room = [0; 512];
        loop {
            let (len, from) = upstream.recv_from(&mut room).await.unwrap();
            let mut reply = room[..Query::read(&room[..len]).unwrap().question_end].to_vec();
            reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0]);
            for last in 1..=2 {
                reply.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\xc0\x00\x02");
                reply.push(last);
            }
            upstream.send_to(&reply, from).await.unwrap();
        }
    });
    let text = format!(". {{\n forward . {at}\n cache\n loadbalance\n}}");
    let settings = Settings::parse(&text, &|_| None).unwrap();
    let metrics = DnsMetrics::register(&telemetry::Metrics::default(), "");
    let blocks = std::sync::Arc::new(Blocks::new(&settings.servers, &metrics).unwrap());
    let (_keep, told) = tokio::sync::watch::channel(blocks.clone());
    let (tell, asked) = tokio::sync::mpsc::channel(1);
    tokio::spawn(dns::blocks::attend(asked, told));
    let message = query("www.example.org", Type::A, None);
    let (answer, answered) = tokio::sync::oneshot::channel();
    let client = [127, 0, 0, 1].into();
    tell.send(Asked { message: message.clone(), client, is_udp: true, answer }).await.unwrap();
    let first = answered.await.unwrap();
    assert_eq!(first[7], 2, "{first:?}");
    let mut out = [0; 512];
    let mut len = None;
    let allocations = count(|| {
        let query = Query::read(&message).unwrap();
        len = blocks.kept(&query, &mut out, (LONGEST, 1232));
    });
    // The order changes from answer to answer.
    assert_eq!(out[..len.unwrap()], first);
    assert_eq!(allocations, 0);
}

#[test]
fn receiving_and_sending_cost_no_allocation() {
    let server = open("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(server.local_addr().unwrap()).unwrap();
    let mut batch = Batch::new(64, 64);
    let allocations = count(|| {
        (0..3).for_each(|_| assert_eq!(client.send(b"question").unwrap(), 8));
        let count = batch.receive(&server).unwrap();
        for number in 0..count {
            batch.get(number).2[..6].copy_from_slice(b"answer");
            batch.set_answer(number, 6);
        }
        batch.send(&server);
    });
    assert_eq!(allocations, 0);
}
