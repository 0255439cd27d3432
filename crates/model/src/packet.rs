//! A packet and what becomes of it: the vocabulary in which specification, simulators and kernel are compared.

use std::fmt;
use std::net::IpAddr;

use crate::{Endpoint, Protocol};

/// Where a packet entered this node's network stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It arrived through the interface of this name.
    Interface(String),
    /// A process in the node's own network namespace sent it.
    ThisNode,
}

/// The first packet of a new connection or flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it entered.
    pub origin: Origin,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, before any rewriting.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
}

/// What becomes of a [`Packet`]. Random choice makes several outcomes possible for the same packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Its destination is rewritten to an endpoint.
    Reaches {
        /// The endpoint.
        endpoint: Endpoint,
        /// Whether its source is rewritten to the node's address as well.
        masqueraded: bool,
    },
    /// It vanishes; the client sees a timeout.
    Dropped,
    /// It is answered with an error; the client sees a refusal.
    Rejected,
    /// Nothing is done to it; it goes on as if there were no Services.
    Untouched,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reaches { endpoint, masqueraded: false } => write!(f, "reaches {endpoint}"),
            Self::Reaches { endpoint, masqueraded: true } => write!(f, "reaches {endpoint}, masqueraded"),
            Self::Dropped => f.write_str("dropped"),
            Self::Rejected => f.write_str("rejected"),
            Self::Untouched => f.write_str("untouched"),
        }
    }
}
