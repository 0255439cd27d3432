//! One bare TCP segment, as a stranger or a confused peer would send it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sys::testing::sockets::{Kind, Ready, Socket, wait};

use super::wire::{Segment, tcp_segment};

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Injection {
    /// Claimed sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Sequence number; with `learn`, how far it is off.
    pub sequence: u32,
    /// Acknowledgement number; not used with `learn`.
    pub ack: u32,
    /// TCP flags.
    pub flags: u8,
    /// Wait so long for a segment of the connection and take its numbers, so that only the sequence number is off.
    pub learn: Option<Duration>,
}

/// Sends it. With `learn`, `ready` is called when it begins to listen.
pub fn inject(injection: &Injection, ready: impl FnOnce()) -> io::Result<()> {
    const TCP: i32 = 6;
    const WITH_HEADER: i32 = 255;
    let mut numbers = (injection.sequence, injection.ack);
    if let Some(patience) = injection.learn {
        let socket = Socket::open(false, Kind::Raw(TCP))?;
        ready();
        let seen = segment_of(&socket, injection, patience)
            .ok_or_else(|| io::Error::other("no segment of that connection came by"))?;
        numbers = (injection.sequence.wrapping_add(seen.ack), seen.sequence.wrapping_add(seen.length as u32));
    }
    let packet = tcp_segment((injection.from, injection.to), numbers, injection.flags)
        .ok_or_else(|| io::Error::other("segments can be injected into IPv4 connections only"))?;
    Socket::open(false, Kind::Raw(WITH_HEADER))?.send_from(&packet, injection.to, None).map(drop)
}

fn segment_of(socket: &Socket, injection: &Injection, patience: Duration) -> Option<Segment> {
    let begin = Instant::now();
    let mut buffer = [0; 2048];
    while begin.elapsed() < patience {
        wait(&[(socket, Ready { read: true, write: false })], Some(Duration::from_millis(50)));
        while let Ok(datagram) = socket.receive_datagram(&mut buffer) {
            let Some(segment) = Segment::read(&buffer[..datagram.length]) else { continue };
            let ports = (segment.source_port, segment.port) == (injection.to.port(), injection.from.port());
            if datagram.source.ip() == injection.to.ip() && ports && segment.length > 0 {
                return Some(segment);
            }
        }
    }
    None
}
