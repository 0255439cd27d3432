//! Kubernetes objects, trimmed to what signalbox uses; their decoding; and the cache of them.
//!
//! Decoding never fails as a whole because of one bad field: the field is left out and a [`model::Problem`] names it.
//! What this crate does *not* do: decide anything about traffic (`desired` does) or fetch anything (`watch` does).

#![deny(missing_docs)]

mod types;

pub use types::{
    Conditions, EndpointRecord, EndpointSlice, Event, Kind, Name, Node, Object, ObjectKey, Service, ServiceCidr,
    ServicePort, ServiceType, SlicePort,
};
