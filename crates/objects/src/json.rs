//! Objects from JSON, and from manifests.

use serde::Deserialize;
use serde_json::Value;

use crate::{DecodeError, Kind, Names, Object, build, raw};

/// Decodes one object of a known kind.
///
/// Fields that make no sense are left out and named in the object's problems; an error means that there is no object:
/// the text is no JSON, a field has another type than Kubernetes gives it, or the name is missing.
pub fn decode_json(kind: Kind, bytes: &[u8], names: &mut Names) -> Result<Object, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let object = decode(kind, &mut deserializer, names)?;
    deserializer.end()?;
    Ok(object)
}

/// Decodes one object of a manifest, of any kind. `None`: a kind that means nothing to us.
///
/// A slice port without a name is unnamed, as if the API server had filled in its default.
pub fn decode_manifest(value: &Value, names: &mut Names) -> Result<Option<Object>, DecodeError> {
    let text = |field: &'static str| {
        let found = value.get(field).and_then(Value::as_str);
        found.filter(|text| !text.is_empty()).ok_or(DecodeError::Untyped { field })
    };
    let (version, kind) = (text("apiVersion")?, text("kind")?);
    let Some(kind) = kind_of(version, kind) else { return Ok(None) };
    if kind != Kind::EndpointSlice {
        return decode(kind, value, names).map(Some);
    }
    let mut slice = raw::EndpointSlice::deserialize(value)?;
    for port in slice.ports.iter_mut().flatten() {
        port.name.get_or_insert_default();
    }
    build::endpoint_slice(slice, names).map(|slice| Some(Object::EndpointSlice(slice)))
}

/// Answers which of our kinds an `apiVersion` and `kind` name. Beta versions of ours have the same fields.
fn kind_of(version: &str, kind: &str) -> Option<Kind> {
    match (version, kind) {
        ("v1", "Service") => Some(Kind::Service),
        ("v1", "Node") => Some(Kind::Node),
        ("discovery.k8s.io/v1", "EndpointSlice") => Some(Kind::EndpointSlice),
        ("networking.k8s.io/v1" | "networking.k8s.io/v1beta1", "ServiceCIDR") => Some(Kind::ServiceCidr),
        _ => None,
    }
}

fn decode<'de, D>(kind: Kind, input: D, names: &mut Names) -> Result<Object, DecodeError>
where
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    Ok(match kind {
        Kind::Service => Object::Service(build::service(raw::Service::deserialize(input)?, names)?),
        Kind::EndpointSlice => {
            Object::EndpointSlice(build::endpoint_slice(raw::EndpointSlice::deserialize(input)?, names)?)
        }
        Kind::Node => Object::Node(build::node(raw::Node::deserialize(input)?, names)?),
        Kind::ServiceCidr => Object::ServiceCidr(build::service_cidr(raw::ServiceCidr::deserialize(input)?)?),
    })
}
