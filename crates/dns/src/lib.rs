//! Cluster DNS: names of Services and their endpoints after the Kubernetes DNS specification 1.1.0, in front of ordinary
//! DNS for everything else.
//!
//! [`wire`] reads and writes messages. What this crate does *not* do: decide where packets to a Service go (`desired`
//! does), or resolve names of the world by itself: it asks other servers.

#![deny(missing_docs)]

pub mod cache;
pub mod config;
pub mod elsewhere;
pub mod hosts;
pub mod metrics;
pub mod rewrite;
pub mod upstream;
pub mod wire;
