//! Records Events, as controllers do: nobody waits for them, and what cannot be told for long is lost.
//!
//! `correlate` decides what is written, by the rules of client-go's `tools/record`; this is the shell that writes. kube-proxy
//! follows the newer rules of `tools/events`, which [`crate::record_events`] has.

mod correlate;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{Client, ClientError, PatchType};
use correlate::{Correlator, Write};

/// How many wait at most.
const QUEUE: usize = 1000;
/// How often one is tried, and how long it takes from one attempt to the next.
const TRIES: u32 = 12;
const RETRY: Duration = Duration::from_secs(10);

/// What an Event says.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Who says it.
    pub component: &'static str,
    /// On which machine; empty where that does not matter.
    pub host: String,
    /// Of what: an `ObjectReference`.
    pub of: Value,
    /// Whether it is something to worry about.
    pub is_warning: bool,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// Where to tell what happened. Clones tell the same server.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<(Note, Duration)>,
}

impl Recorder {
    /// Begins; must run in a runtime. What writes ends when all recorders are gone and everything is told.
    pub fn start(client: Client) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        tokio::spawn(write_all(client, notes));
        Self { queue }
    }

    /// Records what happened just now. Never waits; what is too much is lost.
    pub fn record(&self, note: Note) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Err(error) = self.queue.try_send((note, now)) {
            tracing::debug!(%error, "an Event is lost");
        }
    }
}

async fn write_all(client: Client, mut notes: mpsc::Receiver<(Note, Duration)>) {
    let mut correlator = Correlator::default();
    while let Some((note, now)) = notes.recv().await {
        let Some(write) = correlator.note(&note, now) else { continue };
        let mut tries = 0;
        while let Err(error) = attempt(&client, &write).await {
            tries += 1;
            if !error.is_retriable() || tries >= TRIES {
                tracing::debug!(path = write.collection, %error, "an Event is lost");
                break;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn attempt(client: &Client, write: &Write) -> Result<(), ClientError> {
    if let Some(patch) = &write.patch {
        match client.patch(&write.path(), PatchType::Merge, patch).await {
            // Events live for an hour.
            Err(error) if error.is_not_found() => {}
            result => return result.map(drop),
        }
    }
    match client.create(&write.collection, &write.object).await {
        // An earlier attempt came through, although its answer did not.
        Err(error) if error.is_already_exists() => Ok(()),
        result => result.map(drop),
    }
}
