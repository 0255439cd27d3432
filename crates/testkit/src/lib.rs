//! What tests of several crates share: an API server with faults, builders, worlds of network namespaces.

#![allow(clippy::disallowed_methods, reason = "tests need the clock and the environment")]

pub mod answers;
pub mod apiserver;
pub mod cases;
pub mod driven;
pub mod generate;
pub mod kubectl;
pub mod protobuf;
pub mod traffic;
pub mod up;
pub mod world;
