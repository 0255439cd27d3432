//! The server: one poll loop, any number of ports. Every connection, line, datagram and SCTP INIT is answered with
//! `NAME SOURCE DESTINATION [ECHO]`.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sys::testing::sockets::{Kind, Ready, Socket, raise_file_limit, wait};

use super::wire::{INIT, INIT_ACK, Sctp};

/// What a server serves.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The name with which it answers.
    pub name: String,
    /// TCP ports.
    pub tcp: Vec<u16>,
    /// UDP ports.
    pub udp: Vec<u16>,
    /// SCTP ports. The kernel needs no SCTP of its own for them.
    pub sctp: Vec<u16>,
}

/// A server that has its ports. It serves while [`run`](Self::run) runs.
pub struct Server {
    places: Places,
    items: Vec<Item>,
}

struct Item {
    socket: Socket,
    role: Role,
}

enum Role {
    Listen,
    Datagrams(u16),
    Sctp { ipv6: bool },
    Connection(Box<Connection>),
}

struct Connection {
    peer: SocketAddr,
    local: SocketAddr,
    received: Vec<u8>,
    answers: VecDeque<u8>,
    is_over: bool,
}

impl Server {
    /// Takes the ports, in the network namespace of the calling thread.
    pub fn open(places: Places) -> io::Result<Self> {
        raise_file_limit();
        let mut items = Vec::new();
        for port in &places.tcp {
            let socket = Socket::open(true, Kind::Stream)?;
            socket.serve_both_families()?;
            socket.share_address()?;
            socket.bind(anywhere(*port))?;
            socket.listen()?;
            items.push(Item { socket, role: Role::Listen });
        }
        for port in &places.udp {
            let socket = Socket::open(true, Kind::Datagram)?;
            socket.serve_both_families()?;
            socket.tell_destinations(true)?;
            socket.make_room(1 << 20)?;
            socket.bind(anywhere(*port))?;
            items.push(Item { socket, role: Role::Datagrams(*port) });
        }
        if !places.sctp.is_empty() {
            for ipv6 in [false, true] {
                let socket = Socket::open(ipv6, Kind::Raw(SCTP))?;
                socket.tell_destinations(ipv6)?;
                items.push(Item { socket, role: Role::Sctp { ipv6 } });
            }
        }
        Ok(Self { places, items })
    }

    /// Serves until `stop` says so; it is asked several times a second.
    pub fn run(mut self, stop: impl Fn() -> bool) {
        let mut buffer = vec![0; 65_536];
        while !stop() {
            let wanted: Vec<(&Socket, Ready)> =
                self.items.iter().map(|item| (&item.socket, item.wants())).collect();
            let ready = wait(&wanted, Some(Duration::from_millis(100)));
            let mut fresh = Vec::new();
            for (item, _) in self.items.iter_mut().zip(ready).filter(|(_, ready)| ready.any()) {
                item.serve(&self.places, &mut buffer, &mut fresh);
            }
            self.items
                .retain(|item| !matches!(&item.role, Role::Connection(connection) if connection.is_over));
            self.items.append(&mut fresh);
        }
    }
}

/// `IPPROTO_SCTP`.
pub(super) const SCTP: i32 = 132;

fn anywhere(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)
}

impl Item {
    fn wants(&self) -> Ready {
        let write = matches!(&self.role, Role::Connection(connection) if !connection.answers.is_empty());
        Ready { read: true, write }
    }

    fn serve(&mut self, places: &Places, buffer: &mut [u8], fresh: &mut Vec<Item>) {
        match &mut self.role {
            Role::Listen => accept(&self.socket, &places.name, fresh),
            Role::Connection(connection) => connection.serve(&self.socket, &places.name, buffer),
            Role::Datagrams(port) => answer_datagrams(&self.socket, (&places.name, *port), buffer),
            Role::Sctp { ipv6 } => answer_sctp(&self.socket, places, (*ipv6, buffer)),
        }
    }
}

fn accept(listener: &Socket, name: &str, fresh: &mut Vec<Item>) {
    while let Ok((socket, peer)) = listener.accept() {
        let Ok(local) = socket.local_address() else { continue };
        // Only a matter of speed.
        drop(socket.without_delay());
        let answers = format!("{name} {peer} {local}\n").into_bytes().into();
        let mut connection = Connection { peer, local, received: Vec::new(), answers, is_over: false };
        connection.flush(&socket);
        fresh.push(Item { socket, role: Role::Connection(Box::new(connection)) });
    }
}

impl Connection {
    fn serve(&mut self, socket: &Socket, name: &str, buffer: &mut [u8]) {
        loop {
            match socket.receive(buffer) {
                Ok(0) => self.is_over = true,
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.is_over = true,
            }
            break;
        }
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let echo = String::from_utf8_lossy(&line[..end]);
            self.answers.extend(format!("{name} {} {} {echo}\n", self.peer, self.local).into_bytes());
        }
        self.flush(socket);
    }

    fn flush(&mut self, socket: &Socket) {
        while !self.answers.is_empty() {
            match socket.send(self.answers.as_slices().0) {
                Ok(sent) => drop(self.answers.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_over = true;
                    return;
                }
            }
        }
    }
}

/// The socket is an IPv6 one: it wants IPv4 addresses in their mapped form.
fn mapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().into(),
        IpAddr::V6(_) => address,
    }
}

fn answer_datagrams(socket: &Socket, (name, port): (&str, u16), buffer: &mut [u8]) {
    while let Ok(datagram) = socket.receive_datagram(buffer) {
        let local = SocketAddr::new(datagram.destination.unwrap_or(Ipv4Addr::UNSPECIFIED.into()), port);
        let echo = String::from_utf8_lossy(&buffer[..datagram.length]);
        let answer = format!("{name} {} {local} {}\n", datagram.source, echo.trim_end());
        let to = SocketAddr::new(mapped(datagram.source.ip()), datagram.source.port());
        // An answer that is lost is what datagrams are like.
        drop(socket.send_from(answer.as_bytes(), to, datagram.destination.map(mapped)));
    }
}

fn answer_sctp(socket: &Socket, places: &Places, (ipv6, buffer): (bool, &mut [u8])) {
    while let Ok(datagram) = socket.receive_datagram(buffer) {
        // Raw IPv4 sockets get the IP header, too.
        let header = if ipv6 { 0 } else { usize::from(buffer[0] & 15) * 4 };
        let packet = buffer[..datagram.length].get(header..).and_then(Sctp::read);
        let (Some(packet), Some(local)) = (packet, datagram.destination) else { continue };
        if packet.kind != INIT || !places.sctp.contains(&packet.port) {
            continue;
        }
        let (peer, place) =
            (SocketAddr::new(datagram.source.ip(), packet.source_port), SocketAddr::new(local, packet.port));
        let answer = Sctp {
            source_port: packet.port,
            port: packet.source_port,
            receiver: packet.tag,
            kind: INIT_ACK,
            tag: packet.tag ^ 0x5a5a_5a5a,
            text: format!("{} {peer} {place}", places.name),
        };
        drop(socket.send_from(&answer.bytes(), datagram.source, Some(local)));
    }
}
