//! Text in, text out: objects and questions in a compact form (`text`), answers as lines.
//!
//! A number in the name of a test is that of the rule it fixes, in the field report on kube-proxy, section 5,
//! "Semantics that are easy to get wrong".

mod conflicts;
mod endpoints;
mod masquerade;
mod node;
mod ports;
mod ranges;
mod text;
mod without_endpoints;
