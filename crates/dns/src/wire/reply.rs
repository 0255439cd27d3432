//! Writes an answer into the caller's buffer: the question as it came, records, the OPT record where the client has one.
//!
//! What does not fit is left out, and the answer says so (TC). Records made ahead are copied; their owner is a pointer to
//! the question. Records of other messages are copied with their names written anew.

use super::{HEADER, Malformed, NameBuffer, Query, Rcode, Record, Type, flag, word};

/// The length of an OPT record without options.
pub(super) const OPT: usize = 11;
/// How far a pointer reaches.
const REACH: usize = 0x3fff;
/// How many places of names are remembered for pointers.
const PLACES: usize = 48;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// What was asked for.
    Answer = 0,
    /// Who is in charge.
    Authority = 1,
    /// What may help.
    Additional = 2,
}

impl Section {
    pub(super) fn count_at(self) -> usize {
        6 + 2 * self as usize
    }
}

/// An answer being written.
#[derive(Debug)]
pub struct Reply<'b> {
    out: &'b mut [u8],
    len: usize,
    /// Up to where records may go; the OPT record has its room after that.
    limit: usize,
    flags: u16,
    counts: [u16; 3],
    rcode: Rcode,
    /// Whether the OPT record is wanted, with which size and DO bit.
    edns: Option<(u16, bool)>,
    places: [u16; PLACES],
    known: usize,
}

impl<'b> Reply<'b> {
    /// Begins the answer to a query: its number, its question, its wish for recursion. It will have at most `limit` bytes,
    /// and never more than `out`. `own_size` is what the OPT record says that this server takes over UDP.
    ///
    /// Answers `None` where there is not even room for the question.
    pub fn to(query: &Query<'_>, out: &'b mut [u8], limit: usize, own_size: u16) -> Option<Self> {
        let question = query.question();
        let len = HEADER + question.len();
        let edns = query.edns.map(|edns| (own_size, edns.dnssec_ok));
        let limit = limit.min(out.len()).checked_sub(if edns.is_some() { OPT } else { 0 })?;
        if len > limit {
            return None;
        }
        out[..2].copy_from_slice(&query.message[..2]);
        out[HEADER..len].copy_from_slice(question);
        let kept = flag::RECURSION_DESIRED | flag::CHECKING_DISABLED;
        let flags = flag::RESPONSE | query.flags() & kept;
        let (counts, rcode) = ([0; 3], Rcode::NO_ERROR);
        Some(Self { out, len, limit, flags, counts, rcode, edns, places: [0; PLACES], known: 0 })
    }

    /// Writes the answer to a message that is no answerable query: a header with the code, and an OPT record where the code
    /// needs one. Answers its length; 0 when there is no room or nothing to answer to.
    pub fn refuse(message: &[u8], rcode: Rcode, out: &mut [u8], own_size: u16) -> usize {
        let (Some(head), Some(room)) = (message.get(..HEADER), out.get_mut(..HEADER + OPT)) else { return 0 };
        let asked = u16::from_be_bytes([head[2], head[3]]);
        let kept = flag::OPCODE | flag::RECURSION_DESIRED | flag::CHECKING_DISABLED;
        let flags = flag::RESPONSE | asked & kept | rcode.0 & flag::RCODE;
        room.fill(0);
        room[..2].copy_from_slice(&head[..2]);
        room[2..4].copy_from_slice(&flags.to_be_bytes());
        if rcode.0 <= flag::RCODE {
            return HEADER;
        }
        room[11] = 1;
        write_opt(&mut room[HEADER..], (own_size, rcode, false));
        HEADER + OPT
    }

    /// Sets bits of the header's flags.
    pub fn set(&mut self, flags: u16) {
        self.flags |= flags;
    }

    /// Sets the response code.
    pub fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    /// Answers how many bytes are written so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Answers whether nothing but the question is written so far.
    pub fn is_empty(&self) -> bool {
        self.counts == [0; 3]
    }

    /// Adds records made ahead; all of them or, when they do not fit, none.
    pub fn push_made(&mut self, section: Section, count: u16, records: &[u8]) -> bool {
        let end = self.len + records.len();
        if end > self.limit {
            return false;
        }
        self.out[self.len..end].copy_from_slice(records);
        self.len = end;
        self.counts[section as usize] += count;
        true
    }

    /// Adds a record whose owner is written here; answers whether it fitted. `data` has no pointers.
    pub fn push(&mut self, section: Section, (owner, kind, ttl): (&[u8], Type, u32), data: &[u8]) -> bool {
        let before = (self.len, self.known);
        let is_written = self.write_name(owner)
            && self.write_head(kind, super::IN, ttl)
            && self.write(&(data.len() as u16).to_be_bytes())
            && self.write(data);
        self.settle(section, before, is_written)
    }

    /// Adds a copy of another message's record with another time to live; answers whether it fitted.
    pub fn push_copy(&mut self, section: Section, record: &Record<'_>, ttl: u32) -> Result<bool, Malformed> {
        let before = (self.len, self.known);
        let mut name = NameBuffer::new();
        record.read_name(&mut name)?;
        let is_begun = self.write_name(name.as_wire()) && self.write_head(record.kind, record.class, ttl);
        // Nothing stays of a record whose data turns out to be malformed.
        let written = if is_begun { self.write_data(record) } else { Ok(false) };
        self.settle(section, before, written == Ok(true));
        written
    }

    fn settle(&mut self, section: Section, before: (usize, usize), is_written: bool) -> bool {
        if is_written {
            self.counts[section as usize] += 1;
        } else {
            (self.len, self.known) = before;
        }
        is_written
    }

    /// Says that something was left out.
    pub fn truncate(&mut self) {
        self.flags |= flag::TRUNCATED;
    }

    /// Writes the header and the OPT record and answers the length of the whole.
    pub fn finish(mut self) -> usize {
        let flags = self.flags | self.rcode.0 & flag::RCODE;
        self.out[2..4].copy_from_slice(&flags.to_be_bytes());
        self.out[4..6].copy_from_slice(&[0, 1]);
        if let Some((size, is_dnssec_ok)) = self.edns {
            write_opt(&mut self.out[self.len..], (size, self.rcode, is_dnssec_ok));
            self.len += OPT;
            self.counts[2] += 1;
        }
        for (at, count) in self.counts.iter().enumerate() {
            self.out[6 + 2 * at..8 + 2 * at].copy_from_slice(&count.to_be_bytes());
        }
        self.len
    }

    fn write(&mut self, bytes: &[u8]) -> bool {
        let end = self.len + bytes.len();
        if end > self.limit {
            return false;
        }
        self.out[self.len..end].copy_from_slice(bytes);
        self.len = end;
        true
    }

    fn write_head(&mut self, kind: Type, class: u16, ttl: u32) -> bool {
        self.write(&kind.0.to_be_bytes())
            && self.write(&class.to_be_bytes())
            && self.write(&ttl.to_be_bytes())
    }

    /// Copies data, names in it written anew where RFC 3597 lets them have been pointers.
    fn write_data(&mut self, record: &Record<'_>) -> Result<bool, Malformed> {
        let length_at = self.len;
        if !self.write(&[0, 0]) {
            return Ok(false);
        }
        let (skipped, names) = match record.kind {
            Type::NS | Type::CNAME | Type::PTR | Type::DNAME => (0, 1),
            Type::MX => (2, 1),
            Type::SRV => (6, 1),
            Type::SOA => (0, 2),
            Type(_) => (0, 0),
        };
        let data = record.data();
        let head = data.get(..skipped).ok_or(Malformed("data breaks off"))?;
        let mut is_written = self.write(head);
        let mut at = record.data_at + skipped;
        let mut name = NameBuffer::new();
        for _ in 0..names {
            at = name.read(record.message, at)?;
            // Only the oldest types may have pointers in what we send; a name as long as it is always right.
            is_written &= match record.kind {
                Type::SRV | Type::DNAME => self.write(name.as_wire()),
                Type(_) => self.write_name(name.as_wire()),
            };
        }
        let rest = record.message.get(at..record.end).ok_or(Malformed("a name is longer than its data"))?;
        is_written &= self.write(rest);
        if is_written {
            let len = (self.len - length_at - 2) as u16;
            self.out[length_at..length_at + 2].copy_from_slice(&len.to_be_bytes());
        }
        Ok(is_written)
    }

    /// Writes a name, its end as a pointer where the same end stands already.
    fn write_name(&mut self, name: &[u8]) -> bool {
        if self.known == 0 {
            self.remember_question();
        }
        let mut at = 0;
        loop {
            let rest = &name[at..];
            if rest.len() <= 1 {
                return self.write(rest);
            }
            if let Some(place) = self.place_of(rest) {
                return self.write(&(0xc000 | place).to_be_bytes());
            }
            let label = &rest[..=usize::from(rest[0])];
            let here = self.len;
            if !self.write(label) {
                return false;
            }
            self.remember(here);
            at += label.len();
        }
    }

    fn remember_question(&mut self) {
        let mut at = HEADER;
        while let Some(len @ 1..) = self.out.get(at).copied() {
            self.remember(at);
            at += 1 + usize::from(len);
        }
    }

    fn remember(&mut self, at: usize) {
        if at <= REACH && self.known < PLACES {
            self.places[self.known] = at as u16;
            self.known += 1;
        }
    }

    fn place_of(&self, name: &[u8]) -> Option<u16> {
        self.places[..self.known].iter().copied().find(|place| self.stands_at(usize::from(*place), name))
    }

    /// Answers whether this very name, its case included, stands at a place.
    fn stands_at(&self, mut at: usize, mut name: &[u8]) -> bool {
        loop {
            let Some(first) = self.out.get(at).copied() else { return false };
            if first >= 0xc0 {
                let next = usize::from(word(self.out, at).unwrap_or_default()) & REACH;
                // What was taken back may be written over by anything.
                if next >= at {
                    return false;
                }
                at = next;
                continue;
            }
            let len = usize::from(first) + 1;
            let (Some(here), Some(there)) = (self.out.get(at..at + len), name.get(..len)) else {
                return false;
            };
            if here != there {
                return false;
            }
            if first == 0 {
                return name.len() == 1;
            }
            (at, name) = (at + len, &name[len..]);
        }
    }
}

/// Writes an OPT record without options into the first bytes of `out`.
pub(super) fn write_opt(out: &mut [u8], (size, rcode, is_dnssec_ok): (u16, Rcode, bool)) {
    let [high, low] = size.to_be_bytes();
    let flags = if is_dnssec_ok { 0x80 } else { 0 };
    out[..OPT].copy_from_slice(&[0, 0, 41, high, low, (rcode.0 >> 4) as u8, 0, flags, 0, 0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, Name, write_query};

    fn query(name: &str, edns: Option<(u16, bool)>) -> Vec<u8> {
        let name: Name = name.parse().unwrap();
        let mut out = vec![0; 600];
        let len =
            write_query(&mut out, (9, flag::RECURSION_DESIRED), (name.as_wire(), Type::A), edns).unwrap();
        out.truncate(len);
        out
    }

    fn wire(name: &str) -> Vec<u8> {
        name.parse::<Name>().unwrap().as_wire().to_vec()
    }

    #[test]
    fn names_become_pointers() {
        let asked = query("www.example.org", None);
        let query = Query::read(&asked).unwrap();
        let mut out = [0; 512];
        let mut reply = Reply::to(&query, &mut out, 512, 1232).unwrap();
        let at = reply.len();
        assert!(reply.push(Section::Answer, (&wire("www.example.org"), Type::A, 5), &[1, 2, 3, 4]));
        assert_eq!(reply.len() - at, 16);
        assert!(reply.push(Section::Answer, (&wire("ftp.example.org"), Type::A, 5), &[1, 2, 3, 4]));
        assert_eq!(reply.len() - at, 16 + 20);
        assert!(reply.push(Section::Answer, (&wire("a.ftp.example.org"), Type::A, 5), &[1, 2, 3, 4]));
        assert_eq!(reply.len() - at, 16 + 20 + 18);
        assert!(reply.push(Section::Answer, (&wire("."), Type::A, 5), &[1, 2, 3, 4]));
        let len = reply.finish();
        let message = Message::read(&out[..len]).unwrap();
        let mut names = String::new();
        for record in message.records() {
            let mut name = NameBuffer::new();
            record.unwrap().read_name(&mut name).unwrap();
            names += &format!("{name} ");
        }
        assert_eq!(names, "www.example.org. ftp.example.org. a.ftp.example.org. . ");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let asked = query("a.b", Some((512, true)));
        let query = Query::read(&asked).unwrap();
        let mut out = [0; 512];
        // Header 12, question 9, OPT 11, one record 16.
        let mut reply = Reply::to(&query, &mut out, 48 + 15, 1232).unwrap();
        assert!(reply.push(Section::Answer, (&wire("a.b"), Type::A, 5), &[1, 2, 3, 4]));
        assert!(!reply.push(Section::Answer, (&wire("a.b"), Type::A, 5), &[1, 2, 3, 5]));
        assert!(!reply.push_made(Section::Answer, 1, &[0; 16]));
        assert!(reply.push_made(Section::Additional, 1, &[0; 15]));
        reply.truncate();
        reply.set_rcode(Rcode::NX_DOMAIN);
        let len = reply.finish();
        assert_eq!(len, 63);
        assert_eq!(out[..12], [0, 9, 0x83, 3, 0, 1, 0, 1, 0, 0, 0, 2]);
        assert_eq!(out[52..63], [0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0]);
        let query = Query::read(&asked).unwrap();
        assert!(Reply::to(&query, &mut out, 31, 1232).is_none());
    }

    #[test]
    fn refusals_have_no_question() {
        let mut out = [0; 64];
        let asked = [0x12, 0x34, 0x21, 0x10, 0, 9, 0, 0, 0, 0, 0, 0];
        assert_eq!(Reply::refuse(&asked, Rcode::NOT_IMP, &mut out, 1232), 12);
        assert_eq!(out[..12], [0x12, 0x34, 0xa1, 0x14, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Reply::refuse(&asked, Rcode::BAD_VERS, &mut out, 1232), 23);
        assert_eq!(out[2..4], [0xa1, 0x10]);
        assert_eq!(out[12..23], [0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
        assert_eq!(Reply::refuse(&asked[..11], Rcode::NOT_IMP, &mut out, 1232), 0);
    }

    #[test]
    fn nothing_stays_of_a_malformed_record() {
        let theirs: &[u8] = b"\x00\x07\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\
            \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x04\x0cb\xc0\x0c";
        let asked = query("web.default.svc", None);
        let query = Query::read(&asked).unwrap();
        let mut out = [0; 512];
        let mut reply = Reply::to(&query, &mut out, 512, 1232).unwrap();
        let record = Message::read(theirs).unwrap().records().next().unwrap().unwrap();
        assert_eq!(reply.push_copy(Section::Answer, &record, 5), Err(Malformed("a name breaks off")));
        assert_eq!(reply.finish(), asked.len());
        assert_eq!(out[6..12], [0; 6]);
    }

    #[test]
    fn records_of_others_are_copied() {
        let theirs: &[u8] = b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x01\x00\x00\
            \x01a\x01b\x00\x00\x01\x00\x01\
            \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x04\x01c\xc0\x0e\
            \xc0\x21\x00\x01\x00\x01\x00\x00\x00\x0a\x00\x04\x0a\x00\x00\x01\
            \xc0\x0e\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x18\xc0\x0e\xc0\x0e\x00\x00\x00\x01\x00\x00\x00\x02\
            \x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05";
        let asked = query("web.default.svc", None);
        let query = Query::read(&asked).unwrap();
        let mut out = [0; 512];
        let mut reply = Reply::to(&query, &mut out, 512, 1232).unwrap();
        for record in Message::read(theirs).unwrap().records() {
            let record = record.unwrap();
            assert_eq!(reply.push_copy(record.section, &record, record.ttl / 2), Ok(true));
        }
        let len = reply.finish();
        let mut text = String::new();
        for record in Message::read(&out[..len]).unwrap().records() {
            let record = record.unwrap();
            let (mut name, mut target) = (NameBuffer::new(), NameBuffer::new());
            record.read_name(&mut name).unwrap();
            if record.kind == Type::CNAME {
                record.read_target(&mut target).unwrap();
            }
            text += &format!("{name} {} {} {target} {:?}, ", record.ttl, record.kind, record.negative_ttl());
        }
        assert_eq!(text, "a.b. 15 CNAME c.b. None, c.b. 5 A . None, b. 30 SOA . Some(5), ");
    }

    #[test]
    fn what_was_taken_back_leads_nowhere() {
        let message = query("a", None);
        let query = Query::read(&message).unwrap();
        for (end, why) in [([0, 40], "a label longer than the room"), ([0xc0, 28], "a pointer to itself")] {
            let mut out = [0; 30];
            out[28..].copy_from_slice(&end);
            let mut reply = Reply::to(&query, &mut out, 30, 512).unwrap();
            (reply.places[0], reply.places[1], reply.known) = (28, 29, 2);
            assert_eq!(reply.place_of(b"\x01b\0"), None, "{why}");
        }
    }
}
