//! DNS messages on the wire: [`Query`] reads what a client asks, [`Reply`] writes into the caller's buffer, [`Message`]
//! walks over anybody's answer. None of them allocates.
//!
//! What this does *not* know: which names there are.

mod message;
mod name;
mod query;
mod reply;

#[cfg(test)]
mod properties;

use std::fmt;

pub use message::{Message, Record, Records};
pub use name::{Name, NameBuffer, WrongName};
pub(crate) use query::{COOKIE, COOKIE_ROOM};
pub use query::{Edns, Query, Unanswerable, write_query};
pub use reply::{Reply, Section};

/// The length of a header.
pub const HEADER: usize = 12;
/// What a client takes over UDP that does not say how much.
pub const PLAIN_UDP: usize = 512;
/// The longest message there is.
pub const LONGEST: usize = 65_535;
/// The class of the Internet.
pub const IN: u16 = 1;

/// The bits of a header's second word.
pub mod flag {
    /// A response, not a query.
    pub const RESPONSE: u16 = 1 << 15;
    /// The operation; 0 is a query.
    pub const OPCODE: u16 = 0b1111 << 11;
    /// The answer of one who is in charge of the name.
    pub const AUTHORITATIVE: u16 = 1 << 10;
    /// Not everything fitted.
    pub const TRUNCATED: u16 = 1 << 9;
    /// The client wants recursion.
    pub const RECURSION_DESIRED: u16 = 1 << 8;
    /// The server offers recursion.
    pub const RECURSION_AVAILABLE: u16 = 1 << 7;
    /// The answer is authentic, by the server's word.
    pub const AUTHENTIC: u16 = 1 << 5;
    /// The client checks signatures itself.
    pub const CHECKING_DISABLED: u16 = 1 << 4;
    /// The low bits of the response code.
    pub const RCODE: u16 = 0b1111;
}

/// A message breaks off, or contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed: {0}")]
pub struct Malformed(pub &'static str);

/// The type of a record or question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Type(pub u16);

impl Type {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A name server.
    pub const NS: Self = Self(2);
    /// An alias.
    pub const CNAME: Self = Self(5);
    /// The start of a zone.
    pub const SOA: Self = Self(6);
    /// A name for an address.
    pub const PTR: Self = Self(12);
    /// A mail server.
    pub const MX: Self = Self(15);
    /// Text.
    pub const TXT: Self = Self(16);
    /// An IPv6 address.
    pub const AAAA: Self = Self(28);
    /// A service: port and name.
    pub const SRV: Self = Self(33);
    /// An alias of a whole subtree.
    pub const DNAME: Self = Self(39);
    /// The pseudo record of EDNS.
    pub const OPT: Self = Self(41);
    /// A transfer of changes.
    pub const IXFR: Self = Self(251);
    /// A transfer of a zone.
    pub const AXFR: Self = Self(252);
    /// Anything.
    pub const ANY: Self = Self(255);

    const NAMES: [(Self, &'static str); 25] = [
        (Self::A, "A"),
        (Self::NS, "NS"),
        (Self::CNAME, "CNAME"),
        (Self::SOA, "SOA"),
        (Self::PTR, "PTR"),
        (Self(13), "HINFO"),
        (Self::MX, "MX"),
        (Self::TXT, "TXT"),
        (Self::AAAA, "AAAA"),
        (Self(29), "LOC"),
        (Self::SRV, "SRV"),
        (Self(35), "NAPTR"),
        (Self::DNAME, "DNAME"),
        (Self::OPT, "OPT"),
        (Self(43), "DS"),
        (Self(46), "RRSIG"),
        (Self(47), "NSEC"),
        (Self(48), "DNSKEY"),
        (Self(50), "NSEC3"),
        (Self(64), "SVCB"),
        (Self(65), "HTTPS"),
        (Self::IXFR, "IXFR"),
        (Self::AXFR, "AXFR"),
        (Self::ANY, "ANY"),
        (Self(257), "CAA"),
    ];

    /// Answers its usual name, where it has one here.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map(|(_, name)| *name)
    }

    /// Answers the type of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(kind, _)| *kind)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

/// A response code, with the bits that EDNS adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rcode(pub u16);

impl Rcode {
    /// All is well.
    pub const NO_ERROR: Self = Self(0);
    /// The query is malformed.
    pub const FORM_ERR: Self = Self(1);
    /// The server cannot answer now.
    pub const SERV_FAIL: Self = Self(2);
    /// The name does not exist.
    pub const NX_DOMAIN: Self = Self(3);
    /// The server does not do this kind of query.
    pub const NOT_IMP: Self = Self(4);
    /// The server does not want to.
    pub const REFUSED: Self = Self(5);
    /// The version of EDNS is unknown.
    pub const BAD_VERS: Self = Self(16);
    /// The query is to be sent again, with the cookie of this answer.
    pub const BAD_COOKIE: Self = Self(23);

    /// Answers its usual name, where it has one.
    pub fn name(self) -> Option<&'static str> {
        const LOW: [&str; 12] = [
            "NOERROR",
            "FORMERR",
            "SERVFAIL",
            "NXDOMAIN",
            "NOTIMP",
            "REFUSED",
            "YXDOMAIN",
            "YXRRSET",
            "NXRRSET",
            "NOTAUTH",
            "NOTZONE",
            "DSOTYPENI",
        ];
        match self.0 {
            16 => Some("BADVERS"),
            23 => Some("BADCOOKIE"),
            low => LOW.get(usize::from(low)).copied(),
        }
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

/// Answers the two bytes at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Answers the four bytes at `at`.
pub(crate) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
