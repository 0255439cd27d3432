//! The API server: Kubernetes objects on one machine.

#![deny(missing_docs)]

pub mod body;
pub mod schema;
