//! The API server: Kubernetes objects on one machine.
//!
//! So far its pure parts: what kinds there are, the shapes of their objects, how they are written and read, found,
//! selected and patched. What it does *not* do yet: serve them.

#![deny(missing_docs)]

pub mod body;
pub mod chance;
pub mod collect;
pub mod discovery;
pub mod kinds;
pub mod meta;
pub mod mistake;
pub mod names;
pub mod patch;
pub mod rest;
pub mod schema;
pub mod select;
pub mod serve;
pub mod start;
pub mod status;
pub mod writing;
