//! The seam to the decoders of `objects`.

use model::Problem;
use objects::{Kind, Names, Object, ObjectKey, naming};
use serde_json::Value;

use crate::frame::Form;

/// Reads objects of the API server.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    names: Names,
}

impl Decoder {
    /// Reads one object.
    pub(crate) fn decode(&mut self, kind: Kind, form: Form, object: &[u8]) -> Result<Object, String> {
        let decoded = match form {
            Form::Json => objects::decode_json(kind, object, &mut self.names),
            Form::Protobuf => objects::decode_protobuf(kind, object, &mut self.names),
        };
        decoded.map_err(|error| error.to_string())
    }

    /// Reads one object once, for the rules and for names.
    pub(crate) fn decode_with_names(
        &mut self,
        kind: Kind,
        form: Form,
        object: &[u8],
    ) -> Result<Decoded, String> {
        let decoded = match form {
            Form::Json => objects::decode_json_with_names(kind, object, &mut self.names),
            Form::Protobuf => objects::decode_protobuf_with_names(kind, object, &mut self.names),
        };
        decoded.map_err(|error| error.to_string())
    }
}

/// What an object is to the rules; and to names, where that was asked for.
pub(crate) type Decoded = (Object, Option<naming::Object>);

/// Answers whether the rules are to see an object: what kube-proxy's selectors let through, and has an address.
pub(crate) fn concerns_rules(object: &Object) -> bool {
    match object {
        Object::Service(service) => !service.other_proxy && !service.cluster_ips.is_empty(),
        Object::EndpointSlice(slice) => slice.service.is_some(),
        Object::Node(_) | Object::ServiceCidr(_) => true,
    }
}

/// Reads objects of manifests.
#[derive(Debug, Default)]
pub(crate) struct ManifestDecoder {
    names: Names,
}

/// What an object of a manifest is.
#[derive(Debug)]
pub(crate) enum Read {
    /// One that matters, with what was left out of it.
    Object(ObjectKey, Box<Object>, Vec<Problem>),
    /// Another one; kind and name.
    Ignored(String),
}

impl ManifestDecoder {
    pub(crate) fn read(&mut self, object: &Value) -> Result<Read, String> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        let title = || {
            let namespace = text("/metadata/namespace");
            let slash = if namespace.is_empty() { "" } else { "/" };
            format!("{} {namespace}{slash}{}", text("/kind"), text("/metadata/name"))
        };
        match objects::decode_manifest(object, &mut self.names) {
            Ok(Some(object)) => {
                let (key, problems) = (key_of(&object), problems_of(&object).to_vec());
                Ok(Read::Object(key, Box::new(object), problems))
            }
            Ok(None) => Ok(Read::Ignored(title())),
            Err(error) => Err(format!("{}: {error}", title())),
        }
    }
}

/// Answers kind and name of an object.
pub(crate) fn key_of(object: &Object) -> ObjectKey {
    match object {
        Object::Service(service) => ObjectKey { kind: Kind::Service, name: service.key.as_str().into() },
        Object::EndpointSlice(slice) => ObjectKey { kind: Kind::EndpointSlice, name: slice.key.clone() },
        Object::Node(node) => ObjectKey { kind: Kind::Node, name: node.name.clone() },
        Object::ServiceCidr(cidr) => ObjectKey { kind: Kind::ServiceCidr, name: cidr.name.clone() },
    }
}

/// Answers what was left out of an object.
pub(crate) fn problems_of(object: &Object) -> &[Problem] {
    match object {
        Object::Service(service) => &service.problems,
        Object::EndpointSlice(slice) => &slice.problems,
        Object::Node(node) => &node.problems,
        Object::ServiceCidr(cidr) => &cidr.problems,
    }
}
