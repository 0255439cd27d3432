//! Bodies of answers: complete ones and streams, with faults on the way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::connection::Connection;
use super::fault::Fault;

/// The largest piece that a slow body sends at once.
const SLOW_PIECE: usize = 512;

/// The body of an answer.
pub(super) struct Answer {
    source: Source,
    /// Bytes that were taken from the source and not yet sent.
    pending: BytesMut,
    limit: Option<Limit>,
    slow: Option<Pin<Box<Sleep>>>,
    pause: Duration,
}

enum Source {
    Stream(mpsc::Receiver<Bytes>),
    Ended,
}

/// What happens after so many more bytes.
struct Limit {
    left: usize,
    then: Then,
}

enum Then {
    Hang,
    End(Bytes),
    Reset(Arc<Connection>),
}

impl Answer {
    /// A body that is complete now.
    pub(super) fn complete(bytes: impl Into<Bytes>) -> Self {
        let bytes: Bytes = bytes.into();
        Self::new(Source::Ended, BytesMut::from(bytes))
    }

    /// A body that comes piece by piece until the sender is dropped.
    pub(super) fn stream(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self::new(Source::Stream(pieces), BytesMut::new())
    }

    fn new(source: Source, pending: BytesMut) -> Self {
        Self { source, pending, limit: None, slow: None, pause: Duration::ZERO }
    }

    /// Applies a fault that concerns the body; others change nothing here.
    pub(super) fn with(mut self, fault: Option<&Fault>, connection: &Arc<Connection>) -> Self {
        match fault {
            Some(Fault::HangAfter(left)) => self.limit = Some(Limit { left: *left, then: Then::Hang }),
            Some(Fault::EndAfter(left)) => {
                self.limit = Some(Limit { left: *left, then: Then::End(Bytes::new()) });
            }
            Some(Fault::GarbageAfter(left, garbage)) => {
                self.limit = Some(Limit { left: *left, then: Then::End(garbage.clone().into()) });
            }
            Some(Fault::ResetAfter(left)) => {
                self.limit = Some(Limit { left: *left, then: Then::Reset(connection.clone()) });
            }
            Some(Fault::Slow(pause)) => self.pause = *pause,
            Some(Fault::Hang | Fault::Reset | Fault::Answer { .. } | Fault::GoneEvent) | None => {}
        }
        self
    }

    fn poll_limit(&mut self) -> Option<Poll<Option<io::Result<Frame<Bytes>>>>> {
        let limit = self.limit.as_mut().filter(|limit| limit.left == 0)?;
        Some(match &mut limit.then {
            Then::Hang => Poll::Pending,
            Then::End(last) if last.is_empty() => Poll::Ready(None),
            Then::End(last) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(last))))),
            Then::Reset(connection) => {
                connection.reset_on_close();
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
            }
        })
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pause.is_zero() {
            return Poll::Ready(());
        }
        let pause = self.pause;
        let sleep = self.slow.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(sleep.as_mut().poll(cx));
        self.slow = None;
        Poll::Ready(())
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(end) = self.poll_limit() {
            return end;
        }
        if self.pending.is_empty() {
            let Source::Stream(pieces) = &mut self.source else { return Poll::Ready(None) };
            match ready!(pieces.poll_recv(cx)) {
                Some(piece) => self.pending.extend_from_slice(&piece),
                None => return Poll::Ready(None),
            }
        }
        ready!(self.poll_pause(cx));
        let mut size = self.pending.len();
        if !self.pause.is_zero() {
            size = size.min(SLOW_PIECE);
        }
        if let Some(limit) = &mut self.limit {
            size = size.min(limit.left);
            limit.left -= size;
        }
        let piece = self.pending.split_to(size).freeze();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
