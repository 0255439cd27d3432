//! TCP: any number of queries on a connection, each answered when its answer is there (RFC 7766).

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Front;
use super::before::answer_safely;
use super::connections::Connections;
use super::elsewhere::too_many;
use crate::answer::Outcome;
use crate::wire::LONGEST;

/// How many queries of one connection may be worked on; the next one is not read before.
const MOST_AT_ONCE: usize = 128;
/// How long a connection may be silent between queries.
const IDLE: Duration = Duration::from_secs(10);
/// How long a query, once begun, and the sending of an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to rest after the kernel refused a connection, as it does without free descriptors.
const REST: Duration = Duration::from_millis(100);

/// Serves connections for ever. One too many is closed at once.
pub(super) async fn accept(listener: TcpListener, front: Front) {
    let connections = Connections::default();
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "failed to accept a connection");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        let client = client.ip().to_canonical();
        let Some(connection) = connections.open(client) else {
            debug!(%client, "too many connections");
            continue;
        };
        let front = front.clone();
        tokio::spawn(async move {
            serve(stream, client, front).await;
            drop(connection);
        });
    }
}

async fn serve(stream: TcpStream, client: IpAddr, front: Front) {
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let (answers, queue) = mpsc::channel(MOST_AT_ONCE);
    // Whichever ends first: a client that reads no answers is not read from either.
    let reading = read_queries(read, client, (front, answers));
    let writing = write_answers(write, queue);
    tokio::pin!(writing);
    tokio::select! {
        () = reading => writing.await,
        () = &mut writing => {}
    }
}

/// Reads queries until the client ends, or is silent for too long.
async fn read_queries(
    mut read: OwnedReadHalf,
    client: IpAddr,
    (front, answers): (Front, mpsc::Sender<Vec<u8>>),
) {
    let places = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let mut message = Vec::new();
    while let Some(len) = timeout(IDLE, read.read_u16()).await.ok().and_then(Result::ok) {
        message.resize(usize::from(len), 0);
        if !matches!(timeout(PATIENCE, read.read_exact(&mut message)).await, Ok(Ok(_))) {
            return;
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let asking = front.asking(client, false, front.turn.fetch_add(1, Ordering::Relaxed));
        let mut out = vec![0; LONGEST];
        let blocks = front.blocks.borrow().clone();
        let zone = front.zone_at(&blocks).borrow().clone();
        let begun = Instant::now();
        let outcome = answer_safely((&zone, &blocks), &message, &asking, &mut out);
        let (len, waits) = match &outcome {
            Outcome::Reply(len) => (*len, None),
            // Who sends what has no answer speaks no DNS.
            Outcome::Silence(why) => {
                debug!(%client, why, "closed a connection");
                return;
            }
            Outcome::Elsewhere | Outcome::Alias(_) => match front.may_wait() {
                Some(waits) => (0, Some(waits)),
                None => (too_many(&message, &asking, &mut out), None),
            },
        };
        if let Some(waits) = waits {
            let (front, answers, message) = (front.clone(), answers.clone(), message.clone());
            tokio::spawn(async move {
                if let Some(answer) = front.ask((message, outcome), (client, asking), waits).await {
                    // The connection may have ended meanwhile.
                    let _ = answers.send(answer).await;
                }
                drop(place);
            });
            continue;
        }
        let len = front.shown(&message, client).map_or(len, |shown| shown.stamp(&mut out, len));
        front.count((&message, &out[..len]), (client, false), begun.elapsed());
        // Answers wait for a slow client, each with no more room than it needs.
        if answers.send(out[..len].to_vec()).await.is_err() {
            return;
        }
    }
}

/// Sends answers until there can be no more, or the client takes none.
async fn write_answers(mut write: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    let mut framed = Vec::new();
    while let Some(answer) = queue.recv().await {
        framed.clear();
        let mut next = Some(answer);
        // What waits goes out together, up to about a segment's worth of segments.
        while let Some(answer) = next {
            framed.extend((answer.len() as u16).to_be_bytes());
            framed.extend(answer);
            next = if framed.len() < LONGEST { queue.try_recv().ok() } else { None };
        }
        if !matches!(timeout(PATIENCE, write.write_all(&framed)).await, Ok(Ok(()))) {
            return;
        }
    }
}
