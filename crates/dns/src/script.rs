//! Clusters, queries and answers as text, for tests.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::answer::{Asking, Outcome, answer};
use crate::object::{Change, Endpoint, Key, Kind, Object, Pod, Port, Service, Slice, Target};
use crate::wire::{Message, Name, NameBuffer, Record, Section, Type, flag, write_query};
use crate::zone::{Builder, Settings, Zone};

/// One who may ask for everything, over UDP.
pub(crate) const ASKING: Asking = Asking {
    is_udp: true,
    may_recurse: true,
    turn: 0,
    udp_size: 1232,
    client: std::net::IpAddr::V4(Ipv4Addr::LOCALHOST),
};

/// Reads an object:
///
/// ```text
/// namespace default
/// service default/web 10.96.0.7,fd00::7 http/tcp:80 /tcp:81
/// headless default/db pg/tcp:5432
/// alias default/www www.example.org
/// slice default/web-1 web http/tcp:8080 | 10.0.0.1 a=10.0.0.2 pod@10.0.0.3
/// pod default/p 10.0.0.9
/// ```
pub(crate) fn object(line: &str) -> Object {
    let (head, endpoints) = line.split_once('|').unwrap_or((line, ""));
    let mut words = head.split_whitespace();
    let kind = words.next().unwrap();
    let name = words.next().unwrap();
    let key = name.split_once('/').map(|(namespace, name)| Key::new(namespace, name));
    let mut target = |kind: &str| match kind {
        "service" => {
            Target::Addresses(words.next().unwrap().split(',').filter_map(|text| text.parse().ok()).collect())
        }
        "headless" => Target::Endpoints,
        _ => words.next().unwrap().parse().map_or(Target::Nothing, Target::Alias),
    };
    match kind {
        "namespace" => Object::Namespace(name.into()),
        "pod" => Object::Pod(Pod {
            key: key.unwrap(),
            addresses: words.map(|text| text.parse().unwrap()).collect(),
        }),
        "slice" => Object::Slice(Slice {
            key: key.unwrap(),
            service: words.next().filter(|name| *name != "-").map(Into::into),
            ports: words.map(port).collect(),
            endpoints: endpoints.split_whitespace().map(endpoint).collect(),
        }),
        "service" | "headless" | "alias" => {
            let target = target(kind);
            Object::Service(Service { key: key.unwrap(), target, ports: words.map(port).collect() })
        }
        kind => panic!("{kind}"),
    }
}

fn port(text: &str) -> Port {
    let (name, rest) = text.split_once('/').unwrap();
    let (protocol, number) = rest.split_once(':').unwrap();
    Port { name: name.into(), protocol: protocol.into(), number: number.parse().unwrap() }
}

fn endpoint(text: &str) -> Endpoint {
    let (pod, rest) = text.split_once('@').map_or((None, text), |(pod, rest)| (Some(pod), rest));
    let (hostname, addresses) = rest.split_once('=').map_or((None, rest), |(name, rest)| (Some(name), rest));
    Endpoint {
        addresses: addresses.split(',').map(|text| text.parse().unwrap()).collect(),
        hostname: hostname.map(Into::into),
        pod: pod.map(Into::into),
    }
}

/// The usual settings, with the server at 10.96.0.10.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::new("cluster.local".parse().unwrap());
    settings.servers = vec!["10.96.0.10".parse().unwrap()];
    settings
}

/// A zone of these objects, synced.
pub(crate) fn zone(settings: Settings, objects: &str) -> Zone {
    let mut builder = Builder::new(settings, 1);
    for line in objects.lines().map(str::trim).filter(|line| !line.is_empty()) {
        builder.apply(Change::Put(object(line)), 2);
    }
    for kind in [Kind::Service, Kind::Slice, Kind::Namespace, Kind::Pod] {
        builder.apply(Change::Synced(kind), 2);
    }
    builder.zone()
}

/// A query of `TYPE NAME`.
pub(crate) fn query(text: &str, edns: Option<(u16, bool)>) -> Vec<u8> {
    let (kind, name) = text.split_once(' ').unwrap();
    let lower: Name = name.parse().unwrap();
    // The client's case is kept.
    let mut wire = lower.as_wire().to_vec();
    let mut at = 0;
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire[at + 1..at + 1 + label.len()].copy_from_slice(label.as_bytes());
        at += label.len() + 1;
    }
    let mut out = vec![0; 600];
    let kind = Type::named(kind).unwrap();
    let len = write_query(&mut out, (0x1234, flag::RECURSION_DESIRED), (&wire, kind), edns).unwrap();
    out.truncate(len);
    out
}

/// Asks and answers as text: the code, flags, and the records, `;` before the authority's and `+` before additional ones.
pub(crate) fn ask(zone: &Zone, asking: &Asking, text: &str) -> String {
    let mut out = [0; 65_535];
    match answer(zone, &query(text, None), asking, &mut out) {
        Outcome::Reply(len) => render(&out[..len]),
        Outcome::Silence(why) => format!("silence: {why}"),
        Outcome::Elsewhere => "elsewhere".to_owned(),
        Outcome::Alias(name) => format!("alias of {name}"),
    }
}

/// An answer as text.
pub(crate) fn render(bytes: &[u8]) -> String {
    let message = Message::read(bytes).unwrap();
    let mut text = message.rcode().to_string();
    for (bit, name) in [(flag::AUTHORITATIVE, "aa"), (flag::TRUNCATED, "tc")] {
        if message.flags() & bit != 0 {
            text += &format!(" {name}");
        }
    }
    for record in message.records() {
        let record = record.unwrap();
        let sign = match record.section {
            Section::Answer => "",
            Section::Authority => "; ",
            Section::Additional => "+ ",
        };
        text += &format!("\n{sign}{}", render_record(&record));
    }
    text
}

fn render_record(record: &Record<'_>) -> String {
    let (mut name, mut target) = (NameBuffer::new(), NameBuffer::new());
    record.read_name(&mut name).unwrap();
    let data = record.data();
    let data = match record.kind {
        Type::A => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
        Type::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
        Type::SRV => {
            record.read_target(&mut target).unwrap();
            let number = |at: usize| u16::from_be_bytes([data[at], data[at + 1]]);
            format!("{} {} {} {target}", number(0), number(2), number(4))
        }
        Type::CNAME | Type::PTR | Type::NS => {
            record.read_target(&mut target).unwrap();
            target.to_string()
        }
        Type::TXT => format!("{:?}", String::from_utf8_lossy(&data[1..])),
        Type::SOA => {
            let mut mailbox = NameBuffer::new();
            let at = target.read(record.message, record.data_at).unwrap();
            let at = mailbox.read(record.message, at).unwrap();
            let numbers = record.message[at..record.end].chunks(4);
            let numbers = numbers.map(|four| format!(" {}", u32::from_be_bytes(four.try_into().unwrap())));
            format!("{target} {mailbox}{}", numbers.collect::<String>())
        }
        Type(_) => format!("{data:?}"),
    };
    format!("{name} {} {} {data}", record.ttl, record.kind)
}
