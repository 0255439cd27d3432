//! Kubernetes objects, trimmed to what signalbox uses; their decoding; and the cache of them.
//!
//! Decoding never fails as a whole because of one bad field: the field is left out and a [`model::Problem`] names it.
//! What this crate does *not* do: decide anything about traffic (`desired` does) or fetch anything (`watch` does).

#![deny(missing_docs)]

mod address;
mod build;
mod cache;
mod json;
mod names;
pub mod naming;
mod protobuf;
mod raw;
mod time;
mod types;
pub mod wire;

pub use cache::{Objects, Touched};
pub use json::{decode_json, decode_json_names, decode_json_with_names, decode_manifest};
pub use names::Names;
pub use protobuf::{decode_protobuf, decode_protobuf_with_names};
pub use time::parse as seconds_of;
pub use types::{
    Conditions, EndpointRecord, EndpointSlice, Event, Hints, Kind, Name, Node, Object, ObjectKey, Service,
    ServiceCidr, ServicePort, ServiceType, SlicePort,
};

/// Why bytes or a manifest are no object. Reads after "failed to read".
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The JSON is broken, or a field has another type than Kubernetes gives it.
    #[error("the object: {0}")]
    Json(#[from] serde_json::Error),
    /// The protobuf is broken.
    #[error("the object: {0}")]
    Protobuf(#[from] wire::Wrong),
    /// A manifest does not say what it is.
    #[error("the object: {field}: is required")]
    Untyped {
        /// The missing field.
        field: &'static str,
    },
    /// The name is missing, or is none that Kubernetes allows.
    #[error("the {kind}: {field}: `{name}` is not a name")]
    Name {
        /// Kind of the object.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// What stands there.
        name: String,
    },
}
