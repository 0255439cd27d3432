//! Services, ServiceCIDRs and IPAddresses over a real store: the answers recorded from a real API server, and histories by
//! chance.

#![allow(clippy::unwrap_used, reason = "tests")]

mod by_chance;
mod recorded;
mod server;
mod stored;
