//! The words of signalbox, one per idea. No I/O, no serialisation, no async, no policy.
//!
//! - A **Service** has a [`ServiceKey`] and **ports**; each port is reached at **frontends** ([`FrontendView`])
//!   and balances over **endpoints** ([`Endpoint`]), each with a [`Fate`] that says why it is (not) used.
//! - A **[`Route`]** is what happens to a new connection: balance, drop or reject.
//! - A **[`ServiceView`]** is a Service as one node must treat it; a **[`View`]** is all of them plus the [`NodeView`].
//! - A **[`Packet`]** is the first packet of a connection; an **[`Outcome`]** is what becomes of it.
//! - To **masquerade** is to rewrite the source address to the node's own, so that the answer comes back.
//! - **Hairpin** traffic is a pod that reaches itself through a Service.

#![deny(missing_docs)]

mod address;
mod flow;
mod key;
mod packet;
mod problem;
mod view;

pub use address::{Family, Protocol};
pub use flow::Flow;
pub use ipnet::IpNet;
pub use key::ServiceKey;
pub use packet::{Origin, Outcome, Packet};
pub use problem::Problem;
pub use view::{
    Affinity, Endpoint, EndpointView, Fate, FrontendKind, FrontendView, LocalTraffic, Manners, NodeView,
    PortView, Route, Scope, ServiceView, TrafficPolicy, View,
};
