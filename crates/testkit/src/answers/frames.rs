//! A watch in the background: every line is kept as it arrives, until somebody asks for it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Nothing more is expected after so long when it is known how much should come; when it is not, after twice that.
const QUIET: Duration = Duration::from_millis(300);
/// Nothing is waited for any longer.
const PATIENCE: Duration = Duration::from_secs(6);

/// The lines of a watch.
pub struct Frames {
    lines: mpsc::UnboundedReceiver<Value>,
    task: JoinHandle<()>,
}

impl Frames {
    pub(super) fn read(body: Incoming, sender: SendRequest<Full<Bytes>>) -> Self {
        let (to, lines) = mpsc::unbounded_channel();
        Self { lines, task: tokio::spawn(read(body, (sender, to))) }
    }

    /// Answers the next line, or `None` at the end of the watch. A line that is no JSON is a text.
    pub async fn next(&mut self) -> Option<Value> {
        self.lines.recv().await
    }

    /// Takes what has come, waiting for so many and for a pause after them.
    pub(super) async fn take(&mut self, want: Option<usize>) -> Vec<Value> {
        let limit = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        loop {
            let has_all = want.is_some_and(|want| taken.len() >= want);
            let quiet = if want.is_none() { QUIET * 2 } else { QUIET };
            let rest = if want.is_none() || has_all { limit.min(Instant::now() + quiet) } else { limit };
            match timeout_at(rest, self.lines.recv()).await {
                Ok(Some(line)) => taken.push(line),
                Ok(None) | Err(_) => return taken,
            }
        }
    }

    /// Reads the watch to its end.
    pub(super) async fn all(&mut self, patience: Duration) -> Vec<Value> {
        let mut taken = Vec::new();
        let reading = async {
            while let Some(line) = self.lines.recv().await {
                taken.push(line);
            }
        };
        // What has come until then is compared; it will not fit.
        drop(timeout(patience, reading).await);
        taken
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The sender is held because a connection without one is closed.
async fn read(mut body: Incoming, (_sender, to): (SendRequest<Full<Bytes>>, mpsc::UnboundedSender<Value>)) {
    let mut pending = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        pending.extend_from_slice(&data);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            if to.send(line(&pending.split_to(end + 1))).is_err() {
                return;
            }
        }
    }
    if !pending.is_empty() {
        // Nobody may be left who wants it.
        drop(to.send(line(&pending)));
    }
}

fn line(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}
