//! What is another when somebody changed tables, and cheap to ask.
//!
//! The kernel counts the changes of nftables. It does not count those of the legacy flavour, but says how many entries each table
//! has, how large they are and where each chain of its own begins. A rule that is replaced by another of the same size is not
//! seen by that.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use model::Family;

use super::Iptables;
use crate::Error;
use crate::nftables::NftSocket;

/// Stands for a state of the tables of one flavour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The number of the last change, of all families.
    Generation(u32),
    /// What the kernel says of `nat` and `filter`.
    Sizes(Box<[[u32; 13]; 2]>),
}

/// The tables of one flavour and family, to be asked for their [`State`].
pub enum Tables {
    /// With nftables behind them.
    Nft(NftSocket),
    /// The old ones; a raw socket.
    Legacy(Family, OwnedFd),
}

impl State {
    /// Answers how many entries there are; `None`: it does not say.
    pub fn entries(&self) -> Option<u32> {
        self.entries_by_table().map(|tables| tables.iter().sum())
    }

    /// Answers how many there are in `nat` and in `filter`.
    pub fn entries_by_table(&self) -> Option<[u32; 2]> {
        match self {
            Self::Generation(_) => None,
            Self::Sizes(tables) => Some(tables.each_ref().map(|table| table[11])),
        }
    }
}

impl Tables {
    /// Opens those of this program, in the network namespace of the calling thread.
    pub fn open(of: &Iptables) -> Result<Self, Error> {
        if !of.is_legacy() {
            return Ok(Self::Nft(NftSocket::open()?));
        }
        let domain = match of.family() {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        // SAFETY: plain system call, the result is checked before use.
        let raw = unsafe { libc::socket(domain, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
        if raw < 0 {
            return Err(Error::last("open a raw socket"));
        }
        // SAFETY: `raw` is a descriptor that was just opened and that nobody else owns.
        Ok(Self::Legacy(of.family(), unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Answers their state.
    pub fn state(&mut self) -> Result<State, Error> {
        match self {
            Self::Nft(socket) => socket.generation().map(State::Generation),
            Self::Legacy(family, socket) => {
                let both = [sizes(*family, socket, "nat")?, sizes(*family, socket, "filter")?];
                Ok(State::Sizes(Box::new(both)))
            }
        }
    }
}

/// Hooks, where the chains of the kernel begin and end, how many entries and how many bytes there are.
fn sizes(family: Family, socket: &OwnedFd, table: &str) -> Result<[u32; 13], Error> {
    /// `IPT_SO_GET_INFO`.
    const GET_INFO: i32 = 64;
    let level = match family {
        Family::V4 => libc::IPPROTO_IP,
        Family::V6 => libc::IPPROTO_IPV6,
    };
    // `struct ipt_getinfo`: a name of 32 bytes and thirteen numbers.
    let mut info = [0_u32; 21];
    for (word, bytes) in info.iter_mut().zip(table.as_bytes().chunks(4)) {
        let mut four = [0; 4];
        four[..bytes.len()].copy_from_slice(bytes);
        *word = u32::from_ne_bytes(four);
    }
    let mut length = std::mem::size_of_val(&info) as libc::socklen_t;
    // SAFETY: pointer and length describe `info`, which outlives the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, GET_INFO, info.as_mut_ptr().cast(), &raw mut length)
    };
    match std::io::Error::last_os_error().raw_os_error() {
        _ if done == 0 => Ok(*info.last_chunk::<13>().expect("thirteen of 21")),
        // There is no such table.
        Some(libc::ENOENT) => Ok([0; 13]),
        _ => Err(Error::last("ask for the size of a table")),
    }
}
