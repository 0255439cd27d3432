//! The shell: sockets, threads, and how what only others know is asked for.
//!
//! A thread for each UDP socket answers names of the zone by itself, in batches. Everything that takes time, and TCP, is
//! a task. What this does *not* do: know what is true (`zone`), or ask other servers: it hands an [`Asked`] on.

mod before;
mod clusters;
mod configured;
mod connections;
mod cookies;
mod elsewhere;
mod limit;
mod pages;
mod panics;
mod places;
mod sockets;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use model::IpNet;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::info;

use crate::answer::{Asking, Outcome};
use crate::blocks::Blocks;
use crate::source;
use crate::wire::{Query, Rcode, Reply, flag};
use crate::zone::{Builder, Zone};
use cookies::{Cookies, Shown, cookie_of};
use limit::Limit;
use pages::Page;

pub use configured::{Configured, Failure, run_configured};
pub use cookies::CookieSecret;
pub use sockets::{Error, Sockets};

/// How many queries may wait for others at a time. More are answered with SERVFAIL.
const MOST_WAITING: usize = 4096;

/// 2^32 divided by the golden ratio: its multiples are spread evenly, whichever few are left out.
const GOLDEN: u32 = 0x9e37_79b9;

/// How often threads are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A query that only others can answer. Who gets it sends a whole message as the answer, or drops the sender.
#[derive(Debug)]
pub struct Asked {
    /// The query, whose question may be another than the client's.
    pub message: Vec<u8>,
    /// Who asks.
    pub client: IpAddr,
    /// Whether the query came over UDP.
    pub is_udp: bool,
    /// Where the answer goes. One that is too long for the client is cut here.
    pub answer: oneshot::Sender<Vec<u8>>,
}

/// How clients are treated.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Networks whose clients get names from outside of the zone.
    pub recursion: Vec<IpNet>,
    /// How many bytes this server takes over UDP, and the most that it sends.
    pub udp_size: u16,
    /// How many answers a second one client gets over UDP; `None` for any number.
    pub rate: Option<u32>,
    /// What cookies are made with; `None`: clients get none. The rate does not apply to those that show theirs.
    pub cookies: Option<CookieSecret>,
}

/// Everything that a server needs but its source of objects.
#[derive(Debug)]
pub struct Settings {
    /// The zone.
    pub zone: crate::zone::Settings,
    /// Where to answer. They may be of any network namespace.
    pub sockets: Sockets,
    /// How clients are treated.
    pub policy: Policy,
    /// Where `/health` is answered.
    pub health: Option<TcpListener>,
    /// Where `/ready` is answered.
    pub ready: Option<TcpListener>,
    /// Where `/metrics` is answered, with what is counted.
    pub metrics: Option<(Vec<TcpListener>, telemetry::Metrics)>,
    /// How long it goes on after it was told to stop, while `/health` and `/ready` say so.
    pub lameduck: Duration,
    /// Who knows the names outside of the zone; without, they are refused.
    pub elsewhere: Option<mpsc::Sender<Asked>>,
    /// What comes before the zone; see [`no_blocks`].
    pub blocks: watch::Receiver<Arc<Blocks>>,
}

/// Answers what [`Settings`] have where nothing comes before the zone.
pub fn no_blocks() -> watch::Receiver<Arc<Blocks>> {
    watch::channel(Arc::default()).1
}

/// Serves the names of a cluster until told to stop.
pub async fn run(
    client: ::watch::client::Client,
    settings: Settings,
    stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (tell, changes) = mpsc::channel(source::BACKLOG);
    let zone = settings.zone.clone();
    let source = source::follow_cluster(client, &zone, tell);
    tokio::select! {
        result = serve(settings, changes, stopping) => result,
        () = async { source.await; std::future::pending().await } => Ok(()),
    }
}

/// What goes on beside a server while it runs.
#[derive(Debug)]
pub struct Live {
    /// Where else to answer from now on.
    pub more: mpsc::Receiver<Sockets>,
    /// Who is told that everything was told once.
    pub synced: watch::Sender<bool>,
}

/// Serves names that follow from changes that anybody sends, until told to stop.
pub async fn serve(
    settings: Settings,
    changes: mpsc::Receiver<crate::object::Change>,
    stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    let (_, more) = mpsc::channel(1);
    serve_live(settings, Live { more, synced: watch::channel(false).0 }, changes, stopping).await
}

/// The same, with more sockets later.
pub async fn serve_live(
    settings: Settings,
    Live { mut more, synced }: Live,
    changes: mpsc::Receiver<crate::object::Change>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Error> {
    let builder = Builder::new(settings.zone, source::now());
    let (publish, zone) = watch::channel(builder.zone());
    let front = Front::new(settings.policy, zone.clone(), (settings.elsewhere, settings.blocks));
    let mut doors = Doors::new(front);
    doors.open(settings.sockets)?;
    let mut tasks = JoinSet::new();
    let mut known = zone.clone();
    tasks.spawn(async move {
        if known.wait_for(Zone::is_synced).await.is_ok() {
            synced.send_replace(true);
        }
    });
    let told = stopping.clone();
    let health: Page = Arc::new(move || pages::health(*told.borrow()));
    let told = stopping.clone();
    let ready: Page = Arc::new(move || pages::ready(zone.borrow().is_synced(), *told.borrow()));
    for (listener, path, page) in [(settings.health, "/health", health), (settings.ready, "/ready", ready)] {
        if let Some(listener) = listener {
            tasks.spawn(pages::serve(sockets::listener(listener)?, path, page));
        }
    }
    if let Some((listeners, metrics)) = settings.metrics {
        let page: Page = Arc::new(move || (200, metrics.text().into()));
        for listener in listeners {
            tasks.spawn(pages::serve(sockets::listener(listener)?, "/metrics", Arc::clone(&page)));
        }
    }
    let lameduck = settings.lameduck;
    let stopped = async {
        // Nobody who could tell it to stop is as good as being told.
        drop(stopping.wait_for(|stops| *stops).await);
        info!(?lameduck, "stopping");
        tokio::time::sleep(lameduck).await;
    };
    tokio::select! {
        // A source that ended leaves what it told true.
        () = async { source::keep(builder, changes, &publish).await; std::future::pending().await } => {}
        () = stopped => {}
        result = doors.open_more(&mut more) => result?,
    }
    tasks.shutdown().await;
    doors.close().await;
    Ok(())
}

/// The open sockets, and what works at them.
struct Doors {
    front: Front,
    end: End,
    threads: Vec<JoinHandle<()>>,
    tasks: JoinSet<()>,
}

impl Doors {
    fn new(front: Front) -> Self {
        Self { front, end: End(Arc::default()), threads: Vec::new(), tasks: JoinSet::new() }
    }

    fn open(&mut self, sockets: Sockets) -> Result<(), Error> {
        let (udp, tcp) = sockets.into_parts();
        let first = self.threads.len();
        self.threads.extend(udp::start(udp, first, &self.front, &self.end.0)?);
        for listener in tcp {
            let listener = sockets::listener(listener)?;
            self.tasks.spawn(tcp::accept(listener, self.front.clone()));
        }
        Ok(())
    }

    /// Opens what else there is, until a thread ends, which none does by itself.
    async fn open_more(&mut self, more: &mut mpsc::Receiver<Sockets>) -> Result<(), Error> {
        loop {
            tokio::select! {
                Some(sockets) = more.recv() => self.open(sockets)?,
                () = tokio::time::sleep(LOOK) => {}
            }
            check(&self.threads)?;
        }
    }

    async fn close(self) {
        let Self { end, threads, mut tasks, .. } = self;
        drop(end);
        tasks.shutdown().await;
        udp::wait(threads).await;
    }
}

/// Says so where a thread ended, which none does by itself: its socket would be silent.
fn check<'a>(threads: impl IntoIterator<Item = &'a JoinHandle<()>>) -> Result<(), Error> {
    if threads.into_iter().any(JoinHandle::is_finished) {
        let source = std::io::Error::other("it panicked");
        return Err(Error { what: "go on: a thread ended".to_owned(), source });
    }
    Ok(())
}

/// Ends the threads when it is dropped, with the future that has it if need be.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What every way in has in common.
#[derive(Debug, Clone)]
struct Front {
    zone: watch::Receiver<Zone>,
    policy: Arc<Policy>,
    limit: Option<Arc<Limit>>,
    cookies: Option<Cookies>,
    elsewhere: Option<mpsc::Sender<Asked>>,
    blocks: watch::Receiver<Arc<Blocks>>,
    waiting: Arc<Semaphore>,
    turn: Arc<AtomicU32>,
    begun: Instant,
}

impl Front {
    fn new(
        policy: Policy,
        zone: watch::Receiver<Zone>,
        (elsewhere, blocks): (Option<mpsc::Sender<Asked>>, watch::Receiver<Arc<Blocks>>),
    ) -> Self {
        Self {
            zone,
            limit: policy.rate.map(|rate| Arc::new(Limit::new(rate))),
            cookies: policy.cookies.as_ref().map(Cookies::new),
            policy: Arc::new(policy),
            elsewhere,
            blocks,
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            turn: Arc::default(),
            begun: Instant::now(),
        }
    }

    fn asking(&self, client: IpAddr, is_udp: bool, turn: u32) -> Asking {
        Asking { is_udp, may_recurse: self.may_recurse(client), turn, udp_size: self.policy.udp_size, client }
    }

    fn may_recurse(&self, client: IpAddr) -> bool {
        self.elsewhere.is_some() && self.policy.recursion.iter().any(|network| network.contains(&client))
    }

    /// Answers the zone that is looked at for every name, unless blocks have zones of their own.
    fn zone_at(&self, blocks: &Blocks) -> watch::Receiver<Zone> {
        blocks.zone().unwrap_or(&self.zone).clone()
    }

    /// Answers the zone that is looked at for this message.
    fn zone_for(&self, message: &[u8]) -> Zone {
        let blocks = self.blocks.borrow().clone();
        let other = Query::read(message).ok().and_then(|query| blocks.zone_of(&query.name));
        other.unwrap_or_else(|| self.zone_at(&blocks).borrow().clone())
    }

    /// Answers whether a client may have another answer over UDP, and counts it.
    fn admits(&self, client: IpAddr, shown: Option<&Shown<'_>>) -> bool {
        let is_within = |limit: &Arc<Limit>| limit.admits(client, self.begun.elapsed());
        self.limit.as_ref().is_none_or(is_within) || shown.is_some_and(Shown::is_known)
    }

    /// Answers the cookie of a message, where cookies are given.
    fn shown<'a>(&'a self, message: &'a [u8], client: IpAddr) -> Option<Shown<'a>> {
        let cookies = self.cookies.as_ref()?;
        let cookie = cookie_of(message)?;
        Some(Shown { cookies, cookie, who: (client, source::now()) })
    }
}

/// Answers one of two queries over the limit with what a forged address cannot do, and none of the others: to ask again over
/// TCP or, where the client has cookies, with the one of this answer.
fn over_limit(message: &[u8], (asking, has_cookie): (&Asking, bool), out: &mut [u8]) -> Outcome {
    const SILENCE: Outcome = Outcome::Silence("over the limit");
    // Half of all turns, and of every second or third one: who asks for two types in turn is told about both.
    if asking.turn.wrapping_mul(GOLDEN) < 1 << 31 {
        return SILENCE;
    }
    let Ok(query) = Query::read(message) else { return SILENCE };
    let Some(mut reply) = Reply::to(&query, out, query.room(true, asking.udp_size), asking.udp_size) else {
        return SILENCE;
    };
    if has_cookie {
        reply.set_rcode(Rcode::BAD_COOKIE);
    } else {
        reply.set(flag::TRUNCATED);
    }
    Outcome::Reply(reply.finish())
}
