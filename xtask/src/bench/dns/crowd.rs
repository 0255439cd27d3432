//! Clients that cost less than dnsperf's, so that it is the server that limits: each asks, and asks on when it has all answers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dns::wire::{Name, Type, flag, write_query};
use rustix::event::epoll;
use rustix::thread::{CpuSet, sched_setaffinity};
use sys::datagram::{Batch, Peer};

/// The core of the load.
const CORE: usize = 1;
/// Who has no answer for so long asks again.
const PATIENCE: Duration = Duration::from_millis(100);
/// Room for a query, and for an answer.
const ROOM: (usize, usize) = (1232, 320);

/// So many clients, each of which asks for these types of a name at a time, from one socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crowd {
    pub(super) clients: usize,
    pub(super) kinds: &'static [Type],
}

/// What a crowd saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) answers: u64,
    pub(super) time: Duration,
    /// Answers with another code than the one that is expected.
    pub(super) wrong: u64,
    lost: u64,
}

struct Client {
    socket: UdpSocket,
    waits: usize,
}

/// Everything that one thread of load needs.
struct Asking {
    clients: Vec<Client>,
    kinds: &'static [Type],
    queries: Vec<Vec<u8>>,
    next: usize,
    server: Peer,
    out: Batch,
    seen: Seen,
}

impl Crowd {
    /// Asks a server for names, over and over. An answer must have this code; `None` where any datagram is one.
    pub(super) fn ask(
        &self,
        server: SocketAddr,
        names: &[Name],
        (rcode, time): (Option<u8>, Duration),
    ) -> Result<Seen> {
        let crowd = *self;
        let queries = names.iter().map(query).collect::<Result<Vec<_>>>()?;
        // Only this thread is bound to the core, and it ends.
        let thread = std::thread::spawn(move || -> Result<Seen> {
            let mut cores = CpuSet::new();
            cores.set(CORE);
            sched_setaffinity(None, &cores)?;
            Asking::new(crowd, queries, server)?.run((rcode, time))
        });
        let seen = thread.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        ensure!(seen.answers > 0 && seen.lost * 1000 < seen.answers, "answers are lost: {seen:?}");
        Ok(seen)
    }
}

fn query(name: &Name) -> Result<Vec<u8>> {
    let mut out = vec![0; 300];
    let len = write_query(&mut out, (7, flag::RECURSION_DESIRED), (name.as_wire(), Type::A), None);
    out.truncate(len.context("a query")?);
    Ok(out)
}

impl Asking {
    fn new(crowd: Crowd, queries: Vec<Vec<u8>>, server: SocketAddr) -> Result<Self> {
        let client = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            anyhow::Ok(Client { socket, waits: 0 })
        };
        Ok(Self {
            clients: (0..crowd.clients).map(|_| client()).collect::<Result<_>>()?,
            kinds: crowd.kinds,
            queries,
            next: 0,
            server: Peer::of(server),
            out: Batch::new(0, ROOM.1),
            seen: Seen::default(),
        })
    }

    fn run(mut self, (rcode, time): (Option<u8>, Duration)) -> Result<Seen> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (number, client) in self.clients.iter().enumerate() {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&poll, &client.socket, data, epoll::EventFlags::IN)?;
        }
        let mut events = Vec::with_capacity(self.clients.len());
        let mut answers = Batch::new(ROOM.0, 0);
        let patience = PATIENCE.try_into().context("a short time")?;
        (0..self.clients.len()).for_each(|number| self.send(number));
        let begin = Instant::now();
        while begin.elapsed() < time {
            events.clear();
            epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&patience))?;
            if events.is_empty() {
                self.seen.lost += self.clients.iter().map(|client| client.waits as u64).sum::<u64>();
                (0..self.clients.len()).for_each(|number| self.send(number));
            }
            for event in &events {
                let number = event.data.u64() as usize;
                let count = answers.receive(&self.clients[number].socket).unwrap_or(0);
                for at in 0..count {
                    let code = answers.get(at).0.get(3).map(|low| low & 15);
                    self.seen.wrong += u64::from(rcode.is_some() && code != rcode);
                }
                self.seen.answers += count as u64;
                let client = &mut self.clients[number];
                client.waits = client.waits.saturating_sub(count);
                if client.waits == 0 {
                    self.send(number);
                }
            }
        }
        self.seen.time = begin.elapsed();
        Ok(self.seen)
    }

    /// Has a client ask for the next name.
    fn send(&mut self, number: usize) {
        let count = self.queries.len();
        let query = &mut self.queries[self.next % count];
        self.next += 1;
        self.out.begin();
        let kind_at = query.len() - 4;
        for kind in self.kinds {
            query[kind_at..kind_at + 2].copy_from_slice(&kind.0.to_be_bytes());
            self.out.add(&self.server, query);
        }
        self.clients[number].waits = self.kinds.len();
        self.out.send(&self.clients[number].socket);
    }
}
