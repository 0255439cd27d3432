//! Named counters of packets that rules can count with, over netlink.
//!
//! What it does *not* do: limits and quotas, which such a counter can have, too.

use crate::Error;
use crate::netlink::{CREATE, EXCL, Message, Socket, attributes, put_str, text};

/// `NFNL_SUBSYS_ACCT`.
const SUBSYSTEM: u16 = 7;
const NEW: u16 = 0;
const GET: u16 = 1;
const DELETE: u16 = 3;
/// `NFACCT_*`.
const NAME: u16 = 1;
const PACKETS: u16 = 2;

/// The counters of the network namespace in which it was opened.
pub struct Nfacct {
    socket: Socket,
}

/// A counter as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// What it counted since it was made.
    pub packets: u64,
}

impl Nfacct {
    /// Opens them for the network namespace of the calling thread. `None`: the kernel has none (`nfnetlink_acct`).
    pub fn open() -> Result<Option<Self>, Error> {
        let mut nfacct = Self { socket: Socket::open(libc::NETLINK_NETFILTER)? };
        match nfacct.counters() {
            Ok(_) => Ok(Some(nfacct)),
            // What nfnetlink says of a subsystem that it does not know.
            Err(Error::Refused { errno: libc::EINVAL | libc::EOPNOTSUPP, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a counter unless it is there.
    pub fn make(&mut self, name: &str) -> Result<(), Error> {
        let what = format!("make the nfacct counter {name}");
        match self.socket.request_with(request(NEW, Some(name)), CREATE | EXCL, &what) {
            Err(Error::Refused { errno: libc::EEXIST, .. }) => Ok(()),
            result => result,
        }
    }

    /// Removes a counter, if it is there. One that a rule counts with stays.
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        match self.socket.request(request(DELETE, Some(name)), &format!("remove the nfacct counter {name}")) {
            Err(Error::Refused { errno: libc::ENOENT | libc::EBUSY, .. }) => Ok(()),
            result => result,
        }
    }

    /// Answers all counters, everybody's.
    pub fn counters(&mut self) -> Result<Vec<Counter>, Error> {
        let mut found = Vec::new();
        self.socket.dump(request(GET, None), "the nfacct counters", &mut |message| {
            found.extend(counter(message.payload));
            Ok(())
        })?;
        Ok(found)
    }
}

fn request(command: u16, name: Option<&str>) -> Message {
    let message = Message::new(SUBSYSTEM << 8 | command, &[libc::AF_UNSPEC as u8, 0, 0, 0]);
    message.attributes(|out| {
        if let Some(name) = name {
            put_str(out, NAME, name);
        }
    })
}

/// `None`: the message says nothing about a counter.
fn counter(payload: &[u8]) -> Option<Counter> {
    let (mut name, mut packets) = (None, None);
    for (kind, value) in attributes(payload.get(4..)?) {
        match kind {
            NAME => name = Some(text(value).to_owned()),
            PACKETS => packets = value.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)),
            _ => {}
        }
    }
    Some(Counter { name: name?, packets: packets? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::in_new_network_namespace;

    #[test]
    fn an_answer_is_read() {
        // What Linux 6.18 answers for a counter `x` of 5 packets and 420 bytes that one rule counts with.
        let payload = [
            &[0, 0, 0, 0][..],
            &[6, 0, 1, 0, b'x', 0, 0, 0],
            &[12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5],
            &[12, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 164],
            &[8, 0, 4, 0, 0, 0, 0, 2],
        ];
        assert_eq!(counter(&payload.concat()), Some(Counter { name: "x".to_owned(), packets: 5 }));
        assert_eq!(counter(&payload[..2].concat()), None);
        assert_eq!(counter(&[]), None);
    }

    #[test]
    fn counters_are_made_once_and_removed() {
        in_new_network_namespace(|| {
            let Some(mut nfacct) = Nfacct::open().unwrap() else {
                eprintln!("SKIPPED (needs the kernel's nfnetlink_acct): counters");
                return;
            };
            assert_eq!(nfacct.counters().unwrap(), []);
            for name in ["one", "two", "one"] {
                nfacct.make(name).unwrap();
            }
            let counter = |name: &str| Counter { name: name.to_owned(), packets: 0 };
            let mut found = nfacct.counters().unwrap();
            found.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(found, [counter("one"), counter("two")]);
            for _ in 0..2 {
                nfacct.remove("one").unwrap();
            }
            assert_eq!(nfacct.counters().unwrap(), [counter("two")]);
        });
    }
}
