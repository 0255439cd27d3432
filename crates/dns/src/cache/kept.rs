//! One answer from elsewhere in the form in which it is kept: what belongs to the question, names written anew, ready to be
//! copied behind any client's way of writing the question.

use rustc_hash::FxHashSet;

use crate::wire::{
    HEADER, LONGEST, Malformed, Message, Name, NameBuffer, Query, Rcode, Record, Reply, Section, Type, flag,
    write_query,
};

/// As many aliases are followed from one name; more are a loop, or malice.
const MOST_ALIASES: usize = 16;
/// The type of signatures, which stand beside what they sign.
const RRSIG: Type = Type(46);
/// RFC 2181: a time to live has 31 bits, and one with more is zero.
const LONGEST_TTL: u32 = i32::MAX as u32;

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// There is something.
    Success,
    /// There is nothing, and the zone's start says for how long.
    Denial,
    /// Nobody knows.
    Failure,
    /// Something that is passed on but not kept.
    Other,
}

/// An answer from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What follows the question in a message.
    records: Box<[u8]>,
    /// How many of them are in each section.
    counts: [u16; 3],
    /// Where each section ends in `records`.
    ends: [usize; 3],
    /// Where the times to live are in `records`.
    ttls_at: Box<[u16]>,
    rcode: Rcode,
    is_authentic: bool,
    says: Says,
    ttl: u32,
}

impl Kept {
    /// Reads a response to the question of `name`, in lower case. What does not belong to the question is left out.
    pub fn read((name, kind): (&[u8], Type), response: &[u8]) -> Result<Self, Malformed> {
        let message = Message::read(response)?;
        let rcode = message.rcode();
        let is_authentic = message.flags() & flag::AUTHENTIC != 0;
        let records = belonging(&message, kind)?;
        let (written, counts) = written((name, kind), &records)?;
        let question_end = HEADER + name.len() + 4;
        let mut kept = Self {
            records: written[question_end..].into(),
            counts,
            ends: [0; 3],
            ttls_at: Box::default(),
            rcode,
            is_authentic,
            says: says(rcode, message.flags(), &records),
            ttl: 0,
        };
        kept.ttl = records.iter().map(record_ttl).min().unwrap_or(0);
        kept.find(&written, question_end)?;
        Ok(kept)
    }

    /// Answers what it says.
    pub fn says(&self) -> Says {
        self.says
    }

    /// Answers the response code.
    pub fn rcode(&self) -> Rcode {
        self.rcode
    }

    /// Answers for how many seconds it is true, by its own word.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// Answers about how many bytes it takes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.records.len() + self.ttls_at.len() * 2
    }

    /// Answers the whole message as it is given to one who asks for `name`, without EDNS.
    pub fn message(&self, name: &[u8], kind: Type) -> Option<Vec<u8>> {
        let mut asked = [0; HEADER + 255 + 4];
        let len = write_query(&mut asked, (0, flag::RECURSION_DESIRED), (name, kind), None)?;
        let query = Query::read(&asked[..len]).ok()?;
        let mut out = vec![0; len + self.records.len()];
        let len = self.write(&query, None, (&mut out, usize::MAX, 0))?;
        out.truncate(len);
        Some(out)
    }

    /// Writes it as the answer to a query for the same name and type, all times to live being `ttl`; `None` leaves them.
    /// Answers its length; what does not fit within the limit of the client is left out, and the answer says so.
    pub fn write(
        &self,
        query: &Query<'_>,
        ttl: Option<u32>,
        (out, limit, own_size): (&mut [u8], usize, u16),
    ) -> Option<usize> {
        let mut reply = Reply::to(query, out, limit, own_size)?;
        reply.set_rcode(self.rcode);
        reply.set(flag::RECURSION_AVAILABLE);
        let wants_authentic = query.is_dnssec_ok() || query.flags() & flag::AUTHENTIC != 0;
        if self.is_authentic && wants_authentic {
            reply.set(flag::AUTHENTIC);
        }
        let begin = reply.len();
        let end = self.push(&mut reply);
        let len = reply.finish();
        if let Some(ttl) = ttl {
            for at in self.ttls_at.iter().map(|at| usize::from(*at)).filter(|at| *at < end) {
                out[begin + at..begin + at + 4].copy_from_slice(&ttl.to_be_bytes());
            }
        }
        Some(len)
    }

    /// What helps may be missing; what was asked for may not.
    fn push(&self, reply: &mut Reply<'_>) -> usize {
        let mut from = 0;
        for (at, section) in
            [Section::Answer, Section::Authority, Section::Additional].into_iter().enumerate()
        {
            let is_pushed = reply.push_made(section, self.counts[at], &self.records[from..self.ends[at]]);
            if !is_pushed {
                if section != Section::Additional {
                    reply.truncate();
                }
                return from;
            }
            from = self.ends[at];
        }
        from
    }

    fn find(&mut self, written: &[u8], question_end: usize) -> Result<(), Malformed> {
        let mut ttls_at = Vec::new();
        for record in Message::read(written)?.records() {
            let record = record?;
            let last = record.section as usize;
            self.ends[last..].fill(record.end - question_end);
            // Times to live beyond 64 kB cannot be: the message is no longer.
            ttls_at.push((record.ttl_at - question_end) as u16);
        }
        self.ttls_at = ttls_at.into();
        Ok(())
    }
}

fn record_ttl(record: &Record<'_>) -> u32 {
    let ttl = record.negative_ttl().filter(|_| record.section == Section::Authority).unwrap_or(record.ttl);
    if ttl > LONGEST_TTL { 0 } else { ttl }
}

/// The records of the answer that the name leads to, those of authority, and what is additional but for EDNS, whose
/// record is between neighbours.
fn belonging<'a>(message: &Message<'a>, kind: Type) -> Result<Vec<Record<'a>>, Malformed> {
    let records: Vec<Record<'a>> = message.records().collect::<Result<_, _>>()?;
    let names = reached(message, &records)?;
    let mut name = NameBuffer::new();
    let mut kept = Vec::new();
    for record in records {
        let is_opt = record.kind == Type::OPT;
        record.read_name(&mut name)?;
        let is_asked = [record.kind == kind, kind == Type::ANY, is_alias(record.kind), record.kind == RRSIG];
        let is_reached = names.contains(&name.to_name()) && is_asked.contains(&true);
        if !is_opt && (record.section != Section::Answer || is_reached) {
            kept.push(record);
        }
    }
    Ok(kept)
}

fn is_alias(kind: Type) -> bool {
    kind == Type::CNAME || kind == Type::DNAME
}

/// All names that aliases in the answer lead to from the one that was asked for, which is the first.
fn reached(message: &Message<'_>, records: &[Record<'_>]) -> Result<FxHashSet<Name>, Malformed> {
    let mut current = NameBuffer::new();
    current.read(message.question(), 0)?;
    let mut names = FxHashSet::default();
    let mut current = current.to_name();
    for _ in 0..=MOST_ALIASES {
        let Some(next) = next_name(&current, records, &mut names)? else { break };
        if !names.insert(std::mem::replace(&mut current, next)) {
            break;
        }
    }
    names.insert(current);
    Ok(names)
}

/// A DNAME above the name belongs to it as well; the alias that it makes stands beside it.
fn next_name(
    current: &Name,
    records: &[Record<'_>],
    names: &mut FxHashSet<Name>,
) -> Result<Option<Name>, Malformed> {
    let (mut name, mut target, mut next) = (NameBuffer::new(), NameBuffer::new(), None);
    for record in records.iter().filter(|record| record.section == Section::Answer && is_alias(record.kind)) {
        record.read_name(&mut name)?;
        let owner = name.to_name();
        if record.kind == Type::CNAME && owner == *current {
            record.read_target(&mut target)?;
            next = Some(target.to_name());
        } else if record.kind == Type::DNAME && current.is_within(&owner) {
            names.insert(owner);
        }
    }
    Ok(next)
}

/// The message with these records, as one without EDNS would get it.
fn written((name, kind): (&[u8], Type), records: &[Record<'_>]) -> Result<(Vec<u8>, [u16; 3]), Malformed> {
    const LONG: Malformed = Malformed("the answer is too long with its names in full");
    let mut asked = [0; HEADER + 255 + 4];
    let len = write_query(&mut asked, (0, 0), (name, kind), None).ok_or(LONG)?;
    let query = Query::read(&asked[..len]).map_err(|_| Malformed("the question is malformed"))?;
    let total: usize = records.iter().map(|record| record.end - record.name_at + 255).sum();
    let mut out = vec![0; (len + total).min(LONGEST)];
    let mut reply = Reply::to(&query, &mut out, LONGEST, 0).ok_or(LONG)?;
    let mut counts = [0; 3];
    for record in records {
        if !reply.push_copy(record.section, record, record.ttl)? {
            return Err(LONG);
        }
        counts[record.section as usize] += 1;
    }
    let len = reply.finish();
    out.truncate(len);
    Ok((out, counts))
}

/// RFC 2308, section 5: without the zone's start nobody says for how long there is nothing.
fn says(rcode: Rcode, flags: u16, records: &[Record<'_>]) -> Says {
    let has_answer = records.iter().any(|record| record.section == Section::Answer);
    let has_start =
        records.iter().any(|record| record.section == Section::Authority && record.kind == Type::SOA);
    if flags & flag::TRUNCATED != 0 {
        return Says::Other;
    }
    match rcode {
        Rcode::NO_ERROR if has_answer => Says::Success,
        Rcode::NO_ERROR | Rcode::NX_DOMAIN if has_start => Says::Denial,
        Rcode::SERV_FAIL => Says::Failure,
        Rcode(_) => Says::Other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        text.parse::<Name>().expect("a name").as_wire().to_vec()
    }

    /// A response to a question about `name`, made of lines such as `answer a.org A 30 1.2.3.4`.
    pub(crate) fn response(id: u16, (name, kind): (&str, Type), rcode: Rcode, lines: &str) -> Vec<u8> {
        let mut asked = [0; 300];
        let len = write_query(&mut asked, (id, 0x100), (&wire(name), kind), None).expect("it fits");
        let query = Query::read(&asked[..len]).expect("it is one");
        let mut out = vec![0; LONGEST];
        let mut reply = Reply::to(&query, &mut out, LONGEST, 0).expect("it fits");
        reply.set_rcode(rcode);
        reply.set(flag::RECURSION_AVAILABLE);
        for line in lines.split(',').map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split(' ').collect();
            let [section, owner, kind, ttl, data] = words[..] else { panic!("five words: {line}") };
            let section = match section {
                "answer" => Section::Answer,
                "authority" => Section::Authority,
                _ => Section::Additional,
            };
            let kind = Type::named(kind).expect("a type");
            let data = match data.parse::<std::net::Ipv4Addr>() {
                Ok(address) => address.octets().to_vec(),
                Err(_) if kind == Type::SOA => [
                    wire("."),
                    wire("."),
                    vec![0; 16],
                    data.parse::<u32>().expect("a number").to_be_bytes().to_vec(),
                ]
                .concat(),
                Err(_) => wire(data),
            };
            assert!(reply.push(section, (&wire(owner), kind, ttl.parse().expect("a number")), &data));
        }
        let len = reply.finish();
        out.truncate(len);
        out
    }

    pub(crate) fn shown(message: &[u8]) -> String {
        let message = Message::read(message).expect("a message");
        let mut text =
            format!("{}{}", message.rcode(), if message.flags() & flag::TRUNCATED != 0 { " TC" } else { "" });
        for record in message.records() {
            let record = record.expect("a record");
            let mut name = NameBuffer::new();
            record.read_name(&mut name).expect("a name");
            text += &format!(", {name} {} {}", record.kind, record.ttl);
        }
        text
    }

    fn kept(name: &str, kind: Type, rcode: Rcode, lines: &str) -> Kept {
        Kept::read((&wire(name), kind), &response(7, (name, kind), rcode, lines)).expect("it is read")
    }

    #[test]
    fn only_what_belongs_to_the_question_is_kept() {
        for (lines, wanted) in [
            ("answer a.org A 30 1.2.3.4", "Success 30: NOERROR, a.org. A 30"),
            ("answer b.org A 30 1.2.3.4", "Other 0: NOERROR"),
            ("answer a.org AAAA 30 b.org", "Other 0: NOERROR"),
            (
                "answer a.org CNAME 30 b.org, answer b.org A 5 1.2.3.4",
                "Success 5: NOERROR, a.org. CNAME 30, b.org. A 5",
            ),
            (
                "answer b.org A 5 1.2.3.4, answer a.org CNAME 30 b.org",
                "Success 5: NOERROR, b.org. A 5, a.org. CNAME 30",
            ),
            ("answer a.org CNAME 30 a.org", "Success 30: NOERROR, a.org. CNAME 30"),
            (
                "answer org DNAME 9 net, answer a.org CNAME 9 a.net, answer a.net A 9 1.2.3.4, answer x.net A 9 1.2.3.4",
                "Success 9: NOERROR, org. DNAME 9, a.org. CNAME 9, a.net. A 9",
            ),
            ("authority org SOA 60 20", "Denial 20: NOERROR, org. SOA 60"),
            ("authority org NS 60 b.org", "Other 60: NOERROR, org. NS 60"),
            ("answer a.org A 4294967295 1.2.3.4", "Success 0: NOERROR, a.org. A 4294967295"),
        ] {
            let kept = kept("a.org", Type::A, Rcode::NO_ERROR, lines);
            let message = kept.message(&wire("a.org"), Type::A).expect("it fits");
            assert_eq!(format!("{:?} {}: {}", kept.says(), kept.ttl(), shown(&message)), wanted, "{lines}");
        }
        let says = |rcode, lines| kept("a.org", Type::A, rcode, lines).says();
        assert_eq!(says(Rcode::NX_DOMAIN, "authority org SOA 60 20"), Says::Denial);
        assert_eq!(says(Rcode::NX_DOMAIN, ""), Says::Other);
        assert_eq!(says(Rcode::SERV_FAIL, ""), Says::Failure);
        assert_eq!(says(Rcode::REFUSED, ""), Says::Other);
    }

    #[test]
    fn a_client_gets_it_in_its_own_way() {
        let kept = kept(
            "a.org",
            Type::A,
            Rcode::NO_ERROR,
            "answer a.org A 30 1.2.3.4, additional x.org A 9 1.2.3.4",
        );
        let mut asked = [0; 300];
        let len = write_query(&mut asked, (9, 0x100), (b"\x01A\x03oRG\x00", Type::A), Some((1232, true)))
            .expect("it fits");
        let query = Query::read(&asked[..len]).expect("it is one");
        let mut out = [0; 512];
        for (limit, wanted) in [
            (512, "NOERROR, A.oRG. A 7, x.oRG. A 7, . OPT 32768"),
            (60, "NOERROR, A.oRG. A 7, . OPT 32768"),
            (40, "NOERROR TC, . OPT 32768"),
        ] {
            let len = kept.write(&query, Some(7), (&mut out, limit, 1232)).expect("it fits");
            assert!(len <= limit);
            assert_eq!(shown(&out[..len]), wanted, "{limit}");
        }
    }

    proptest::proptest! {
        /// Anything may come from elsewhere; what is kept of it can be given and read again.
        #[test]
        fn no_response_breaks_it(mut bytes in proptest::collection::vec(0u8.., 0..200), at in 0usize..80, byte in 0u8..) {
            drop(Kept::read((b"\x01a\x03org\x00", Type::A), &bytes));
            let mut message = response(7, ("a.org", Type::A), Rcode::NO_ERROR,
                "answer a.org CNAME 30 b.org, answer b.org A 5 1.2.3.4, authority org SOA 60 20");
            let len = message.len();
            message[at % len] = byte;
            message.append(&mut bytes);
            if let Ok(kept) = Kept::read((b"\x01a\x03org\x00", Type::A), &message) {
                let again = kept.message(b"\x01a\x03org\x00", Type::A).expect("it fits");
                proptest::prop_assert_eq!(Message::read(&again).expect("a message").records().filter(Result::is_err).count(), 0);
            }
        }
    }
}
