//! Test traffic: a server that says who it is and whom it sees, and a prober that says what became of each try.
//!
//! Used from threads that have entered a network namespace, and as the command `cargo xtask traffic`.

mod flow;
mod http;
mod inject;
mod load;
mod probe;
mod serve;
mod wire;

pub use flow::Flow;
pub use http::{HttpAnswer, get, request};
pub use inject::{Injection, inject};
pub use load::{Load, Tally};
pub use probe::{Answered, Probing, Target, probe, until_answered};
pub use serve::{Places, Server};
