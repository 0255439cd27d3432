//! The API server: Kubernetes objects on one machine.
//!
//! So far its pure parts: what kinds there are, the shapes of their objects, how they are written and read, found,
//! selected and patched. What it does *not* do yet: serve them.

#![deny(missing_docs)]

pub mod body;
pub mod discovery;
pub mod kinds;
pub mod patch;
pub mod schema;
pub mod select;
pub mod status;
