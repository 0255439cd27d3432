//! Why a back end could not write or read.

/// A back end's failure. Afterwards it is not known what the kernel holds. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(
    /// What happened.
    #[source]
    pub Box<dyn std::error::Error + Send + Sync>,
);

impl Error {
    /// Wraps a back end's own error.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// Wraps a back end's own error that came when a part was in force: to try again at once is worth it.
    pub fn partly(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Box::new(Partly(error.into())))
    }

    /// Answers whether a part is in force, and the rest may be soon.
    pub fn is_partly(&self) -> bool {
        self.0.is::<Partly>()
    }
}

/// A difference was carried out in part, or somebody else wrote meanwhile.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Partly(Box<dyn std::error::Error + Send + Sync>);

/// Why a difference was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The kernel refused some of the changes; nothing was carried out, and what was installed still is.
    #[error("write {} changes, which the kernel refused", .0.len())]
    Refused(Vec<RefusedChange>),
    /// Something else failed; the difference may or may not be in force.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// One change that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedChange {
    /// Its index in the delta.
    pub change: usize,
    /// The kernel's reason.
    pub reason: String,
}
