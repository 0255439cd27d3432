//! Sets and maps: their declaration as `nft` reads it, and the values of their elements.

use model::Family;

use super::field::{self, Field};
use super::wire;
use crate::netlink::{close, open, put, put_str, put_u32};

/// What the elements of a set lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetValue {
    /// Nothing: a set.
    None,
    /// A verdict: a verdict map.
    Verdict,
    /// An address and a port.
    Endpoint,
}

/// The declaration of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetDefinition {
    /// Its name.
    pub name: String,
    /// The fields of its keys.
    pub key: Vec<Field>,
    /// What its elements lead to.
    pub value: SetValue,
    /// Whether keys are ranges.
    pub interval: bool,
    /// Whether packets add elements, which live for this many seconds; 0: each for as long as its rule says.
    pub timeout_seconds: Option<u32>,
    /// The most elements that packets may add.
    pub size: Option<u32>,
    /// Whether each element counts the packets that find it.
    pub counted: bool,
}

/// The value of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElementValue<'a> {
    /// Nothing: an element of a set.
    None,
    /// Address (4 or 16 bytes) and port (2 bytes, padded to 4), as the packet has them.
    Data(&'a [u8]),
    /// `goto` this chain.
    Goto(&'a str),
    /// Drop the packet.
    Drop,
}

impl SetDefinition {
    /// Answers how many bytes a key has. Only the fields of a concatenation are padded.
    pub fn key_len(&self, family: Family) -> usize {
        match self.key.as_slice() {
            [field] => field.len(family),
            fields => fields.iter().map(|field| field.padded(family)).sum(),
        }
    }

    /// Answers how many bytes a value has in the kernel; verdicts have none.
    pub fn data_len(&self, family: Family) -> usize {
        match self.value {
            SetValue::None | SetValue::Verdict => 0,
            SetValue::Endpoint => Field::Daddr.padded(family) + Field::Dport.padded(family),
        }
    }

    /// Answers the kernel's flags.
    pub fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.value != SetValue::None {
            flags |= wire::SET_MAP;
        }
        if self.interval {
            flags |= wire::SET_INTERVAL;
            if self.key.len() > 1 {
                flags |= wire::SET_CONCAT;
            }
        }
        if self.timeout_seconds.is_some() {
            flags |= wire::SET_TIMEOUT | wire::SET_EVAL;
        }
        flags
    }

    /// Writes the attributes behind table and name.
    pub(super) fn write(&self, out: &mut Vec<u8>, family: Family, id: u32) {
        put_u32(out, 3, self.flags());
        put_u32(out, 4, field::data_type(&self.key, family));
        put_u32(out, 5, self.key_len(family) as u32);
        match self.value {
            SetValue::None => {}
            SetValue::Verdict => {
                put_u32(out, 6, wire::DATA_VERDICT);
                put_u32(out, 7, 0);
            }
            SetValue::Endpoint => {
                put_u32(out, 6, field::data_type(&[Field::Daddr, Field::Dport], family));
                put_u32(out, 7, self.data_len(family) as u32);
            }
        }
        put_u32(out, 10, id);
        self.write_description(out, family);
        if let Some(seconds) = self.timeout_seconds.filter(|seconds| *seconds > 0) {
            put(out, 11, &(u64::from(seconds) * 1000).to_be_bytes());
        }
        put(out, 13, &self.user_data(family));
        if self.counted {
            let counter = open(out, 17);
            put_str(out, 1, "counter");
            let data = open(out, 2);
            close(out, data);
            close(out, counter);
        }
    }

    fn write_description(&self, out: &mut Vec<u8>, family: Family) {
        let has_fields = self.interval && self.key.len() > 1;
        if self.size.is_none() && !has_fields {
            return;
        }
        let description = open(out, 9);
        if let Some(size) = self.size {
            put_u32(out, 1, size);
        }
        if has_fields {
            let fields = open(out, 2);
            for field in &self.key {
                let element = open(out, 1);
                put_u32(out, 1, field.len(family) as u32);
                close(out, element);
            }
            close(out, fields);
        }
        close(out, description);
    }

    /// What `nft` wants to know to print the declaration. A key that holds a random number or is a range of several
    /// fields has no type with a name and is printed as `typeof`.
    fn user_data(&self, family: Family) -> Vec<u8> {
        const HOST_ORDER_UNKNOWN: u32 = 0;
        const NETWORK_ORDER: u32 = 2;
        let mut out = Vec::new();
        let order = if self.key.len() > 1 { HOST_ORDER_UNKNOWN } else { NETWORK_ORDER };
        field::put_number(&mut out, 0, order);
        if self.value != SetValue::None {
            field::put_number(&mut out, 1, HOST_ORDER_UNKNOWN);
        }
        if self.is_typeof() {
            field::put(&mut out, 3, &field::type_of(&self.key, family));
            if self.value == SetValue::Endpoint {
                field::put(&mut out, 4, &field::type_of(&[Field::Daddr, Field::Dport], family));
            }
        }
        out
    }

    /// Answers whether `nft` prints the key as `typeof`.
    pub fn is_typeof(&self) -> bool {
        let random = self.key.iter().any(|field| matches!(field, Field::Random(_)));
        random || (self.interval && self.key.len() > 1)
    }
}

impl ElementValue<'_> {
    pub(super) fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::None => {}
            Self::Data(bytes) => {
                let data = open(out, 2);
                put(out, 1, bytes);
                close(out, data);
            }
            Self::Goto(chain) => write_verdict(out, 2, wire::VERDICT_GOTO, Some(chain)),
            Self::Drop => write_verdict(out, 2, wire::VERDICT_DROP, None),
        }
    }
}

/// Writes a verdict as attribute `kind`.
pub(super) fn write_verdict(out: &mut Vec<u8>, kind: u16, code: i32, chain: Option<&str>) {
    let data = open(out, kind);
    let verdict = open(out, 2);
    put_u32(out, 1, code.cast_unsigned());
    if let Some(chain) = chain {
        put_str(out, 2, chain);
    }
    close(out, verdict);
    close(out, data);
}
