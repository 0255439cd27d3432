//! One server that is asked: over UDP, over connections that are used again, and whether it is alive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::question::{Judged, Sent};
use super::random;
use super::secure::Security;
use crate::cache::Key;
use crate::config::{Forward, HealthCheck};
use crate::metrics::ForwardMetrics;
use crate::wire::{HEADER, Type};

/// As many connections wait for the next query.
const MOST_IDLE: usize = 64;
/// As many messages of a connection are passed over before it is given up.
const MOST_STRANGERS: usize = 16;
/// How long a server that is looked at may take.
const PROBE_TIME: Duration = Duration::from_secs(1);
/// How long it may take to open a connection.
const CONNECT_TIME: Duration = Duration::from_secs(2);

/// How a query travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// One server that is asked.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    security: Option<Security>,
    random_case: bool,
    expire: Duration,
    max_fails: u32,
    check: HealthCheck,
    idle: Mutex<Vec<(Box<dyn Wire>, Instant)>>,
    fails: AtomicU32,
    is_probed: AtomicBool,
    /// Once it did not understand EDNS, it is asked without.
    is_plain: AtomicBool,
    metrics: ForwardMetrics,
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Peer {
    pub(super) fn new(
        address: SocketAddr,
        security: Option<Security>,
        settings: &Forward,
        metrics: &ForwardMetrics,
    ) -> Self {
        Self {
            address,
            security,
            random_case: settings.random_case,
            expire: settings.expire,
            max_fails: settings.max_fails,
            check: settings.health_check.clone(),
            idle: Mutex::default(),
            fails: AtomicU32::new(0),
            is_probed: AtomicBool::new(false),
            is_plain: AtomicBool::new(false),
            metrics: metrics.clone(),
        }
    }

    /// Whether it speaks TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.security.is_some()
    }

    /// Whether it failed too often to be asked.
    pub(super) fn is_down(&self) -> bool {
        self.max_fails > 0 && self.fails.load(Ordering::Relaxed) >= self.max_fails
    }

    /// Asks it, and answers its response, whose question is in lower case.
    pub(super) async fn ask(&self, key: &Key, transport: Transport) -> io::Result<Vec<u8>> {
        let has_edns = !self.is_plain.load(Ordering::Relaxed);
        match self.exchange(&self.sent(key, has_edns), transport).await? {
            (response, Judged::NeedsPlain) if has_edns => {
                drop(response);
                self.is_plain.store(true, Ordering::Relaxed);
                let (response, _) = self.exchange(&self.sent(key, false), transport).await?;
                Ok(lower(response, key))
            }
            (response, _) => Ok(lower(response, key)),
        }
    }

    fn sent(&self, key: &Key, has_edns: bool) -> Sent {
        let case = self.random_case.then(random);
        Sent::new(key, u16::from_ne_bytes(random()), case, has_edns)
    }

    async fn exchange(&self, sent: &Sent, transport: Transport) -> io::Result<(Vec<u8>, Judged)> {
        if transport == Transport::Udp && !self.is_secure() {
            let (response, judged) = self.over_udp(sent).await?;
            if judged != Judged::Truncated {
                return Ok((response, judged));
            }
        }
        self.over_stream(sent).await
    }

    /// The kernel chooses a port at random and lets only packets of this address in.
    async fn over_udp(&self, sent: &Sent) -> io::Result<(Vec<u8>, Judged)> {
        let from: IpAddr =
            if self.address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((from, 0)).await?;
        socket.connect(self.address).await?;
        socket.send(&sent.bytes).await?;
        let mut room = vec![0; 4096];
        loop {
            let len = socket.recv(&mut room).await?;
            let judged = sent.judge(&room[..len]);
            if judged != Judged::Stranger {
                room.truncate(len);
                return Ok((room, judged));
            }
        }
    }

    /// A connection that waited may have been closed by the other side; then a new one is tried.
    async fn over_stream(&self, sent: &Sent) -> io::Result<(Vec<u8>, Judged)> {
        let protocol = if self.is_secure() { "tcp-tls" } else { "tcp" };
        if let Some(mut wire) = self.take_idle() {
            self.metrics.connection(self.address, protocol, true);
            if let Ok(found) = talk(&mut wire, sent).await {
                self.put_idle(wire);
                return Ok(found);
            }
        }
        self.metrics.connection(self.address, protocol, false);
        let mut wire = timeout(CONNECT_TIME, self.connect())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let found = talk(&mut wire, sent).await?;
        self.put_idle(wire);
        Ok(found)
    }

    async fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(security) = &self.security else { return Ok(Box::new(stream)) };
        let name = security.name_at(self.address.ip());
        Ok(Box::new(security.connector.connect(name, stream).await?))
    }

    fn take_idle(&self) -> Option<Box<dyn Wire>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < self.expire);
        idle.pop().map(|(wire, _)| wire)
    }

    fn put_idle(&self, wire: Box<dyn Wire>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push((wire, Instant::now()));
        }
    }

    /// Notes that it answered.
    pub(super) fn succeeded(&self) {
        if self.fails.load(Ordering::Relaxed) != 0 && !self.is_down() {
            self.fails.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that it did not answer: its connections are given up, and it is looked at until it answers again.
    pub(super) fn failed(self: &Arc<Self>, transport: Transport) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let is_looked_at = self.max_fails > 0 && !self.check.interval.is_zero();
        if !is_looked_at || self.is_probed.swap(true, Ordering::Relaxed) {
            return;
        }
        let peer = Arc::downgrade(self);
        tokio::spawn(async move {
            // Whoever forgets the server ends this as well.
            while let Some(peer) = peer.upgrade() {
                if peer.probe(transport).await {
                    return;
                }
                let interval = peer.check.interval;
                drop(peer);
                tokio::time::sleep(interval).await;
            }
        });
    }

    /// Looks whether it is alive; any response will do.
    async fn probe(&self, transport: Transport) -> bool {
        let key = Key::new(self.check.domain.as_wire(), Type::NS, (false, false));
        let mut sent = Sent::new(&key, u16::from_ne_bytes(random()), None, false);
        sent.set_recursion(self.check.recursion_desired);
        let alive = matches!(timeout(PROBE_TIME, self.exchange(&sent, transport)).await, Ok(Ok(_)));
        if alive {
            if self.is_down() {
                info!(server = %self.address, "a DNS server answers again");
            }
            self.fails.store(0, Ordering::Relaxed);
            self.is_probed.store(false, Ordering::Relaxed);
            return true;
        }
        let was_down = self.is_down();
        self.fails
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |fails| Some(fails.saturating_add(1)))
            .ok();
        self.metrics.health_check_failed(self.address);
        if self.is_down() && !was_down {
            warn!(server = %self.address, "a DNS server does not answer");
        }
        false
    }
}

/// Writes the name as it is looked up, for names in the answer that point to it.
fn lower(mut response: Vec<u8>, key: &Key) -> Vec<u8> {
    if let Some(name) = response.get_mut(HEADER..HEADER + key.name().len()) {
        name.copy_from_slice(key.name());
    }
    response
}

/// One query and its response, each with its length before it.
async fn talk(wire: &mut Box<dyn Wire>, sent: &Sent) -> io::Result<(Vec<u8>, Judged)> {
    let mut message = (sent.bytes.len() as u16).to_be_bytes().to_vec();
    message.extend(&sent.bytes);
    wire.write_all(&message).await?;
    wire.flush().await?;
    for _ in 0..MOST_STRANGERS {
        let len = wire.read_u16().await?;
        let mut response = vec![0; len.into()];
        wire.read_exact(&mut response).await?;
        let judged = sent.judge(&response);
        if judged != Judged::Stranger {
            return Ok((response, judged));
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}
