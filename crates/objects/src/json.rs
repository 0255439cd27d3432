//! Objects from JSON, and from manifests.

use serde::Deserialize;
use serde_json::Value;

use crate::{DecodeError, Kind, Names, Object, build, naming, raw};

/// Decodes one object of a known kind.
///
/// Fields that make no sense are left out and named in the object's problems; an error means that there is no object:
/// the text is no JSON, a field has another type than Kubernetes gives it, or the name is missing.
pub fn decode_json(kind: Kind, bytes: &[u8], names: &mut Names) -> Result<Object, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let decoded = decode(kind, &mut deserializer, names);
    let object = decoded
        .map_err(|error| with_field(error, (kind, &mut serde_json::Deserializer::from_slice(bytes))))?;
    deserializer.end()?;
    Ok(object)
}

/// The same for Services and EndpointSlices, with what names follow from. Of other kinds there is nothing of that.
pub fn decode_json_with_names(
    kind: Kind,
    bytes: &[u8],
    names: &mut Names,
) -> Result<(Object, Option<naming::Object>), DecodeError> {
    let decoded = match kind {
        Kind::Service => whole::<raw::Service<'_>>(bytes).and_then(|raw| {
            let named = naming::service(&raw);
            Ok((Object::Service(build::service(raw, names)?), Some(named)))
        }),
        Kind::EndpointSlice => whole::<raw::EndpointSlice<'_>>(bytes).and_then(|raw| {
            let named = naming::slice(&raw);
            Ok((Object::EndpointSlice(build::endpoint_slice(raw, names)?), Some(named)))
        }),
        Kind::Node | Kind::ServiceCidr => return Ok((decode_json(kind, bytes, names)?, None)),
    };
    decoded.map_err(|error| with_field(error, (kind, &mut serde_json::Deserializer::from_slice(bytes))))
}

/// Decodes what names follow from, of a Service or an EndpointSlice; `None` for other kinds.
pub fn decode_json_names(kind: Kind, bytes: &[u8]) -> Result<Option<naming::Object>, DecodeError> {
    let decoded = match kind {
        Kind::Service => whole::<raw::Service<'_>>(bytes).map(|raw| naming::service(&raw)),
        Kind::EndpointSlice => whole::<raw::EndpointSlice<'_>>(bytes).map(|raw| naming::slice(&raw)),
        Kind::Node | Kind::ServiceCidr => return Ok(None),
    };
    let again = &mut serde_json::Deserializer::from_slice(bytes);
    decoded.map(Some).map_err(|error| with_field(error, (kind, again)))
}

fn whole<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, DecodeError> {
    Ok(serde_json::from_slice(bytes)?)
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
        let decoded = decode(kind, value, names).map(Some);
        return decoded.map_err(|error| with_field(error, (kind, value)));
    }
    let mut slice =
        raw::EndpointSlice::deserialize(value).map_err(|error| with_field(error.into(), (kind, value)))?;
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

/// Puts the field before what is wrong with its type. Reads the object once more for that, because keeping track of the
/// field costs time that good objects need not pay.
fn with_field<'de, D>(error: DecodeError, (kind, again): (Kind, D)) -> DecodeError
where
    D: serde::Deserializer<'de, Error = serde_json::Error>,
{
    let DecodeError::Json(error) = error else { return error };
    let path = match kind {
        Kind::Service => wrong_field::<raw::Service<'_>, D>(again),
        Kind::EndpointSlice => wrong_field::<raw::EndpointSlice<'_>, D>(again),
        Kind::Node => wrong_field::<raw::Node<'_>, D>(again),
        Kind::ServiceCidr => wrong_field::<raw::ServiceCidr<'_>, D>(again),
    };
    match path.filter(|path| path != ".") {
        Some(path) => DecodeError::Json(serde::de::Error::custom(format!("{path}: {error}"))),
        None => DecodeError::Json(error),
    }
}

fn wrong_field<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(input: D) -> Option<String> {
    serde_path_to_error::deserialize::<D, T>(input).err().map(|error| error.path().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let check = |kind: Kind, (version, name): (&str, &str), rest: Value, expected: &str| {
            let mut object =
                json!({"apiVersion": version, "kind": name, "metadata": {"name": "a", "namespace": "b"}});
            object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            let manifest = decode_manifest(&object, &mut Names::default()).unwrap_err().to_string();
            assert_eq!(manifest, expected);
            let text = object.to_string();
            let json = decode_json(kind, text.as_bytes(), &mut Names::default()).unwrap_err().to_string();
            assert!(json.starts_with(&format!("{expected} at line 1 column ")), "{json}");
        };
        check(
            Kind::Service,
            ("v1", "Service"),
            json!({"spec": {"ports": [{"port": 1}, {"port": 2, "protocol": 6}]}}),
            "the object: spec.ports[1].protocol: invalid type: integer `6`, expected a string",
        );
        check(
            Kind::EndpointSlice,
            ("discovery.k8s.io/v1", "EndpointSlice"),
            json!({"endpoints": [{"conditions": {"ready": "yes"}}]}),
            "the object: endpoints[0].conditions.ready: invalid type: string \"yes\", expected a boolean",
        );
        check(
            Kind::ServiceCidr,
            ("networking.k8s.io/v1", "ServiceCIDR"),
            json!({"spec": 5}),
            "the object: spec: invalid type: integer `5`, expected struct ServiceCidrSpec",
        );
    }
}
