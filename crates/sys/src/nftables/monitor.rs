//! Tells when somebody else changes a table.

use std::time::Duration;

use model::Family;

use super::wire;
use crate::Error;
use crate::netlink::{Socket, attributes, messages, text};

/// `NFNLGRP_NFTABLES`.
const GROUP: i32 = 7;

/// A subscription to the kernel's notifications about nftables. The kernel sends one for each element of each
/// transaction, so whoever writes much should [`pause`](Self::pause) it meanwhile.
pub struct Monitor {
    socket: Socket,
    table: String,
    writers: Vec<u32>,
}

impl Monitor {
    /// Subscribes, in the network namespace of the calling thread. Changes by the sockets with these ports are ours.
    pub fn open(table: &str, writers: Vec<u32>) -> Result<Self, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.make_room(0, 1 << 20);
        socket.join(GROUP)?;
        Ok(Self { socket, table: table.to_owned(), writers })
    }

    /// Stops listening; what others do until [`resume`](Self::resume) is missed.
    pub fn pause(&self) -> Result<(), Error> {
        self.socket.leave(GROUP)
    }

    /// Listens again.
    pub fn resume(&self) -> Result<(), Error> {
        self.socket.join(GROUP)
    }

    /// Waits for notifications, at most this long, and answers in which families somebody else changed the table. Lost
    /// notifications count as a change in both.
    pub fn changed(&mut self, time: Duration) -> Result<Vec<Family>, Error> {
        let mut changed = Vec::new();
        if !self.socket.wait(time)? {
            return Ok(changed);
        }
        loop {
            match self.socket.receive() {
                Ok(datagram) => changed.extend(foreign_changes(datagram, &self.table, &self.writers)),
                Err(Error::Lost) => changed.extend(Family::BOTH),
                Err(error) => return Err(error),
            }
            if !self.socket.wait(Duration::ZERO)? {
                changed.sort();
                changed.dedup();
                return Ok(changed);
            }
        }
    }
}

fn foreign_changes(datagram: &[u8], table: &str, writers: &[u32]) -> Vec<Family> {
    let about_table = |message: crate::netlink::Received<'_>| {
        let body = message.payload.get(4..)?;
        // Every kind of message but the end of a generation names its table in attribute 1.
        let is_generation = message.kind & 0xff == wire::NEW_GENERATION;
        let named = attributes(body).find(|(kind, _)| *kind == 1).map(|(_, value)| text(value));
        if is_generation || writers.contains(&message.port) || named != Some(table) {
            return None;
        }
        let family = *message.payload.first()?;
        Family::BOTH.into_iter().find(|f| wire::number(*f) == family)
    };
    messages(datagram).filter_map(Result::ok).filter_map(about_table).collect()
}
