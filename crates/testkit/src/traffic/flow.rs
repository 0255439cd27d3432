//! One long-lived flow, and what becomes of what is sent over it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sys::testing::sockets::{Ready, Socket, wait};

use super::probe::{Answered, Protocol, Target, errno_word, not_permitted, open, read_answer, would_block};

/// One long-lived flow: a TCP connection, or a datagram socket that keeps its port.
pub struct Flow {
    socket: Socket,
    target: Target,
    received: Vec<u8>,
    sequence: u32,
}

impl Flow {
    /// Opens it, and says what became of that.
    pub fn open(target: Target, bind: Option<SocketAddr>, timeout: Duration) -> (Option<Self>, Answered) {
        let begin = Instant::now();
        let (socket, done) = match open(&target, bind) {
            Ok(opened) => opened,
            Err(error) => return (None, Answered::failed(&error)),
        };
        let mut flow = Self { socket, target, received: Vec::new(), sequence: 0 };
        if target.protocol == Protocol::Udp {
            let answered = flow.ping(timeout);
            return (Some(flow), answered);
        }
        if !done {
            let ready = wait(&[(&flow.socket, Ready { read: false, write: true })], Some(timeout));
            if !ready.iter().any(|ready| ready.any()) {
                return (None, Answered::of("timeout"));
            }
            match flow.socket.take_error() {
                0 => {}
                errno => return (None, Answered::of(&errno_word(errno))),
            }
        }
        // Only a matter of speed.
        drop(flow.socket.without_delay());
        let left = timeout.saturating_sub(begin.elapsed()).max(Duration::from_millis(50));
        let answered = flow.line(None, left);
        (answered.is_ok().then_some(flow), answered)
    }

    /// Sends something and waits for its echo.
    pub fn ping(&mut self, timeout: Duration) -> Answered {
        if self.target.protocol == Protocol::Udp {
            self.forget_what_came_late();
        }
        self.sequence += 1;
        let token = format!("p{}", self.sequence);
        let mut was_denied = false;
        if let Err(error) = self.socket.send(format!("{token}\n").as_bytes()) {
            was_denied = self.target.protocol == Protocol::Udp && not_permitted(&error);
            if !was_denied {
                return Answered::failed(&error);
            }
        }
        let answered = self.line(Some(&token), timeout);
        if was_denied && answered.verdict == "timeout" { Answered::of("denied") } else { answered }
    }

    /// Answers the address it was opened from.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.socket.local_address().ok()
    }

    /// Errors and answers that belong to earlier pings of a datagram flow must not be taken for the next one's.
    fn forget_what_came_late(&mut self) {
        let mut buffer = [0; 2048];
        for _ in 0..16 {
            if self.socket.receive(&mut buffer).is_err_and(|error| would_block(&error)) {
                break;
            }
        }
        self.socket.take_error();
        self.received.clear();
    }

    /// Waits for the line that echoes this token, or for any.
    fn line(&mut self, token: Option<&str>, timeout: Duration) -> Answered {
        let begin = Instant::now();
        let mut buffer = [0; 2048];
        loop {
            match self.socket.receive(&mut buffer) {
                Ok(0) if self.target.protocol == Protocol::Tcp => return Answered::of("reset"),
                Ok(length) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = self.received.drain(..=end).collect();
                        let Some((answered, echo)) = read_answer(&String::from_utf8_lossy(&line)) else {
                            continue;
                        };
                        if token.is_none_or(|token| token == echo) {
                            return Answered { ms: begin.elapsed().as_millis() as u64, ..answered };
                        }
                    }
                    continue;
                }
                Err(error) if would_block(&error) => {}
                Err(error) => return Answered::failed(&error),
            }
            let left = timeout.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Answered::of("timeout");
            }
            let wanted = Ready { read: true, write: false };
            wait(&[(&self.socket, wanted)], Some(left + Duration::from_millis(1)));
        }
    }
}
