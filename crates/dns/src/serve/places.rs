//! Where a server answers: addresses that come and go while it runs, each with its own server blocks, and its pages.
//!
//! What is new is opened before anything else changes, so what cannot be opened changes nothing. What stays keeps its sockets.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::pages::{self, Pages};
use super::sockets::{self, Error, Sockets};
use super::{End, Front, tcp, udp};
use crate::blocks::{Blocks, attend};

/// As many queries wait to be handed on to others.
const BACKLOG: usize = 1024;

/// What there is to be.
pub(super) struct Wanted {
    pub(super) blocks: BTreeMap<SocketAddr, Arc<Blocks>>,
    pub(super) pages: BTreeMap<SocketAddr, Pages>,
}

/// What there is.
pub(super) struct Places {
    /// What all have in common. Its blocks are nobody's.
    front: Front,
    threads: usize,
    open: BTreeMap<SocketAddr, Place>,
    pages: BTreeMap<SocketAddr, PagePlace>,
}

/// An address. Everything about it ends when it is dropped.
struct Place {
    tell: watch::Sender<Arc<Blocks>>,
    /// Another handle of the listener, for those that its address meets.
    listener: TcpListener,
    threads: Vec<JoinHandle<()>>,
    _tasks: JoinSet<()>,
    _end: End,
}

struct PagePlace {
    tell: watch::Sender<Pages>,
    listener: TcpListener,
    _tasks: JoinSet<()>,
}

impl Places {
    /// No place at all yet; `threads` for UDP at each.
    pub(super) fn new(front: Front, threads: usize) -> Self {
        Self { front, threads, open: BTreeMap::new(), pages: BTreeMap::new() }
    }

    /// Makes it what it is to be; or says why not, and is what it was. Needs a runtime around it.
    pub(super) fn change(&mut self, wanted: Wanted) -> Result<(), Error> {
        let mut open: BTreeMap<SocketAddr, Place> = BTreeMap::new();
        for (address, blocks) in wanted.blocks.iter().filter(|(address, _)| !self.open.contains_key(*address))
        {
            let others = self.open.iter().chain(&open).map(|(at, place)| (at, &place.listener));
            let others = meeting(*address, others);
            let mut sockets = Sockets::default();
            sockets.open_beside(*address, (self.threads, &others))?;
            // To metrics any address is one server in both families, whose threads each count for themselves.
            let first = if address.is_ipv6() { self.threads } else { 0 };
            open.insert(*address, Place::start(&self.front, (sockets, first), blocks.clone())?);
        }
        let mut opened: BTreeMap<SocketAddr, PagePlace> = BTreeMap::new();
        for (address, pages) in wanted.pages.iter().filter(|(address, _)| !self.pages.contains_key(*address))
        {
            let others = self.pages.iter().chain(&opened).map(|(at, place)| (at, &place.listener));
            let listener = sockets::listen_beside(*address, &meeting(*address, others))?;
            opened.insert(*address, PagePlace::start(listener, pages.clone())?);
        }
        self.open.retain(|address, _| wanted.blocks.contains_key(address));
        self.pages.retain(|address, _| wanted.pages.contains_key(address));
        self.open.append(&mut open);
        self.pages.append(&mut opened);
        for (address, blocks) in wanted.blocks {
            self.open.get(&address).inspect(|place| drop(place.tell.send_replace(blocks)));
        }
        for (address, pages) in wanted.pages {
            self.pages.get(&address).inspect(|place| drop(place.tell.send_replace(pages)));
        }
        Ok(())
    }

    /// Says so where a thread ended.
    pub(super) fn check(&self) -> Result<(), Error> {
        super::check(self.open.values().flat_map(|place| &place.threads))
    }

    /// Closes everything, and waits for the threads to end.
    pub(super) async fn close(self) {
        let threads =
            self.open.into_values().flat_map(|mut place| std::mem::take(&mut place.threads)).collect();
        udp::wait(threads).await;
    }
}

/// The listeners whose addresses meet this one.
fn meeting<'a>(
    address: SocketAddr,
    others: impl Iterator<Item = (&'a SocketAddr, &'a TcpListener)>,
) -> Vec<&'a TcpListener> {
    let meets = |other: &SocketAddr| {
        other.port() == address.port() && (other.ip().is_unspecified() || address.ip().is_unspecified())
    };
    others.filter(|(other, _)| meets(other)).map(|(_, listener)| listener).collect()
}

impl Place {
    fn start(front: &Front, (sockets, first): (Sockets, usize), blocks: Arc<Blocks>) -> Result<Self, Error> {
        let (tell, told) = watch::channel(blocks);
        let (asked, questions) = mpsc::channel(BACKLOG);
        let front = Front { elsewhere: Some(asked), blocks: told.clone(), ..front.clone() };
        let end = End(Arc::default());
        let (udp, tcp) = sockets.into_parts();
        let mut tasks = JoinSet::new();
        tasks.spawn(attend(questions, told));
        let listener = tcp.into_iter().next().expect("an address was opened, and for both protocols");
        let kept = listener.try_clone().map_err(sockets::unusable)?;
        tasks.spawn(tcp::accept(sockets::listener(listener)?, front.clone()));
        let threads = udp::start(udp, first, &front, &end.0)?;
        Ok(Self { tell, listener: kept, threads, _tasks: tasks, _end: end })
    }
}

impl PagePlace {
    fn start(listener: TcpListener, pages: Pages) -> Result<Self, Error> {
        let (tell, told) = watch::channel(pages);
        let kept = listener.try_clone().map_err(sockets::unusable)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(pages::serve_all(sockets::listener(listener)?, told));
        Ok(Self { tell, listener: kept, _tasks: tasks })
    }
}
