//! What a rule can look at in a packet, and how `nft` numbers it.

use model::Family;

/// A part of a packet, or a number drawn for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Source address.
    Saddr,
    /// Destination address.
    Daddr,
    /// Transport protocol.
    L4Proto,
    /// Destination port.
    Dport,
    /// A random number below this one.
    Random(u32),
}

impl Field {
    /// Answers how many bytes it has.
    pub fn len(self, family: Family) -> usize {
        match self {
            Self::Saddr | Self::Daddr => match family {
                Family::V4 => 4,
                Family::V6 => 16,
            },
            Self::L4Proto => 1,
            Self::Dport => 2,
            Self::Random(_) => 4,
        }
    }

    /// Answers how many bytes it takes in a key: fields begin at multiples of four.
    pub fn padded(self, family: Family) -> usize {
        self.len(family).next_multiple_of(4)
    }

    /// Answers `nft`'s number of its data type (`include/datatype.h`).
    pub(super) fn data_type(self, family: Family) -> u32 {
        match self {
            Self::Saddr | Self::Daddr => match family {
                Family::V4 => 7,
                Family::V6 => 8,
            },
            Self::L4Proto => 12,
            Self::Dport => 13,
            Self::Random(_) => 4,
        }
    }

    /// Answers offset in the network header, of addresses.
    pub(super) fn offset(self, family: Family) -> u32 {
        match (self, family) {
            (Self::Saddr, Family::V4) => 12,
            (Self::Daddr, Family::V4) => 16,
            (Self::Saddr, Family::V6) => 8,
            (Self::Daddr, Family::V6) => 24,
            (Self::Dport, _) => 2,
            (Self::L4Proto | Self::Random(_), _) => 0,
        }
    }

    /// Appends what `nft` keeps to print the field in a `typeof` (its `expr_ops::build_udata`).
    pub(super) fn describe(self, family: Family, out: &mut Vec<u8>) {
        const PAYLOAD: u32 = 7;
        const META: u32 = 9;
        const NUMGEN: u32 = 23;
        let (header, source, destination) = match family {
            Family::V4 => (12, 11, 12),
            Family::V6 => (13, 8, 9),
        };
        match self {
            Self::Saddr => expression(out, PAYLOAD, &[header, source]),
            Self::Daddr => expression(out, PAYLOAD, &[header, destination]),
            Self::Dport => expression(out, PAYLOAD, &[11, 2]),
            Self::L4Proto => expression(out, META, &[16]),
            Self::Random(modulus) => expression(out, NUMGEN, &[1, modulus, 0]),
        }
    }
}

/// The bytes of a `typeof` of these fields; several are a concatenation.
pub(super) fn type_of(fields: &[Field], family: Family) -> Vec<u8> {
    const CONCATENATION: u32 = 13;
    let mut out = Vec::new();
    if let [field] = fields {
        field.describe(family, &mut out);
        return out;
    }
    let mut inner = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let mut described = Vec::new();
        field.describe(family, &mut described);
        put(&mut inner, index as u8, &described);
    }
    put_number(&mut out, 0, CONCATENATION);
    put(&mut out, 1, &inner);
    out
}

/// The concatenated data type: six bits a field.
pub(super) fn data_type(fields: &[Field], family: Family) -> u32 {
    fields.iter().fold(0, |all, field| all << 6 | field.data_type(family))
}

fn expression(out: &mut Vec<u8>, kind: u32, numbers: &[u32]) {
    let mut inner = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        put_number(&mut inner, index as u8, *number);
    }
    put_number(out, 0, kind);
    put(out, 1, &inner);
}

/// User data is type, length, value without padding; numbers are in the machine's own byte order.
pub(super) fn put(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend_from_slice(&[kind, value.len() as u8]);
    out.extend_from_slice(value);
}

pub(super) fn put_number(out: &mut Vec<u8>, kind: u8, value: u32) {
    put(out, kind, &value.to_ne_bytes());
}
