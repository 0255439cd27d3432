//! A connection that must get on: who takes nothing of an answer for a while, or does not even say how to begin, is cut off.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream of bytes whose writes must make progress.
pub(crate) struct Progress<S> {
    stream: S,
    /// How long a write may make none.
    patience: Duration,
    waiting: Pin<Box<Sleep>>,
    is_waiting: bool,
    /// How many bytes must come first, and until when.
    beginning: Option<(usize, Pin<Box<Sleep>>)>,
}

impl<S> Progress<S> {
    /// `beginning`: how many bytes must come within what time; they are the same for every client of a protocol.
    pub(crate) fn new(stream: S, patience: Duration, beginning: Option<(usize, Duration)>) -> Self {
        let beginning = beginning.map(|(bytes, time)| (bytes, Box::pin(sleep(time))));
        Self { stream, patience, waiting: Box::pin(sleep(patience)), is_waiting: false, beginning }
    }

    /// Answers the stream, whose writes may take as long as they like.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Fails if nothing has been written for too long.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_waiting {
            self.is_waiting = true;
            self.waiting.as_mut().reset(Instant::now() + self.patience);
        }
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing");
        self.waiting.as_mut().poll(context).map(|()| late())
    }

    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.is_waiting = false;
                Poll::Ready(result)
            }
            Poll::Pending => self.wait(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some((missing, end)) = &mut self.beginning else { return polled };
        *missing = missing.saturating_sub(buffer.filled().len() - before);
        if *missing == 0 {
            self.beginning = None;
            return polled;
        }
        match polled {
            Poll::Pending => {
                let late = || io::Error::new(io::ErrorKind::TimedOut, "the client does not begin");
                end.as_mut().poll(context).map(|()| Err(late()))
            }
            Poll::Ready(_) => polled,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off() {
        let (near, mut far) = duplex(8);
        let mut near = Progress::new(near, Duration::from_secs(60), None);
        let read = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            far.read_exact(&mut [0; 8]).await.unwrap();
        };
        let write = async {
            near.write_all(&[0; 16]).await.unwrap();
            near.write_all(&[0; 16]).await.unwrap_err().kind()
        };
        let (kind, ()) = tokio::join!(write, read);
        assert_eq!(kind, io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_cut_off() {
        let (near, mut far) = duplex(64);
        let mut near = Progress::new(near, Duration::from_secs(60), Some((4, Duration::from_secs(10))));
        far.write_all(b"PRI").await.unwrap();
        near.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(near.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut near =
            Progress::new(near.stream, Duration::from_secs(60), Some((1, Duration::from_secs(10))));
        far.write_all(b"P").await.unwrap();
        near.read_u8().await.unwrap();
        // Afterwards it may be silent.
        let silent = tokio::time::timeout(Duration::from_secs(3600), near.read_u8());
        assert!(silent.await.is_err());
    }
}
