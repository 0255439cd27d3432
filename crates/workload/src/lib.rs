//! What makes pods run on this machine: their processes, network namespaces, probes and statuses; what a kubelet does.

#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a shell around a pure core: it reads the clock for it")]

pub mod addresses;
pub mod expand;
pub mod images;
pub mod machine;
pub mod pod;
pub mod quantity;
pub mod time;
pub mod folder;
pub mod keeper;
pub mod network;
