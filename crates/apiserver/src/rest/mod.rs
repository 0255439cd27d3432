//! What can be done to objects: get, list, watch, create, update, patch, delete, over the store and by the rules of kinds.
//!
//! What it does *not* know: HTTP, and who may do it.

pub mod change;
pub mod create;
pub mod delete;
pub mod managers;
pub mod options;
pub mod parts;
pub mod place;
pub mod read;
pub mod watching;

use bytes::Bytes;
use serde_json::Value;
use store::{Store, View, Write, WriteError};

use crate::body;
use crate::body::time::Instant;
use crate::chance::Chance;
use crate::kinds::Kind;
use crate::status::Status;
use crate::writing::Writing;

pub use options::{DeleteOptions, ListOptions, Query, WriteOptions, Writes};
pub use place::Place;

/// The time and the randomness of the process that serves.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// What time it is.
    pub now: fn() -> Instant,
    /// Something that nobody knows.
    pub seed: fn() -> [u8; 16],
}

/// The objects, and what can be done to them. Clones are the same.
#[derive(Clone)]
pub struct Rest {
    /// Where they are.
    pub store: Store,
    /// When it is.
    pub clock: Clock,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The HTTP status code.
    pub code: u16,
    /// The object as it is stored now, or was before it went.
    pub object: Bytes,
    /// What the client should know.
    pub warnings: Vec<String>,
}

impl Rest {
    /// Runs a transaction: what `write` does is carried out as a whole if it does not refuse, and durable when this answers.
    pub async fn write<T: Send + 'static>(
        &self,
        is_dry_run: bool,
        write: impl FnOnce(&mut Writing<'_>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let (now, chance) = ((self.clock.now)(), Chance::new((self.clock.seed)()));
        let decide = move |view: &View<'_>| -> Result<(Vec<Write>, T), Status> {
            let mut writing = Writing::new(view, chance, now);
            writing.is_dry_run = is_dry_run;
            let answer = write(&mut writing)?;
            let writes = if is_dry_run { Vec::new() } else { writing.finish() };
            Ok((writes, answer))
        };
        match self.store.write(decide).await {
            Ok((_, answer)) => Ok(answer),
            Err(WriteError::Refused(status)) => Err(status),
            Err(error @ (WriteError::Disk(_) | WriteError::Panicked | WriteError::Closed)) => {
                Err(Status::internal(&format!("failed to {error}")))
            }
        }
    }
}

/// Answers a stored object as its kind shows it.
pub(crate) fn served(kind: &Kind, stored: &Bytes) -> Bytes {
    match &kind.rules.conversion {
        None => stored.clone(),
        Some(conversion) => {
            let object = (conversion.from_stored)(object(stored));
            body::text(&object, kind.of_type()).into()
        }
    }
}

/// Reads a stored text.
pub(crate) fn object(stored: &[u8]) -> Value {
    // The store compares checksums when it is opened, and what is written is printed here.
    serde_json::from_slice(stored).unwrap_or_default()
}

/// Answers an object with another revision, without reading it.
///
/// The metadata stands in front of everything else and its resourceVersion behind texts only, in which quotes are escaped.
pub(crate) fn with_revision(text: &Bytes, revision: u64) -> Bytes {
    const NAME: &[u8] = b"\"resourceVersion\":\"";
    let Some(start) = text.windows(NAME.len()).position(|part| part == NAME) else { return text.clone() };
    let start = start + NAME.len();
    let end = text[start..].iter().position(|byte| *byte == b'"').map_or(start, |length| start + length);
    [&text[..start], revision.to_string().as_bytes(), &text[end..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_replaced_where_it_stands() {
        let text =
            br#"{"kind":"X","metadata":{"name":"\"resourceVersion\":\"1","resourceVersion":"12","a":"1"}}"#;
        let replaced = with_revision(&Bytes::from_static(text), 345);
        let wanted =
            br#"{"kind":"X","metadata":{"name":"\"resourceVersion\":\"1","resourceVersion":"345","a":"1"}}"#;
        assert_eq!(replaced, &wanted[..]);
    }
}
