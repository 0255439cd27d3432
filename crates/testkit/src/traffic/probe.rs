//! The prober: many short tries, and what became of each.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde::Serialize;
use sys::testing::sockets::{Kind, Ready, Socket, raise_file_limit, wait};

use super::serve::SCTP;
use super::wire::{INIT, INIT_ACK, Sctp, echo_request};

/// How to speak to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// A TCP connection.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An SCTP INIT.
    Sctp,
    /// An echo request.
    Icmp,
}

/// Where to send something: `tcp/192.0.2.1:80`, `udp/[2001:db8::1]:53`, `sctp/...`, `icmp/192.0.2.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text}: not a target such as tcp/192.0.2.1:80 or icmp/2001:db8::1");
        let (protocol, rest) = text.split_once('/').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            "icmp" => Protocol::Icmp,
            _ => return Err(wrong()),
        };
        let address = match protocol {
            Protocol::Icmp => {
                rest.trim_matches(['[', ']']).parse().ok().map(|address| SocketAddr::new(address, 0))
            }
            Protocol::Tcp | Protocol::Udp | Protocol::Sctp => rest.parse().ok(),
        };
        Ok(Self { protocol, address: address.ok_or_else(wrong)? })
    }
}

/// What became of a try.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// `ok`, `refused`, `timeout`, `unreachable`, `reset`, `denied`, or `error-N`.
    pub verdict: String,
    /// Who answered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The client's address as the server saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<SocketAddr>,
    /// The server's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<SocketAddr>,
    /// How long it took.
    pub ms: u64,
}

impl Answered {
    pub(super) fn of(verdict: &str) -> Self {
        Self { verdict: verdict.to_owned(), ..Self::default() }
    }

    pub(super) fn failed(error: &io::Error) -> Self {
        Self::of(&verdict_of(error))
    }

    /// Answers whether somebody answered.
    pub fn is_ok(&self) -> bool {
        self.verdict == "ok"
    }
}

/// The word for a failed system call.
pub(super) fn verdict_of(error: &io::Error) -> String {
    errno_word(error.raw_os_error().unwrap_or(0))
}

pub(super) fn errno_word(errno: i32) -> String {
    use rustix::io::Errno;
    let is = |any: &[Errno]| any.iter().any(|known| known.raw_os_error() == errno);
    let word = if is(&[Errno::CONNREFUSED]) {
        "refused"
    } else if is(&[Errno::TIMEDOUT]) {
        "timeout"
    } else if is(&[Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::PROTO, Errno::NOPROTOOPT, Errno::ACCESS]) {
        "unreachable"
    } else if is(&[Errno::CONNRESET, Errno::PIPE]) {
        "reset"
    } else if is(&[Errno::PERM]) {
        "denied"
    } else {
        return format!("error-{errno}");
    };
    word.to_owned()
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

pub(super) fn not_permitted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
}

/// Reads `NAME SOURCE DESTINATION [ECHO]`.
pub(super) fn read_answer(line: &str) -> Option<(Answered, String)> {
    let mut words = line.trim_end().splitn(4, ' ');
    let (name, src, dst) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let answered =
        Answered { verdict: "ok".to_owned(), name: name.to_owned(), src: Some(src), dst: Some(dst), ms: 0 };
    Some((answered, words.next().unwrap_or("").to_owned()))
}

/// How to probe.
#[derive(Debug, Clone)]
pub struct Probing {
    /// Where; several are taken in turn, at least one.
    pub targets: Vec<Target>,
    /// How many tries.
    pub count: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// How many at a time.
    pub parallel: usize,
    /// The time from one to the next.
    pub interval: Duration,
    /// Source addresses, taken in turn; none leaves the choice to the kernel.
    pub bind: Vec<SocketAddr>,
    /// A connection is enough.
    pub connect_only: bool,
    /// Bytes of padding in each request, which the answer has to bring back.
    pub size: usize,
}

impl Probing {
    /// So many tries at one target, one after the other.
    pub fn new(target: Target, count: usize) -> Self {
        Self {
            targets: vec![target],
            count,
            timeout: Duration::from_millis(1200),
            parallel: 1,
            interval: Duration::ZERO,
            bind: Vec::new(),
            connect_only: false,
            size: 0,
        }
    }

    fn bind_of(&self, index: usize) -> Option<SocketAddr> {
        (!self.bind.is_empty()).then(|| self.bind[index % self.bind.len()])
    }

    fn due(&self, index: usize) -> Duration {
        self.interval * index as u32
    }
}

/// Opens a socket of the right kind, bound if asked, and starts the connect.
pub(super) fn open(target: &Target, bind: Option<SocketAddr>) -> io::Result<(Socket, bool)> {
    const ICMP: i32 = 1;
    const ICMP_V6: i32 = 58;
    let ipv6 = target.address.is_ipv6();
    let kind = match target.protocol {
        Protocol::Tcp => Kind::Stream,
        Protocol::Udp => Kind::Datagram,
        Protocol::Sctp => Kind::Raw(SCTP),
        Protocol::Icmp => Kind::Raw(if ipv6 { ICMP_V6 } else { ICMP }),
    };
    let socket = Socket::open(ipv6, kind)?;
    if target.protocol != Protocol::Tcp {
        // Without this, "host unreachable" and the like never reach a datagram socket.
        socket.report_errors(ipv6)?;
    }
    if let Some(bind) = bind.filter(|bind| bind.is_ipv6() == ipv6) {
        socket.share_address()?;
        if target.protocol == Protocol::Tcp && bind.port() != 0 {
            socket.reset_on_close()?;
        }
        socket.bind(bind)?;
    }
    let done = socket.connect(target.address)?;
    Ok((socket, done))
}

/// The port (or echo identifier) of a raw try: distinct for each try of each process.
fn raw_port(bind: Option<SocketAddr>, index: usize) -> u16 {
    let base = std::process::id().wrapping_mul(2_654_435_761) >> 18;
    let own = 33_000 + ((base as usize + index * 7) % 26_000) as u16;
    bind.map(|bind| bind.port()).filter(|port| *port != 0).unwrap_or(own)
}

/// One try that is under way.
struct Try {
    socket: Socket,
    target: Target,
    started: Instant,
    is_connected: bool,
    received: Vec<u8>,
    token: u16,
    port: u16,
    size: usize,
    was_repeated: bool,
    was_denied: bool,
    was_asked: bool,
    index: usize,
}

impl Try {
    fn start(target: Target, bind: Option<SocketAddr>, (index, size): (usize, usize)) -> io::Result<Self> {
        let started = Instant::now();
        let (socket, is_connected) = open(&target, bind)?;
        Ok(Self {
            socket,
            target,
            started,
            is_connected: is_connected || target.protocol != Protocol::Tcp,
            received: Vec::new(),
            token: (index % 60_000) as u16 + 1,
            port: raw_port(bind, index),
            size,
            was_repeated: false,
            was_denied: false,
            was_asked: false,
            index,
        })
    }

    fn wants(&self) -> (&Socket, Ready) {
        (&self.socket, Ready { read: self.is_connected, write: !self.is_connected })
    }

    fn request(&self) -> Vec<u8> {
        match self.target.protocol {
            Protocol::Sctp => Sctp {
                source_port: self.port,
                port: self.target.address.port(),
                receiver: 0,
                kind: INIT,
                tag: 0x1000_0000 | u32::from(self.token),
                text: String::new(),
            }
            .bytes(),
            Protocol::Icmp => echo_request(self.target.address.is_ipv6(), self.port, self.token),
            Protocol::Tcp | Protocol::Udp if self.size > 0 => {
                format!("q{} {}\n", self.token, "x".repeat(self.size)).into_bytes()
            }
            Protocol::Tcp | Protocol::Udp => format!("q{}\n", self.token).into_bytes(),
        }
    }

    /// Sends the request; answers what became of the try when that failed for good. A rule in the sender's own output
    /// hook fails the sending and delivers an ICMP error as well: that one is waited for.
    fn ask(&mut self) -> Option<Answered> {
        match self.socket.send(&self.request()) {
            Ok(_) => None,
            Err(error) if not_permitted(&error) => {
                self.was_denied = true;
                None
            }
            Err(error) => Some(Answered::failed(&error)),
        }
    }

    /// Goes on after the socket was ready; answers what became of the try, if that is clear.
    fn go_on(&mut self, ready: Ready, connect_only: bool) -> Option<Answered> {
        if !self.is_connected {
            if !ready.write {
                return None;
            }
            match self.socket.take_error() {
                0 => self.is_connected = true,
                errno => return Some(Answered::of(&errno_word(errno))),
            }
            if connect_only {
                return Some(Answered::of("ok"));
            }
        }
        let mut buffer = vec![0; 65_536];
        loop {
            match self.socket.receive(&mut buffer) {
                Ok(0) if self.target.protocol == Protocol::Tcp => return Some(Answered::of("reset")),
                Ok(length) => {
                    if let Some(answered) = self.take(&buffer[..length]) {
                        return Some(answered);
                    }
                }
                Err(error) if would_block(&error) => return None,
                Err(_) if matches!(self.target.protocol, Protocol::Sctp | Protocol::Icmp) => {
                    if let Some(errno) = self.own_error(&mut buffer) {
                        return Some(Answered::of(&errno_word(errno)));
                    }
                }
                Err(error) => return Some(Answered::failed(&error)),
            }
        }
    }

    /// Only errors about our own packet count, not those of other raw sockets.
    fn own_error(&self, buffer: &mut [u8]) -> Option<i32> {
        let place = if self.target.protocol == Protocol::Sctp { 0..2 } else { 4..6 };
        while let Some((errno, length)) = self.socket.next_error(buffer) {
            if buffer[..length].get(place.clone()) == Some(&self.port.to_be_bytes()) {
                return Some(errno);
            }
        }
        None
    }

    fn take(&mut self, bytes: &[u8]) -> Option<Answered> {
        let ipv4_header = if self.target.address.is_ipv4() { usize::from(bytes[0] & 15) * 4 } else { 0 };
        match self.target.protocol {
            Protocol::Tcp => self.take_stream(bytes),
            Protocol::Udp => {
                let (answered, echo) = read_answer(&String::from_utf8_lossy(bytes))?;
                Some(if echo.len() < self.size {
                    Answered { verdict: "truncated".to_owned(), ..answered }
                } else {
                    answered
                })
            }
            Protocol::Sctp => {
                let packet = Sctp::read(bytes.get(ipv4_header..)?)?;
                let is_ours = packet.kind == INIT_ACK
                    && (packet.source_port, packet.port) == (self.target.address.port(), self.port);
                is_ours.then(|| read_answer(&packet.text)).flatten().map(|(answered, _)| answered)
            }
            Protocol::Icmp => {
                let reply = if self.target.address.is_ipv4() { 0 } else { 129 };
                let packet = bytes.get(ipv4_header..)?.first_chunk::<8>()?;
                let (id, sequence) = (self.port.to_be_bytes(), self.token.to_be_bytes());
                (packet[0] == reply && packet[4..6] == id && packet[6..8] == sequence)
                    .then(|| Answered::of("ok"))
            }
        }
    }

    fn take_stream(&mut self, bytes: &[u8]) -> Option<Answered> {
        self.received.extend_from_slice(bytes);
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        let (answered, echo) = read_answer(&String::from_utf8_lossy(&line))?;
        if self.size == 0 || echo.len() > self.size {
            return Some(answered);
        }
        if !self.was_asked {
            // The greeting is there; now the big request, in one go or not at all.
            self.was_asked = true;
            let request = self.request();
            if !self.socket.send(&request).is_ok_and(|sent| sent == request.len()) {
                return Some(Answered { verdict: "send-failed".to_owned(), ..answered });
            }
        }
        None
    }

    /// Answers what became of it when its time is over; repeats a datagram at half-time.
    fn grow_older(&mut self, timeout: Duration) -> Option<Answered> {
        let age = self.started.elapsed();
        if age >= timeout {
            return Some(Answered::of(if self.was_denied { "denied" } else { "timeout" }));
        }
        if self.target.protocol != Protocol::Tcp && !self.was_repeated && age >= timeout / 2 {
            self.was_repeated = true;
            return self.ask();
        }
        None
    }

    /// Answers how long it can be left alone.
    fn patience(&self, timeout: Duration) -> Duration {
        let half = self.target.protocol != Protocol::Tcp && !self.was_repeated;
        let next = if half { timeout / 2 } else { timeout };
        next.saturating_sub(self.started.elapsed())
    }
}

/// Makes all tries; answers what became of each, in order.
pub fn probe(probing: &Probing) -> Vec<Answered> {
    raise_file_limit();
    let mut results = vec![Answered::default(); probing.count];
    let mut open: Vec<Try> = Vec::new();
    let (mut next, begin) = (0, Instant::now());
    while next < probing.count || !open.is_empty() {
        while next < probing.count && open.len() < probing.parallel && begin.elapsed() >= probing.due(next) {
            match start(probing, next) {
                Ok(fresh) => open.push(fresh),
                Err(answered) => results[next] = answered,
            }
            next += 1;
        }
        let mut patience = open.iter().map(|one| one.patience(probing.timeout)).min();
        if next < probing.count && open.len() < probing.parallel {
            let until_next = probing.due(next).saturating_sub(begin.elapsed());
            patience = Some(patience.map_or(until_next, |patience| patience.min(until_next)));
        }
        let Some(patience) = patience else { continue };
        let wanted: Vec<(&Socket, Ready)> = open.iter().map(Try::wants).collect();
        // A millisecond more, so that the time is over afterwards.
        let ready = wait(&wanted, Some(patience + Duration::from_millis(1)));
        let mut ready = ready.into_iter();
        open.retain_mut(|one| {
            let ready = ready.next().unwrap_or_default();
            let over = ready.any().then(|| one.go_on(ready, probing.connect_only)).flatten();
            let Some(answered) = over.or_else(|| one.grow_older(probing.timeout)) else { return true };
            let ms = one.started.elapsed().as_millis() as u64;
            results[one.index] = Answered { ms, ..answered };
            false
        });
    }
    results
}

fn start(probing: &Probing, index: usize) -> Result<Try, Answered> {
    let target = probing.targets[index % probing.targets.len()];
    let started = Try::start(target, probing.bind_of(index), (index, probing.size));
    let mut one = started.map_err(|error| Answered::failed(&error))?;
    if target.protocol != Protocol::Tcp {
        if let Some(answered) = one.ask() {
            return Err(answered);
        }
    } else if one.is_connected && probing.connect_only {
        return Err(Answered::of("ok"));
    }
    Ok(one)
}

/// Tries TCP targets again and again until each has answered; answers whether all did in time.
pub fn until_answered(targets: &[Target], interval: Duration, limit: Duration) -> bool {
    /// When a try is given up: its first packet was lost.
    const OLD: Duration = Duration::from_millis(1500);
    let begin = Instant::now();
    let mut waiting: Vec<Target> = targets.to_vec();
    let mut open: Vec<Try> = Vec::new();
    while begin.elapsed() < limit {
        open.retain(|one| one.started.elapsed() < OLD);
        open.extend(waiting.iter().filter_map(|target| Try::start(*target, None, (0, 0)).ok()));
        let round = Instant::now();
        while round.elapsed() < interval {
            let wanted: Vec<(&Socket, Ready)> = open.iter().map(Try::wants).collect();
            let mut ready =
                wait(&wanted, Some(interval.saturating_sub(round.elapsed()) + Duration::from_millis(1)))
                    .into_iter();
            open.retain_mut(|one| {
                let ready = ready.next().unwrap_or_default();
                let over = ready.any().then(|| one.go_on(ready, false)).flatten();
                if over.as_ref().is_some_and(Answered::is_ok) {
                    waiting.retain(|target| *target != one.target);
                }
                over.is_none()
            });
            if waiting.is_empty() {
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::flow::Flow;
    use super::super::serve::{Places, Server};
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn targets_are_read() {
        for text in ["tcp/192.0.2.1:80", "udp/[2001:db8::1]:53", "icmp/2001:db8::1", "sctp/192.0.2.1:9999"] {
            assert!(text.parse::<Target>().is_ok(), "{text}");
        }
        for text in ["", "tcp", "tcp/192.0.2.1", "icmp/x", "ip/192.0.2.1:80"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn servers_answer_probes_and_flows_and_nobody_refuses() {
        let stop = AtomicBool::new(false);
        let places =
            Places { name: "me".to_owned(), tcp: vec![28_017], udp: vec![28_017], ..Places::default() };
        let server = Server::open(places).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| server.run(|| stop.load(Ordering::Relaxed)));
            for text in ["tcp/127.0.0.1:28017", "udp/127.0.0.1:28017", "tcp/[::1]:28017", "udp/[::1]:28017"] {
                let target: Target = text.parse().unwrap();
                assert!(
                    until_answered(&[target], Duration::from_millis(20), Duration::from_secs(5))
                        || text.starts_with("udp")
                );
                let probing = Probing { parallel: 4, size: 900, ..Probing::new(target, 10) };
                for answered in probe(&probing) {
                    assert_eq!((answered.verdict.as_str(), answered.name.as_str()), ("ok", "me"), "{text}");
                    assert_eq!(answered.dst, Some(target.address), "{text}");
                }
                let (flow, first) = Flow::open(target, None, Duration::from_secs(5));
                assert!(first.is_ok(), "{text}: {first:?}");
                let mut flow = flow.unwrap();
                let answered = flow.ping(Duration::from_secs(5));
                assert_eq!((answered.is_ok(), answered.src), (true, flow.local_address()), "{text}");
            }
            stop.store(true, Ordering::Relaxed);
        });
        for text in ["tcp/127.0.0.1:28018", "udp/127.0.0.1:28018"] {
            let answered = probe(&Probing::new(text.parse().unwrap(), 1));
            assert_eq!(answered[0].verdict, "refused", "{text}");
        }
    }
}
