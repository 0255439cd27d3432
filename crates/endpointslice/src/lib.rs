//! The EndpointSlice controller: from Services, pods and nodes to EndpointSlices and Endpoints, as Kubernetes' own
//! controllers do it; and from hand-made Endpoints to EndpointSlices.
//!
//! [`reconcile()`] is pure: what is there and what is wanted in, the fewest writes out; so are its neighbours for Endpoints.
//! [`run`] is the shell: it follows the API server, keeps a queue and writes. It works against any API server. What this
//! crate does *not* do: make pods ready, or route anything.

#![deny(missing_docs)]

mod body;
mod cluster;
mod controller;
mod endpoint;
mod endpoints;
mod hints;
mod index;
mod metrics;
mod mirror;
mod names;
mod nodes;
pub mod object;
mod packing;
mod queue;
mod reconcile;
mod time;
mod trigger;
mod wire;
mod words;

#[cfg(test)]
mod model;

pub use controller::{Settings, run};
pub use metrics::SliceMetrics;
pub use names::Names;
pub use nodes::Nodes;
pub use reconcile::{Action, Counts, Situation, Verdict, reconcile};
