//! Sets of (endpoint, protocol and port, endpoint) that iptables can ask, over netlink.
//!
//! What it does *not* know: sets of any other kind than `hash:ip,port,ip`.

use std::net::IpAddr;
use std::time::Duration;

use model::{Family, Protocol};

use crate::Error;
use crate::netlink::{
    ACK, Message, REQUEST, Socket, attributes, begin, close, end, open, put, put_str, put_u32,
};

const SUBSYSTEM: u16 = 6;
const CREATE: u16 = 2;
const DESTROY: u16 = 3;
const LIST: u16 = 7;
const ADD: u16 = 9;
const DELETE: u16 = 10;
/// `IPSET_ATTR_*`.
const PROTOCOL: u16 = 1;
const NAME: u16 = 2;
const TYPE: u16 = 3;
const REVISION: u16 = 4;
const FAMILY: u16 = 5;
const DATA: u16 = 7;
const ADT: u16 = 8;
const IP: u16 = 1;
const PORT: u16 = 4;
const PROTO: u16 = 7;
const MOST_ELEMENTS: u16 = 19;
const IP2: u16 = 20;
/// The kernel takes numbers only where this says in which order their bytes are.
const NETWORK_ORDER: u16 = 0x4000;
/// `IPSET_ERR_BUSY`: a rule asks it.
const BUSY: i32 = 4100;
/// How many requests are sent at a time.
const REQUESTS: usize = 256;

/// An endpoint twice: as the destination, and as the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// The address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// The sets of the network namespace in which it was opened.
pub struct Ipset {
    socket: Socket,
}

impl Ipset {
    /// Opens them for the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.make_room(1 << 20, 1 << 20);
        Ok(Self { socket })
    }

    /// Makes a set unless it is there.
    pub fn make(&mut self, name: &str, family: Family) -> Result<(), Error> {
        // Revision 1 knows SCTP.
        let request = request(CREATE, name).attributes(|out| {
            put_str(out, TYPE, "hash:ip,port,ip");
            put(out, REVISION, &[1]);
            put(out, FAMILY, &[family_number(family)]);
            let data = open(out, DATA);
            put_u32(out, MOST_ELEMENTS | NETWORK_ORDER, 1 << 20);
            close(out, data);
        });
        let made = self.socket.request(request, &format!("make the ipset {name}"));
        made.map_err(|error| match error.errno().and_then(lacking) {
            Some(lacks) => Error::NoIpset { name: name.to_owned(), lacks },
            None => error,
        })
    }

    /// Removes a set, if it is there.
    pub fn remove(&mut self, name: &str) -> Result<(), Error> {
        let what = format!("remove the ipset {name}");
        for _ in 0..20 {
            match self.socket.request(request(DESTROY, name), &what) {
                Err(Error::Refused { errno: libc::ENOENT, .. }) => return Ok(()),
                // Rules of nftables keep it for a moment after they are gone.
                Err(Error::Refused { errno: BUSY, .. }) => std::thread::sleep(Duration::from_millis(10)),
                result => return result,
            }
        }
        self.socket.request(request(DESTROY, name), &what)
    }

    /// Answers the elements of a set; `None`: there is no such set.
    pub fn elements(&mut self, name: &str) -> Result<Option<Vec<Element>>, Error> {
        let mut found = Vec::new();
        let result = self.socket.dump(request(LIST, name), "an ipset", &mut |message| {
            for (_, adt) in parts(message.payload.get(4..).unwrap_or_default(), ADT) {
                found.extend(parts(adt, DATA).filter_map(|(_, data)| element(data)));
            }
            Ok(())
        });
        match result {
            Ok(()) => Ok(Some(found)),
            Err(Error::Refused { errno: libc::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds elements to a set and removes some; what is there already, or gone, is no failure.
    pub fn change(&mut self, name: &str, added: &[Element], removed: &[Element]) -> Result<(), Error> {
        let all = removed.iter().map(|element| (DELETE, element));
        let all: Vec<_> = all.chain(added.iter().map(|element| (ADD, element))).collect();
        for some in all.chunks(REQUESTS) {
            let first = self.socket.reserve(some.len() as u32);
            let mut bytes = Vec::new();
            for (sequence, (command, element)) in (first..).zip(some) {
                let start = begin(&mut bytes, SUBSYSTEM << 8 | command, &header());
                put(&mut bytes, PROTOCOL, &[6]);
                put_str(&mut bytes, NAME, name);
                put_element(&mut bytes, element);
                end(&mut bytes, start, REQUEST | ACK, sequence);
            }
            self.socket.send(&bytes)?;
            let what = format!("change the ipset {name}");
            self.socket.answers(first, some.len() as u32, |answer| answer.into_result(&what))?;
        }
        Ok(())
    }
}

/// What a kernel lacks that answers a request for a new set like this.
fn lacking(errno: i32) -> Option<&'static str> {
    /// `IPSET_ERR_FIND_TYPE`.
    const NO_TYPE: i32 = 4098;
    match errno {
        // Nobody listens to this part of netfilter.
        libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT => Some("CONFIG_IP_SET"),
        NO_TYPE => Some("CONFIG_IP_SET_HASH_IPPORTIP"),
        _ => None,
    }
}

fn header() -> [u8; 4] {
    [libc::AF_INET as u8, 0, 0, 0]
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

fn request(command: u16, name: &str) -> Message {
    Message::new(SUBSYSTEM << 8 | command, &header()).attributes(|out| {
        put(out, PROTOCOL, &[6]);
        put_str(out, NAME, name);
    })
}

fn put_element(out: &mut Vec<u8>, element: &Element) {
    let data = open(out, DATA);
    put_address(out, IP, element.address);
    put(out, PORT | NETWORK_ORDER, &element.port.to_be_bytes());
    put(out, PROTO, &[element.protocol.number()]);
    put_address(out, IP2, element.address);
    close(out, data);
}

fn put_address(out: &mut Vec<u8>, kind: u16, address: IpAddr) {
    let nested = open(out, kind);
    match address {
        IpAddr::V4(address) => put(out, 1 | NETWORK_ORDER, &address.octets()),
        IpAddr::V6(address) => put(out, 2 | NETWORK_ORDER, &address.octets()),
    }
    close(out, nested);
}

fn parts(list: &[u8], wanted: u16) -> impl Iterator<Item = (u16, &[u8])> {
    attributes(list).filter(move |(kind, _)| *kind == wanted)
}

/// `None`: an element whose two addresses differ, or of a protocol that Services do not have; nobody here makes such.
fn element(data: &[u8]) -> Option<Element> {
    let find = |wanted| parts(data, wanted).next().map(|(_, value)| value);
    let address = |kind| {
        let (kind, bytes) = attributes(find(kind)?).next()?;
        match kind {
            1 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
            _ => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        }
    };
    let port = find(PORT)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))?;
    let protocol = Protocol::from_number(*find(PROTO)?.first()?)?;
    let same = address(IP).filter(|first| address(IP2) == Some(*first));
    same.map(|address| Element { address, protocol, port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iptables::Iptables;
    use crate::testing::in_new_network_namespace;

    #[test]
    fn a_kernel_that_lacks_sets_is_named_with_the_remedy() {
        let say = |errno| {
            lacking(errno)
                .map(|lacks| Error::NoIpset { name: "KUBE-LOOP-BACK".to_owned(), lacks }.to_string())
        };
        for (errno, part) in [(libc::EINVAL, "CONFIG_IP_SET;"), (4098, "CONFIG_IP_SET_HASH_IPPORTIP;")] {
            let said = say(errno).unwrap();
            assert!(said.contains(part) && said.contains("modprobe") && said.contains("nftables"), "{said}");
        }
        assert_eq!(say(libc::ENOMEM), None);
        in_new_network_namespace(|| {
            let mut ipset = Ipset::open().unwrap();
            let error = ipset.socket.request(
                request(CREATE, "test").attributes(|out| {
                    put_str(out, TYPE, "hash:nothing");
                    put(out, REVISION, &[0]);
                    put(out, FAMILY, &[2]);
                    let data = open(out, DATA);
                    close(out, data);
                }),
                "make it",
            );
            assert_eq!(error.unwrap_err().errno().and_then(lacking), Some("CONFIG_IP_SET_HASH_IPPORTIP"));
        });
    }

    #[test]
    fn elements_come_back() {
        for (family, address) in [(Family::V4, "10.0.0.1"), (Family::V6, "fd00::1")] {
            in_new_network_namespace(|| {
                let mut ipset = Ipset::open().unwrap();
                assert_eq!(ipset.elements("test").unwrap(), None);
                ipset.make("test", family).unwrap();
                ipset.make("test", family).unwrap();
                assert_eq!(ipset.elements("test").unwrap(), Some(Vec::new()));
                let element = |protocol, port| Element { address: address.parse().unwrap(), protocol, port };
                let all: Vec<Element> =
                    (1..1000).map(|port| element(Protocol::ALL[usize::from(port % 3)], port)).collect();
                ipset.change("test", &all, &[]).unwrap();
                ipset.change("test", &all[..5], &[element(Protocol::Tcp, 5000)]).unwrap();
                let mut found = ipset.elements("test").unwrap().unwrap();
                found.sort_by_key(|element| element.port);
                assert_eq!(found, all);
                ipset.change("test", &[], &all[1..]).unwrap();
                assert_eq!(ipset.elements("test").unwrap(), Some(all[..1].to_vec()));
            });
        }
    }

    #[test]
    fn a_set_goes_as_soon_as_no_rule_asks_it() {
        for flavour in Iptables::installed(Family::V4) {
            in_new_network_namespace(move || {
                let mut ipset = Ipset::open().unwrap();
                ipset.make("test", Family::V4).unwrap();
                let rule = "FORWARD -m set --match-set test dst,dst,src -j ACCEPT\nCOMMIT\n";
                flavour.restore(&format!("*filter\n-A {rule}")).unwrap();
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        std::thread::sleep(Duration::from_millis(30));
                        flavour.restore(&format!("*filter\n-D {rule}")).unwrap();
                    });
                    // How long that takes depends on the load.
                    let removed = (0..100).any(|_| ipset.remove("test").is_ok());
                    assert!(removed);
                });
                assert_eq!(ipset.elements("test").unwrap(), None);
            });
        }
    }
}
