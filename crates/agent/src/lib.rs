//! The node agent: one loop that owns the state, takes a closed [`Event`] enum and keeps the kernel in step.
//!
//! What it does *not* do: fetch objects (`watch`), decide about traffic (`desired`), or know how a rule looks (the back
//! ends). Its shell parts are the loop's clock and the thread that listens for changes others make to our tables.

#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the agent is a shell: it reads the clock for the pure parts")]

mod agent;
mod connections;
mod counters;
mod event;
mod flows;
mod guard;
mod health;
mod kernel;
mod leftovers;
mod localnet;
mod metrics;
mod pacing;
mod plane;
mod settings;
mod timed;

pub use agent::{Agent, Threads};
pub use connections::{watch_chain_connections, watch_connections};
pub use event::{Event, Settings};
pub use flows::FlowSweeper;
pub use kernel::{
    Counting, IptablesKernel, Kernel, KernelBackend, KernelWatch, OwnWrites, XtablesBackend, cleanup,
    cleanup_ipsets, cleanup_kube_proxy, has_rules, open_iptables, open_kernel,
};
pub use leftovers::{Leftovers, remove as remove_leftovers, remove_own_chains};
pub use settings::{apply_settings, route_localnet};
pub use timed::{Timed, TransactionTimes};
