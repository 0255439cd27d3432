//! The network of a cluster that lives on one machine: its nodes, and the LAN between them.
//!
//! ```text
//!   Wish --Site::new (pure)--> Site: places, and the steps that make them --build--> kernel
//!                                |                                                     ^
//!                                +--record: what there may be of it, on disk --remove--+
//! ```
//!
//! A node is a network namespace, or the machine itself. The LAN is a router that every node hangs on: a namespace of its
//! own, or the machine. What is *not* here: pods (the workload connects them to their node), Services (the proxy).

#![deny(missing_docs)]

mod build;
mod plan;
mod record;
mod step;

pub use build::{build, conflicts, exists, remove};
pub use plan::{Lan, Mistake, Node, Site, Wish};
pub use record::Record;
pub use step::Step;
