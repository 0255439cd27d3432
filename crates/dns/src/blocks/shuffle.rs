//! The order of addresses in answers from elsewhere, where a server says that it changes. Pure.
//!
//! Only addresses change their places, and only those of one name: aliases stay before what they lead to. Mail servers are left
//! alone: who sends mail picks one by chance (RFC 5321, section 5.1).

use std::ops::Range;

use crate::wire::{Message, NameBuffer, Section, Type};

/// How many addresses change their places; more stay where they are.
const MOST: usize = 64;

/// Where addresses are in an answer, all of one length.
#[derive(Debug)]
struct Places {
    at: [usize; MOST],
    count: usize,
    len: usize,
}

/// Has the addresses of an answer begin with another one for each turn.
pub(super) fn turn(answer: &mut [u8], turn: u32) {
    let Some(places) = addresses(answer).filter(|places| places.count > 1) else { return };
    let first = turn as usize % places.count;
    // What is reversed in two parts and then as a whole begins with the second part.
    places.reverse(answer, 0..first);
    places.reverse(answer, first..places.count);
    places.reverse(answer, 0..places.count);
}

impl Places {
    /// What an address is never has a pointer in it, nor is one to it, so the bytes can just go elsewhere.
    fn reverse(&self, answer: &mut [u8], range: Range<usize>) {
        let places = &self.at[range];
        for (one, other) in places.iter().zip(places.iter().rev()).take(places.len() / 2) {
            (0..self.len).for_each(|byte| answer.swap(one + byte, other + byte));
        }
    }
}

/// Where the addresses are, which all have the type and the name of the first one.
fn addresses(answer: &[u8]) -> Option<Places> {
    let message = Message::read(answer).ok()?;
    let mut places = Places { at: [0; MOST], count: 0, len: 0 };
    let (mut owner, mut first) = (NameBuffer::new(), NameBuffer::new());
    for record in message.records() {
        let record = record.ok()?;
        let len = record.data().len();
        let is_address = matches!((record.kind, len), (Type::A, 4) | (Type::AAAA, 16));
        if record.section != Section::Answer || !is_address || places.count == MOST {
            continue;
        }
        record.read_name(&mut owner).ok()?;
        owner.make_lower();
        if places.count == 0 {
            (first, places.len) = (owner.clone(), len);
        }
        if places.len == len && first.as_wire() == owner.as_wire() {
            places.at[places.count] = record.end - len;
            places.count += 1;
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::response;
    use crate::script::render;
    use crate::wire::Rcode;

    fn turned(kind: Type, lines: &str, by: u32) -> String {
        let mut answer = response(7, ("a.org", kind), Rcode::NO_ERROR, lines);
        turn(&mut answer, by);
        let data = |line: &str| line.split(' ').skip(2).collect::<Vec<_>>().join(" ");
        render(&answer).lines().skip(1).map(data).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn addresses_take_turns_behind_their_alias() {
        let lines = "answer a.org CNAME 60 b.org, answer b.org A 60 1.2.3.1, answer b.org A 60 1.2.3.2, answer b.org A 60 1.2.3.3";
        for (by, wanted) in [
            (0, "CNAME b.org., A 1.2.3.1, A 1.2.3.2, A 1.2.3.3"),
            (1, "CNAME b.org., A 1.2.3.2, A 1.2.3.3, A 1.2.3.1"),
            (5, "CNAME b.org., A 1.2.3.3, A 1.2.3.1, A 1.2.3.2"),
        ] {
            assert_eq!(turned(Type::A, lines, by), wanted);
        }
        let one = "answer a.org A 60 1.2.3.1";
        assert_eq!(turned(Type::A, one, 1), "A 1.2.3.1");
        turn(&mut [1, 2, 3], 1);
    }
}
