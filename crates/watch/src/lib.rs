//! Sources of objects: a Kubernetes API server ([`run`]) or a directory of manifests ([`run_manifests`]); and the way
//! back, Kubernetes Events about what happens here ([`record_events`]). Controllers, which read and write objects of any
//! kind, have a [`client`].
//!
//! A source sends [`objects::Event`]s and never takes back what it delivered because of its own trouble: failures are
//! logged and retried. What this crate does *not* do: keep objects (`objects` does) or decide about them.
//!
//! ```text
//! async fn run(config: ApiConfig, progress: Progress, sink: mpsc::Sender<Event>) -> Result<(), Error>
//! async fn run_manifests(directory: PathBuf, sink: mpsc::Sender<Event>) -> Result<(), Error>
//! fn record_events(config: ApiConfig) -> (EventRecorder, impl Future<Output = ()>)
//! ```
//!
//! The sources end when the other end of `sink` is dropped, and when their own future is. They wait while `sink` is full. A
//! current-thread runtime with I/O and time is enough:
//!
//! ```
//! use watch::{ApiConfig, Progress};
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     // --kubeconfig FILE, --master URL, the name of the own Node; neither of the first two means the pod's account.
//!     let config = ApiConfig::new(None, Some("https://192.0.2.1:6443".into()), "node-1");
//!     let (sink, mut events) = tokio::sync::mpsc::channel::<objects::Event>(4096);
//!     let progress = Progress::default();
//!     let source = tokio::spawn(watch::run(config, progress.clone(), sink));
//!     events.close(); // Instead of: while let Some(event) = events.recv().await { objects.apply(event); }
//!     source.await.expect("the source does not panic")
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a shell: it lives on real time")]

mod answer;
mod api;
pub mod client;
mod connection;
mod decode;
mod events;
mod failure;
mod frame;
mod journal;
mod manifests;
mod metrics;
mod progress;
mod query;
mod reflector;
mod stream;
mod timing;

pub use api::{ApiConfig, run};
pub use events::{EventRecorder, EventType, Happening, Regarding, record_events};
pub use manifests::run_manifests;
pub use metrics::watch_progress;
pub use progress::{KindProgress, Progress};
pub use timing::Timing;

/// Why a source cannot start or go on at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig, or the service account of the pod, cannot be used.
    #[error("{error}; {remedy}")]
    Configuration {
        /// What is wrong.
        error: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Changes of files cannot be noticed.
    #[error(
        "cannot watch the directory of manifests: {0}; check the limits fs.inotify.max_user_watches and -instances"
    )]
    Inotify(std::io::Error),
    /// A part of the source panicked.
    #[error("a watch panicked: {0}")]
    Panicked(String),
}
