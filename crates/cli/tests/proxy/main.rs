//! The real binary on a node of its own: sources, bad input, meddling, restarts, clean-up. Packets decide.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod apiserver;
mod bad_input;
mod configuration;
mod iptables;
mod iptables_rules;
mod names;
mod node;
mod node_object;
mod own_apiserver;
mod pages;
mod rules;
