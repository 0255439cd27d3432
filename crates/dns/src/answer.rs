//! The answer to a query, from a picture of the zone. Pure: bytes in, bytes out, nothing allocated for a name of the zone.
//!
//! What this does *not* do: ask anybody else. It says so where somebody has to, and puts the result of an alias together.

use std::net::IpAddr;

use crate::wire::{
    HEADER, IN, Malformed, Message, Name, NameBuffer, Query, Rcode, Reply, Section, Type, Unanswerable, flag,
};
use crate::zone::{Absence, Entry, Search, Set, Zone};

/// How many aliases are followed.
const MOST_ALIASES: usize = 8;
/// The numbers of a SOA record after its serial: refresh, retry, expire.
const SOA_TIMES: [u32; 3] = [7200, 1800, 86_400];

/// What matters of the one who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// Whether the query came over UDP, where answers are short.
    pub is_udp: bool,
    /// Whether names outside of the zone are looked up elsewhere for this client.
    pub may_recurse: bool,
    /// Where to begin with records of which there are several: a number that grows from answer to answer.
    pub turn: u32,
    /// What this server takes over UDP, and the most that it sends.
    pub udp_size: u16,
    /// The client, as far as the address tells.
    pub client: IpAddr,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is written and has this length.
    Reply(usize),
    /// No answer at all.
    Silence(&'static str),
    /// Somebody else has to be asked the same.
    Elsewhere,
    /// The name is an alias of this one, of which somebody else has to be asked. [`complete`] writes the answer then.
    Alias(Name),
}

/// Answers a message out of the zone.
pub fn answer(zone: &Zone, message: &[u8], asking: &Asking, out: &mut [u8]) -> Outcome {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Unanswerable::Drop(why)) => return Outcome::Silence(why),
        Err(Unanswerable::Refuse(rcode, _)) => {
            return Outcome::Reply(Reply::refuse(message, rcode, out, asking.udp_size));
        }
    };
    let Some(reply) = begin(&query, asking, out) else { return Outcome::Silence("no room for an answer") };
    // Transfers of zones are not offered, and only the Internet's class is known.
    if query.class != IN || query.kind == Type::AXFR || query.kind == Type::IXFR {
        return refuse(reply, Rcode::REFUSED);
    }
    let entry = zone.entry(query.name.as_wire()).filter(|_| zone.is_synced());
    match entry {
        Some(entry) => answer_known(zone, (&query, entry), asking, reply),
        None => answer_unknown(zone, &query, asking, reply),
    }
}

fn begin<'b>(query: &Query<'_>, asking: &Asking, out: &'b mut [u8]) -> Option<Reply<'b>> {
    let limit = query.room(asking.is_udp, asking.udp_size);
    let mut reply = Reply::to(query, out, limit, asking.udp_size)?;
    if asking.may_recurse {
        reply.set(flag::RECURSION_AVAILABLE);
    }
    Some(reply)
}

fn refuse(mut reply: Reply<'_>, rcode: Rcode) -> Outcome {
    reply.set_rcode(rcode);
    Outcome::Reply(reply.finish())
}

fn answer_known(
    zone: &Zone,
    (query, entry): (&Query<'_>, &Entry),
    asking: &Asking,
    mut reply: Reply<'_>,
) -> Outcome {
    reply.set(flag::AUTHORITATIVE);
    if let Some(set) = entry.set(query.kind) {
        push_set(&mut reply, &set, asking.turn);
        return Outcome::Reply(reply.finish());
    }
    if let Some(alias) = entry.set(Type::CNAME) {
        return answer_alias(zone, (query, &alias), asking, reply);
    }
    let own_zone = zone.settings().zone_of(&query.name);
    if query.kind == Type::SOA && own_zone.is_some_and(|own| own.as_wire() == query.name.as_wire()) {
        push_soa(&mut reply, zone, (query, Section::Answer));
    } else {
        push_soa(&mut reply, zone, (query, Section::Authority));
    }
    Outcome::Reply(reply.finish())
}

fn answer_unknown(zone: &Zone, query: &Query<'_>, asking: &Asking, mut reply: Reply<'_>) -> Outcome {
    let settings = zone.settings();
    let Some(own) = settings.zone_of(&query.name) else {
        return if asking.may_recurse { Outcome::Elsewhere } else { refuse(reply, Rcode::REFUSED) };
    };
    // A name for an address may be anybody's, and not only the cluster's.
    let may_ask = asking.may_recurse || !settings.is_reverse(&query.name);
    // What is not known yet may exist.
    if !zone.is_synced() {
        if settings.asks_until_synced && may_ask {
            return Outcome::Elsewhere;
        }
        return refuse(reply, Rcode::SERV_FAIL);
    }
    reply.set(flag::AUTHORITATIVE);
    match zone.absence(&query.name, own) {
        Absence::Pod(address) => {
            let is_pushed = match (address, query.kind) {
                (IpAddr::V4(address), Type::A) => {
                    push_pod(&mut reply, (query, settings.ttl), &address.octets())
                }
                (IpAddr::V6(address), Type::AAAA) => {
                    push_pod(&mut reply, (query, settings.ttl), &address.octets())
                }
                (_, Type(_)) => push_soa(&mut reply, zone, (query, Section::Authority)),
            };
            if !is_pushed {
                reply.truncate();
            }
            Outcome::Reply(reply.finish())
        }
        Absence::Empty | Absence::Unknown if may_ask && zone.is_left(&query.name) => Outcome::Elsewhere,
        Absence::Empty | Absence::Unknown if settings.falls_through(&query.name) && asking.may_recurse => {
            Outcome::Elsewhere
        }
        Absence::Empty => {
            push_soa(&mut reply, zone, (query, Section::Authority));
            Outcome::Reply(reply.finish())
        }
        Absence::Unknown => match search(zone, query, asking.client) {
            Some(Search::Here(found)) => {
                push_search(&mut reply, zone, (query, &found));
                follow_alias(zone, (query, Some(found)), asking, reply)
            }
            Some(Search::Elsewhere(found)) if asking.may_recurse => Outcome::Alias(found),
            Some(Search::Elsewhere(_)) | None => answer_nothing(zone, query, reply),
        },
    }
}

fn answer_nothing(zone: &Zone, query: &Query<'_>, mut reply: Reply<'_>) -> Outcome {
    reply.set_rcode(Rcode::NX_DOMAIN);
    push_soa(&mut reply, zone, (query, Section::Authority));
    Outcome::Reply(reply.finish())
}

/// Answers where the search ends that begins with this query.
fn search(zone: &Zone, query: &Query<'_>, client: IpAddr) -> Option<Search> {
    let is_search = query.kind == Type::A || query.kind == Type::AAAA;
    if is_search { zone.search(&query.name, client) } else { None }
}

/// Adds that the question is an alias of what the search found, so that the records after it belong to the question.
fn push_search(reply: &mut Reply<'_>, zone: &Zone, (query, found): (&Query<'_>, &Name)) {
    let owner = &query.message[HEADER..query.question_end - 4];
    reply.push(Section::Answer, (owner, Type::CNAME, zone.settings().ttl), found.as_wire());
}

fn push_pod(reply: &mut Reply<'_>, (query, ttl): (&Query<'_>, u32), address: &[u8]) -> bool {
    let owner = &query.message[HEADER..query.question_end - 4];
    reply.push(Section::Answer, (owner, query.kind, ttl), address)
}

/// Adds the records of a set, beginning with another one each time; as many as fit.
fn push_set(reply: &mut Reply<'_>, set: &Set<'_>, turn: u32) {
    let records = set.records;
    let first = if set.count > 1 { (turn % u32::from(set.count)) as u16 } else { 0 };
    let (end, start) = records.split_at(set.start_of(first));
    let is_whole = reply.push_made(Section::Answer, set.count - first, start)
        && (first == 0 || reply.push_made(Section::Answer, first, end));
    if !is_whole {
        push_some(reply, (start, end));
        return;
    }
    // The client can do without what is additional, so its absence is no truncation (RFC 2181, section 9).
    if set.additional_count > 0 {
        reply.push_made(Section::Additional, set.additional_count, set.additional);
    }
}

/// Adds as many records as fit, where not all do.
fn push_some(reply: &mut Reply<'_>, (start, end): (&[u8], &[u8])) {
    // The first part is there already where only the second did not fit.
    let parts = if reply.is_empty() { [start, end] } else { [end, &[]] };
    let mut records = parts.into_iter().flat_map(crate::zone::each);
    while records.next().is_some_and(|record| reply.push_made(Section::Answer, 1, record)) {}
    reply.truncate();
}

/// Adds the SOA record of the zone in which the question lies; answers whether it fitted.
fn push_soa(reply: &mut Reply<'_>, zone: &Zone, (query, section): (&Query<'_>, Section)) -> bool {
    let settings = zone.settings();
    let name = query.name.as_wire();
    let Some(own) = settings.zone_of(&query.name) else { return true };
    // The zone's name is the end of the question: everything can point there.
    let pointer = |zone: &Name| (0xc000 | (HEADER + name.len() - zone.as_wire().len()) as u16).to_be_bytes();
    let own_pointer = pointer(own);
    // 2 + 8 + 2 for the head, at most 7 and 11 bytes before the zone, which may be 255 long where it is another one.
    let mut record = [0; 600];
    let mut len = 0;
    let mut write = |bytes: &[u8]| {
        record[len..len + bytes.len()].copy_from_slice(bytes);
        len += bytes.len();
    };
    let is_own = *own == settings.zone;
    let tail: &[u8] = if is_own { &own_pointer } else { settings.zone.as_wire() };
    let data_len = 7 + tail.len() + 11 + tail.len() + 20;
    write(&own_pointer);
    write(&Type::SOA.0.to_be_bytes());
    write(&IN.to_be_bytes());
    write(&settings.ttl.to_be_bytes());
    write(&(data_len as u16).to_be_bytes());
    write(b"\x02ns\x03dns");
    write(tail);
    write(b"\x0ahostmaster");
    write(tail);
    write(&zone.serial().to_be_bytes());
    SOA_TIMES.iter().for_each(|seconds| write(&seconds.to_be_bytes()));
    write(&settings.ttl.to_be_bytes());
    reply.push_made(section, 1, &record[..len])
}

/// Answers with an alias and, as far as the zone knows, with what it leads to.
fn answer_alias(
    zone: &Zone,
    (query, alias): (&Query<'_>, &Set<'_>),
    asking: &Asking,
    mut reply: Reply<'_>,
) -> Outcome {
    push_set(&mut reply, alias, 0);
    follow_alias(zone, (query, target_of(alias)), asking, reply)
}

fn follow_alias(
    zone: &Zone,
    (query, mut target): (&Query<'_>, Option<Name>),
    asking: &Asking,
    mut reply: Reply<'_>,
) -> Outcome {
    for _ in 0..MOST_ALIASES {
        let Some(own) = target.as_ref() else { break };
        if *own == query.name.to_name() {
            break;
        }
        if zone.settings().zone_of(&NameBuffer::from(own)).is_none() {
            return match asking.may_recurse {
                true => Outcome::Alias(own.clone()),
                // The client is told where to ask, and gets nothing else here.
                false => Outcome::Reply(reply.finish()),
            };
        }
        let Some(entry) = zone.entry(own.as_wire()) else {
            return answer_dead_end(zone, query, own, reply);
        };
        if let Some(set) = entry.set(query.kind) {
            push_target(&mut reply, own, &set);
            return Outcome::Reply(reply.finish());
        }
        let Some(next) = entry.set(Type::CNAME) else {
            push_soa(&mut reply, zone, (query, Section::Authority));
            return Outcome::Reply(reply.finish());
        };
        if !push_target(&mut reply, own, &next) {
            return Outcome::Reply(reply.finish());
        }
        target = target_of(&next);
    }
    // Aliases in a circle.
    refuse(reply, Rcode::SERV_FAIL)
}

/// Answers an alias of a name of the zone without entry: an address that is a Pod's name, or nothing.
fn answer_dead_end(zone: &Zone, query: &Query<'_>, target: &Name, mut reply: Reply<'_>) -> Outcome {
    let buffer = NameBuffer::from(target);
    let absence = zone.settings().zone_of(&buffer).map_or(Absence::Unknown, |own| zone.absence(&buffer, own));
    let head = (target.as_wire(), query.kind, zone.settings().ttl);
    let is_pushed = match (absence, query.kind) {
        (Absence::Pod(IpAddr::V4(address)), Type::A) => reply.push(Section::Answer, head, &address.octets()),
        (Absence::Pod(IpAddr::V6(address)), Type::AAAA) => {
            reply.push(Section::Answer, head, &address.octets())
        }
        (Absence::Pod(_) | Absence::Empty, Type(_)) => {
            push_soa(&mut reply, zone, (query, Section::Authority))
        }
        (Absence::Unknown, Type(_)) => {
            reply.set_rcode(Rcode::NX_DOMAIN);
            push_soa(&mut reply, zone, (query, Section::Authority))
        }
    };
    if !is_pushed {
        reply.truncate();
    }
    Outcome::Reply(reply.finish())
}

/// Adds the records of a name that is not the question's; answers whether all fitted.
fn push_target(reply: &mut Reply<'_>, owner: &Name, set: &Set<'_>) -> bool {
    for (ttl, data) in set.data() {
        if !reply.push(Section::Answer, (owner.as_wire(), set.kind, ttl), data) {
            reply.truncate();
            return false;
        }
    }
    true
}

/// Answers the name that the one record of an alias holds.
fn target_of(alias: &Set<'_>) -> Option<Name> {
    let (_, data) = alias.data().next()?;
    let mut buffer = NameBuffer::new();
    buffer.read(data, 0).ok()?;
    Some(buffer.to_name())
}

/// Writes the answer to a query for an alias: the aliases, then what another server said about the last of them. Without
/// its word the client is told to try again.
pub fn complete(
    zone: &Zone,
    message: &[u8],
    theirs: Option<&[u8]>,
    (asking, out): (&Asking, &mut [u8]),
) -> Outcome {
    let Ok(query) = Query::read(message) else { return Outcome::Silence("no query") };
    let Some(mut reply) = begin(&query, asking, out) else {
        return Outcome::Silence("no room for an answer");
    };
    let theirs = theirs.map(Message::read).transpose().ok().flatten();
    let Some(theirs) = theirs else { return refuse(reply, Rcode::SERV_FAIL) };
    let mut owner = query.name.to_name();
    let mut next = zone.entry(owner.as_wire()).and_then(|entry| entry.set(Type::CNAME));
    if next.is_none() {
        let Some(Search::Here(found) | Search::Elsewhere(found)) = search(zone, &query, asking.client) else {
            return refuse(reply, Rcode::SERV_FAIL);
        };
        next = zone.entry(found.as_wire()).and_then(|entry| entry.set(Type::CNAME));
        // A search that found nothing goes on, and ends where the client itself gives up.
        if next.is_none() && theirs.rcode() == Rcode::NX_DOMAIN {
            return answer_nothing(zone, &query, reply);
        }
        push_search(&mut reply, zone, (&query, &found));
        owner = found;
    }
    for _ in 0..MOST_ALIASES {
        let Some(alias) = next else { break };
        push_target(&mut reply, &owner, &alias);
        let Some(target) = target_of(&alias) else { break };
        next = zone.entry(target.as_wire()).and_then(|entry| entry.set(Type::CNAME));
        owner = target;
    }
    reply.set_rcode(theirs.rcode());
    match push_theirs(&mut reply, theirs) {
        Ok(true) => {}
        Ok(false) => reply.truncate(),
        Err(_) => return refuse(reply, Rcode::SERV_FAIL),
    }
    Outcome::Reply(reply.finish())
}

/// Adds copies of another server's records; answers whether all that matter fitted.
fn push_theirs(reply: &mut Reply<'_>, theirs: Message<'_>) -> Result<bool, Malformed> {
    for record in theirs.records() {
        let record = record?;
        let is_pushed = match record.section {
            Section::Answer => reply.push_copy(Section::Answer, &record, record.ttl)?,
            Section::Authority if record.kind == Type::SOA => {
                reply.push_copy(Section::Authority, &record, record.ttl)?
            }
            Section::Authority | Section::Additional => true,
        };
        if !is_pushed {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{ASKING, ask, query, render, settings, zone};
    use crate::wire::LONGEST;

    /// A headless Service of so many endpoints.
    fn crowd(count: usize) -> Zone {
        let endpoints: String = (0..count).map(|at| format!(" 10.0.{}.{}", at / 250, at % 250)).collect();
        zone(
            settings(),
            &format!("headless a/b x/tcp:1\nslice a/b-1 b x/tcp:1 | {endpoints}\nalias a/c example.org"),
        )
    }

    fn reply(zone: &Zone, message: &[u8], asking: &Asking) -> Vec<u8> {
        let mut out = [0; LONGEST];
        let outcome = answer(zone, message, asking, &mut out);
        let Outcome::Reply(len) = outcome else { panic!("{outcome:?}") };
        out[..len].to_vec()
    }

    /// Length, flags, and counts of records.
    fn shape(reply: &[u8]) -> (usize, bool, [u16; 3]) {
        let message = Message::read(reply).unwrap();
        assert!(message.records().all(|record| record.is_ok()));
        let counts =
            [Section::Answer, Section::Authority, Section::Additional].map(|section| message.count(section));
        (reply.len(), message.flags() & flag::TRUNCATED != 0, counts)
    }

    #[test]
    fn large_answers_are_cut_over_udp() {
        let zone = crowd(100);
        let name = "A b.a.svc.cluster.local";
        let tcp = Asking { is_udp: false, ..ASKING };
        let check = |edns, asking: &Asking, expected| {
            assert_eq!(shape(&reply(&zone, &query(name, edns), asking)), expected, "{edns:?}");
        };
        // Header and question have 39 bytes, a record 16, an OPT record 11.
        check(None, &ASKING, (39 + 29 * 16, true, [29, 0, 0]));
        check(Some((100, false)), &ASKING, (39 + 28 * 16 + 11, true, [28, 0, 1]));
        check(Some((1232, false)), &ASKING, (39 + 73 * 16 + 11, true, [73, 0, 1]));
        check(Some((65_535, false)), &ASKING, (39 + 73 * 16 + 11, true, [73, 0, 1]));
        check(Some((512, false)), &tcp, (39 + 100 * 16 + 11, false, [100, 0, 1]));
        check(None, &tcp, (39 + 100 * 16, false, [100, 0, 0]));
        // What is additional is left out in silence; a set that is too large even for TCP is cut.
        let srv = |count: usize, asking: &Asking| {
            shape(&reply(&crowd(count), &query("SRV b.a.svc.cluster.local", None), asking))
        };
        assert_eq!(srv(7, &ASKING), (39 + 7 * 50, false, [7, 0, 0]));
        assert_eq!(srv(6, &ASKING), (39 + 6 * 50 + 6 * 25, false, [6, 0, 6]));
        let (len, is_cut, _) = shape(&reply(&crowd(4200), &query(name, None), &tcp));
        assert!(len > LONGEST - 16 - 39 && is_cut == (4200 * 16 + 39 > LONGEST), "{len} {is_cut}");
    }

    #[test]
    fn each_answer_begins_with_another_record() {
        let zone = crowd(3);
        let check = |turn, expected| {
            let text = ask(&zone, &Asking { turn, ..ASKING }, "A b.a.svc.cluster.local");
            let last: Vec<&str> = text.lines().skip(1).map(|line| &line[line.len() - 1..]).collect();
            assert_eq!(last.concat(), expected, "{turn}");
        };
        check(0, "012");
        check(1, "120");
        check(2, "201");
        check(3, "012");
        check(u32::MAX, "012");
        let cut = crowd(100);
        let short = Asking { turn: 90, ..ASKING };
        let text = ask(&cut, &short, "A b.a.svc.cluster.local");
        assert!(text.starts_with("NOERROR aa tc\nb.a.svc.cluster.local. 5 A 10.0.0.90\n"), "{text}");
        assert!(text.ends_with("A 10.0.0.18"), "{text}");
    }

    #[test]
    fn the_header_says_what_is_true() {
        let zone = crowd(1);
        let asked = query("A b.a.svc.cluster.local", Some((1232, true)));
        let found = reply(&zone, &asked, &ASKING);
        assert_eq!(found[..4], [0x12, 0x34, 0x85, 0x80]);
        assert_eq!(found[found.len() - 11..], [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        let stranger = Asking { may_recurse: false, ..ASKING };
        assert_eq!(reply(&zone, &asked, &stranger)[..4], [0x12, 0x34, 0x85, 0]);
        assert_eq!(ask(&zone, &stranger, "A example.org"), "REFUSED");
        assert_eq!(ask(&zone, &stranger, "PTR 1.1.1.1.in-addr.arpa").lines().next(), Some("NXDOMAIN aa"));
        let mut leaving = settings();
        (leaving.asks_until_synced, leaving.leaves_endpoints) = (true, true);
        let left = crate::script::zone(leaving.clone(), "");
        let unknown = crate::zone::Builder::new(leaving, 1).zone();
        let pointer = "PTR 1.1.1.1.in-addr.arpa";
        assert_eq!(
            [&left, &unknown].map(|zone| ask(zone, &ASKING, pointer)),
            ["elsewhere".to_owned(), "elsewhere".to_owned()]
        );
        assert!(ask(&left, &stranger, pointer).starts_with("NXDOMAIN aa"));
        assert_eq!(ask(&unknown, &stranger, pointer), "SERVFAIL");
        assert_eq!(ask(&unknown, &stranger, "A web.default.svc.cluster.local"), "elsewhere");
        let mut chaos = query("TXT version.bind", None);
        let len = chaos.len();
        chaos[len - 1] = 3;
        assert_eq!(render(&reply(&zone, &chaos, &ASKING)), "REFUSED");
        let mut broken = asked.clone();
        broken[5] = 2;
        assert_eq!(reply(&zone, &broken, &ASKING)[2..4], [0x81, 1]);
        broken[2] = 0x81;
        assert_eq!(answer(&zone, &broken, &ASKING, &mut [0; 512]), Outcome::Silence("a response"));
        assert_eq!(answer(&zone, &asked, &ASKING, &mut [0; 30]), Outcome::Silence("no room for an answer"));
    }

    #[test]
    fn the_first_query_of_a_search_has_the_answer_of_the_last() {
        let objects = "
            namespace a
            service b/web 10.96.0.1
            alias b/own web.b.svc.cluster.local
            alias b/www www.example.org";
        let searching = crate::zone::Settings {
            searches: crate::zone::Searches::Any,
            pods: crate::zone::Pods::Insecure,
            ..settings()
        };
        let zone = zone(searching, objects);
        let check = |question: &str, expected: &str| {
            let lines: Vec<&str> = expected.lines().map(str::trim).collect();
            let found = ask(&zone, &ASKING, question);
            let found = found.lines().filter(|line| !line.starts_with(';')).collect::<Vec<_>>();
            assert_eq!(found, lines, "{question}");
        };
        check(
            "A Web.b.a.svc.cluster.local",
            "NOERROR aa
             Web.b.a.svc.cluster.local. 5 CNAME web.b.svc.cluster.local.
             web.b.svc.cluster.local. 5 A 10.96.0.1",
        );
        check(
            "AAAA web.b.a.svc.cluster.local",
            "NOERROR aa\nweb.b.a.svc.cluster.local. 5 CNAME web.b.svc.cluster.local.",
        );
        check(
            "A web.b.svc.a.svc.cluster.local",
            "NOERROR aa
             web.b.svc.a.svc.cluster.local. 5 CNAME web.b.svc.cluster.local.
             web.b.svc.cluster.local. 5 A 10.96.0.1",
        );
        check(
            "A web.b.svc.cluster.local.a.svc.cluster.local",
            "NOERROR aa
             web.b.svc.cluster.local.a.svc.cluster.local. 5 CNAME web.b.svc.cluster.local.
             web.b.svc.cluster.local. 5 A 10.96.0.1",
        );
        check(
            "A own.b.a.svc.cluster.local",
            "NOERROR aa
             own.b.a.svc.cluster.local. 5 CNAME own.b.svc.cluster.local.
             own.b.svc.cluster.local. 5 CNAME web.b.svc.cluster.local.
             web.b.svc.cluster.local. 5 A 10.96.0.1",
        );
        check(
            "A 1-2-3-4.a.pod.a.svc.cluster.local",
            "NOERROR aa
             1-2-3-4.a.pod.a.svc.cluster.local. 5 CNAME 1-2-3-4.a.pod.cluster.local.
             1-2-3-4.a.pod.cluster.local. 5 A 1.2.3.4",
        );
        check("A www.example.org.a.svc.cluster.local", "alias of www.example.org.");
        check("A www.b.a.svc.cluster.local", "alias of www.example.org.");
        // A lone label, a namespace that is none, another type, another domain of the search: no search begins so.
        check("A example.a.svc.cluster.local", "NXDOMAIN aa");
        check("A www.example.org.none.svc.cluster.local", "NXDOMAIN aa");
        check("SRV www.example.org.a.svc.cluster.local", "NXDOMAIN aa");
        check("A www.example.org.svc.cluster.local", "NXDOMAIN aa");
        check("A www.example.org.cluster.local", "NXDOMAIN aa");
        check("A none.b.svc.cluster.local.a.svc.cluster.local", "NXDOMAIN aa");
        let stranger = Asking { may_recurse: false, ..ASKING };
        assert!(ask(&zone, &stranger, "A www.example.org.a.svc.cluster.local").starts_with("NXDOMAIN aa"));

        let theirs = |rcode: u8| {
            let mut theirs = query("A www.example.org", None);
            (theirs[2], theirs[3]) = (0x81, 0x80 | rcode);
            theirs
        };
        let check = |question: &str, theirs: &[u8], expected: &str| {
            let mut out = [0; 512];
            let asked = query(question, None);
            let Outcome::Reply(len) = complete(&zone, &asked, Some(theirs), (&ASKING, &mut out)) else {
                panic!()
            };
            assert_eq!(render(&out[..len]).split("\n;").next(), Some(expected));
        };
        let question = "A www.example.org.a.svc.cluster.local";
        check(question, &theirs(0), "NOERROR\nwww.example.org.a.svc.cluster.local. 5 CNAME www.example.org.");
        check(question, &theirs(3), "NXDOMAIN");
        check(
            "A www.b.a.svc.cluster.local",
            &theirs(3),
            "NXDOMAIN\nwww.b.a.svc.cluster.local. 5 CNAME www.b.svc.cluster.local.\n\
             www.b.svc.cluster.local. 5 CNAME www.example.org.",
        );
    }

    #[test]
    fn aliases_are_completed() {
        let zone = crowd(1);
        let asked = query("A c.a.svc.cluster.local", None);
        let check = |theirs: Option<&[u8]>, expected: &str| {
            let mut out = [0; 512];
            let Outcome::Reply(len) = complete(&zone, &asked, theirs, (&ASKING, &mut out)) else { panic!() };
            assert_eq!(render(&out[..len]), expected);
        };
        let theirs = query("A example.org", None);
        let theirs = Query::read(&theirs).unwrap();
        let mut out = [0; 512];
        let mut reply = Reply::to(&theirs, &mut out, 512, 1232).unwrap();
        reply.push(Section::Answer, (b"\x07example\x03org\0", Type::A, 77), &[192, 0, 2, 1]);
        let len = reply.finish();
        check(
            Some(&out[..len]),
            "NOERROR\nc.a.svc.cluster.local. 5 CNAME example.org.\nexample.org. 77 A 192.0.2.1",
        );
        out[3] |= 3;
        out[7] = 0;
        check(Some(&out[..len]), "NXDOMAIN\nc.a.svc.cluster.local. 5 CNAME example.org.");
        check(Some(&out[..5]), "SERVFAIL");
        check(None, "SERVFAIL");
    }
}
