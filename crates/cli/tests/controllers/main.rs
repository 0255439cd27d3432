//! The controllers as people meet them: kubectl, the in-tree API server, and nodes that are played.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod deployments;
mod kubelet;
#[path = "../apiserver/machine.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod machine;
mod metrics;
mod nodes;
mod stage;
