//! Asking others: whom, how, how often, and how many at a time.
//!
//! A query goes over UDP from a port of its own, over TCP what does not fit, or over TLS. Who does not answer is asked again,
//! then the next one; who keeps silent is left out until it answers. It keeps *no* answers.

mod loops;
mod peer;
mod question;
mod resolv;
mod secure;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

pub use loops::Loops;
pub use resolv::Resolv;

use crate::cache::{Kept, Key};
use crate::config::{Forward, Policy, Upstream};
use crate::metrics::ForwardMetrics;
use crate::wire::Rcode;
use peer::{Peer, Transport};
use secure::Security;

/// How long a question is asked at most; CoreDNS' time, and the C library's for a server.
const TOTAL: Duration = Duration::from_secs(5);
/// How long a server may take before the next is asked, the first time; then twice as long.
const FIRST: Duration = Duration::from_secs(1);
/// Between two rounds over all servers, for those that refuse at once.
const REST: Duration = Duration::from_millis(20);
/// How often each server is asked at most, and all of them together at least.
const ROUNDS: usize = 2;
const FEWEST: usize = 3;
/// How often a resolv.conf is looked at.
const FOLLOW: Duration = Duration::from_secs(5);

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// A file has no usable certificate or key.
    #[error("read {0}: {1}")]
    Pem(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// The name is none that a certificate could have.
    #[error("expect certificates for `{0}`, which is no name of a server")]
    ServerName(String),
    /// Certificates or keys do not go together.
    #[error("set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Too many are asked already.
    Busy,
    /// There is nobody to ask.
    Nobody,
    /// Nobody answered; the last one for this reason.
    Silence(String),
}

impl Failure {
    /// Answers what a client is told; as CoreDNS does.
    pub fn rcode(&self) -> Rcode {
        match self {
            Self::Busy => Rcode::REFUSED,
            Self::Nobody | Self::Silence(_) => Rcode::SERV_FAIL,
        }
    }
}

/// Those who are asked for the names of one zone.
pub struct Forwarder {
    settings: Forward,
    security: Option<Security>,
    peers: watch::Sender<Peers>,
    permits: Semaphore,
    turn: AtomicUsize,
    metrics: ForwardMetrics,
    times: Times,
}

type Peers = Arc<[Arc<Peer>]>;

#[derive(Debug, Clone, Copy)]
struct Times {
    first: Duration,
    total: Duration,
}

impl Forwarder {
    /// Makes one; reads the files that its settings name. With a resolv.conf among them, [`follow`](Self::follow) it.
    pub fn new(settings: Forward, metrics: ForwardMetrics) -> Result<Self, UpstreamError> {
        let is_secure = settings.to.iter().any(|to| matches!(to, Upstream::Tls(_)));
        let security = if is_secure { Some(Security::new(&settings)?) } else { None };
        let forwarder = Self {
            security,
            peers: watch::channel(Peers::default()).0,
            permits: Semaphore::new(settings.max_concurrent.min(Semaphore::MAX_PERMITS)),
            turn: AtomicUsize::new(0),
            metrics,
            times: Times { first: FIRST, total: TOTAL },
            settings,
        };
        forwarder.look();
        if forwarder.peers.borrow().is_empty() {
            warn!(zone = %forwarder.settings.from, "nobody can be asked: no name servers in the files that are followed");
        }
        Ok(forwarder)
    }

    /// Answers what it was made of.
    pub fn settings(&self) -> &Forward {
        &self.settings
    }

    /// Looks at the files that name servers now and then, for ever.
    pub async fn follow(&self) {
        if !self.settings.to.iter().any(|to| matches!(to, Upstream::File(_))) {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(FOLLOW).await;
            if self.look() {
                let servers =
                    self.peers.borrow().iter().map(|peer| peer.address.to_string()).collect::<Vec<_>>();
                info!(zone = %self.settings.from, servers = servers.join(" "), "other DNS servers are asked");
            }
        }
    }

    /// Takes over what files say by now; whom it knows keeps what is known of it. Answers whether there are others.
    fn look(&self) -> bool {
        let wanted: Option<Vec<(SocketAddr, bool)>> =
            self.settings.to.iter().map(addresses).collect::<Option<Vec<_>>>().map(|all| all.concat());
        // A file that cannot be read, or is being written, says nothing about servers.
        let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return false };
        self.peers.send_if_modified(|peers| {
            let is_same = |(peer, (address, is_secure)): (&Arc<Peer>, &(SocketAddr, bool))| {
                peer.address == *address && peer.is_secure() == *is_secure
            };
            if peers.len() == wanted.len() && peers.iter().zip(&wanted).all(is_same) {
                return false;
            }
            let old = peers.clone();
            let peer = |wanted: &(SocketAddr, bool)| {
                let known = old.iter().find(|peer| is_same((peer, wanted))).cloned();
                known.unwrap_or_else(|| Arc::new(self.peer(*wanted)))
            };
            *peers = wanted.iter().map(peer).collect();
            true
        })
    }

    fn peer(&self, (address, is_secure): (SocketAddr, bool)) -> Peer {
        let security = self.security.clone().filter(|_| is_secure);
        Peer::new(address, security, &self.settings, &self.metrics)
    }

    /// Asks until somebody answers. `over_tcp`: how the client came; so it is asked, unless the settings say otherwise.
    ///
    /// Whoever drops the future asks nobody any more.
    pub async fn ask(&self, key: &Key, over_tcp: bool) -> Result<Kept, Failure> {
        let Ok(_permit) = self.permits.try_acquire() else {
            self.metrics.rejected();
            return Err(Failure::Busy);
        };
        let transport = match (self.settings.force_tcp, over_tcp && !self.settings.prefer_udp) {
            (false, false) => Transport::Udp,
            (true, _) | (_, true) => Transport::Tcp,
        };
        let peers = self.peers.borrow().clone();
        if peers.is_empty() {
            return Err(Failure::Nobody);
        }
        let mut silence = "there was no time".to_owned();
        let asking = self.ask_all(key, transport, (&peers, &mut silence));
        match timeout(self.times.total, asking).await {
            Ok(Some(kept)) => Ok(kept),
            Ok(None) | Err(_) => Err(Failure::Silence(silence)),
        }
    }

    async fn ask_all(
        &self,
        key: &Key,
        transport: Transport,
        (peers, silence): (&[Arc<Peer>], &mut String),
    ) -> Option<Kept> {
        let order = self.order(peers.len());
        let up: Vec<usize> = order.iter().copied().filter(|at| !peers[*at].is_down()).collect();
        if up.is_empty() {
            // Looking at servers may be what does not work.
            self.metrics.all_down();
        }
        let order = if up.is_empty() { order } else { up };
        let attempts = (order.len() * ROUNDS).max(FEWEST);
        for (attempt, at) in order.iter().cycle().take(attempts).enumerate() {
            if attempt > 0 && attempt % order.len() == 0 {
                tokio::time::sleep(REST).await;
            }
            let patience = if attempt == 0 { self.times.first } else { self.times.first * 2 };
            match self.ask_one(key, transport, (&peers[*at], patience)).await {
                Ok(kept) => return Some(kept),
                Err(error) => {
                    debug!(server = %peers[*at].address, %error, "a DNS server did not answer");
                    *silence = format!("{}: {error}", peers[*at].address);
                }
            }
        }
        None
    }

    async fn ask_one(
        &self,
        key: &Key,
        transport: Transport,
        (peer, patience): (&Arc<Peer>, Duration),
    ) -> io::Result<Kept> {
        let begin = Instant::now();
        let response = match timeout(patience, peer.ask(key, transport)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                peer.failed(transport);
                return Err(error);
            }
            Err(_) => {
                peer.failed(transport);
                return Err(io::ErrorKind::TimedOut.into());
            }
        };
        let kept = Kept::read((key.name(), key.kind()), &response)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        peer.succeeded();
        self.metrics.answered(peer.address, kept.rcode(), begin.elapsed());
        Ok(kept)
    }

    fn order(&self, count: usize) -> Vec<usize> {
        let turn = match self.settings.policy {
            Policy::Random => usize::from_ne_bytes(random()),
            Policy::RoundRobin => self.turn.fetch_add(1, Ordering::Relaxed),
            Policy::Sequential => 0,
        };
        order(self.settings.policy, count, turn)
    }
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// In which order servers are asked. Of a random order all are as likely as others for as many servers as there may be.
fn order(policy: Policy, count: usize, turn: usize) -> Vec<usize> {
    let mut rest: Vec<usize> = (0..count).collect();
    match policy {
        Policy::Sequential => rest,
        Policy::RoundRobin => {
            rest.rotate_left(turn % count.max(1));
            rest
        }
        Policy::Random => {
            let mut chance = turn;
            let mut order = Vec::with_capacity(count);
            while !rest.is_empty() {
                order.push(rest.swap_remove(chance % rest.len()));
                chance /= rest.len() + 1;
            }
            order
        }
    }
}

/// Whom a setting names, and whether over TLS; `None`: its file cannot be read.
fn addresses(to: &Upstream) -> Option<Vec<(SocketAddr, bool)>> {
    match to {
        Upstream::Plain(address) => Some(vec![(*address, false)]),
        Upstream::Tls(address) => Some(vec![(*address, true)]),
        Upstream::File(path) => {
            let servers = servers_of(path)?;
            Some(servers.into_iter().map(|address| (SocketAddr::new(address, 53), false)).collect())
        }
    }
}

fn servers_of(path: &Path) -> Option<Vec<IpAddr>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(Resolv::parse(&text).servers),
        Err(error) => {
            debug!(file = %path.display(), %error, "a list of DNS servers cannot be read");
            None
        }
    }
}

/// Bytes that nobody can guess.
fn random<T: Random>() -> T {
    let mut bytes = T::ZERO;
    let source = ring::rand::SystemRandom::new();
    ring::rand::SecureRandom::fill(&source, bytes.room())
        .expect("the kernel has random numbers once it has started");
    bytes
}

trait Random {
    const ZERO: Self;
    fn room(&mut self) -> &mut [u8];
}

impl<const N: usize> Random for [u8; N] {
    const ZERO: Self = [0; N];
    fn room(&mut self) -> &mut [u8] {
        self
    }
}

#[cfg(test)]
mod tests;
