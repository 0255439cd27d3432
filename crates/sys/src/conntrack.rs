//! Connection tracking: which UDP flows there are, and the end of some.

use std::net::{IpAddr, SocketAddr};

use model::{Family, Flow};

use crate::Error;
use crate::netlink::{ACK, Message, REQUEST, Socket, attributes, begin, close, end, open, put, put_u32};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const GET_STATISTICS: u16 = 5;
const UDP: u8 = 17;
/// `CTA_*`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// How many deletions are sent at a time.
const DELETIONS: usize = 256;

/// The connection tracking table of the network namespace in which it was opened.
pub struct Conntrack {
    socket: Socket,
    /// Whether this kernel takes filters (Linux 5.8).
    filters: bool,
}

/// A flow with what the kernel needs to find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedFlow {
    /// Where it goes.
    pub flow: Flow,
    family: Family,
    /// The attributes that name it, as the kernel gave them.
    name: Vec<u8>,
}

impl Conntrack {
    /// Opens it for the network namespace of the calling thread.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(libc::NETLINK_NETFILTER)?;
        socket.make_room(0, 4 << 20);
        Ok(Self { socket, filters: true })
    }

    /// Answers the UDP flows that are wanted. One dump, which the kernel narrows to UDP where it can; of a table that
    /// changes meanwhile it may miss some.
    pub fn udp_flows(
        &mut self,
        family: Family,
        wanted: impl Fn(&Flow) -> bool,
    ) -> Result<Vec<TrackedFlow>, Error> {
        if self.filters {
            match self.dump(family, true, &wanted) {
                Err(Error::Refused { errno: libc::EINVAL | libc::EOPNOTSUPP, .. }) => self.filters = false,
                result => return result,
            }
        }
        self.dump(family, false, &wanted)
    }

    fn dump(
        &mut self,
        family: Family,
        filtered: bool,
        wanted: &impl Fn(&Flow) -> bool,
    ) -> Result<Vec<TrackedFlow>, Error> {
        let mut found = Vec::new();
        let result = self.socket.dump(request(family, filtered), "connection tracking", &mut |message| {
            let body = message.payload.get(4..).unwrap_or_default();
            if let Some(flow) = read(family, body)
                && wanted(&flow)
            {
                found.push(TrackedFlow { flow, family, name: name(body) });
            }
            Ok(())
        });
        match result {
            // What was seen is true, and the next change looks again.
            Ok(()) | Err(Error::Interrupted { .. }) => Ok(found),
            Err(error) => Err(error),
        }
    }

    /// Answers how many entries the table has. The question makes the kernel load connection tracking where it is a module.
    pub fn count(&mut self) -> Result<u32, Error> {
        const GLOBAL_COUNT: u16 = 1;
        let mut count = 0;
        let request = Message::new(SUBSYSTEM << 8 | GET_STATISTICS, &header(Family::V4));
        self.socket.ask(request, "count tracked connections", &mut |message| {
            let value = message.payload.get(4..).and_then(|body| find(body, GLOBAL_COUNT));
            count =
                value.and_then(|value| value.first_chunk::<4>()).map_or(count, |b| u32::from_be_bytes(*b));
        })?;
        Ok(count)
    }

    /// Asks the kernel the same and looks at nothing: what [`udp_flows`](Self::udp_flows) costs at least. `filtered`:
    /// whether the kernel narrows its answer to UDP. Answers how many flows it told of.
    pub fn dump_unread(&mut self, family: Family, filtered: bool) -> Result<usize, Error> {
        let mut flows = 0;
        let result = self.socket.dump(request(family, filtered), "connection tracking", &mut |_| {
            flows += 1;
            Ok(())
        });
        match result {
            Ok(()) | Err(Error::Interrupted { .. }) => Ok(flows),
            Err(error) => Err(error),
        }
    }

    /// Ends flows. Answers how many there still were.
    pub fn delete(&mut self, flows: &[TrackedFlow]) -> Result<usize, Error> {
        let mut deleted = 0;
        for some in flows.chunks(DELETIONS) {
            let first = self.socket.reserve(some.len() as u32);
            let mut bytes = Vec::new();
            for (sequence, tracked) in (first..).zip(some) {
                let start = begin(&mut bytes, SUBSYSTEM << 8 | DELETE, &header(tracked.family));
                bytes.extend_from_slice(&tracked.name);
                end(&mut bytes, start, REQUEST | ACK, sequence);
            }
            self.socket.send(&bytes)?;
            self.socket.answers(first, some.len() as u32, |answer| {
                match answer.errno {
                    0 => deleted += 1,
                    // It is gone already.
                    libc::ENOENT => {}
                    _ => answer.into_result("end a flow")?,
                }
                Ok(())
            })?;
        }
        Ok(deleted)
    }
}

fn request(family: Family, filtered: bool) -> Message {
    Message::new(SUBSYSTEM << 8 | GET, &header(family)).attributes(|out| {
        if filtered {
            put_filter(out);
        }
    })
}

fn header(family: Family) -> [u8; 4] {
    let number = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    [number as u8, 0, 0, 0]
}

/// Asks for flows whose original tuple has the protocol UDP.
fn put_filter(out: &mut Vec<u8>) {
    const PROTOCOL_NUMBER: u32 = 1 << 3;
    let tuple = open(out, TUPLE_ORIGINAL);
    let protocol = open(out, 2);
    put(out, 1, &[UDP]);
    close(out, protocol);
    close(out, tuple);
    let filter = open(out, FILTER);
    put(out, 1, &PROTOCOL_NUMBER.to_ne_bytes());
    put(out, 2, &0_u32.to_ne_bytes());
    close(out, filter);
}

fn read(family: Family, body: &[u8]) -> Option<Flow> {
    let (_, destination) = ends(family, find(body, TUPLE_ORIGINAL)?)?;
    let (answers, _) = ends(family, find(body, TUPLE_REPLY)?)?;
    Some(Flow { destination, answers })
}

/// The attributes that name a flow to the kernel.
fn name(body: &[u8]) -> Vec<u8> {
    let value = |wanted| find(body, wanted);
    let mut name = Vec::new();
    let tuple = open(&mut name, TUPLE_ORIGINAL);
    name.extend_from_slice(value(TUPLE_ORIGINAL).unwrap_or_default());
    close(&mut name, tuple);
    if let Some(id) = value(ID).and_then(|id| id.first_chunk::<4>()) {
        put_u32(&mut name, ID, u32::from_be_bytes(*id));
    }
    if let Some(zone) = value(ZONE) {
        put(&mut name, ZONE, zone);
    }
    name
}

/// Source and destination of a tuple; `None` when it is not UDP.
fn ends(family: Family, tuple: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (addresses, protocol) = (find(tuple, 1)?, find(tuple, 2)?);
    if find(protocol, 1)?.first() != Some(&UDP) {
        return None;
    }
    let port = |wanted| {
        find(protocol, wanted).and_then(|bytes| bytes.first_chunk::<2>()).map(|b| u16::from_be_bytes(*b))
    };
    let (source, destination) = match family {
        Family::V4 => (1, 2),
        Family::V6 => (3, 4),
    };
    let address = |wanted| find(addresses, wanted).and_then(|bytes| read_address(family, bytes));
    Some((SocketAddr::new(address(source)?, port(2)?), SocketAddr::new(address(destination)?, port(3)?)))
}

fn find(list: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(list).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

fn read_address(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        Family::V6 => bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
    }
}
