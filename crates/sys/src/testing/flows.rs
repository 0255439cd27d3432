//! Flows that no packet made, put into the connection tracking table of the calling thread's network namespace.

use std::net::SocketAddr;

use crate::Error;
use crate::netlink::{CREATE, EXCL, REQUEST, Socket, begin, close, end, messages, open, put, put_u32};

/// `IPCTNL_MSG_CT_NEW` of the subsystem `ctnetlink`.
const NEW: u16 = 1 << 8;
/// `CTA_*`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const PROTOCOL_STATE: u16 = 4;
const TIMEOUT: u16 = 7;
/// Seen in both directions, assured, confirmed.
const ESTABLISHED: u32 = 2 | 4 | 8;
/// `TCP_CONNTRACK_ESTABLISHED`.
const TCP_ESTABLISHED: u8 = 3;
/// Seconds that a flow lives.
const LIFE: u32 = 3600;
/// How many flows one datagram creates.
const BATCH: usize = 128;

/// A flow to be made, IPv4 only.
#[derive(Debug, Clone, Copy)]
pub struct NewFlow {
    /// `IPPROTO_TCP` or `IPPROTO_UDP`.
    pub protocol: u8,
    /// Who sends.
    pub client: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// Who answers.
    pub answers: SocketAddr,
}

/// Makes them. Answers how many the kernel did not take.
pub fn create_flows(flows: &[NewFlow]) -> Result<usize, Error> {
    let mut socket = Socket::open(libc::NETLINK_NETFILTER)?;
    socket.make_room(1 << 20, 1 << 20);
    let mut refused = 0;
    for some in flows.chunks(BATCH) {
        let first = socket.reserve(some.len() as u32);
        let mut bytes = Vec::new();
        for (sequence, flow) in (first..).zip(some) {
            let header = [libc::AF_INET as u8, 0, 0, 0];
            let start = begin(&mut bytes, NEW, &header);
            write(&mut bytes, flow);
            end(&mut bytes, start, REQUEST | CREATE | EXCL, sequence);
        }
        socket.send(&bytes)?;
        // Without being asked the kernel only answers what it did not take, and does so at once.
        while socket.wait(std::time::Duration::ZERO)? {
            refused += messages(socket.receive()?).count();
        }
    }
    Ok(refused)
}

fn write(out: &mut Vec<u8>, flow: &NewFlow) {
    tuple(out, TUPLE_ORIGINAL, flow.protocol, (flow.client, flow.destination));
    tuple(out, TUPLE_REPLY, flow.protocol, (flow.answers, flow.client));
    put(out, STATUS, &ESTABLISHED.to_be_bytes());
    put_u32(out, TIMEOUT, LIFE);
    if i32::from(flow.protocol) == libc::IPPROTO_TCP {
        let state = open(out, PROTOCOL_STATE);
        let tcp = open(out, 1);
        put(out, 1, &[TCP_ESTABLISHED]);
        close(out, tcp);
        close(out, state);
    }
}

fn tuple(out: &mut Vec<u8>, kind: u16, protocol: u8, (from, to): (SocketAddr, SocketAddr)) {
    let tuple = open(out, kind);
    let addresses = open(out, 1);
    for (kind, end) in [(1, from), (2, to)] {
        if let SocketAddr::V4(end) = end {
            put(out, kind, &end.ip().octets());
        }
    }
    close(out, addresses);
    let ports = open(out, 2);
    put(out, 1, &[protocol]);
    put(out, 2, &from.port().to_be_bytes());
    put(out, 3, &to.port().to_be_bytes());
    close(out, ports);
    close(out, tuple);
}
