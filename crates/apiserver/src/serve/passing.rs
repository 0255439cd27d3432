//! Bytes that are passed on, in both directions, no faster than they are taken, with a few kilobytes in hand.
//!
//! What it does *not* know: what they mean.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::answer::Chunks;
use super::asked::RequestBody;
use super::limits::Held;
use super::metrics::Counted;
use super::progress::Progress;
use super::{Line, stopped};
use crate::connect::{DialError, Outward, Target, Wire};
use crate::status::Status;

/// The most bytes of a head, and of a body that are read ahead.
const MOST_AHEAD: usize = 64 * 1024;
/// The most bytes of a refusal.
const MOST_REFUSAL: usize = 50_000;
/// How long a refusal may take.
const REFUSAL_TIME: Duration = Duration::from_secs(10);
/// How long one side may go on when the other one has nothing more to say.
const LINGER: Duration = Duration::from_secs(30);

/// What is kept for as long as something is passed on.
pub(crate) struct Kept {
    #[expect(dead_code, reason = "it counts by living as long")]
    pub(crate) counted: Counted,
    #[expect(dead_code, reason = "the connection is one of those that there are until it is dropped")]
    pub(crate) line: Option<Line>,
    /// Given back when it is dropped.
    pub(crate) held: Option<Held>,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SendError {
    /// It would be sent to the server itself.
    NotAllowed,
    /// There is no connection.
    Unreachable(String),
    /// There was one.
    Broken(String),
}

/// Sends a request over a connection of its own, and answers the head of what comes back.
pub(crate) async fn send(
    outward: &Outward,
    target: &Target,
    request: Request<RequestBody>,
) -> Result<Response<Incoming>, SendError> {
    let wire = outward.connect(target).await.map_err(|error| match error {
        DialError::NotAllowed => SendError::NotAllowed,
        DialError::Failed(why) => SendError::Unreachable(why),
    })?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MOST_AHEAD).handshake(TokioIo::new(wire)).await.map_err(broken)?;
    // It ends when the answer is read or dropped, or became something else.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection that was opened for a client ended with an error");
        }
    });
    sender.send_request(request).await.map_err(broken)
}

fn broken(error: hyper::Error) -> SendError {
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return SendError::Broken("EOF".to_owned());
    }
    SendError::Broken(error.to_string())
}

/// Answers a body that is passed on until it ends, the client goes, or the server stops; which breaks it off.
pub(crate) fn body(body: Incoming, kept: Kept) -> Chunks {
    if body.is_end_stream() {
        return Chunks::of("");
    }
    // One piece waits while the client reads another; the rest stays where it is.
    let (sender, receiver) = channel(1);
    tokio::spawn(pump(body, sender, kept));
    Chunks::Passed(receiver)
}

async fn pump(mut body: Incoming, sender: Sender<io::Result<Bytes>>, mut kept: Kept) {
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = stopped(&mut kept.stopping) => {
                drop(sender.try_send(Err(io::Error::other("the server stops"))));
                return;
            }
            () = sender.closed() => return,
        };
        let bytes = match frame {
            None => return,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(bytes) => Ok(bytes),
                // Trailers.
                Err(_) => continue,
            },
            Some(Err(error)) => Err(io::Error::other(error)),
        };
        let is_over = bytes.is_err();
        tokio::select! {
            sent = sender.send(bytes) => if sent.is_err() || is_over { return },
            () = stopped(&mut kept.stopping) => return,
        }
    }
}

/// Makes a refusal of what somebody refused, in Kubernetes' words. `what`: the part, such as `pods/log`, and its object.
pub(crate) async fn refusal(response: Response<Incoming>, (what, name): (&str, &str)) -> Status {
    let code = response.status().as_u16();
    let mut read = BytesMut::new();
    let mut body = response.into_body();
    let reading = async {
        while let (Some(Ok(frame)), true) = (body.frame().await, read.len() < MOST_REFUSAL) {
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |bytes| bytes));
        }
    };
    drop(timeout(REFUSAL_TIME, reading).await);
    read.truncate(MOST_REFUSAL);
    Status::of_other(code, &String::from_utf8_lossy(&read), (what, name))
}

/// Passes bytes on in both directions, until both sides have ended or one has been silent for long enough.
pub(crate) async fn bytes(client: OnUpgrade, backend: OnUpgrade, mut kept: Kept) {
    let passing = async {
        let (Ok(client), Ok(backend)) = tokio::join!(client, backend) else { return };
        exchange(bare(client), TokioIo::new(backend)).await;
    };
    tokio::select! {
        () = passing => {}
        () = stopped(&mut kept.stopping) => {}
    }
}

/// The client's side without its patience: what it takes nothing of may wait for as long as it likes, elsewhere.
fn bare(upgraded: Upgraded) -> Box<dyn Wire> {
    match upgraded.downcast::<TokioIo<Progress<TlsStream<TcpStream>>>>() {
        Ok(parts) => {
            let (read, write) = split(parts.io.into_inner().into_inner());
            let before = io::Cursor::new(parts.read_buf);
            Box::new(tokio::io::join(before.chain(read), write))
        }
        Err(upgraded) => Box::new(TokioIo::new(upgraded)),
    }
}

async fn exchange(one: impl AsyncRead + AsyncWrite, other: impl AsyncRead + AsyncWrite) {
    let ((one_reads, one_writes), (other_reads, other_writes)) = (split(one), split(other));
    let there = one_way(one_reads, other_writes);
    let back = one_way(other_reads, one_writes);
    tokio::pin!(there, back);
    tokio::select! {
        () = &mut there => drop(timeout(LINGER, back).await),
        () = &mut back => drop(timeout(LINGER, there).await),
    }
}

async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    // Whoever breaks off has ended, too.
    drop(copy(&mut from, &mut to).await);
    drop(to.shutdown().await);
}
