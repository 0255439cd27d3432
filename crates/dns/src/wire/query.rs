//! What a client asks: the one question, and what EDNS says beside it. And writing queries of one's own.

use super::{HEADER, Malformed, NameBuffer, PLAIN_UDP, Rcode, Type, flag, long, word};

/// The option of RFC 7873.
pub(crate) const COOKIE: u16 = 10;
/// How many bytes an answer's cookie takes: the option's head, the client's half and the server's half.
pub(crate) const COOKIE_ROOM: usize = 28;
/// The bit of an OPT record's TTL that asks for signatures.
const DNSSEC_OK: u32 = 1 << 15;

/// A query as far as it has a meaning.
#[derive(Debug, Clone)]
pub struct Query<'a> {
    /// The whole message.
    pub message: &'a [u8],
    /// The name asked for, in lower case. The message has it as the client wrote it.
    pub name: NameBuffer,
    /// The type asked for.
    pub kind: Type,
    /// The class asked for.
    pub class: u16,
    /// Where the question ends in the message; it begins after the header.
    pub question_end: usize,
    /// What EDNS says; `None` where the client does not speak it.
    pub edns: Option<Edns<'a>>,
}

/// What an OPT record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns<'a> {
    /// What the client takes over UDP; as it says, which may be less than 512.
    pub size: u16,
    /// The version.
    pub version: u8,
    /// Whether the client wants signatures.
    pub dnssec_ok: bool,
    /// The cookie of RFC 7873, the server's half included.
    pub cookie: Option<&'a [u8]>,
}

/// What becomes of a message that cannot be answered as a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswerable {
    /// Silence: an answer could begin an endless exchange, or nobody could read it.
    Drop(&'static str),
    /// A response code and nothing else.
    Refuse(Rcode, &'static str),
}

impl<'a> Query<'a> {
    /// Reads a message. This is the one table of what is dropped and what is answered with which code; only what the
    /// question asks for is judged elsewhere.
    pub fn read(message: &'a [u8]) -> Result<Self, Unanswerable> {
        use Unanswerable::{Drop, Refuse};
        let header = message.first_chunk::<HEADER>().ok_or(Drop("shorter than a header"))?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let flags = count(2);
        if flags & flag::RESPONSE != 0 {
            return Err(Drop("a response"));
        }
        if flags & flag::OPCODE != 0 {
            return Err(Refuse(Rcode::NOT_IMP, "an operation other than a query"));
        }
        // A query for changes of a zone (IXFR) has one record of authority; a signed one (TSIG) two additional ones.
        match (count(4), count(6), count(8), count(10)) {
            (1, 0, 0..=1, 0..=2) => {}
            (1, _, _, _) => return Err(Refuse(Rcode::FORM_ERR, "records that no query has")),
            (_, _, _, _) => return Err(Refuse(Rcode::FORM_ERR, "not one question")),
        }
        let broken = |error: Malformed| Refuse(Rcode::FORM_ERR, error.0);
        let mut query =
            Self { message, name: NameBuffer::new(), kind: Type(0), class: 0, question_end: 0, edns: None };
        let end = query.name.read(message, HEADER).map_err(broken)?;
        // The question is sent back as it came, and nothing lies before it that a pointer could lead to but the header.
        if end - HEADER != query.name.as_wire().len() {
            return Err(Refuse(Rcode::FORM_ERR, "a pointer in the question"));
        }
        query.name.make_lower();
        let short = Refuse(Rcode::FORM_ERR, "the question breaks off");
        query.kind = Type(word(message, end).ok_or(short)?);
        query.class = word(message, end + 2).ok_or(short)?;
        query.question_end = end + 4;
        query.edns = read_records(message, end + 4, (count(8), count(10))).map_err(broken)?;
        if query.edns.is_some_and(|edns| edns.version != 0) {
            return Err(Refuse(Rcode::BAD_VERS, "an unknown version of EDNS"));
        }
        Ok(query)
    }

    /// Answers the number by which the client knows the answer.
    pub fn id(&self) -> u16 {
        word(self.message, 0).unwrap_or_default()
    }

    /// Answers the second word of the header.
    pub fn flags(&self) -> u16 {
        word(self.message, 2).unwrap_or_default()
    }

    /// Answers the question as it came.
    pub fn question(&self) -> &'a [u8] {
        self.message.get(HEADER..self.question_end).unwrap_or_default()
    }

    /// Answers how long an answer over UDP may be for the client; never less than 512.
    pub fn udp_size(&self) -> usize {
        self.edns.map_or(PLAIN_UDP, |edns| usize::from(edns.size).max(PLAIN_UDP))
    }

    /// Answers how long an answer without its cookie may be; over UDP it has no more than `own` bytes with it.
    pub fn room(&self, is_udp: bool, own: u16) -> usize {
        let whole = if is_udp { self.udp_size().min(usize::from(own)) } else { super::LONGEST };
        let has_cookie = self.edns.is_some_and(|edns| edns.cookie.is_some());
        if has_cookie { whole - COOKIE_ROOM } else { whole }
    }

    /// Answers whether the client wants signatures.
    pub fn is_dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

/// Walks over the records after the question for the one that matters.
fn read_records(message: &[u8], mut at: usize, counts: (u16, u16)) -> Result<Option<Edns<'_>>, Malformed> {
    let mut edns = None;
    let total = counts.0 + counts.1;
    if total == 0 {
        return Ok(None);
    }
    for number in 0..total {
        const BROKEN: Malformed = Malformed("a record breaks off");
        let is_root = message.get(at) == Some(&0);
        let after = if is_root { at + 1 } else { NameBuffer::new().read(message, at)? };
        let kind = Type(word(message, after).ok_or(BROKEN)?);
        let size = word(message, after + 2).ok_or(BROKEN)?;
        let ttl = long(message, after + 4).ok_or(BROKEN)?;
        let len = usize::from(word(message, after + 8).ok_or(BROKEN)?);
        let data = message.get(after + 10..after + 10 + len).ok_or(BROKEN)?;
        at = after + 10 + len;
        if kind != Type::OPT {
            continue;
        }
        if edns.is_some() || number < counts.0 || !is_root {
            return Err(Malformed("an OPT record where none can be"));
        }
        edns = Some(Edns {
            size,
            version: (ttl >> 16) as u8,
            dnssec_ok: ttl & DNSSEC_OK != 0,
            cookie: cookie(data)?,
        });
    }
    Ok(edns)
}

fn cookie(mut options: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut found = None;
    while !options.is_empty() {
        const BROKEN: Malformed = Malformed("an option of EDNS breaks off");
        let code = word(options, 0).ok_or(BROKEN)?;
        let len = usize::from(word(options, 2).ok_or(BROKEN)?);
        let value = options.get(4..4 + len).ok_or(BROKEN)?;
        if code == COOKIE {
            // RFC 7873, section 5.2.2: a client's 8 bytes alone or with a server's 8 to 32.
            if len != 8 && !(16..=40).contains(&len) {
                return Err(Malformed("a cookie of an impossible length"));
            }
            found.get_or_insert(value);
        }
        options = &options[4 + len..];
    }
    Ok(found)
}

/// Writes a query for one name, with EDNS when a size is given, and answers its length; `None` when it does not fit.
pub fn write_query(
    out: &mut [u8],
    (id, flags): (u16, u16),
    (name, kind): (&[u8], Type),
    edns: Option<(u16, bool)>,
) -> Option<usize> {
    let question_end = HEADER + name.len() + 4;
    let end = question_end + if edns.is_some() { super::reply::OPT } else { 0 };
    let out = out.get_mut(..end)?;
    out.fill(0);
    out[..2].copy_from_slice(&id.to_be_bytes());
    out[2..4].copy_from_slice(&flags.to_be_bytes());
    out[5] = 1;
    out[11] = u8::from(edns.is_some());
    out[HEADER..HEADER + name.len()].copy_from_slice(name);
    out[question_end - 4..question_end - 2].copy_from_slice(&kind.0.to_be_bytes());
    out[question_end - 1] = super::IN as u8;
    if let Some((size, is_dnssec_ok)) = edns {
        super::reply::write_opt(&mut out[question_end..], (size, Rcode::NO_ERROR, is_dnssec_ok));
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x01A\x01b\x00\x00\x01\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";

    fn message(flags: u16, counts: [u8; 4], rest: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34];
        message.extend(flags.to_be_bytes());
        message.extend(counts.iter().flat_map(|count| [0, *count]));
        message.extend(rest.concat());
        message
    }

    fn check(flags: u16, counts: [u8; 4], rest: &[&[u8]], expected: &str) {
        let message = message(flags, counts, rest);
        let found = match Query::read(&message) {
            Ok(query) => format!(
                "{} {} {} id {:x} size {} do {} cookie {:?}",
                query.name,
                query.kind,
                query.class,
                query.id(),
                query.udp_size(),
                query.is_dnssec_ok(),
                query.edns.and_then(|edns| edns.cookie).map(<[u8]>::len)
            ),
            Err(Unanswerable::Drop(why)) => format!("drop: {why}"),
            Err(Unanswerable::Refuse(code, why)) => format!("{code}: {why}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn one_table_of_what_becomes_of_a_message() {
        let q: &[&[u8]] = &[QUESTION];
        check(0x0100, [1, 0, 0, 0], q, "a.b. A 1 id 1234 size 512 do false cookie None");
        check(0x0300, [1, 0, 0, 0], q, "a.b. A 1 id 1234 size 512 do false cookie None");
        check(0x0100, [1, 0, 0, 1], &[QUESTION, OPT], "a.b. A 1 id 1234 size 1232 do true cookie None");
        check(
            0x0100,
            [1, 0, 0, 0],
            &[QUESTION, b"trailing"],
            "a.b. A 1 id 1234 size 512 do false cookie None",
        );
        check(0x8100, [1, 0, 0, 0], q, "drop: a response");
        for (opcode, name) in [(1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE"), (15, "none")] {
            assert!(!name.is_empty());
            check(opcode << 11, [1, 0, 0, 0], q, "NOTIMP: an operation other than a query");
        }
        check(0, [0, 0, 0, 0], &[], "FORMERR: not one question");
        check(0, [2, 0, 0, 0], &[QUESTION, QUESTION], "FORMERR: not one question");
        check(0, [1, 1, 0, 0], q, "FORMERR: records that no query has");
        check(0, [1, 0, 2, 0], q, "FORMERR: records that no query has");
        check(0, [1, 0, 0, 3], q, "FORMERR: records that no query has");
        check(0, [1, 0, 0, 0], &[b"\x01a"], "FORMERR: a name breaks off");
        check(0, [1, 0, 0, 0], &[b"\x00\x00\x01\x00"], "FORMERR: the question breaks off");
        check(0, [1, 0, 0, 0], &[b"\xc0\x0c\x00\x01\x00\x01"], "FORMERR: a pointer does not lead back");
        // The header of this message, read as a name, is a pointer away.
        check(0, [1, 0, 0, 0], &[b"\xc0\x04\x00\x01\x00\x01"], "FORMERR: a pointer in the question");
        check(0, [1, 0, 0, 1], q, "FORMERR: a name breaks off");
        check(0, [1, 0, 0, 1], &[QUESTION, &OPT[..8]], "FORMERR: a record breaks off");
        check(0, [1, 0, 0, 2], &[QUESTION, OPT, OPT], "FORMERR: an OPT record where none can be");
        check(0, [1, 0, 1, 0], &[QUESTION, OPT], "FORMERR: an OPT record where none can be");
        let named = [b"\x01x", OPT].concat();
        check(0, [1, 0, 0, 1], &[QUESTION, &named], "FORMERR: an OPT record where none can be");
        let version = b"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00";
        check(0, [1, 0, 0, 1], &[QUESTION, version], "BADVERS: an unknown version of EDNS");
        let tiny = b"\x00\x00\x29\x00\x10\x00\x00\x00\x00\x00\x00";
        check(0, [1, 0, 0, 1], &[QUESTION, tiny], "a.b. A 1 id 1234 size 512 do false cookie None");
        assert!(matches!(Query::read(b"\x00\x00\x01"), Err(Unanswerable::Drop("shorter than a header"))));
    }

    #[test]
    fn options_are_read() {
        let opt = |data: &[u8]| {
            let head = b"\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00";
            [&head[..], &[data.len() as u8], data].concat()
        };
        let cookie = opt(b"\x00\x0a\x00\x08abcdefgh");
        check(0, [1, 0, 0, 1], &[QUESTION, &cookie], "a.b. A 1 id 1234 size 4096 do false cookie Some(8)");
        let other = opt(b"\x00\x03\x00\x00\x00\x0a\x00\x10abcdefghabcdefgh");
        check(0, [1, 0, 0, 1], &[QUESTION, &other], "a.b. A 1 id 1234 size 4096 do false cookie Some(16)");
        let odd = opt(b"\x00\x0a\x00\x09abcdefghi");
        check(0, [1, 0, 0, 1], &[QUESTION, &odd], "FORMERR: a cookie of an impossible length");
        let short = opt(b"\x00\x0a\x00\x08abc");
        check(0, [1, 0, 0, 1], &[QUESTION, &short], "FORMERR: an option of EDNS breaks off");
    }

    #[test]
    fn own_queries_are_read_back() {
        let name: super::super::Name = "web.default.svc".parse().unwrap();
        let mut out = [0; 100];
        let flags = flag::RECURSION_DESIRED;
        let len =
            write_query(&mut out, (7, flags), (name.as_wire(), Type::AAAA), Some((1232, true))).unwrap();
        let query = Query::read(&out[..len]).unwrap();
        assert_eq!((query.id(), query.flags(), query.kind), (7, flags, Type::AAAA));
        assert_eq!(
            (query.name.to_name(), query.udp_size(), query.is_dnssec_ok()),
            (name.clone(), 1232, true)
        );
        let len = write_query(&mut out, (7, 0), (name.as_wire(), Type::A), None).unwrap();
        assert_eq!(Query::read(&out[..len]).unwrap().edns, None);
        assert_eq!(write_query(&mut out[..20], (7, 0), (name.as_wire(), Type::A), None), None);
    }
}
