//! Sources of objects: a Kubernetes API server ([`run`]) or a directory of manifests ([`run_manifests`]).
//!
//! A source sends [`objects::Event`]s and never takes back what it delivered because of its own trouble: failures are
//! logged and retried. What this crate does *not* do: keep objects (`objects` does) or decide about them.

#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a shell: it lives on real time")]

mod answer;
mod api;
mod connection;
mod decode;
mod failure;
mod frame;
mod journal;
mod manifests;
mod progress;
mod query;
mod reflector;
mod stream;
mod timing;

pub use api::{ApiConfig, run};
pub use manifests::run_manifests;
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
    #[error("cannot watch the directory of manifests: {0}")]
    Inotify(std::io::Error),
    /// A part of the source panicked.
    #[error("a watch panicked: {0}")]
    Panicked(String),
}
