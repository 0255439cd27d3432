//! The only crate that touches the kernel: netlink, nftables, iptables, links, network namespaces, sysctls, processes,
//! control groups, terminals, mounts.
//!
//! What has two users is a trait with a real and a fake implementation ([`nftables::Nftables`]). What this crate does
//! *not* do: decide anything about traffic.

#![allow(unsafe_code, reason = "system calls that no safe library offers")]
#![allow(clippy::disallowed_methods, reason = "a shell: it may read the clock and the environment")]

pub mod anywhere;
pub mod cgroup;
pub mod conntrack;
pub mod datagram;
mod error;
pub mod ipset;
pub mod iptables;
pub mod link;
pub mod listener;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nfacct;
pub mod nftables;
pub mod process;
pub mod sysctl;
pub mod terminal;
pub mod testing;

pub use error::Error;
