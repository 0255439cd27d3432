//! A connection that carries frames both ways: who reads, who talks and who writes, until one of them ends it.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many frames wait to be written. Who has more to say waits, too: a client that does not read fills no memory.
const WAITING: usize = 16;
/// How long a client that was told everything may take to close the connection. Go's clients drop what they have not
/// handed on when they see it closed.
const LINGER: Duration = Duration::from_secs(600);
/// How long the last frames to a client that has left may take.
const LAST: Duration = Duration::from_secs(1);
/// The frame after which nothing comes.
const END: Bytes = Bytes::new();

/// Where frames go.
pub(super) type Out = mpsc::Sender<Bytes>;

/// A connection, whatever is under it.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + 'static> Connection for T {}

/// The half of a connection to which is written, and what is to be written.
pub(super) struct Writing<S> {
    half: WriteHalf<S>,
    out: Out,
    frames: mpsc::Receiver<Bytes>,
}

impl<S: Connection> Writing<S> {
    pub(super) fn new(half: WriteHalf<S>) -> Self {
        let (out, frames) = mpsc::channel(WAITING);
        Self { half, out, frames }
    }

    /// Answers where frames go.
    pub(super) fn out(&self) -> Out {
        self.out.clone()
    }

    /// Holds a connection until the client has left, or until everything was said and the client, too, has closed it.
    pub(super) async fn hold(self, reading: impl Future<Output = ()>, talking: impl Future<Output = ()>) {
        let Self { half, out, frames } = self;
        let mut writer = JoinSet::new();
        writer.spawn(write(half, frames));
        let mut reading = pin!(reading);
        let all = async {
            talking.await;
            drop(out.send(END).await);
            writer.join_next().await
        };
        let written = tokio::select! {
            () = &mut reading => None,
            written = all => {
                drop(timeout(LINGER, reading).await);
                written
            }
        };
        let written = match written {
            Some(written) => Some(written),
            None => {
                drop(out);
                timeout(LAST, writer.join_next()).await.ok().flatten()
            }
        };
        if let Some(Ok(Some(mut half))) = written {
            // Who is gone needs no good-bye.
            drop(timeout(LAST, half.shutdown()).await);
        }
    }
}

/// Writes frames; `None`: nobody can be reached.
async fn write<S: Connection>(
    mut half: WriteHalf<S>,
    mut frames: mpsc::Receiver<Bytes>,
) -> Option<WriteHalf<S>> {
    while let Some(frame) = frames.recv().await {
        if frame.is_empty() {
            break;
        }
        half.write_all(&frame).await.ok()?;
        if frames.is_empty() {
            half.flush().await.ok()?;
        }
    }
    half.flush().await.ok()?;
    Some(half)
}
