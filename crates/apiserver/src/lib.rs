//! The API server: Kubernetes objects on one machine.

#![deny(missing_docs)]

pub mod patch;
pub mod schema;
