//! The core that all netlink protocols share: a socket, messages, attributes, errors with the kernel's explanation.
//!
//! What it does *not* know: any protocol above `struct nlmsghdr` and `struct nlattr`.

use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::Error;

/// Flags of `nlmsg_flags`.
pub const REQUEST: u16 = 0x1;
pub const ACK: u16 = 0x4;
pub const ECHO: u16 = 0x8;
pub const EXCL: u16 = 0x200;
pub const CREATE: u16 = 0x400;
pub const APPEND: u16 = 0x800;
pub const DUMP: u16 = 0x300;
const MULTI: u16 = 0x2;
const DUMP_INTR: u16 = 0x10;
const CAPPED: u16 = 0x100;
const ACK_TLVS: u16 = 0x200;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
const TYPE_MASK: u16 = 0x3fff;
const ATTR_MSG: u16 = 1;
const ATTR_OFFS: u16 = 2;
const RECEIVE: usize = 256 * 1024;

/// A netlink socket with its own port.
pub struct Socket {
    fd: OwnedFd,
    port: u32,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket of a protocol (`libc::NETLINK_*`) in the network namespace of the calling thread.
    pub fn open(protocol: i32) -> Result<Self, Error> {
        // SAFETY: plain system call, the result is checked before use.
        let raw = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
        if raw < 0 {
            return Err(Error::last("open a netlink socket"));
        }
        // SAFETY: `raw` is a descriptor that was just opened and that nobody else owns.
        let fd = unsafe { OwnedFd::from_raw_fd(raw) };
        let mut socket = Self { fd, port: 0, sequence: 0, buffer: vec![0; RECEIVE] };
        // Old kernels lack these; errors then come without explanation.
        let _ = socket.set_option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = socket.set_option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        socket.bind()?;
        Ok(socket)
    }

    fn bind(&mut self) -> Result<(), Error> {
        // SAFETY: all-zero is a valid sockaddr_nl.
        let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        let mut length = mem::size_of_val(&address) as libc::socklen_t;
        let pointer = (&raw mut address).cast::<libc::sockaddr>();
        // SAFETY: pointer and length describe `address`, which outlives the call.
        if unsafe { libc::bind(self.raw(), pointer, length) } < 0 {
            return Err(Error::last("bind a netlink socket"));
        }
        // SAFETY: as above; the kernel writes at most `length` bytes.
        if unsafe { libc::getsockname(self.raw(), pointer, &raw mut length) } < 0 {
            return Err(Error::last("read a netlink socket's port"));
        }
        self.port = address.nl_pid;
        Ok(())
    }

    /// Answers the port under which the kernel knows this socket.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Answers a sequence number that was not used before, and reserves as many.
    pub fn reserve(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1).max(1);
        self.sequence = first.wrapping_add(count);
        first
    }

    /// Makes room for sending a message of this size and for the answers it may cause; 0 leaves it as it is. Privileged processes may exceed
    /// `net.core.wmem_max`; for others the kernel keeps that limit and a larger message fails with EMSGSIZE.
    pub fn make_room(&self, send: usize, receive: usize) {
        for (force, plain, bytes) in
            [(libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send), (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive)]
        {
            if bytes == 0 {
                continue;
            }
            let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
            if self.set_option(libc::SOL_SOCKET, force, bytes).is_err() {
                let _ = self.set_option(libc::SOL_SOCKET, plain, bytes);
            }
        }
    }

    /// Joins a multicast group.
    pub fn join(&self, group: i32) -> Result<(), Error> {
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
    }

    /// Leaves a multicast group.
    pub fn leave(&self, group: i32) -> Result<(), Error> {
        self.set_option(libc::SOL_NETLINK, libc::NETLINK_DROP_MEMBERSHIP, group)
    }

    fn set_option(&self, level: i32, option: i32, value: i32) -> Result<(), Error> {
        let length = mem::size_of_val(&value) as libc::socklen_t;
        // SAFETY: pointer and length describe `value`, which outlives the call.
        let done = unsafe { libc::setsockopt(self.raw(), level, option, (&raw const value).cast(), length) };
        if done < 0 { Err(Error::last("set a netlink socket option")) } else { Ok(()) }
    }

    /// Sends one datagram, which may hold many messages.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: pointer and length describe `bytes`, which outlives the call.
        let sent = unsafe { libc::send(self.raw(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(Error::last("send to netlink")) } else { Ok(()) }
    }

    /// Waits until something can be read. `false`: nothing came in time.
    pub fn wait(&self, time: Duration) -> Result<bool, Error> {
        let mut poll = libc::pollfd { fd: self.raw(), events: libc::POLLIN, revents: 0 };
        let millis = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: `poll` is one pollfd and outlives the call.
        let ready = unsafe { libc::poll(&raw mut poll, 1, millis) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        let error = Error::last("wait for netlink");
        if error.errno() == Some(libc::EINTR) { Ok(false) } else { Err(error) }
    }

    /// Receives one datagram; blocks until there is one.
    pub fn receive(&mut self) -> Result<&[u8], Error> {
        loop {
            let (pointer, room) = (self.buffer.as_mut_ptr(), self.buffer.len());
            // SAFETY: pointer and length describe the buffer, which outlives the call.
            let got = unsafe { libc::recv(self.raw(), pointer.cast(), room, libc::MSG_TRUNC) };
            let Ok(got) = usize::try_from(got) else {
                let error = Error::last("receive from netlink");
                match error.errno() {
                    Some(libc::EINTR) => continue,
                    Some(libc::ENOBUFS) => return Err(Error::Lost),
                    _ => return Err(error),
                }
            };
            if got > room {
                return Err(Error::Malformed { what: "a datagram larger than the buffer" });
            }
            return Ok(&self.buffer[..got]);
        }
    }

    /// Waits for the answers to so many requests, the first of which had this number, and takes each. The first failure is told
    /// when all have answered.
    pub fn answers(
        &mut self,
        first: u32,
        count: u32,
        mut take: impl FnMut(Answer) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut answered, mut result) = (0, Ok(()));
        while answered < count {
            for message in messages(self.receive()?) {
                let Some(answer) = message?.error()? else { continue };
                if (first..first.wrapping_add(count)).contains(&answer.sequence) {
                    answered += 1;
                    result = result.and(take(answer));
                }
            }
        }
        result
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn request(&mut self, message: Message, what: &str) -> Result<(), Error> {
        self.request_with(message, 0, what)
    }

    /// The same with more flags.
    pub fn request_with(&mut self, message: Message, flags: u16, what: &str) -> Result<(), Error> {
        let sequence = self.reserve(1);
        self.send(&message.finish(flags | REQUEST | ACK, sequence))?;
        loop {
            let datagram = self.receive()?;
            for message in messages(datagram) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                if let Some(answer) = message.error()? {
                    return answer.into_result(what);
                }
            }
        }
    }

    /// Sends one request and hands its answers on, until its acknowledgement.
    pub fn ask(
        &mut self,
        message: Message,
        what: &str,
        each: &mut dyn FnMut(&Received<'_>),
    ) -> Result<(), Error> {
        let sequence = self.reserve(1);
        self.send(&message.finish(REQUEST | ACK, sequence))?;
        loop {
            for message in messages(self.receive()?) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                match message.error()? {
                    Some(answer) => return answer.into_result(what),
                    None => each(&message),
                }
            }
        }
    }

    /// Sends one dump request and hands every message of the answer on.
    pub fn dump(
        &mut self,
        request: Message,
        what: &'static str,
        each: &mut dyn FnMut(&Received<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let sequence = self.reserve(1);
        self.send(&request.finish(REQUEST | DUMP, sequence))?;
        let mut interrupted = false;
        loop {
            let datagram = self.receive()?;
            for message in messages(datagram) {
                let message = message?;
                if message.sequence != sequence {
                    continue;
                }
                interrupted |= message.flags & DUMP_INTR != 0;
                if message.kind == NLMSG_DONE {
                    if interrupted {
                        return Err(Error::Interrupted { what });
                    }
                    // The error of a dump that ended early stands in its last message.
                    let code = message.payload.first_chunk::<4>().map_or(0, |b| i32::from_ne_bytes(*b));
                    return Answer { errno: -code, text: String::new(), offset: None, sequence }
                        .into_result(what);
                }
                if let Some(answer) = message.error()? {
                    answer.into_result(what)?;
                    return Ok(());
                }
                each(&message)?;
                if message.flags & MULTI == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A message being written: header, then the protocol's own header, then attributes.
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Begins a message of this type with the protocol's own header.
    pub fn new(kind: u16, header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        begin(&mut bytes, kind, header);
        Self { bytes }
    }

    /// Writes the attributes.
    pub fn attributes(mut self, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        write(&mut self.bytes);
        self
    }

    fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        end(&mut self.bytes, 0, flags, sequence);
        self.bytes
    }
}

/// Begins a message at the end of `out`; answers where.
pub fn begin(out: &mut Vec<u8>, kind: u16, header: &[u8]) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out[start + 4..start + 6].copy_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(header);
    pad(out);
    start
}

/// Completes the message that begins at `start`.
pub fn end(out: &mut [u8], start: usize, flags: u16, sequence: u32) {
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    out[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
    out[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
}

/// Writes one attribute.
pub fn put(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    pad(out);
}

/// Writes a string with its closing zero.
pub fn put_str(out: &mut Vec<u8>, kind: u16, value: &str) {
    out.extend_from_slice(&((ATTRIBUTE + value.len() + 1) as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(0);
    pad(out);
}

/// Writes a number in network byte order, as nfnetlink wants it.
pub fn put_u32(out: &mut Vec<u8>, kind: u16, value: u32) {
    put(out, kind, &value.to_be_bytes());
}

/// Opens a nested attribute; answers where, for [`close`].
pub fn open(out: &mut Vec<u8>, kind: u16) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(kind | NESTED).to_ne_bytes());
    start
}

/// Closes the nested attribute that was opened at `start`.
pub fn close(out: &mut [u8], start: usize) {
    let length = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// One received message.
#[derive(Debug)]
pub struct Received<'a> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The sequence number of the request it belongs to.
    pub sequence: u32,
    /// The port of whoever caused it.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The kernel's verdict on one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0, or the positive error number.
    pub errno: i32,
    /// The kernel's explanation, often empty.
    pub text: String,
    /// Where in the request the offending attribute begins.
    pub offset: Option<u32>,
    /// The sequence number of the request.
    pub sequence: u32,
}

impl Answer {
    /// Turns it into a result about `what`.
    pub fn into_result(self, what: &str) -> Result<(), Error> {
        if self.errno == 0 {
            return Ok(());
        }
        Err(Error::Refused { what: what.to_owned(), errno: self.errno, text: self.text })
    }
}

impl Received<'_> {
    /// Answers the verdict that this message carries, if it carries one.
    pub fn error(&self) -> Result<Option<Answer>, Error> {
        if self.kind != NLMSG_ERROR {
            return Ok(None);
        }
        let short = Error::Malformed { what: "an error message that is too short" };
        let Some(code) = self.payload.first_chunk::<4>() else { return Err(short) };
        let errno = i32::from_ne_bytes(*code).wrapping_neg();
        let mut answer = Answer { errno, text: String::new(), offset: None, sequence: self.sequence };
        if self.flags & ACK_TLVS == 0 {
            return Ok(Some(answer));
        }
        // The request follows, only its header when the answer is capped.
        let Some(length) = self.payload.get(4..8).and_then(|b| b.first_chunk::<4>()) else {
            return Err(short);
        };
        let request = if self.flags & CAPPED != 0 { HEADER } else { u32::from_ne_bytes(*length) as usize };
        let rest = self.payload.get(4 + request.next_multiple_of(4)..).unwrap_or_default();
        for (kind, value) in attributes(rest) {
            match kind {
                ATTR_MSG => answer.text = text(value).to_owned(),
                ATTR_OFFS => answer.offset = value.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b)),
                _ => {}
            }
        }
        Ok(Some(answer))
    }
}

/// Walks over the messages of a datagram.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Received<'_>, Error>> {
    std::iter::from_fn(move || {
        if datagram.len() < HEADER {
            return None;
        }
        let u16_at = |at: usize| u16::from_ne_bytes([datagram[at], datagram[at + 1]]);
        let u32_at = |at: usize| {
            u32::from_ne_bytes([datagram[at], datagram[at + 1], datagram[at + 2], datagram[at + 3]])
        };
        let length = u32_at(0) as usize;
        if length < HEADER || length > datagram.len() {
            datagram = &[];
            return Some(Err(Error::Malformed { what: "a message whose length is wrong" }));
        }
        let message = Received {
            kind: u16_at(4),
            flags: u16_at(6),
            sequence: u32_at(8),
            port: u32_at(12),
            payload: &datagram[HEADER..length],
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok(message))
    })
}

/// Walks over attributes as (type, value); ends where the bytes make no sense.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Reads a string attribute up to its closing zero.
pub fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

/// Reads a number in network byte order; 0 when it is cut off.
pub fn number(value: &[u8]) -> u32 {
    value.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b))
}
