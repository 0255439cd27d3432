//! Bad messages of every sort, the same in each run: queries that mean something, and what a seed makes of them. The
//! replies are read by another implementation too.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod messages;

use hickory_proto::op::Message;

/// How many changed messages are played; fuzzing plays more.
const PLAYED: usize = 20_000;

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

/// Messages that fuzzing found, each with what it was that harmed.
const FOUND: [&[u8]; 1] = [
    // A record of others whose data breaks off while it is copied; half of it stayed in the reply.
    b"\x43\x21\x81\x80\x00\x01\x00\x02\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01\
      \xc0\x0c\x00\x05\x00\x01\x00\x00\xc0\x05\x00\x04\x0c\x00\x01x\
      \xc0\x0c\x00\x01\x00\x01\x00\x00\xff\x05\x00\x04\x01\x02\x03\x04",
];

#[test]
fn what_fuzzing_found_harms_nobody() {
    for message in FOUND {
        assert!(messages::play(message).is_empty(), "{message:?}");
    }
}
