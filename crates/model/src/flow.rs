//! What connection tracking remembers of a flow.

use std::net::SocketAddr;

/// A flow of datagrams, as far as it tells where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Where the client sends to.
    pub destination: SocketAddr,
    /// Who answers: the endpoint when the destination is rewritten, else the destination itself.
    pub answers: SocketAddr,
}

impl Flow {
    /// Answers whether the destination is rewritten.
    pub fn is_rewritten(&self) -> bool {
        self.destination != self.answers
    }
}
