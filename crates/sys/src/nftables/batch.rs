//! A transaction: operations on one table, encoded as they are added.

use model::Family;

use super::rule::Rule;
use super::set::{ElementValue, SetDefinition};
use super::wire;
use crate::netlink::{self, close, open, put, put_str, put_u32};

/// A nested attribute can say 65,535 bytes; an element with a long comment and chain name stays below this.
const FULL_MESSAGE: usize = 64_000;

/// Where a base chain is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    /// Which hook.
    pub kind: HookKind,
    /// Whether the chain may rewrite addresses (type nat) or not (type filter).
    pub nat: bool,
    /// Smaller is earlier; `dstnat` is -100, `filter` 0, `srcnat` 100.
    pub priority: i32,
}

/// The hooks of netfilter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// A packet came in.
    Prerouting,
    /// It is for this node.
    Input,
    /// It is for somebody else.
    Forward,
    /// A process of this node sent it.
    Output,
    /// It leaves.
    Postrouting,
}

impl HookKind {
    /// Answers the kernel's number.
    pub fn number(self) -> u32 {
        match self {
            Self::Prerouting => 0,
            Self::Input => 1,
            Self::Forward => 2,
            Self::Output => 3,
            Self::Postrouting => 4,
        }
    }
}

/// Operations on one table that happen together or not at all. Operations are numbered from 0 in the order in which
/// they are added; errors name them by that number.
#[derive(Debug, Clone)]
pub struct Batch {
    family: Family,
    table: String,
    bytes: Vec<u8>,
    /// Where each message behind the one that begins the batch begins, and its first operation.
    starts: Vec<usize>,
    first_operations: Vec<u32>,
    operations: u32,
    sets: u32,
    /// The message of element operations that is still open.
    elements: Option<OpenElements>,
}

#[derive(Debug, Clone)]
struct OpenElements {
    message: usize,
    list: usize,
    kind: u16,
    set: String,
}

impl Batch {
    /// Begins a transaction on a table.
    pub fn new(family: Family, table: &str) -> Self {
        let mut bytes = Vec::new();
        let start = netlink::begin(&mut bytes, wire::BATCH_BEGIN, &wire::header(0, wire::SUBSYSTEM));
        netlink::end(&mut bytes, start, netlink::REQUEST, 0);
        let table = table.to_owned();
        Self {
            family,
            table,
            bytes,
            starts: Vec::new(),
            first_operations: Vec::new(),
            operations: 0,
            sets: 0,
            elements: None,
        }
    }

    /// Makes room for so many more bytes at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Answers whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }

    /// Answers how many operations were added.
    pub fn len(&self) -> usize {
        self.operations as usize
    }

    /// Answers how many bytes the kernel will be sent.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the table; one that exists stays as it is, but for the comment.
    pub fn add_table(&mut self, comment: &str) {
        self.operation(wire::NEW_TABLE, netlink::CREATE, |out, table| {
            put_str(out, 1, table);
            put_u32(out, 2, 0);
            put(out, 6, &wire::comment(0, comment));
        });
    }

    /// Adds the table as one that the kernel removes when the socket is closed that this is written to. Nobody else can change
    /// it. Needs Linux 5.12.
    pub fn add_own_table(&mut self, comment: &str) {
        const OWNER: u32 = 2;
        self.operation(wire::NEW_TABLE, netlink::CREATE, |out, table| {
            put_str(out, 1, table);
            put_u32(out, 2, OWNER);
            put(out, 6, &wire::comment(0, comment));
        });
    }

    /// Deletes this table with everything in it.
    pub fn delete_table(&mut self) {
        self.operation(wire::DEL_TABLE, 0, |out, table| put_str(out, 1, table));
    }

    /// Deletes another table of the same family with everything in it.
    pub fn delete_other_table(&mut self, name: &str) {
        self.operation(wire::DEL_TABLE, 0, |out, _| put_str(out, 1, name));
    }

    /// Adds a chain; one that exists stays as it is.
    pub fn add_chain(&mut self, name: &str, hook: Option<Hook>) {
        self.operation(wire::NEW_CHAIN, netlink::CREATE, |out, table| {
            put_str(out, 1, table);
            put_str(out, 3, name);
            let Some(hook) = hook else { return };
            let nested = open(out, 4);
            put_u32(out, 1, hook.kind.number());
            put_u32(out, 2, hook.priority.cast_unsigned());
            close(out, nested);
            put_u32(out, 5, wire::VERDICT_ACCEPT.cast_unsigned());
            put_str(out, 7, if hook.nat { "nat" } else { "filter" });
        });
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, name: &str) {
        self.operation(wire::DEL_RULE, 0, |out, table| {
            put_str(out, 1, table);
            put_str(out, 2, name);
        });
    }

    /// Deletes a chain that nothing leads to any more.
    pub fn delete_chain(&mut self, name: &str) {
        self.operation(wire::DEL_CHAIN, 0, |out, table| {
            put_str(out, 1, table);
            put_str(out, 3, name);
        });
    }

    /// Appends a rule to a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        self.operation(wire::NEW_RULE, netlink::CREATE | netlink::APPEND, |out, table| {
            put_str(out, 1, table);
            put_str(out, 2, chain);
            let expressions = open(out, 4);
            out.extend_from_slice(&rule.expressions);
            close(out, expressions);
            if let Some(comment) = &rule.comment {
                put(out, 7, &wire::comment(0, comment));
            }
        });
    }

    /// Adds a set or map; one that exists with the same declaration stays as it is.
    pub fn add_set(&mut self, set: &SetDefinition) {
        self.sets += 1;
        let (family, id) = (self.family, self.sets);
        self.operation(wire::NEW_SET, netlink::CREATE, |out, table| {
            put_str(out, 1, table);
            put_str(out, 2, &set.name);
            set.write(out, family, id);
        });
    }

    /// Deletes a set or map that no rule uses any more.
    pub fn delete_set(&mut self, name: &str) {
        self.operation(wire::DEL_SET, 0, |out, table| {
            put_str(out, 1, table);
            put_str(out, 2, name);
        });
    }

    /// Adds an element. `key_end` closes the range of an interval set.
    pub fn add_element(
        &mut self,
        set: &str,
        key: (&[u8], Option<&[u8]>),
        (value, comment): (ElementValue<'_>, Option<&str>),
    ) {
        self.element(wire::NEW_ELEMENT, set, |out| {
            write_key(out, key);
            value.write(out);
            if let Some(comment) = comment {
                put(out, 6, &wire::comment(0, comment));
            }
        });
    }

    /// Deletes an element; a missing one fails the transaction.
    pub fn delete_element(&mut self, set: &str, key: (&[u8], Option<&[u8]>)) {
        self.element(wire::DEL_ELEMENT, set, |out| write_key(out, key));
    }

    /// Deletes an element that may have expired already. Needs Linux 6.3.
    pub fn destroy_element(&mut self, set: &str, key: &[u8]) {
        self.element(wire::DESTROY_ELEMENT, set, |out| write_key(out, (key, None)));
    }

    fn element(&mut self, kind: u16, set: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let fits = |open: &OpenElements| {
            open.kind == kind && open.set == set && self.bytes.len() - open.list < FULL_MESSAGE
        };
        if !self.elements.as_ref().is_some_and(fits) {
            self.close_elements();
            self.open_elements(kind, set);
        }
        let element = open(&mut self.bytes, 1);
        write(&mut self.bytes);
        close(&mut self.bytes, element);
        self.operations += 1;
    }

    fn open_elements(&mut self, kind: u16, set: &str) {
        let header = wire::header(wire::number(self.family), 0);
        let message = netlink::begin(&mut self.bytes, wire::kind(kind), &header);
        put_str(&mut self.bytes, 1, &self.table);
        put_str(&mut self.bytes, 2, set);
        let list = open(&mut self.bytes, 3);
        self.starts.push(message);
        self.first_operations.push(self.operations);
        self.elements = Some(OpenElements { message, list, kind, set: set.to_owned() });
    }

    fn close_elements(&mut self) {
        let Some(elements) = self.elements.take() else { return };
        let flags = if elements.kind == wire::NEW_ELEMENT { netlink::CREATE | netlink::EXCL } else { 0 };
        close(&mut self.bytes, elements.list);
        let sequence = self.first_operations.len() as u32;
        netlink::end(&mut self.bytes, elements.message, flags | netlink::REQUEST, sequence);
    }

    fn operation(&mut self, kind: u16, flags: u16, write: impl FnOnce(&mut Vec<u8>, &str)) {
        self.close_elements();
        let header = wire::header(wire::number(self.family), 0);
        let start = netlink::begin(&mut self.bytes, wire::kind(kind), &header);
        write(&mut self.bytes, &self.table);
        self.starts.push(start);
        self.first_operations.push(self.operations);
        self.operations += 1;
        let sequence = self.first_operations.len() as u32;
        netlink::end(&mut self.bytes, start, flags | netlink::REQUEST, sequence);
    }

    /// Closes the batch; its last operation asks for an acknowledgement.
    pub(super) fn seal(mut self) -> Sealed {
        self.close_elements();
        if let Some(last) = self.starts.last() {
            // The low byte of `nlmsg_flags`.
            let flags = last + 6..last + 8;
            let with_ack =
                u16::from_ne_bytes([self.bytes[flags.start], self.bytes[flags.start + 1]]) | netlink::ACK;
            self.bytes[flags].copy_from_slice(&with_ack.to_ne_bytes());
        }
        let end = netlink::begin(&mut self.bytes, wire::BATCH_END, &wire::header(0, wire::SUBSYSTEM));
        netlink::end(&mut self.bytes, end, netlink::REQUEST, self.starts.len() as u32 + 1);
        Sealed { bytes: self.bytes, starts: self.starts, first_operations: self.first_operations }
    }
}

/// A batch as the kernel takes it. The message with sequence number `n` is the `n`th from 1.
pub(super) struct Sealed {
    pub(super) bytes: Vec<u8>,
    starts: Vec<usize>,
    first_operations: Vec<u32>,
}

impl Sealed {
    /// Answers how many messages ask for something; the last has this number as its sequence number.
    pub(super) fn messages(&self) -> u32 {
        self.starts.len() as u32
    }

    /// Answers which operation an error is about, by sequence number and by the offset of the offending attribute: the
    /// kernel points at the element, or into it.
    pub(super) fn operation(&self, sequence: u32, offset: Option<u32>) -> Option<usize> {
        let index = (sequence as usize).checked_sub(1)?;
        let first = *self.first_operations.get(index)? as usize;
        let Some(offset) = offset else { return Some(first) };
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied().unwrap_or(self.bytes.len());
        Some(first + element_at(&self.bytes[start..end], offset as usize).unwrap_or(0))
    }
}

/// Answers which element of a message of element operations holds this offset.
fn element_at(message: &[u8], offset: usize) -> Option<usize> {
    const BODY: usize = 20;
    const ELEMENTS: u16 = 3;
    let is_element_message = {
        let kind = u16::from_ne_bytes([*message.get(4)?, *message.get(5)?]);
        [wire::NEW_ELEMENT, wire::DEL_ELEMENT, wire::DESTROY_ELEMENT].contains(&(kind & 0xff))
    };
    if !is_element_message {
        return None;
    }
    let base = message.as_ptr() as usize;
    let body = message.get(BODY..)?;
    let (_, list) = netlink::attributes(body).find(|(kind, _)| *kind == ELEMENTS)?;
    netlink::attributes(list)
        .position(|(_, element)| offset < element.as_ptr() as usize - base + element.len())
}

fn write_key(out: &mut Vec<u8>, (key, end): (&[u8], Option<&[u8]>)) {
    let mut write = |kind, bytes: &[u8]| {
        let data = open(out, kind);
        put(out, 1, bytes);
        close(out, data);
    };
    write(1, key);
    if let Some(end) = end {
        write(10, end);
    }
}
