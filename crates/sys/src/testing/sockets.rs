//! Sockets for test traffic, beyond what the standard library has: chosen source addresses, packet information, ICMP
//! errors of datagrams, raw sockets, and connects that do not block.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use libc::c_void;

/// The kinds of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
    /// Packets of this IP protocol, written and read by hand.
    Raw(i32),
}

/// What a socket is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ready {
    /// Something can be read, or an error waits.
    pub read: bool,
    /// It can be written, a connect is over, or an error waits.
    pub write: bool,
}

impl Ready {
    /// Answers whether it is ready for anything.
    pub fn any(self) -> bool {
        self.read || self.write
    }
}

/// A socket that never blocks.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    kind: Kind,
}

/// A datagram that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Its length.
    pub length: usize,
    /// Who sent it.
    pub source: SocketAddr,
    /// The address it was sent to, where the socket was told to say so.
    pub destination: Option<IpAddr>,
}

const ADDRESS: usize = 28;

impl Socket {
    /// Opens a socket for addresses of one family; an IPv6 one can be made to serve both.
    pub fn open(ipv6: bool, kind: Kind) -> io::Result<Self> {
        let family = if ipv6 { libc::AF_INET6 } else { libc::AF_INET };
        let (kind_number, protocol) = match kind {
            Kind::Stream => (libc::SOCK_STREAM, libc::IPPROTO_TCP),
            Kind::Datagram => (libc::SOCK_DGRAM, 0),
            Kind::Raw(protocol) => (libc::SOCK_RAW, protocol),
        };
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: plain system call; the result is checked.
        let raw = checked(unsafe { libc::socket(family, kind_number | flags, protocol) })?;
        // SAFETY: `raw` was just opened and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(raw) }, kind })
    }

    /// Lets other sockets have the same local address.
    pub fn share_address(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
    }

    /// Serves IPv4 as well, with mapped addresses.
    pub fn serve_both_families(&self) -> io::Result<()> {
        self.set(libc::SOL_IPV6, libc::IPV6_V6ONLY, 0)
    }

    /// Tells the destination address of each datagram.
    pub fn tell_destinations(&self, ipv6: bool) -> io::Result<()> {
        if ipv6 {
            self.set(libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        }
        if !ipv6 || self.kind == Kind::Datagram {
            self.set(libc::SOL_IP, libc::IP_PKTINFO, 1)?;
        }
        Ok(())
    }

    /// Reports ICMP errors about its datagrams, all of them.
    pub fn report_errors(&self, ipv6: bool) -> io::Result<()> {
        match ipv6 {
            false => self.set(libc::SOL_IP, libc::IP_RECVERR, 1),
            true => self.set(libc::SOL_IPV6, libc::IPV6_RECVERR, 1),
        }
    }

    /// Has room for so many bytes that were not read yet.
    pub fn make_room(&self, bytes: i32) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, bytes)
    }

    /// Sends small pieces at once.
    pub fn without_delay(&self) -> io::Result<()> {
        self.set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
    }

    /// Closes with a reset, so that no TIME_WAIT state keeps the pair of addresses busy.
    pub fn reset_on_close(&self) -> io::Result<()> {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let length = mem::size_of_val(&linger) as u32;
        let pointer = (&raw const linger).cast::<c_void>();
        // SAFETY: pointer and length describe `linger`.
        let done =
            unsafe { libc::setsockopt(self.raw(), libc::SOL_SOCKET, libc::SO_LINGER, pointer, length) };
        checked(done).map(drop)
    }

    /// Binds it.
    pub fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let (bytes, length) = self.encode(address);
        // SAFETY: pointer and length describe `bytes`.
        checked(unsafe { libc::bind(self.raw(), bytes.as_ptr().cast(), length) }).map(drop)
    }

    /// Listens.
    pub fn listen(&self) -> io::Result<()> {
        // SAFETY: plain system call.
        checked(unsafe { libc::listen(self.raw(), 1024) }).map(drop)
    }

    /// Starts a connect; `true` when it is over already.
    pub fn connect(&self, address: SocketAddr) -> io::Result<bool> {
        let (bytes, length) = self.encode(address);
        // SAFETY: pointer and length describe `bytes`.
        match checked(unsafe { libc::connect(self.raw(), bytes.as_ptr().cast(), length) }) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a connection that waits.
    pub fn accept(&self) -> io::Result<(Self, SocketAddr)> {
        let mut bytes = [0_u8; ADDRESS];
        let mut length = ADDRESS as u32;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: pointer and length describe `bytes`; the result is checked.
        let raw =
            checked(unsafe { libc::accept4(self.raw(), bytes.as_mut_ptr().cast(), &raw mut length, flags) })?;
        // SAFETY: `raw` was just opened and nobody else owns it.
        Ok((Self { fd: unsafe { OwnedFd::from_raw_fd(raw) }, kind: self.kind }, decode(&bytes)))
    }

    /// Answers its own address.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let mut bytes = [0_u8; ADDRESS];
        let mut length = ADDRESS as u32;
        // SAFETY: pointer and length describe `bytes`.
        checked(unsafe { libc::getsockname(self.raw(), bytes.as_mut_ptr().cast(), &raw mut length) })?;
        Ok(decode(&bytes))
    }

    /// Takes the error that waits; 0: none.
    pub fn take_error(&self) -> i32 {
        let mut value = 0_i32;
        let mut length = mem::size_of_val(&value) as u32;
        let pointer = (&raw mut value).cast::<c_void>();
        // SAFETY: pointer and length describe `value`.
        unsafe { libc::getsockopt(self.raw(), libc::SOL_SOCKET, libc::SO_ERROR, pointer, &raw mut length) };
        value
    }

    /// Receives.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (pointer, room) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: pointer and length describe the buffer.
        sized(unsafe { libc::recv(self.raw(), pointer, room, libc::MSG_DONTWAIT) })
    }

    /// Sends to where it is connected.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: pointer and length describe `bytes`.
        sized(unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
    }

    /// Receives a datagram with the address it was sent to.
    pub fn receive_datagram(&self, buffer: &mut [u8]) -> io::Result<Datagram> {
        let mut name = [0_u8; ADDRESS];
        let mut control = [0_u64; 16];
        let (length, control_length) = self.receive_message(buffer, (&mut name, &mut control), 0)?;
        let mut destination = None;
        for (level, kind, data) in control_messages(&control, control_length) {
            if (level, kind) == (libc::SOL_IP, libc::IP_PKTINFO) {
                destination = data.get(8..12).and_then(|b| b.first_chunk::<4>()).map(|b| IpAddr::from(*b));
            } else if (level, kind) == (libc::SOL_IPV6, libc::IPV6_PKTINFO) {
                destination = data.first_chunk::<16>().map(|b| IpAddr::from(*b).to_canonical());
            }
        }
        Ok(Datagram { length, source: decode(&name), destination })
    }

    /// Takes the next ICMP error: its number, and the beginning of the packet that caused it, from the transport header
    /// on. Raw sockets get the errors of their neighbours, too.
    pub fn next_error(&self, buffer: &mut [u8]) -> Option<(i32, usize)> {
        let (mut name, mut control) = ([0_u8; ADDRESS], [0_u64; 64]);
        let flags = libc::MSG_ERRQUEUE;
        let (length, control_length) = self.receive_message(buffer, (&mut name, &mut control), flags).ok()?;
        let is_error = |level, kind| {
            (level, kind) == (libc::SOL_IP, libc::IP_RECVERR)
                || (level, kind) == (libc::SOL_IPV6, libc::IPV6_RECVERR)
        };
        let mut errors =
            control_messages(&control, control_length).filter(|(level, kind, _)| is_error(*level, *kind));
        let number = errors.next()?.2.first_chunk::<4>().map(|b| i32::from_ne_bytes(*b))?;
        Some((number, length))
    }

    fn receive_message(
        &self,
        buffer: &mut [u8],
        (name, control): (&mut [u8; ADDRESS], &mut [u64]),
        flags: i32,
    ) -> io::Result<(usize, usize)> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        // SAFETY: all-zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = ADDRESS as u32;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = mem::size_of_val(control);
        // SAFETY: every pointer in `message` describes a buffer that outlives the call.
        let length =
            sized(unsafe { libc::recvmsg(self.raw(), &raw mut message, flags | libc::MSG_DONTWAIT) })?;
        Ok((length, message.msg_controllen))
    }

    /// Sends a datagram, with a chosen source address if there is one.
    pub fn send_from(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<usize> {
        let (mut name, name_length) = self.encode(to);
        let mut control = Vec::new();
        match from {
            Some(IpAddr::V4(address)) => {
                let mut data = [0_u8; 12];
                data[4..8].copy_from_slice(&address.octets());
                put_control(&mut control, (libc::SOL_IP, libc::IP_PKTINFO), &data);
            }
            Some(IpAddr::V6(address)) => {
                let mut data = [0_u8; 20];
                data[..16].copy_from_slice(&address.octets());
                put_control(&mut control, (libc::SOL_IPV6, libc::IPV6_PKTINFO), &data);
            }
            None => {}
        }
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all-zero is a valid msghdr.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = name_length;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if !control.is_empty() {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = mem::size_of_val(control.as_slice());
        }
        // SAFETY: every pointer in `message` describes a buffer that outlives the call; the kernel only reads them.
        sized(unsafe { libc::sendmsg(self.raw(), &raw const message, libc::MSG_NOSIGNAL) })
    }

    fn set(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        let pointer = (&raw const value).cast::<c_void>();
        // SAFETY: pointer and length describe `value`.
        checked(unsafe { libc::setsockopt(self.raw(), level, option, pointer, 4) }).map(drop)
    }

    /// Raw sockets have no ports, and for them the kernel wants none in an address.
    fn encode(&self, address: SocketAddr) -> ([u8; ADDRESS], u32) {
        let is_raw = matches!(self.kind, Kind::Raw(_));
        let port = if is_raw { 0 } else { address.port() };
        let mut bytes = [0_u8; ADDRESS];
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => {
                bytes[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[4..8].copy_from_slice(&ip.octets());
                (bytes, 16)
            }
            IpAddr::V6(ip) => {
                bytes[0..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[8..24].copy_from_slice(&ip.octets());
                (bytes, ADDRESS as u32)
            }
        }
    }

    fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}

/// Waits until one of the sockets is ready for what is wanted of it. `None` waits for ever; an interrupted wait ends.
pub fn wait(sockets: &[(&Socket, Ready)], time: Option<Duration>) -> Vec<Ready> {
    let mut polls: Vec<libc::pollfd> = sockets
        .iter()
        .map(|(socket, wanted)| {
            let read = if wanted.read { libc::POLLIN } else { 0 };
            let write = if wanted.write { libc::POLLOUT } else { 0 };
            libc::pollfd { fd: socket.raw(), events: read | write, revents: 0 }
        })
        .collect();
    let millis = time.map_or(-1, |time| i32::try_from(time.as_millis()).unwrap_or(60_000).min(60_000));
    // SAFETY: pointer and length describe `polls`.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, millis) };
    let trouble = libc::POLLERR | libc::POLLHUP;
    let ready = |poll: &libc::pollfd| Ready {
        read: poll.revents & (libc::POLLIN | trouble) != 0,
        write: poll.revents & (libc::POLLOUT | trouble) != 0,
    };
    polls.iter().map(ready).collect()
}

/// The kernel ends this process when the thread that started it ends.
pub fn die_with_parent() {
    // SAFETY: plain system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

/// Allows as many open files as this process may have.
pub fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers describe `limit`.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn sized(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn decode(bytes: &[u8; ADDRESS]) -> SocketAddr {
    let port = u16::from_be_bytes([bytes[2], bytes[3]]);
    if i32::from(u16::from_ne_bytes([bytes[0], bytes[1]])) == libc::AF_INET {
        return (Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]), port).into();
    }
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[8..24]);
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical(), port)
}

/// Walks over control messages as (level, type, data): each begins with its length (8 bytes), level and type, at a
/// multiple of 8.
fn control_messages(control: &[u64], length: usize) -> impl Iterator<Item = (i32, i32, Vec<u8>)> {
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect();
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..)?.first_chunk::<16>()?;
        let length = usize::from_ne_bytes(*head.first_chunk()?);
        let number =
            |from: usize| i32::from_ne_bytes([head[from], head[from + 1], head[from + 2], head[from + 3]]);
        let message = (number(8), number(12), bytes.get(at + 16..at + length)?.to_vec());
        at += length.next_multiple_of(8);
        Some(message)
    })
}

fn put_control(out: &mut Vec<u64>, (level, kind): (i32, i32), data: &[u8]) {
    let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&level.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    out.extend(bytes.chunks_exact(8).map(|word| {
        u64::from_ne_bytes([word[0], word[1], word[2], word[3], word[4], word[5], word[6], word[7]])
    }));
}
