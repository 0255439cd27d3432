//! Links, addresses, routes and neighbours of one network namespace, over rtnetlink. Attributes there are in the
//! machine's own byte order.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use model::IpNet;

use crate::Error;
use crate::netlink::{CREATE, EXCL, Message, Socket, attributes, close, open, put, put_str};

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const LOCAL_TABLE: u8 = 255;
/// `IFLA_*`.
const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 28;

/// Rtnetlink in the network namespace of the thread that opened it.
pub struct Links {
    socket: Socket,
}

/// One end of a veth pair.
#[derive(Debug, Clone, Copy)]
pub struct End<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address; `None`: a random one.
    pub address: Option<[u8; 6]>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towards<'a> {
    /// Through a gateway that is on the link of some address.
    Gateway(IpAddr),
    /// Through a gateway that is at this link, whatever the addresses say.
    GatewayAt(IpAddr, &'a str),
    /// To hosts at this link.
    Link(&'a str),
    /// To this machine itself, through this link.
    Local(&'a str),
}

/// Answers whether there is a link of this name where the calling thread is.
pub fn exists(name: &str) -> bool {
    index(name).is_ok()
}

impl Links {
    /// Opens rtnetlink for the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        Ok(Self { socket: Socket::open(libc::NETLINK_ROUTE)? })
    }

    /// Makes a pair of links; the second end is in another namespace, or in this one.
    pub fn add_veth(
        &mut self,
        near: End<'_>,
        far: End<'_>,
        namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        const PEER: u16 = 1;
        let what = format!("make the link {}", near.name);
        let message = Message::new(NEW_LINK, &link_header(0, false)).attributes(|out| {
            put_end(out, near);
            let info = open_info(out, "veth");
            let data = open(out, 2);
            let peer = open(out, PEER);
            out.extend_from_slice(&link_header(0, false));
            put_end(out, far);
            if let Some(namespace) = namespace {
                put(out, LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes());
            }
            close(out, peer);
            close(out, data);
            close(out, info);
        });
        self.socket.request_with(message, CREATE | EXCL, &what)
    }

    /// Makes a bridge that forwards at once.
    pub fn add_bridge(&mut self, name: &str) -> Result<(), Error> {
        const FORWARD_DELAY: u16 = 1;
        const MULTICAST_SNOOPING: u16 = 23;
        let message = Message::new(NEW_LINK, &link_header(0, false)).attributes(|out| {
            put_str(out, LINK_NAME, name);
            let info = open_info(out, "bridge");
            let data = open(out, 2);
            put(out, FORWARD_DELAY, &0_u32.to_ne_bytes());
            put(out, MULTICAST_SNOOPING, &[0]);
            close(out, data);
            close(out, info);
        });
        self.socket.request_with(message, CREATE | EXCL, &format!("make the bridge {name}"))
    }

    /// Puts a link to a bridge.
    pub fn set_master(&mut self, name: &str, bridge: &str) -> Result<(), Error> {
        let (index, master) = (index(name)?, index(bridge)?);
        let message = Message::new(SET_LINK, &link_header(index, false))
            .attributes(|out| put(out, LINK_MASTER, &master.to_ne_bytes()));
        self.socket.request(message, &format!("put {name} to the bridge {bridge}"))
    }

    /// Switches a link on.
    pub fn set_up(&mut self, name: &str) -> Result<(), Error> {
        let message = Message::new(SET_LINK, &link_header(index(name)?, true));
        self.socket.request(message, &format!("switch {name} on"))
    }

    /// Waits until a link carries packets; both ends of the pair are on already.
    ///
    /// Only the end that was switched on first needs this: it loses packets until the kernel has noticed the other one,
    /// some milliseconds later. The second end carries packets at once, yet is said to do so up to a second later.
    pub fn await_running(&mut self, name: &str) -> Result<(), Error> {
        const LIMIT: Duration = Duration::from_secs(30);
        let (index, begin) = (index(name)?, Instant::now());
        while !self.is_running(index)? {
            if begin.elapsed() > LIMIT {
                let what = format!("wait until {name} carries packets");
                return Err(Error::Refused { what, errno: libc::ETIMEDOUT, text: String::new() });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn is_running(&mut self, index: u32) -> Result<bool, Error> {
        const OPERATIONAL_STATE: u16 = 16;
        const UP: u8 = 6;
        let mut runs = false;
        let request = Message::new(GET_LINK, &link_header(0, false));
        self.socket.dump(request, "links", &mut |message| {
            let (Some(header), Some(body)) = (message.payload.first_chunk::<16>(), message.payload.get(16..))
            else {
                return Ok(());
            };
            if header[4..8] == index.to_ne_bytes() {
                runs = attributes(body).any(|(kind, value)| kind == OPERATIONAL_STATE && value == [UP]);
            }
            Ok(())
        })?;
        Ok(runs)
    }

    /// Deletes a link; the other end of a pair goes with it.
    pub fn delete(&mut self, name: &str) -> Result<(), Error> {
        let message = Message::new(DEL_LINK, &link_header(index(name)?, false));
        self.socket.request(message, &format!("delete the link {name}"))
    }

    /// Gives a link an address. `preferred`: whether packets get it as their source by themselves.
    pub fn add_address(&mut self, name: &str, address: IpNet, preferred: bool) -> Result<(), Error> {
        const NO_DUPLICATE_DETECTION: u8 = 0x02;
        const CACHE: u16 = 6;
        let header = {
            let mut header = vec![family(address.addr()), address.prefix_len(), NO_DUPLICATE_DETECTION, 0];
            header.extend_from_slice(&index(name)?.to_ne_bytes());
            header
        };
        let message = Message::new(NEW_ADDRESS, &header).attributes(|out| {
            put(out, 1, &octets(address.addr()));
            put(out, 2, &octets(address.addr()));
            if !preferred {
                // Preferred for no time, valid for ever; when it was made does not matter.
                let times = [0, u32::MAX, 0, 0];
                put(out, CACHE, &times.map(u32::to_ne_bytes).concat());
            }
        });
        self.socket.request_with(message, CREATE | EXCL, &format!("give {name} the address {address}"))
    }

    /// Answers every address of every link here, sorted, with the prefix it was given with. While they change all the
    /// time, which takes several attempts, that may fail.
    pub fn addresses(&mut self) -> Result<Vec<IpNet>, Error> {
        const ATTEMPTS: u32 = 10;
        let mut attempt = 1;
        loop {
            match self.read_addresses() {
                Err(Error::Interrupted { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    fn read_addresses(&mut self) -> Result<Vec<IpNet>, Error> {
        let mut found = Vec::new();
        let request = Message::new(GET_ADDRESS, &[0; 8]);
        self.socket.dump(request, "addresses", &mut |message| {
            let (Some(header), Some(body)) = (message.payload.first_chunk::<8>(), message.payload.get(8..))
            else {
                return Ok(());
            };
            // IFA_LOCAL; IPv6 has IFA_ADDRESS only.
            let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let address = value(2).or_else(|| value(1)).and_then(read_address);
            found.extend(address.and_then(|address| IpNet::new(address, header[1]).ok()));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// Answers where every route of the main table leads, sorted.
    pub fn routes(&mut self) -> Result<Vec<IpNet>, Error> {
        const MAIN: u8 = 254;
        let mut found = Vec::new();
        let request = Message::new(GET_ROUTE, &[0; 12]);
        self.socket.dump(request, "routes", &mut |message| {
            let (Some(header), Some(body)) = (message.payload.first_chunk::<12>(), message.payload.get(12..))
            else {
                return Ok(());
            };
            let [family, length, _, _, table, ..] = *header;
            if table != MAIN {
                return Ok(());
            }
            let everywhere = || {
                if i32::from(family) == libc::AF_INET {
                    read_address(&[0; 4])
                } else {
                    read_address(&[0; 16])
                }
            };
            let to = attributes(body).find(|(kind, _)| *kind == 1);
            let address = to.map_or_else(everywhere, |(_, value)| read_address(value));
            found.extend(address.and_then(|address| IpNet::new(address, length).ok()));
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// Adds a route.
    pub fn add_route(&mut self, to: IpNet, towards: Towards<'_>) -> Result<(), Error> {
        const MAIN: u8 = 254;
        const BY_ADMINISTRATOR: u8 = 4;
        const ON_LINK: u32 = 4;
        let (gateway, link) = match towards {
            Towards::Gateway(gateway) => (Some(gateway), None),
            Towards::GatewayAt(gateway, link) => (Some(gateway), Some(link)),
            Towards::Link(link) | Towards::Local(link) => (None, Some(link)),
        };
        let link = link.map(index).transpose()?;
        let (table, scope, kind) = match towards {
            Towards::Gateway(_) | Towards::GatewayAt(..) => (MAIN, 0, 1),
            Towards::Link(_) => (MAIN, 253, 1),
            Towards::Local(_) => (LOCAL_TABLE, 254, 2),
        };
        let flags = if matches!(towards, Towards::GatewayAt(..)) { ON_LINK } else { 0 };
        let mut header = vec![family(to.addr()), to.prefix_len(), 0, 0, table, BY_ADMINISTRATOR, scope, kind];
        header.extend_from_slice(&flags.to_ne_bytes());
        let message = Message::new(NEW_ROUTE, &header).attributes(|out| {
            if to.prefix_len() > 0 {
                put(out, 1, &octets(to.addr()));
            }
            if let Some(link) = link {
                put(out, 4, &link.to_ne_bytes());
            }
            if let Some(gateway) = gateway {
                put(out, 5, &octets(gateway));
            }
        });
        self.socket.request_with(message, CREATE | EXCL, &format!("add a route to {to}"))
    }

    /// Makes an address one of this machine, without giving it to a link: a local route, through loopback.
    ///
    /// `protocol` says whose it is. What this machine sends there has the source, unless it chose another.
    pub fn add_local(&mut self, address: IpAddr, source: Option<IpAddr>, protocol: u8) -> Result<(), Error> {
        const PREFERRED_SOURCE: u16 = 7;
        let message = local_route(NEW_ROUTE, address, protocol)?;
        let message = message.attributes(|out| {
            if let Some(source) = source {
                put(out, PREFERRED_SOURCE, &octets(source));
            }
        });
        self.socket.request_with(message, CREATE | EXCL, &format!("add a local route to {address}"))
    }

    /// Takes such a route away.
    pub fn delete_local(&mut self, address: IpAddr, protocol: u8) -> Result<(), Error> {
        let message = local_route(DEL_ROUTE, address, protocol)?;
        self.socket.request(message, &format!("delete the local route to {address}"))
    }

    /// Answers the addresses that this protocol made local, sorted.
    pub fn locals(&mut self, protocol: u8) -> Result<Vec<IpAddr>, Error> {
        let mut found = Vec::new();
        let request = Message::new(GET_ROUTE, &[0; 12]);
        self.socket.dump(request, "routes", &mut |message| {
            let (Some(header), Some(body)) = (message.payload.first_chunk::<12>(), message.payload.get(12..))
            else {
                return Ok(());
            };
            if header[4] == LOCAL_TABLE && header[5] == protocol {
                let to = attributes(body).find(|(kind, _)| *kind == 1);
                found.extend(to.and_then(|(_, value)| read_address(value)));
            }
            Ok(())
        })?;
        found.sort();
        Ok(found)
    }

    /// Tells the hardware address of a neighbour, for ever.
    pub fn add_neighbour(&mut self, name: &str, address: IpAddr, hardware: [u8; 6]) -> Result<(), Error> {
        const PERMANENT: u16 = 0x80;
        let mut header = vec![family(address), 0, 0, 0];
        header.extend_from_slice(&index(name)?.to_ne_bytes());
        header.extend_from_slice(&PERMANENT.to_ne_bytes());
        header.extend_from_slice(&[0, 0]);
        let message = Message::new(NEW_NEIGHBOUR, &header).attributes(|out| {
            put(out, 1, &octets(address));
            put(out, 2, &hardware);
        });
        self.socket.request_with(message, CREATE | EXCL, &format!("add the neighbour {address}"))
    }
}

/// `struct ifinfomsg`; `up` switches the link on.
fn link_header(index: u32, up: bool) -> [u8; 16] {
    const UP: u32 = 1;
    let flags = if up { UP } else { 0 };
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn local_route(kind: u16, address: IpAddr, protocol: u8) -> Result<Message, Error> {
    const HOST: u8 = 254;
    const LOCAL: u8 = 2;
    let loopback = index("lo")?;
    let header = [
        family(address),
        IpNet::from(address).prefix_len(),
        0,
        0,
        LOCAL_TABLE,
        protocol,
        HOST,
        LOCAL,
        0,
        0,
        0,
        0,
    ];
    Ok(Message::new(kind, &header).attributes(|out| {
        put(out, 1, &octets(address));
        put(out, 4, &loopback.to_ne_bytes());
    }))
}

fn put_end(out: &mut Vec<u8>, end: End<'_>) {
    put_str(out, LINK_NAME, end.name);
    if let Some(address) = end.address {
        put(out, LINK_ADDRESS, &address);
    }
}

fn open_info(out: &mut Vec<u8>, kind: &str) -> usize {
    let info = open(out, LINK_INFO);
    put_str(out, 1, kind);
    info
}

fn index(name: &str) -> Result<u32, Error> {
    let missing =
        |errno| Error::Refused { what: format!("find the link {name}"), errno, text: String::new() };
    let Ok(text) = std::ffi::CString::new(name) else { return Err(missing(libc::EINVAL)) };
    // SAFETY: `text` is a string with its closing zero.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(missing(libc::ENODEV)),
        index => Ok(index),
    }
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        _ => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
    }
}
