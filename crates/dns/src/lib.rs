//! Cluster DNS: names of Services and their endpoints after the Kubernetes DNS specification 1.1.0, in front of ordinary
//! DNS for everything else.
//!
//! [`wire`] reads and writes messages; [`zone`] keeps the names that follow from a cluster's objects as answers written
//! ahead; [`answer()`] is pure: a picture of the zone and a query in, an answer out. [`source`] follows an API server, [`serve`] has
//! the sockets, and [`run`] is both; [`node`] is all that beside a node's proxy. What this crate does *not* do: decide where packets to a Service go (`desired`
//! does), or resolve names of the world by itself: it asks other servers.

#![deny(missing_docs)]

pub mod answer;
pub mod blocks;
pub mod cache;
pub mod config;
pub mod elsewhere;
pub mod hosts;
pub mod metrics;
#[allow(clippy::disallowed_methods, reason = "a shell: it lives on real time")]
pub mod node;
pub mod object;
pub mod plan;
pub mod rewrite;
#[allow(clippy::disallowed_methods, reason = "a shell: it lives on real time")]
pub mod serve;
#[allow(clippy::disallowed_methods, reason = "a shell: it lives on real time")]
pub mod source;
pub mod upstream;
pub mod wire;
pub mod zone;

#[cfg(test)]
mod script;

pub use answer::answer;
pub use serve::{Asked, Policy, Settings, Sockets, run};
