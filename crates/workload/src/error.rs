//! Why pods cannot be run here.

/// An error of the runtime. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{0}")]
    Kernel(sys::Error),
}
