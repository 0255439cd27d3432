//! Policy: what one node must do for the Services, given the objects and the operator's options.
//!
//! Pure: no I/O, no clock, no environment. [`Desired`] keeps in step with the objects at the cost of the change;
//! [`route`] is the executable specification that every back end must agree with. What this crate does *not* do: say
//! how the kernel is made to behave so (the back ends), or decode objects (`objects`).
//!
//! Read in this order: [`service_view`] (one Service), `endpoints` with `conditions` and `topology` (which endpoints),
//! [`Claims`] (who has an address), [`node_view`], [`Desired`] (all of them), [`route()`].

#![deny(missing_docs)]

mod conditions;
mod conflicts;
mod desired;
mod endpoints;
mod flows;
mod frontends;
mod node;
mod ranges;
mod route;
mod service;
mod topology;

pub use conflicts::{Claim, Claims};
pub use desired::{Changes, Desired};
pub use endpoints::{Candidate, Scopes, Selection, candidates, selection};
pub use flows::{FlowCheck, UdpFrontends};
pub use node::{DetectLocal, NodePortAddresses, Options, here, node_view};
pub use route::{Place, address_frontend, node_port_frontend, route};
pub use service::{Surroundings, service_view};
pub use topology::Here;
