//! Ports of the nodes: a key of a table each, whatever the protocol.
//!
//! Kubernetes keeps a bitmap; here it is also known which Service has a port.

use std::fmt;
use std::ops::RangeInclusive;

use super::{Owner, free, kept_for_requests};
use crate::writing::Writing;

/// By the number, who has it.
pub(super) const TABLE: &str = "allocated-nodeports";
/// How the server was set up.
pub(super) const SETTINGS: &str = "settings";
const NODE_PORTS: &str = "node-ports";

/// Which ports of the nodes Services can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodePorts {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl Default for NodePorts {
    fn default() -> Self {
        Self { first: 30_000, last: 32_767 }
    }
}

impl fmt::Display for NodePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl NodePorts {
    /// Reads `30000-32767`. Port 0 is none, and the last is not before the first.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let ports = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        (ports.first > 0 && ports.first <= ports.last).then_some(ports)
    }

    /// Answers what was set up.
    pub(super) fn read(writing: &Writing<'_>) -> Self {
        let text = writing.get(SETTINGS, NODE_PORTS);
        let text = text.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(Self::parse).unwrap_or_default()
    }

    /// Sets it up, if it is not so already.
    pub(super) fn write(self, writing: &mut Writing<'_>) {
        if Self::read(writing) != self || !writing.has(SETTINGS, NODE_PORTS) {
            writing.put(SETTINGS, NODE_PORTS, self.to_string());
        }
    }

    /// Where any port is taken from, in this order.
    fn bands(self) -> [RangeInclusive<u128>; 2] {
        let (first, last) = (u128::from(self.first), u128::from(self.last));
        let kept = kept_for_requests((last + 1).saturating_sub(first), 32, 128);
        super::bands(first, last, kept)
    }
}

/// Why no port is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPort {
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    OutOfRange(NodePorts),
    #[error("provided port is already allocated")]
    Taken,
    #[error("range is full")]
    Full,
}

/// Takes this port.
pub(crate) fn take_port(writing: &mut Writing<'_>, number: i64, owner: &Owner) -> Result<(), NoPort> {
    let valid = NodePorts::read(writing);
    if !(i64::from(valid.first)..=i64::from(valid.last)).contains(&number) {
        return Err(NoPort::OutOfRange(valid));
    }
    if writing.has(TABLE, &number.to_string()) {
        return Err(NoPort::Taken);
    }
    put(writing, number, owner);
    Ok(())
}

/// Takes any port.
pub(crate) fn take_any_port(writing: &mut Writing<'_>, owner: &Owner) -> Result<i64, NoPort> {
    let mut chance = writing.chance.clone();
    let is_taken = |number: u128| writing.has(TABLE, &number.to_string());
    let [upper, lower] = NodePorts::read(writing).bands();
    let found = free(&mut chance, upper, is_taken).or_else(|| free(&mut chance, lower, is_taken));
    writing.chance = chance;
    let number = found.and_then(|number| i64::try_from(number).ok()).ok_or(NoPort::Full)?;
    put(writing, number, owner);
    Ok(number)
}

/// Gives a port back. One that somebody else has stays.
pub(crate) fn give_port_back(writing: &mut Writing<'_>, number: i64, owner: &Owner) {
    let key = number.to_string();
    if writing.get(TABLE, &key).is_some_and(|value| *value == *owner.to_string().as_bytes()) {
        writing.delete(TABLE, &key);
    }
}

/// Notes who has a port.
pub(super) fn put(writing: &mut Writing<'_>, number: i64, owner: &Owner) {
    writing.put(TABLE, &number.to_string(), owner.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_bands() {
        assert_eq!(NodePorts::default().bands(), [30_086..=32_767, 30_000..=30_085]);
        let small = NodePorts { first: 30_000, last: 30_009 };
        assert_eq!(small.bands()[0], 30_000..=30_009);
        assert!(small.bands()[1].is_empty());
        assert!(NodePorts { first: 2, last: 1 }.bands().iter().all(RangeInclusive::is_empty));
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(NodePorts::parse(&NodePorts::default().to_string()), Some(NodePorts::default()));
        for text in ["", "1", "2-1", "0-9", "1-65536", "a-b"] {
            assert_eq!(NodePorts::parse(text), None, "{text}");
        }
    }
}
