//! Bad messages and configurations of every sort, the same in each run: those that mean something, and what a seed makes of
//! them. The replies are read by another implementation too.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod configurations;
mod messages;

use hickory_proto::op::Message;

/// How many changed messages are played; fuzzing plays more.
const PLAYED: usize = 20_000;
/// How many changed configurations are.
const READ: usize = 10_000;

/// Configurations with something of everything.
const CONFIGURATIONS: [&str; 3] = [
    ".:53 a.org:54 10.0.0.0/13 {\n errors {\n stacktrace\n }\n log\n health :8080 {\n lameduck 5s\n }\n ready\n \
     prometheus :9153\n reload 30s 5s\n loop\n loadbalance round_robin\n bind 127.0.0.1 ::1\n autopath @kubernetes\n \
     kubernetes cluster.local in-addr.arpa {\n pods verified\n ttl 30\n namespaces a b\n labels a=b, c in (d)\n \
     endpoint {$API}\n tls c k a\n noendpoints\n fallthrough in-addr.arpa\n startup_timeout 5s\n }\n \
     hosts /etc/hosts {\n 10.0.0.1 a.b \"c.d\"\n fallthrough\n ttl 60\n reload 1m\n no_reverse\n }\n \
     rewrite continue name suffix .a.org .b.org answer auto\n rewrite stop name exact x y\n \
     forward . tls://9.9.9.9 /etc/resolv.conf {\n tls_servername dns.quad9.net\n except b.c\n max_fails 3\n policy sequential\n \
     health_check 1s no_rec domain x.y\n expire 10s\n max_concurrent 100\n prefer_udp\n }\n \
     cache 30 . {\n success 10 20 3\n denial 5\n prefetch 2 1m 20%\n serve_stale 2h verify\n servfail 1m\n \
     disable denial b.c\n keepttl\n }\n}\n",
    "consul.local:53 {\n forward . 10.150.0.1 # there\n}\nfd00::/20 {\n forward . [fd00::1]:53 {\n force_tcp\n }\n}\n",
    "apiVersion: signalbox.dev/v1alpha1\nkind: DNSConfiguration\nhealth: {address: \":8080\", lameduck: 5s}\nready: \":8181\"\n\
     metrics: [\":9153\"]\nreload: 30s\ncookies: true\nservers:\n- zones: [., 10.0.0.0/8]\n  port: 53\n  addresses: [10.0.0.1]\n  \
     rewrite: [{exact: a.b, to: c.d}, {suffix: .a, to: .b, answers: true}]\n  hosts: {file: /h, entries: [{address: 10.0.0.9, names: [a.b]}]}\n  \
     kubernetes: {zones: [cluster.local], pods: verified, searches: pods, endpoint: \"http://a\", ttl: 5}\n  \
     forward: [{to: [1.1.1.1, \"tls://9.9.9.9\"], except: [a.b], healthCheck: {interval: 1s}, maxFails: 0}]\n  \
     cache: {success: {entries: 5}, prefetch: {amount: 2}, stale: {age: 1h}}\n",
];

/// SplitMix64: the same numbers in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as usize % limit
    }
}

#[test]
fn what_is_well_formed_is_answered_as_others_read_it() {
    let mut replies = 0;
    for query in messages::queries() {
        let theirs = Message::from_vec(&query).unwrap();
        for reply in messages::play(&query) {
            let read =
                Message::from_vec(&reply).unwrap_or_else(|error| panic!("{}: {error}", theirs.queries[0]));
            assert_eq!(read.queries, theirs.queries);
            assert_eq!(read.edns.is_some(), theirs.edns.is_some());
            replies += 1;
        }
    }
    assert!(replies > 1000, "{replies}");
}

#[test]
fn what_is_malformed_harms_nobody() {
    let queries = messages::queries();
    let mut chance = Chance(7);
    for number in 0..PLAYED {
        let mut message = queries[chance.below(queries.len())].clone();
        for _ in 0..=chance.below(4) {
            let at = chance.below(message.len());
            match chance.below(6) {
                0 => message.truncate(at),
                1 => message.insert(at, chance.below(256) as u8),
                2 => message[at] ^= 1 << chance.below(8),
                3 => message[at] = [0, 1, 12, 63, 64, 0xc0, 0xff][chance.below(7)],
                4 => message.extend(queries[chance.below(queries.len())].clone()),
                _ => message.extend_from_within(at..),
            }
            if message.is_empty() {
                break;
            }
        }
        for reply in messages::play(&message) {
            assert!(Message::from_vec(&reply).is_ok(), "{number}: {message:?} {reply:?}");
        }
    }
}

/// Messages that random changes hardly ever make, each with what could harm.
const RARE: [&[u8]; 1] = [
    // A record of others whose data breaks off while it is copied: no half of it may stay in the reply.
    b"\x43\x21\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\
      \xc0\x0c\x00\x05\x00\x01\x00\x00\xc0\x05\x00\x04\x0c\x00\x01x\
      \xc0\x0c\x00\x01\x00\x01\x00\x00\xff\x05\x00\x04\x01\x02\x03\x04",
];

#[test]
fn what_is_rare_harms_nobody() {
    for message in RARE {
        assert!(messages::play(message).is_empty(), "{message:?}");
    }
}

#[test]
fn configurations_mean_one_thing_or_nothing() {
    for text in CONFIGURATIONS {
        assert!(configurations::play(text.as_bytes()), "{text}");
    }
    let mut chance = Chance(11);
    let mut right = 0;
    for _ in 0..READ {
        let mut text = CONFIGURATIONS[chance.below(CONFIGURATIONS.len())].as_bytes().to_vec();
        for _ in 0..=chance.below(3) {
            let at = chance.below(text.len());
            match chance.below(6) {
                0 => text.truncate(at),
                1 => text.insert(at, chance.below(256) as u8),
                2 => text[at] ^= 1 << chance.below(8),
                3 => text[at] = b"{}[]\n \t:#\"$%0-"[chance.below(14)],
                4 => {
                    let end = at + chance.below(text.len() - at);
                    text.extend_from_within(at..end);
                }
                _ => drop(text.drain(at..at + chance.below(text.len() - at).min(9))),
            }
            if text.is_empty() {
                break;
            }
        }
        right += usize::from(configurations::play(&text));
    }
    assert!(right > 100, "{right}");
}
