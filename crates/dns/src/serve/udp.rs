//! UDP: a thread for each socket. Names of the zone are answered where they are received.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sys::datagram::{BATCH, Batch, Peer, set_patience};
use tokio::runtime::Handle;
use tracing::{debug, warn};

use super::before::{answer_safely, tally};
use super::elsewhere::{Waits, too_many};
use super::sockets::Error;
use super::{Front, over_limit};
use crate::answer::{Asking, Outcome};
use crate::wire::{HEADER, NameBuffer};
use crate::zone::{Zone, hash};

/// How often a thread that receives nothing looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a thread rests after the kernel refused to receive.
const REST: Duration = Duration::from_millis(100);
/// The longest query. What is longer is cut and thereby malformed.
const LONGEST_QUERY: usize = 4096;

/// Starts the threads, numbered from `first` on.
pub(super) fn start(
    sockets: Vec<UdpSocket>,
    first: usize,
    front: &Front,
    is_stopped: &Arc<AtomicBool>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let runtime = Handle::current();
    let mut threads = Vec::new();
    for (number, socket) in (first..).zip(sockets) {
        let failed = |source| Error { what: "start a thread for UDP".to_owned(), source };
        set_patience(&socket, PATIENCE).map_err(failed)?;
        let worker = Worker {
            number,
            socket: Arc::new(socket),
            front: front.clone(),
            runtime: runtime.clone(),
            is_stopped: Arc::clone(is_stopped),
        };
        let thread = std::thread::Builder::new().name("dns".to_owned());
        threads.push(thread.spawn(move || worker.work()).map_err(failed)?);
    }
    Ok(threads)
}

/// Waits for the threads to end.
pub(super) async fn wait(threads: Vec<JoinHandle<()>>) {
    let joined =
        tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok())).await;
    if !joined.unwrap_or(false) {
        warn!("a thread of the DNS server panicked");
    }
}

struct Worker {
    number: usize,
    socket: Arc<UdpSocket>,
    front: Front,
    runtime: Handle,
    is_stopped: Arc<AtomicBool>,
}

impl Worker {
    fn work(self) {
        // For answers that are asked for again before their end.
        let _runtime = self.runtime.enter();
        let mut batch = Batch::new(LONGEST_QUERY, usize::from(self.front.policy.udp_size));
        let mut blocks_told = self.front.blocks.clone();
        let mut blocks = blocks_told.borrow_and_update().clone();
        let mut zones = self.front.zone_at(&blocks);
        let mut zone = zones.borrow_and_update().clone();
        let mut counts = blocks.counts(self.number);
        let mut turn = 0u32;
        while !self.is_stopped.load(Ordering::Relaxed) {
            let count = match batch.receive(&self.socket) {
                Ok(count) => count,
                Err(error) if is_pause(&error) => continue,
                Err(error) => {
                    warn!(%error, "failed to receive");
                    std::thread::sleep(REST);
                    continue;
                }
            };
            // A change goes into the very next answer.
            if zones.has_changed().unwrap_or(false) {
                zone = zones.borrow_and_update().clone();
            }
            if blocks_told.has_changed().unwrap_or(false) {
                blocks = blocks_told.borrow_and_update().clone();
                counts = blocks.counts(self.number);
                zones = self.front.zone_at(&blocks);
                zone = zones.borrow_and_update().clone();
            }
            look_ahead(&zone, &mut batch, count);
            let begun = Instant::now();
            for number in 0..count {
                turn = turn.wrapping_add(1);
                let (message, peer, room) = batch.get(number);
                let Some(client) = peer.ip() else { continue };
                let asking = self.front.asking(client, true, turn);
                let shown = self.front.shown(message, client);
                let outcome = match self.front.admits(client, shown.as_ref()) {
                    true => answer_safely((&zone, &blocks), message, &asking, room),
                    false => over_limit(message, (&asking, shown.is_some()), room),
                };
                let len = match outcome {
                    Outcome::Reply(len) => len,
                    Outcome::Silence(why) => {
                        debug!(%client, why, "dropped a message");
                        0
                    }
                    outcome @ (Outcome::Elsewhere | Outcome::Alias(_)) => match self.front.may_wait() {
                        Some(waits) => {
                            self.ask((message.to_vec(), outcome), (*peer, asking), waits);
                            0
                        }
                        None => too_many(message, &asking, room),
                    },
                };
                let len = shown.map_or(len, |shown| shown.stamp(room, len));
                if let Some(counts) = counts.as_ref().filter(|_| len > 0) {
                    tally((&blocks, counts), (message, &room[..len]), (client, true), begun.elapsed());
                }
                batch.set_answer(number, len);
            }
            batch.send(&self.socket);
        }
    }

    /// Leaves to a task what takes time.
    fn ask(&self, question: (Vec<u8>, Outcome), (peer, asking): (Peer, Asking), waits: Waits) {
        let (front, socket) = (self.front.clone(), Arc::clone(&self.socket));
        self.runtime.spawn(async move {
            let Some(client) = peer.ip() else { return };
            let Some(answer) = front.ask(question, (client, asking), waits).await else { return };
            if let Err(error) = peer.send(&socket, &answer) {
                debug!(%client, %error, "failed to send an answer");
            }
        });
    }
}

/// Has what a batch will read of the zone come at one time: each query alone would wait for its own.
fn look_ahead(zone: &Zone, batch: &mut Batch, count: usize) {
    let (mut hashes, mut known) = ([0; BATCH], 0);
    let mut name = NameBuffer::new();
    for number in 0..count {
        if name.read(batch.get(number).0, HEADER).is_ok() {
            name.make_lower();
            hashes[known] = hash(name.as_wire());
            known += 1;
        }
    }
    zone.touch(&hashes[..known]);
}

fn is_pause(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    [Interrupted, TimedOut, WouldBlock].contains(&error.kind())
}
