//! A walk over any message, such as another server's answer: its header, its question, its records.

use super::{HEADER, Malformed, NameBuffer, Rcode, Section, Type, flag, long, word};

/// A message with one question, whose records can be walked over.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    question_end: usize,
}

/// One record where it lies in a message.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The whole message.
    pub message: &'a [u8],
    /// Where it stands.
    pub section: Section,
    /// Where its name begins.
    pub name_at: usize,
    /// Its type.
    pub kind: Type,
    /// Its class; of an OPT record the size.
    pub class: u16,
    /// How many seconds it may be kept; of an OPT record something else.
    pub ttl: u32,
    /// Where the time to live begins.
    pub ttl_at: usize,
    /// Where its data begins.
    pub data_at: usize,
    /// Where its data ends.
    pub end: usize,
}

/// The records of a message in their order.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: [u16; 3],
    failed: bool,
}

impl<'a> Message<'a> {
    /// Reads the header and the question.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEADER {
            return Err(Malformed("it is shorter than a header"));
        }
        if word(bytes, 4) != Some(1) {
            return Err(Malformed("it has not one question"));
        }
        let end = NameBuffer::new().read(bytes, HEADER)?;
        if bytes.len() < end + 4 {
            return Err(Malformed("the question breaks off"));
        }
        Ok(Self { bytes, question_end: end + 4 })
    }

    /// Answers its number.
    pub fn id(&self) -> u16 {
        word(self.bytes, 0).unwrap_or_default()
    }

    /// Answers the second word of the header.
    pub fn flags(&self) -> u16 {
        word(self.bytes, 2).unwrap_or_default()
    }

    /// Answers how many records a section says that it has.
    pub fn count(&self, section: Section) -> u16 {
        word(self.bytes, section.count_at()).unwrap_or_default()
    }

    /// Answers the question, as it is written there.
    pub fn question(&self) -> &'a [u8] {
        &self.bytes[HEADER..self.question_end]
    }

    /// Answers where the question ends and the records begin.
    pub fn question_end(&self) -> usize {
        self.question_end
    }

    /// Answers the type asked for.
    pub fn kind(&self) -> Type {
        Type(word(self.bytes, self.question_end - 4).unwrap_or_default())
    }

    /// Answers whether it has the same question as `query`, whatever the case of the letters.
    pub fn is_about(&self, query: &super::Query<'_>) -> bool {
        self.question().eq_ignore_ascii_case(query.question())
    }

    /// Answers the response code, with the bits that EDNS adds. Walks over the records for them.
    pub fn rcode(&self) -> Rcode {
        let low = self.flags() & flag::RCODE;
        let opt = self.records().filter_map(Result::ok).find(|record| record.kind == Type::OPT);
        Rcode(low | opt.map_or(0, |opt| (opt.ttl >> 24) as u16) << 4)
    }

    /// Answers the records in their order. The walk ends with the first that is malformed.
    pub fn records(&self) -> Records<'a> {
        let left =
            [Section::Answer, Section::Authority, Section::Additional].map(|section| self.count(section));
        Records { message: self.bytes, at: self.question_end, left, failed: false }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let section = match self.left {
            _ if self.failed => return None,
            [0, 0, 0] => return None,
            [0, 0, _] => Section::Additional,
            [0, _, _] => Section::Authority,
            [_, _, _] => Section::Answer,
        };
        let record = self.read(section);
        match &record {
            Ok(record) => {
                self.left[section as usize] -= 1;
                self.at = record.end;
            }
            Err(_) => self.failed = true,
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn read(&self, section: Section) -> Result<Record<'a>, Malformed> {
        const BROKEN: Malformed = Malformed("a record breaks off");
        let message = self.message;
        let after = skip_name(message, self.at)?;
        let data_at = after + 10;
        let end = data_at + usize::from(word(message, after + 8).ok_or(BROKEN)?);
        if end > message.len() {
            return Err(BROKEN);
        }
        Ok(Record {
            message,
            section,
            name_at: self.at,
            kind: Type(word(message, after).ok_or(BROKEN)?),
            class: word(message, after + 2).ok_or(BROKEN)?,
            ttl: long(message, after + 4).ok_or(BROKEN)?,
            ttl_at: after + 4,
            data_at,
            end,
        })
    }
}

/// Answers where the name at `at` ends. What a pointer leads to is not looked at.
fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Malformed> {
    const BROKEN: Malformed = Malformed("a name breaks off");
    loop {
        match *message.get(at).ok_or(BROKEN)? {
            0 => return Ok(at + 1),
            len @ 1..=63 => at += 1 + usize::from(len),
            0xc0.. if at + 1 < message.len() => return Ok(at + 2),
            0xc0.. => return Err(BROKEN),
            64..0xc0 => return Err(Malformed("a label is of an unknown kind")),
        }
    }
}

impl<'a> Record<'a> {
    /// Reads its name.
    pub fn read_name(&self, into: &mut NameBuffer) -> Result<(), Malformed> {
        into.read(self.message, self.name_at).map(|_| ())
    }

    /// Answers its data as it lies there; names in it may be pointers.
    pub fn data(&self) -> &'a [u8] {
        &self.message[self.data_at..self.end]
    }

    /// Reads the name that its data is or, for SRV and MX, ends with.
    pub fn read_target(&self, into: &mut NameBuffer) -> Result<(), Malformed> {
        let skipped = if self.kind == Type::SRV {
            6
        } else if self.kind == Type::MX {
            2
        } else {
            0
        };
        match into.read(self.message, self.data_at + skipped)? {
            end if end == self.end => Ok(()),
            _ => Err(Malformed("data is longer or shorter than its name")),
        }
    }

    /// Answers how long a negative answer may be kept: the last field of a SOA record, or less (RFC 2308).
    pub fn negative_ttl(&self) -> Option<u32> {
        let last = self.end.checked_sub(4).filter(|at| *at >= self.data_at)?;
        (self.kind == Type::SOA).then_some(long(self.message, last)?.min(self.ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name with an alias and an address, and a SOA record.
    pub(super) const ANSWER: &[u8] = b"\x00\x07\x81\x80\x00\x01\x00\x02\x00\x01\x00\x01\
        \x01A\x01b\x00\x00\x01\x00\x01\
        \xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x1e\x00\x04\x01c\xc0\x0e\
        \xc0\x21\x00\x01\x00\x01\x00\x00\x00\x0a\x00\x04\x0a\x00\x00\x01\
        \xc0\x0e\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x18\xc0\x0e\xc0\x0e\x00\x00\x00\x01\x00\x00\x00\x02\
        \x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x05\
        \x00\x00\x29\x04\xd0\x01\x00\x80\x00\x00\x00";

    #[test]
    fn records_are_walked_over() {
        let message = Message::read(ANSWER).unwrap();
        assert_eq!((message.id(), message.kind(), message.rcode()), (7, Type::A, Rcode::BAD_VERS));
        let mut text = String::new();
        for record in message.records() {
            let record = record.unwrap();
            let (mut name, mut target) = (NameBuffer::new(), NameBuffer::new());
            record.read_name(&mut name).unwrap();
            let target = record
                .read_target(&mut target)
                .map_or_else(|error| error.0.to_owned(), |()| target.to_string());
            text += &format!(
                "{:?} {name} {} {} {} {target} {:?}\n",
                record.section,
                record.kind,
                record.ttl,
                record.data().len(),
                record.negative_ttl()
            );
        }
        assert_eq!(
            text,
            "Answer A.b. CNAME 30 4 c.b. None\n\
             Answer c.b. A 10 4 data is longer or shorter than its name None\n\
             Authority b. SOA 60 24 data is longer or shorter than its name Some(5)\n\
             Additional . OPT 16809984 0 a name breaks off None\n"
        );
    }

    #[test]
    fn a_walk_ends_where_the_message_does() {
        for len in 0..ANSWER.len() {
            let Ok(message) = Message::read(&ANSWER[..len]) else { continue };
            let results: Vec<_> = message.records().collect();
            assert!(results.last().unwrap().is_err(), "{len}");
            assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        }
    }
}
