//! What signalbox tells about itself while it runs. So far: the log.
//!
//! A log line is a constant message plus fields, written once, where the event is handled.
//! error = broken, warn = wake someone, info = state changed, debug = why, trace = per packet.

#![deny(missing_docs)]

mod log;

pub use log::start_log;
