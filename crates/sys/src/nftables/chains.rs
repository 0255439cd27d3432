//! Tells what anybody does to chains and rules, as far as programs of iptables' nft flavour can do it.

use std::time::Duration;

use model::Family;

use super::socket::{ElementData, read_expressions, verdict_of};
use super::wire;
use crate::Error;
use crate::netlink::{Received, Socket, attributes, messages, text};

/// `NFNLGRP_NFTABLES`.
const GROUP: i32 = 7;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainEvent<'a> {
    /// A table is gone.
    TableDeleted,
    /// A chain is gone.
    ChainDeleted(&'a str),
    /// A chain has another rule.
    RuleAdded(&'a str),
    /// A chain has lost a rule.
    RuleDeleted {
        /// The chain.
        from: &'a str,
        /// The chain to which the rule led.
        leads_to: Option<&'a str>,
    },
}

/// Where, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened<'a> {
    /// The family.
    pub family: Family,
    /// The table.
    pub table: &'a str,
    /// The port of the socket through which it was done.
    pub port: u32,
    /// What.
    pub event: ChainEvent<'a>,
}

/// A subscription to the kernel's notifications about nftables.
pub struct ChainMonitor {
    socket: Socket,
}

impl ChainMonitor {
    /// Subscribes, in the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.make_room(0, 4 << 20);
        socket.join(GROUP)?;
        Ok(Self { socket })
    }

    /// Waits for notifications, at most this long; answers whether there are some.
    pub fn wait(&self, time: Duration) -> Result<bool, Error> {
        self.socket.wait(time)
    }

    /// Takes all notifications that are there. Answers whether some were lost.
    pub fn take(&mut self, each: &mut dyn FnMut(Happened<'_>)) -> Result<bool, Error> {
        let mut lost = false;
        while self.socket.wait(Duration::ZERO)? {
            match self.socket.receive() {
                Ok(datagram) => {
                    for message in messages(datagram).filter_map(Result::ok) {
                        if let Some(happened) = happened(&message) {
                            each(happened);
                        }
                    }
                }
                Err(Error::Lost) => lost = true,
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    }
}

fn happened<'a>(message: &Received<'a>) -> Option<Happened<'a>> {
    let body = message.payload.get(4..)?;
    let value = |wanted: u16| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let event = match message.kind & 0xff {
        wire::DEL_TABLE => ChainEvent::TableDeleted,
        wire::DEL_CHAIN => ChainEvent::ChainDeleted(text(value(3)?)),
        wire::NEW_RULE => ChainEvent::RuleAdded(text(value(2)?)),
        wire::DEL_RULE => {
            ChainEvent::RuleDeleted { from: text(value(2)?), leads_to: value(4).and_then(leads_to) }
        }
        _ => return None,
    };
    let family = *message.payload.first()?;
    let family = Family::BOTH.into_iter().find(|known| wire::number(*known) == family)?;
    Some(Happened { family, table: text(value(1)?), port: message.port, event })
}

fn leads_to(expressions: &[u8]) -> Option<&str> {
    let all = read_expressions(expressions);
    all.iter().filter(|expression| expression.name == "immediate").find_map(|immediate| {
        match verdict_of(immediate) {
            ElementData::Verdict(_, chain) => chain,
            ElementData::None | ElementData::Value(_) => None,
        }
    })
}
