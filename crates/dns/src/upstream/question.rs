//! What is sent to others, and which responses are taken for answers to it. Pure.

use crate::cache::Key;
use crate::wire::{HEADER, Message, Rcode, flag, write_query};

/// What is taken over UDP: fits into every packet that crosses the Internet whole (DNS flag day 2020).
pub(super) const UDP_SIZE: u16 = 1232;

/// A query of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) bytes: Vec<u8>,
    is_case_random: bool,
    has_edns: bool,
}

/// What a response is to a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    /// Its answer.
    Answer,
    /// Its answer, but for what did not fit.
    Truncated,
    /// The word of somebody who does not know EDNS.
    NeedsPlain,
    /// Nothing: broken, late, or made up.
    Stranger,
}

impl Sent {
    /// Writes a query. `case`: bits that say which letters of the name are large.
    pub(super) fn new(key: &Key, id: u16, case: Option<[u8; 32]>, has_edns: bool) -> Self {
        let (dnssec_ok, unchecked) = key.flags();
        let flags = flag::RECURSION_DESIRED | if unchecked { flag::CHECKING_DISABLED } else { 0 };
        let mut bytes = vec![0; HEADER + key.name().len() + 4 + 11];
        let edns = has_edns.then_some((UDP_SIZE, dnssec_ok));
        let len = write_query(&mut bytes, (id, flags), (key.name(), key.kind()), edns);
        bytes.truncate(len.unwrap_or(0));
        if let Some(bits) = case {
            mix(&mut bytes[HEADER..HEADER + key.name().len()], bits);
        }
        Self { bytes, is_case_random: case.is_some(), has_edns }
    }

    /// Says whether recursion is wanted.
    pub(super) fn set_recursion(&mut self, is_desired: bool) {
        if !is_desired {
            self.bytes[2] &= !((flag::RECURSION_DESIRED >> 8) as u8);
        }
    }

    /// What a response is to it.
    pub(super) fn judge(&self, response: &[u8]) -> Judged {
        if response.len() < HEADER || response[..2] != self.bytes[..2] {
            return Judged::Stranger;
        }
        let flags = u16::from_be_bytes([response[2], response[3]]);
        if flags & flag::RESPONSE == 0 || flags & flag::OPCODE != 0 {
            return Judged::Stranger;
        }
        let rcode = Rcode(flags & flag::RCODE);
        let is_lost = rcode == Rcode::FORM_ERR || rcode == Rcode::NOT_IMP;
        if is_lost && self.has_edns && response[4..6] == [0, 0] {
            return Judged::NeedsPlain;
        }
        let Ok(message) = Message::read(response) else { return Judged::Stranger };
        let sent = Message::read(&self.bytes).map(|sent| sent.question()).unwrap_or_default();
        let is_same = match self.is_case_random {
            true => message.question() == sent,
            false => message.question().eq_ignore_ascii_case(sent),
        };
        if !is_same {
            return Judged::Stranger;
        }
        if is_lost && self.has_edns && !message.records().any(|record| record.is_ok()) {
            return Judged::NeedsPlain;
        }
        if flags & flag::TRUNCATED != 0 { Judged::Truncated } else { Judged::Answer }
    }
}

/// Lengths of labels are no letters: none is as large as one.
fn mix(name: &mut [u8], bits: [u8; 32]) {
    for (at, byte) in name.iter_mut().enumerate() {
        if bits[at / 8 % 32] >> (at % 8) & 1 != 0 {
            *byte = byte.to_ascii_uppercase();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::response;
    use crate::wire::Type;

    fn key(name: &str) -> Key {
        let name: crate::wire::Name = name.parse().expect("a name");
        Key::new(name.as_wire(), Type::A, (false, false))
    }

    #[test]
    fn strangers_are_told_from_answers() {
        let sent = Sent::new(&key("a.org"), 7, None, true);
        let right = response(7, ("a.org", Type::A), Rcode::NO_ERROR, "answer a.org A 30 1.2.3.4");
        let with = |change: fn(&mut Vec<u8>)| {
            let mut response = right.clone();
            change(&mut response);
            response
        };
        for (what, response, wanted) in [
            ("right", right.clone(), Judged::Answer),
            ("other number", with(|r| r[1] = 8), Judged::Stranger),
            ("a query", with(|r| r[2] &= 0x7f), Judged::Stranger),
            ("other operation", with(|r| r[2] |= 0x08), Judged::Stranger),
            ("other name", with(|r| r[13] = b'b'), Judged::Stranger),
            ("other type", with(|r| r[20] = 28), Judged::Stranger),
            ("other class", with(|r| r[22] = 3), Judged::Stranger),
            ("other case", with(|r| r[13] = b'A'), Judged::Answer),
            ("two questions", with(|r| r[5] = 2), Judged::Stranger),
            ("short", with(|r| r.truncate(11)), Judged::Stranger),
            ("truncated", with(|r| r[2] |= 2), Judged::Truncated),
            (
                "no EDNS",
                with(|r| {
                    r.truncate(12);
                    r[3] = 1;
                    r[5] = 0;
                    r[7] = 0
                }),
                Judged::NeedsPlain,
            ),
            (
                "no EDNS",
                with(|r| {
                    r.truncate(23);
                    r[3] = 1;
                    r[7] = 0
                }),
                Judged::NeedsPlain,
            ),
            ("nothing", Vec::new(), Judged::Stranger),
        ] {
            assert_eq!(sent.judge(&response), wanted, "{what}");
        }
        let mixed = Sent::new(&key("a.org"), 7, Some([0b10; 32]), true);
        assert_eq!(&mixed.bytes[12..19], b"\x01A\x03org\x00");
        assert_eq!(mixed.judge(&right), Judged::Stranger);
        assert_eq!(mixed.judge(&with(|r| r[13] = b'A')), Judged::Answer);
    }
}
