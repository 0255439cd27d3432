//! What signalbox tells about itself while it runs: the log, metrics, profiles.
//!
//! A log line is a constant message plus fields, written once, where the event is handled.
//! error = broken, warn = wake someone, info = state changed, debug = why, trace = per packet.

#![deny(missing_docs)]

mod counted;
mod log;
mod metrics;
mod process;
mod profile;
mod queues;

pub use counted::Counts;
pub use log::{Format, set_verbosity, start_log};
pub use metrics::{Metrics, TEXT_FORMAT, exponential_bounds};
pub use process::watch_process;
pub use profile::{ProfileError, cpu_profile, threads};
pub use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec};
pub use queues::{WorkQueue, WorkQueues};
