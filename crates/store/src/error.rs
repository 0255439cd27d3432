//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why a store cannot be opened. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be read or written.
    #[error("open the store {}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it.
    #[error("open the store {}: another process has it open", file.display())]
    InUse {
        /// The file.
        file: PathBuf,
    },
    /// What is in it is not what was written.
    #[error("open the store {}: it is damaged: {what}; nothing of it is served", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another version of this program wrote it.
    #[error("open the store {}: its format is {found}, this program knows {known}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        known: u64,
    },
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// The function refused.
    #[error("the write was refused")]
    Refused(E),
    /// The disk did not take it. Whether it is there after a restart is not known.
    #[error("write to the store: {0}")]
    Disk(String),
    /// The function panicked; nothing of it was written.
    #[error("decide what to write: that is a mistake of this program, which the log tells")]
    Panicked,
    /// The store was closed.
    #[error("write to the store: it is closed")]
    Closed,
}

/// The changes since a revision are not known any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revision {asked} is too old, the oldest that is known is {oldest}")]
pub struct Expired {
    /// The revision that was asked for.
    pub asked: u64,
    /// The oldest from which changes are known.
    pub oldest: u64,
}
