//! `signalbox up` and `down`, as people use them: with kubectl, from pods and from the machine.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[path = "../apiserver/machine.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod machine;

mod host;
mod life;
mod names;
mod proxies;
mod refusal;
mod rollout;
mod stage;
mod tutorial;
mod zones;
