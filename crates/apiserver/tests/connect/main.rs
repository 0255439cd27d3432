//! Requests that are passed on, through a server, to a kubelet and Pods that are made up, all on loopback.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod logs;
mod proxies;
mod stage;
mod upgrades;
