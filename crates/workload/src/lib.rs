//! What makes pods run on this machine, as a kubelet does: their processes, networks, probes and statuses.
//!
//! ```text
//!   API server --watch--> shell: one loop --input--> machine (pure) --actions--> hands --> keeper of each container
//!        ^                                              | status                   |             | files of the run
//!        +------------------ telling <------------------+                          +-> network, ask (probes, hooks)
//! ```
//!
//! Each container has a keeper, a small process that outlives this program: a restart finds everything running. Images
//! are never pulled: programs of the host stand for them.

#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a shell around a pure core: it reads the clock for it")]

mod addresses;
mod ask;
mod environment;
mod error;
mod expand;
mod folder;
mod hands;
mod identity;
mod images;
mod keeper;
mod log;
mod machine;
mod network;
mod node;
mod notices;
mod pod;
mod process;
mod purge;
mod quantity;
mod resolver;
mod runtime;
mod serve;
mod settings;
mod shell;
mod telling;
pub mod time;
mod tls;
mod volumes;
mod whoami;

pub use error::Error;
pub use images::Images;
pub use keeper::keep;
pub use log::{LogOptions, Piece, Stream};
pub use purge::{purge, stop_all};
pub use runtime::{Attached, ExecOptions, Input, Output, Process, Runtime};
pub use settings::Settings;
pub use shell::run;
pub use whoami::Whoami;
