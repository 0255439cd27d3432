//! The streams of a connection that speaks SPDY/3.1, the server's side.
//!
//! Each stream has a queue. Clients know no flow control: when the queue of one is full, the connection is not read until
//! somebody takes from it.

mod frame;
mod headers;

use std::collections::HashMap;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{mpsc, watch};

use super::wire::Out;
pub(super) use frame::Fault;
use frame::{Decoder, Frame};
use headers::Headers;

/// How many streams there are at a time.
const MOST_STREAMS: usize = 512;
/// How many parts of data wait in one.
const WAITING: usize = 32;
/// How much is read at once.
const READ: usize = 32 * 1024;

/// A stream that the client has opened.
pub(super) struct Stream {
    id: u32,
    headers: Headers,
    /// What the client says in it.
    pub(super) incoming: mpsc::Receiver<Bytes>,
    reset: watch::Receiver<bool>,
    out: Out,
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Stream {
    /// Answers a header; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// Says something.
    pub(super) async fn say(&self, bytes: &[u8]) -> Result<(), Gone> {
        if *self.reset.borrow() {
            return Err(Gone);
        }
        self.out.send(frame::data(self.id, bytes)).await.map_err(|_| Gone)
    }

    /// Has no more to say.
    pub(super) async fn end(&self) {
        // Who is gone knows.
        drop(self.out.send(frame::end(self.id)).await);
    }

    /// Gives it up.
    pub(super) async fn refuse(self) {
        drop(self.out.send(frame::refuse(self.id)).await);
    }

    /// Waits until the client gives it up, or is gone.
    pub(super) async fn given_up(&self) {
        drop(self.reset.clone().wait_for(|reset| *reset).await);
    }
}

/// Reads a connection until its end; what clients open is told to `opened`.
pub(super) async fn read(mut from: impl AsyncRead + Unpin, out: Out, opened: mpsc::Sender<Stream>) {
    let mut decoder = Decoder::new();
    let mut session = Session { out, opened, streams: HashMap::new(), newest: 0 };
    loop {
        match decoder.next() {
            Ok(Some(frame)) => session.hear(frame).await,
            Ok(None) => {
                decoder.bytes.reserve(READ);
                if from.read_buf(&mut decoder.bytes).await.is_ok_and(|read| read > 0) {
                    continue;
                }
                return;
            }
            Err(Fault(why)) => {
                tracing::debug!(why, "a client of SPDY makes no sense");
                return;
            }
        }
    }
}

struct Session {
    out: Out,
    opened: mpsc::Sender<Stream>,
    streams: HashMap<u32, Inlet>,
    newest: u32,
}

/// The client's end of a stream.
struct Inlet {
    data: Option<mpsc::Sender<Bytes>>,
    reset: watch::Sender<bool>,
}

impl Session {
    async fn hear(&mut self, frame: Frame) {
        match frame {
            Frame::Open(id, headers) => self.open(id, headers).await,
            Frame::Data(id, bytes) => {
                if let Some(Inlet { data: Some(data), .. }) = self.streams.get(&id) {
                    // Nobody listens any more: the client may go on.
                    drop(data.send(bytes).await);
                }
            }
            Frame::End(id) => {
                if let Some(inlet) = self.streams.get_mut(&id) {
                    inlet.data = None;
                }
            }
            Frame::Reset(id) => {
                if let Some(inlet) = self.streams.remove(&id) {
                    inlet.reset.send_replace(true);
                }
            }
            // Pings with even numbers would be this server's own, which sends none.
            Frame::Ping(id) if id % 2 == 1 => drop(self.out.send(frame::pong(id)).await),
            Frame::Ping(_) => {}
        }
    }

    async fn open(&mut self, id: u32, headers: Headers) {
        if self.streams.len() >= MOST_STREAMS {
            self.streams.retain(|_, inlet| !inlet.reset.is_closed());
        }
        if id.is_multiple_of(2) || id <= self.newest || self.streams.len() >= MOST_STREAMS {
            return drop(self.out.send(frame::refuse(id)).await);
        }
        let begins = self.newest == 0;
        self.newest = id;
        let (data, incoming) = mpsc::channel(WAITING);
        let (reset, given_up) = watch::channel(false);
        self.streams.insert(id, Inlet { data: Some(data), reset });
        // Go's clients drop data of a stream that was not answered yet.
        drop(self.out.send(frame::reply(id, begins)).await);
        let stream = Stream { id, headers, incoming, reset: given_up, out: self.out.clone() };
        drop(self.opened.send(stream).await);
    }
}
