//! What is known of one name: sets of records, written ahead as they go into an answer.
//!
//! A record's owner is a pointer to the question, which is the same name and begins after the header in every answer.

use std::net::IpAddr;

use rustc_hash::FxHashSet;

use crate::wire::{HEADER, IN, LONGEST, Name, Type};

/// A pointer to the question.
const QUESTION: u16 = 0xc000 | HEADER as u16;
/// The bytes of a record before its data: owner, type, class, time to live, length.
const HEAD: usize = 12;

/// What is known of one name. Without any set it is a name that only has others below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    sets: Box<[Set]>,
}

/// The records of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The type.
    pub kind: Type,
    /// How many records it has.
    pub count: u16,
    /// How many additional records go with it.
    pub additional_count: u16,
    /// Where the additional records begin.
    split: u32,
    bytes: Box<[u8]>,
}

impl Entry {
    /// Answers the records of a type.
    pub fn set(&self, kind: Type) -> Option<&Set> {
        self.sets.iter().find(|set| set.kind == kind)
    }
}

impl Set {
    /// Answers the records as they go into the answer.
    pub fn records(&self) -> &[u8] {
        &self.bytes[..self.split as usize]
    }

    /// Answers the additional records.
    pub fn additional(&self) -> &[u8] {
        &self.bytes[self.split as usize..]
    }

    /// Answers each record's time to live and data.
    pub fn data(&self) -> impl Iterator<Item = (u32, &[u8])> {
        each(self.records()).map(|record| {
            let ttl = record[6..10].try_into().expect("four bytes");
            (u32::from_be_bytes(ttl), &record[HEAD..])
        })
    }

    /// Answers where the record with this number begins.
    pub fn start_of(&self, number: u16) -> usize {
        // All but a few sets are of addresses, whose records have one length.
        if self.kind == Type::A || self.kind == Type::AAAA {
            return self.split as usize / usize::from(self.count) * usize::from(number);
        }
        each(self.records()).take(usize::from(number)).map(<[u8]>::len).sum()
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
        Entry { sets: self.sets.into_iter().map(DraftSet::finish).collect() }
    }
}

impl DraftSet {
    fn finish(self) -> Set {
        let split = self.records.bytes.len() as u32;
        Set {
            kind: self.kind,
            count: self.records.count,
            additional_count: self.additional.count,
            split,
            bytes: [self.records.bytes, self.additional.bytes].concat().into(),
        }
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
