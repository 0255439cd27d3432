//! Reads bodies with patience that ends: whole lists, and watches frame by frame.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use tokio::time::timeout;

use crate::failure::{Failure, error_text};
use crate::frame::{Form, Frames, TooLarge};
use crate::timing::Timing;

/// The largest list (or page of one) that is read. It is held in memory while its objects are taken out.
const MAX_LIST: usize = 256 << 20;

/// Reads a body to its end. Between two pieces `patience` may pass.
pub(crate) async fn read_all(mut body: Body, patience: Duration) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    while let Some(piece) = next_piece(&mut body, patience).await? {
        if bytes.len() + piece.len() > MAX_LIST {
            return Err(Failure::TooLarge(bytes.len() + piece.len()));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

async fn next_piece(body: &mut Body, patience: Duration) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = timeout(patience, body.frame()).await.map_err(|_| Failure::Silent(patience))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|error| Failure::Broken(error_text(&error)))?;
        // Trailers say nothing here.
        if let Ok(piece) = frame.into_data() {
            return Ok(Some(piece));
        }
    }
}

/// The events of a watch.
pub(crate) struct EventStream {
    body: Body,
    frames: Frames,
    deadline: Instant,
    /// How long the initial events may pause.
    initial_patience: Duration,
    /// How long a watch with bookmarks may be silent.
    silence: Duration,
    bookmarked: bool,
}

impl EventStream {
    pub(crate) fn new(form: Form, body: Body, (deadline, timing): (Instant, &Timing)) -> Self {
        Self {
            body,
            frames: Frames::new(form),
            deadline,
            initial_patience: timing.answer,
            silence: timing.silence,
            bookmarked: false,
        }
    }

    /// Notes that the server sends bookmarks, so that silence means something from now on.
    pub(crate) fn had_bookmark(&mut self) {
        self.bookmarked = true;
    }

    /// Answers the next frame; `None` at the proper end, or when its time is over.
    pub(crate) async fn next(&mut self, listing: bool) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(frame) = self.frames.pop().map_err(|TooLarge(size)| Failure::TooLarge(size))? {
                return Ok(Some(frame));
            }
            let left = self.deadline.saturating_duration_since(Instant::now());
            let patience = match (listing, self.bookmarked) {
                (true, _) => self.initial_patience,
                (false, true) => self.silence,
                (false, false) => left,
            };
            match next_piece(&mut self.body, patience.min(left)).await {
                Ok(Some(piece)) => self.frames.push(&piece),
                Ok(None) if self.frames.is_inside() => return Err(Failure::Truncated),
                Ok(None) => return Ok(None),
                // The server was to end the watch and did not.
                Err(Failure::Silent(_)) if left <= patience && !listing => return Ok(None),
                Err(failure) => return Err(failure),
            }
        }
    }
}
