//! Why pods cannot be run here.

/// An error of the runtime. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{0}")]
    Kernel(sys::Error),
    /// The API server cannot be answered.
    #[error("answer the API server at port {port}: {error}")]
    Serve {
        /// Where that was to be.
        port: u16,
        /// What went wrong.
        error: std::io::Error,
    },
}
