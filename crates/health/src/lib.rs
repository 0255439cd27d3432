//! What load balancers and kubelets ask a node agent: is it healthy, and does a Service have endpoints here?
//!
//! The agent publishes a [`Snapshot`] whenever something changes; the servers answer from the last one. What this crate
//! does *not* do: decide what is healthy about Services (`desired` counted).

#![deny(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a shell: it reads the clock")]

mod answer;
mod component;
mod ports;
mod server;
mod snapshot;
mod status;
mod time;

pub use component::serve_component;
pub use ports::{PortFailed, serve_health_ports};
pub use server::{Error, Port, serve_health};
pub use snapshot::{FamilyHealth, HealthPort, Snapshot};
pub use status::{Status, serve_status};
