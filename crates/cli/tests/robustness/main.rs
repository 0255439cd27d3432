//! The real binary in bad times: killed under load, without its API server, with a slow one, with a kernel that refuses.
//!
//! Nothing here depends on how fast something is; whatever must become true is waited for with [`node::PATIENCE`] or
//! longer. Random choices come from a seed that is printed; `SIGNALBOX_SEED` repeats it as far as chance is ours.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod absence;
mod chance;
mod cluster;
mod families;
mod kills;
mod load;
#[allow(dead_code, reason = "the other target that includes it uses the rest")]
#[path = "../proxy/node.rs"]
mod node;
mod refusal;
mod slowness;
mod table;
