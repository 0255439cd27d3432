//! What is known of one name: sets of records, written ahead as they go into an answer.
//!
//! A record's owner is a pointer to the question, which is the same name and begins after the header in every answer.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::wire::{HEADER, IN, LONGEST, Name, Type};

/// A pointer to the question.
const QUESTION: u16 = 0xc000 | HEADER as u16;
/// The bytes of a record before its data: owner, type, class, time to live, length.
const HEAD: usize = 12;

/// So many bytes come into the processor's caches at a time.
const LINE: usize = 64;
/// What each set has in an entry's table: type, counts, lengths of the records and of the additional ones.
const ROW: usize = 14;

/// What is known of one name. Without any set it is a name that only has others below it.
///
/// It is one piece of memory, so that finding it and reading it are next to each other: the length of the name, the number
/// of sets, the name, a row for each set, the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry(Arc<[u8]>);

/// The records of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    /// The type.
    pub kind: Type,
    /// How many records it has.
    pub count: u16,
    /// How many additional records go with it.
    pub additional_count: u16,
    /// The records as they go into the answer.
    pub records: &'a [u8],
    /// The additional records.
    pub additional: &'a [u8],
}

impl Entry {
    /// Makes the entry of a name that has nothing itself.
    pub fn empty(name: &Name) -> Self {
        Draft::new(name, 0).finish()
    }

    /// Answers the name, in lower case.
    pub fn name(&self) -> &[u8] {
        &self.0[2..2 + usize::from(self.0[0])]
    }

    /// Answers where it is.
    pub(super) fn address(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// Answers something of where the name and its first records are; what matters is that it is read.
    pub(super) fn touch(&self) -> u8 {
        self.0[0] ^ self.0.get(LINE).copied().unwrap_or_default()
    }

    /// Answers the records of a type.
    pub fn set(&self, kind: Type) -> Option<Set<'_>> {
        self.sets().find(|set| set.kind == kind)
    }

    fn sets(&self) -> impl Iterator<Item = Set<'_>> {
        let rows = &self.0[2 + usize::from(self.0[0])..];
        let (rows, mut records) = rows.split_at(usize::from(self.0[1]) * ROW);
        rows.chunks_exact(ROW).map(move |row| {
            let word = |at: usize| u16::from_be_bytes([row[at], row[at + 1]]);
            let long =
                |at: usize| u32::from_be_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]) as usize;
            let (own, rest) = records.split_at(long(6));
            let (additional, rest) = rest.split_at(long(10));
            records = rest;
            Set { kind: Type(word(0)), count: word(2), additional_count: word(4), records: own, additional }
        })
    }
}

impl<'a> Set<'a> {
    /// Answers each record's time to live and data.
    pub fn data(&self) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        each(self.records).map(|record| {
            let ttl = record[6..10].try_into().expect("four bytes");
            (u32::from_be_bytes(ttl), &record[HEAD..])
        })
    }

    /// Answers where the record with this number begins.
    pub fn start_of(&self, number: u16) -> usize {
        // All but a few sets are of addresses, whose records have one length.
        if self.kind == Type::A || self.kind == Type::AAAA {
            return self.records.len() / usize::from(self.count) * usize::from(number);
        }
        each(self.records).take(usize::from(number)).map(<[u8]>::len).sum()
    }
}

/// Answers records that lie one after the other and begin with a pointer.
pub(crate) fn each(mut records: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = records.first_chunk::<HEAD>()?;
        let len = HEAD + usize::from(u16::from_be_bytes([head[HEAD - 2], head[HEAD - 1]]));
        let (record, rest) = records.split_at_checked(len)?;
        records = rest;
        Some(record)
    })
}

/// An entry that is being put together. Records keep their order; equal ones are one.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    name: &'a Name,
    ttl: u32,
    sets: Vec<DraftSet>,
}

#[derive(Debug)]
struct DraftSet {
    kind: Type,
    records: Records,
    additional: Records,
}

/// Records in the order in which they came, each once.
#[derive(Debug, Default)]
struct Records {
    bytes: Vec<u8>,
    count: u16,
    seen: FxHashSet<Box<[u8]>>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(name: &'a Name, ttl: u32) -> Self {
        Self { name, ttl, sets: Vec::new() }
    }

    /// Adds the A or AAAA record of an address.
    pub(super) fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.record(Type::A, &address.octets()),
            IpAddr::V6(address) => self.record(Type::AAAA, &address.octets()),
        }
    }

    /// Adds a record whose data is a name. In full: a pointer may not be in SRV, and saves nothing that matters in others.
    pub(super) fn name(&mut self, kind: Type, name: &Name) {
        self.record(kind, name.as_wire());
    }

    /// Adds an SRV record.
    pub(super) fn service(&mut self, weight: u16, port: u16, target: &Name) {
        let mut data = vec![0, 0];
        data.extend(weight.to_be_bytes());
        data.extend(port.to_be_bytes());
        data.extend(target.as_wire());
        self.record(Type::SRV, &data);
    }

    pub(super) fn record(&mut self, kind: Type, data: &[u8]) {
        let record = record(&QUESTION.to_be_bytes(), (kind, self.ttl), data);
        self.set(kind).records.push(record);
    }

    /// Adds the address of a name to what goes with the records of a type.
    pub(super) fn additional(&mut self, kind: Type, owner: &Name, address: IpAddr) {
        let owner = below_question(owner, self.name);
        let record = match address {
            IpAddr::V4(address) => record(&owner, (Type::A, self.ttl), &address.octets()),
            IpAddr::V6(address) => record(&owner, (Type::AAAA, self.ttl), &address.octets()),
        };
        self.set(kind).additional.push(record);
    }

    fn set(&mut self, kind: Type) -> &mut DraftSet {
        let at = self.sets.iter().position(|set| set.kind == kind).unwrap_or_else(|| {
            self.sets.push(DraftSet { kind, records: Records::default(), additional: Records::default() });
            self.sets.len() - 1
        });
        &mut self.sets[at]
    }

    pub(super) fn finish(self) -> Entry {
        let name = self.name.as_wire();
        let mut bytes = vec![name.len() as u8, self.sets.len() as u8];
        bytes.extend(name);
        for set in &self.sets {
            for word in [set.kind.0, set.records.count, set.additional.count] {
                bytes.extend(word.to_be_bytes());
            }
            for records in [&set.records, &set.additional] {
                bytes.extend((records.bytes.len() as u32).to_be_bytes());
            }
        }
        for set in &self.sets {
            bytes.extend(&set.records.bytes);
            bytes.extend(&set.additional.bytes);
        }
        Entry(bytes.into())
    }
}

impl Records {
    fn push(&mut self, record: Vec<u8>) {
        // A message has no room for more; more would never be sent.
        if self.bytes.len() + record.len() > LONGEST {
            return;
        }
        if self.seen.insert(record.as_slice().into()) {
            self.bytes.extend(record);
            self.count += 1;
        }
    }
}

fn record(owner: &[u8], (kind, ttl): (Type, u32), data: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(owner.len() + 10 + data.len());
    record.extend(owner);
    record.extend(kind.0.to_be_bytes());
    record.extend(IN.to_be_bytes());
    record.extend(ttl.to_be_bytes());
    record.extend((data.len() as u16).to_be_bytes());
    record.extend(data);
    record
}

/// Answers a name for a message that asks for `question`: what both end with becomes a pointer.
fn below_question(name: &Name, question: &Name) -> Vec<u8> {
    let (name, question) = (name.as_wire(), question.as_wire());
    let mut at = 0;
    while name[at] != 0 {
        let rest = &name[at..];
        let mut start = 0;
        while question[start] != 0 {
            if question[start..] == *rest {
                let pointer = 0xc000 | (HEADER + start) as u16;
                return [&name[..at], &pointer.to_be_bytes()].concat();
            }
            start += usize::from(question[start]) + 1;
        }
        at += usize::from(name[at]) + 1;
    }
    name.to_vec()
}
