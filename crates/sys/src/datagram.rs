//! UDP in batches: many datagrams received and answered with one system call each, from the address they were sent to.
//!
//! Answers of one batch that go to one client and have one length are one pass through the kernel (UDP_SEGMENT, `group`).

mod group;

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use group::Groups;

/// How many datagrams a batch has at most.
pub const BATCH: usize = 32;
/// Room for one address of either family.
const NAME: usize = 32;
/// Room for one control message of either family.
const CONTROL: usize = 40;
/// Rooms for received datagrams are a page and this apart: a page alone, and all begin in the same few places of the cache.
const APART: usize = 192;

/// A datagram's other end, and the own address that it was sent to.
#[derive(Clone, Copy)]
pub struct Peer {
    name: Aligned<NAME>,
    name_len: libc::socklen_t,
    control: Aligned<CONTROL>,
    control_len: usize,
}

/// Addresses and control messages must lie where their types may.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Aligned<const LEN: usize>([u8; LEN]);

/// Received datagrams and the room for their answers.
pub struct Batch {
    received: Vec<u8>,
    answers: Vec<u8>,
    room: (usize, usize),
    peers: [Peer; BATCH],
    lengths: [usize; BATCH],
    answer_lengths: [usize; BATCH],
    count: usize,
    /// Whether the kernel takes several answers as one; `None` until the first are sent.
    is_grouping: Option<bool>,
}

/// Opens a UDP socket that shares its address with others of its kind: the kernel spreads clients over them.
///
/// One on a wildcard address answers from the address that was asked.
pub fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    if let SocketAddr::V6(address) = address {
        // As other servers do: `::` is for both families.
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    bind(&socket, &address)?;
    let socket = UdpSocket::from(socket);
    note_own_address(&socket)?;
    Ok(socket)
}

/// Has the kernel tell to which address a datagram was sent, where that can be several.
pub fn note_own_address(socket: &UdpSocket) -> io::Result<()> {
    let address = socket.local_addr()?;
    if !address.ip().is_unspecified() {
        return Ok(());
    }
    let (level, option) = match address {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `on`.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Batch {
    /// Room for datagrams of at most `received` bytes and answers of at most `answers` bytes.
    pub fn new(received: usize, answers: usize) -> Self {
        Self {
            received: vec![0; (received + APART) * BATCH],
            answers: vec![0; answers * BATCH],
            room: (received, answers),
            peers: [Peer::nobody(); BATCH],
            lengths: [0; BATCH],
            answer_lengths: [0; BATCH],
            count: 0,
            is_grouping: None,
        }
    }

    /// Waits for datagrams, at most as long as the socket's read timeout, and answers how many there are.
    ///
    /// One that is longer than there is room for is cut.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.count = 0;
        // SAFETY: all zeroes are a valid value of both types.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let rooms = self.received.chunks_exact_mut(self.room.0 + APART);
        for (((header, part), peer), room) in
            headers.iter_mut().zip(&mut parts).zip(&mut self.peers).zip(rooms)
        {
            part.iov_base = room.as_mut_ptr().cast();
            part.iov_len = self.room.0;
            peer.fill(&mut header.msg_hdr);
            header.msg_hdr.msg_namelen = NAME as libc::socklen_t;
            header.msg_hdr.msg_control = peer.control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
        }
        let none = std::ptr::null_mut();
        // SAFETY: the headers point to parts, peers and rooms that outlive the call, with their lengths.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as _,
                libc::MSG_WAITFORONE as _,
                none,
            )
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        self.count = (got as usize).min(BATCH);
        for (at, header) in headers.iter().enumerate().take(self.count) {
            self.lengths[at] = (header.msg_len as usize).min(self.room.0);
            self.answer_lengths[at] = 0;
            let peer = &mut self.peers[at];
            peer.name_len = header.msg_hdr.msg_namelen.min(NAME as libc::socklen_t);
            #[allow(clippy::unnecessary_cast, reason = "musl has a shorter type")]
            let control_len = header.msg_hdr.msg_controllen as usize;
            peer.control_len = control_len.min(CONTROL);
            peer.forget_interface();
        }
        Ok(self.count)
    }

    /// Forgets what was received, so that there is room for what [`Batch::add`] adds.
    pub fn begin(&mut self) {
        self.count = 0;
    }

    /// Adds a datagram that answers none; false where there is no room for it.
    pub fn add(&mut self, peer: &Peer, datagram: &[u8]) -> bool {
        if self.count == BATCH || datagram.len() > self.room.1 {
            return false;
        }
        self.answers[self.count * self.room.1..][..datagram.len()].copy_from_slice(datagram);
        self.peers[self.count] = *peer;
        self.answer_lengths[self.count] = datagram.len();
        self.count += 1;
        true
    }

    /// Answers a received datagram, where it came from, and the room for its answer.
    pub fn get(&mut self, number: usize) -> (&[u8], &Peer, &mut [u8]) {
        let (received, answers) = self.room;
        let datagram = &self.received[number * (received + APART)..][..self.lengths[number]];
        (datagram, &self.peers[number], &mut self.answers[number * answers..][..answers])
    }

    /// Has the first bytes of the room sent as the answer; 0 for no answer.
    pub fn set_answer(&mut self, number: usize, len: usize) {
        self.answer_lengths[number] = len.min(self.room.1);
    }

    /// Sends the answers. One that cannot be sent is left out. Those to one client may arrive in another order.
    pub fn send(&mut self, socket: &UdpSocket) {
        let lengths = &self.answer_lengths[..self.count];
        let is_grouping = *self.is_grouping.get_or_insert_with(|| group::is_known(socket));
        let groups = match is_grouping {
            true => Groups::of(lengths, |one, other| self.peers[one].is(&self.peers[other])),
            false => Groups::single(lengths),
        };
        let mut first = 0;
        while first < groups.len() {
            match self.send_from(first, &groups, socket) {
                Ok(sent) => first += sent,
                Err(error) => {
                    self.send_single(groups.members(first), socket, &error);
                    first += 1;
                }
            }
        }
    }

    /// Sends the groups from this one on, and answers how many the kernel took.
    fn send_from(&mut self, first: usize, groups: &Groups, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: all zeroes are a valid value of both types.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut parts: [libc::iovec; BATCH] = unsafe { mem::zeroed() };
        let mut controls = [Aligned([0; CONTROL + group::SEGMENT]); BATCH];
        let mut used = 0;
        let count = groups.len() - first;
        for (at, (header, control)) in headers.iter_mut().zip(&mut controls).take(count).enumerate() {
            let begin = used;
            for number in groups.members(first + at) {
                let room = &mut self.answers[number * self.room.1..][..self.answer_lengths[number]];
                parts[used] = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
                used += 1;
            }
            let header = &mut header.msg_hdr;
            let peer = &mut self.peers[groups.head(first + at)];
            peer.fill(header);
            header.msg_iov = (&raw mut parts).cast::<libc::iovec>().wrapping_add(begin);
            header.msg_iovlen = (used - begin) as _;
            if let Some(size) = groups.segment(first + at) {
                control.0[..peer.control_len].copy_from_slice(&peer.control.0[..peer.control_len]);
                let len = group::write_segment(&mut control.0, peer.control_len, size);
                header.msg_control = control.0.as_mut_ptr().cast();
                header.msg_controllen = len as _;
            }
        }
        // SAFETY: the headers point to parts, peers, controls and rooms that outlive the call, with their lengths.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as _, 0) };
        if sent <= 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }

    /// Sends the answers of a group that the kernel refused one by one; it may be a firewall's doing, or that there is no way
    /// back, or an answer too long for the way.
    fn send_single(
        &mut self,
        members: impl Iterator<Item = usize> + Clone,
        socket: &UdpSocket,
        error: &io::Error,
    ) {
        if members.clone().nth(1).is_none() {
            return;
        }
        // The way has no checksums made by hardware, which old kernels want for it.
        if error.raw_os_error() == Some(libc::EIO) {
            self.is_grouping = Some(false);
        }
        for number in members {
            let answer = &self.answers[number * self.room.1..][..self.answer_lengths[number]];
            // Nobody can be told.
            drop(self.peers[number].send(socket, answer));
        }
    }
}

impl Peer {
    /// The other end of a datagram that was received elsewhere, whose own address does not matter.
    pub fn of(address: SocketAddr) -> Self {
        let mut peer = Self::nobody();
        let name = peer.name.0.as_mut_ptr();
        match address {
            SocketAddr::V4(address) => {
                // SAFETY: all zeroes are a valid value.
                let mut raw: libc::sockaddr_in = unsafe { mem::zeroed() };
                raw.sin_family = libc::AF_INET as libc::sa_family_t;
                raw.sin_port = address.port().to_be();
                raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
                peer.name_len = size_of_val(&raw) as libc::socklen_t;
                // SAFETY: there is room for an address of either family, where it may lie.
                unsafe { name.cast::<libc::sockaddr_in>().write(raw) };
            }
            SocketAddr::V6(address) => {
                // SAFETY: all zeroes are a valid value.
                let mut raw: libc::sockaddr_in6 = unsafe { mem::zeroed() };
                raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                raw.sin6_port = address.port().to_be();
                raw.sin6_addr.s6_addr = address.ip().octets();
                raw.sin6_scope_id = address.scope_id();
                peer.name_len = size_of_val(&raw) as libc::socklen_t;
                // SAFETY: there is room for an address of either family, where it may lie.
                unsafe { name.cast::<libc::sockaddr_in6>().write(raw) };
            }
        }
        peer
    }

    /// Answers the address and port; `None` for a family that UDP does not have.
    pub fn address(&self) -> Option<SocketAddr> {
        let name = self.name.0.as_ptr();
        match libc::c_int::from(u16::from_ne_bytes([self.name.0[0], self.name.0[1]])) {
            libc::AF_INET => {
                // SAFETY: the family says which type it is, and it lies where it may.
                let raw = unsafe { name.cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into())
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let raw = unsafe { name.cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), 0, raw.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    /// Answers the address alone, one of IPv4 as such whatever the socket's family.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip().to_canonical())
    }

    /// Sends a datagram to it, from the address that it asked.
    pub fn send(&self, socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
        let mut peer = *self;
        // SAFETY: all zeroes are a valid value.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        peer.fill(&mut header);
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        // SAFETY: the header points to what outlives the call; the bytes are only read.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn nobody() -> Self {
        Self { name: Aligned([0; NAME]), name_len: 0, control: Aligned([0; CONTROL]), control_len: 0 }
    }

    /// Answers whether both are one client's, who asked one address.
    fn is(&self, other: &Self) -> bool {
        self.name.0[..8] == other.name.0[..8]
            && self.name.0[..self.name_len as usize] == other.name.0[..other.name_len as usize]
            && self.control.0[..self.control_len] == other.control.0[..other.control_len]
    }

    fn fill(&mut self, header: &mut libc::msghdr) {
        header.msg_name = self.name.0.as_mut_ptr().cast();
        header.msg_namelen = self.name_len;
        if self.control_len > 0 {
            header.msg_control = self.control.0.as_mut_ptr().cast();
            header.msg_controllen = self.control_len as _;
        }
    }

    /// Leaves the way back to routing: with the interface of the way here, an answer through another one would be lost.
    fn forget_interface(&mut self) {
        if self.control_len < size_of::<libc::cmsghdr>() {
            self.control_len = 0;
            return;
        }
        // SAFETY: the buffer is long enough and aligned for a header.
        let head = unsafe { self.control.0.as_ptr().cast::<libc::cmsghdr>().read() };
        let data = size_of::<libc::cmsghdr>();
        let interface = match (head.cmsg_level, head.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => data..data + 4,
            // A link-local address means nothing without its interface.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if self.control.0[data] == 0xfe => 0..0,
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => data + 16..data + 20,
            _ => {
                self.control_len = 0;
                return;
            }
        };
        self.control.0[interface].fill(0);
    }
}

/// Has calls to receive give up after a while.
pub fn set_patience(socket: &UdpSocket, patience: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(address: &str, clients: &[&str]) {
        let server = open(address.parse().unwrap()).unwrap();
        set_patience(&server, Duration::from_secs(5)).unwrap();
        let port = server.local_addr().unwrap().port();
        for target in clients {
            let target: SocketAddr = format!("{target}:{port}").parse().unwrap();
            let any = if target.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
            let client = UdpSocket::bind(any).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            // Connected: an answer from another address would not arrive.
            client.connect(target).unwrap();
            for text in ["one", "two", "three"] {
                client.send(text.as_bytes()).unwrap();
            }
            let mut batch = Batch::new(100, 200);
            let mut left = 3;
            while left > 0 {
                let count = batch.receive(&server).unwrap();
                for number in 0..count {
                    let (datagram, peer, answer) = batch.get(number);
                    let text =
                        format!("{} to {}", std::str::from_utf8(datagram).unwrap(), peer.ip().unwrap());
                    answer[..text.len()].copy_from_slice(text.as_bytes());
                    if datagram == b"two" {
                        peer.send(&server, b"two alone").unwrap();
                    } else {
                        batch.set_answer(number, text.len());
                    }
                }
                batch.send(&server);
                left -= count;
            }
            let own = client.local_addr().unwrap().ip();
            let mut texts: Vec<String> = (0..3)
                .map(|_| {
                    let mut buffer = [0; 100];
                    let len = client.recv(&mut buffer).unwrap();
                    String::from_utf8_lossy(&buffer[..len]).into_owned()
                })
                .collect();
            texts.sort();
            assert_eq!(texts, [format!("one to {own}"), format!("three to {own}"), "two alone".to_owned()]);
        }
    }

    #[test]
    fn answers_come_from_where_they_were_asked() {
        echo("127.0.0.1:0", &["127.0.0.1"]);
        echo("0.0.0.0:0", &["127.0.0.1", "127.0.0.2", "127.1.2.3"]);
        echo("[::]:0", &["127.0.0.2", "[::1]"]);
        echo("[::1]:0", &["[::1]"]);
    }

    #[test]
    fn answers_to_one_client_arrive_each_for_itself() {
        for (address, client) in
            [("127.0.0.1:0", "127.0.0.1:0"), ("0.0.0.0:0", "127.0.0.1:0"), ("[::]:0", "[::1]:0")]
        {
            let server = open(address.parse().unwrap()).unwrap();
            set_patience(&server, Duration::from_secs(5)).unwrap();
            let port = server.local_addr().unwrap().port();
            let clients = [client; 2].map(|address| UdpSocket::bind(address).unwrap());
            let texts = ["one", "two", "six", "eleven", "a", "ten", "nine"];
            for client in &clients {
                client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                client.connect((client.local_addr().unwrap().ip(), port)).unwrap();
                texts.iter().for_each(|text| assert_eq!(client.send(text.as_bytes()).unwrap(), text.len()));
            }
            let mut batch = Batch::new(100, 200);
            let mut left = clients.len() * texts.len();
            while left > 0 {
                let count = batch.receive(&server).unwrap();
                for number in 0..count {
                    let (datagram, _, answer) = batch.get(number);
                    let len = datagram.len();
                    answer[..len].copy_from_slice(datagram);
                    batch.set_answer(number, len);
                }
                batch.send(&server);
                left -= count;
            }
            for client in clients {
                let mut found = texts.map(|_| {
                    let mut buffer = [0; 100];
                    let len = client.recv(&mut buffer).unwrap();
                    String::from_utf8_lossy(&buffer[..len]).into_owned()
                });
                found.sort();
                let mut wanted = texts;
                wanted.sort_unstable();
                assert_eq!(found, wanted, "{address}");
            }
        }
    }

    #[test]
    fn an_address_can_be_shared() {
        let first = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let second = open(first.local_addr().unwrap()).unwrap();
        assert_eq!(first.local_addr().unwrap(), second.local_addr().unwrap());
        set_patience(&second, Duration::from_millis(1)).unwrap();
        let error = Batch::new(10, 10).receive(&second).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn peers_are_made_of_addresses() {
        for text in ["192.0.2.1:53", "[2001:db8::1]:53"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Peer::of(address).address(), Some(address));
        }
    }
}
