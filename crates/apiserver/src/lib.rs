//! The API server: Kubernetes objects on one machine.
//!
//! So far its pure parts: what kinds there are, the shapes of their objects, how they are written and read, found,
//! selected and patched. What it does *not* do yet: serve them.

#![deny(missing_docs)]

pub mod access;
pub mod address;
pub mod age;
pub mod allocate;
pub mod body;
pub mod chance;
pub mod collect;
pub mod discovery;
pub mod kinds;
pub mod manage;
pub mod meta;
pub mod mistake;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod range;
pub mod rest;
pub mod scale;
pub mod schema;
pub mod select;
pub mod serve;
pub mod start;
pub mod status;
pub mod writing;
