//! The API server as a process: the recorded answers, kubectl, a client library, crashes, and what watches promise.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod answers;
mod connections;
mod crash;
mod disks;
mod kubectl;
mod kubelet;
mod machine;
mod python;
mod replay;
mod slices;
mod strangers;
mod watching;
