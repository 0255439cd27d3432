//! Objects from Kubernetes' protobuf form, read in place.
//!
//! Field numbers are those of `generated.proto` in k8s.io/api (core/v1, discovery/v1, networking/v1) and
//! k8s.io/apimachinery (meta/v1).

use std::borrow::Cow;

use crate::raw::{self, Number, Text, Timestamp};
use crate::wire::{Fields, Value, Wrong};
use crate::{DecodeError, Kind, Names, Object, build, naming};

/// Decodes one object of a known kind, without the envelope `k8s\0` around it.
///
/// As [`decode_json`](crate::decode_json): an error means that there is no object.
pub fn decode_protobuf(kind: Kind, bytes: &[u8], names: &mut Names) -> Result<Object, DecodeError> {
    Ok(match kind {
        Kind::Service => Object::Service(build::service(service(bytes)?, names)?),
        Kind::EndpointSlice => Object::EndpointSlice(build::endpoint_slice(endpoint_slice(bytes)?, names)?),
        Kind::Node => Object::Node(build::node(node(bytes)?, names)?),
        Kind::ServiceCidr => Object::ServiceCidr(build::service_cidr(service_cidr(bytes)?)?),
    })
}

/// The same for Services and EndpointSlices, with what names follow from. Of other kinds there is nothing of that.
pub fn decode_protobuf_with_names(
    kind: Kind,
    bytes: &[u8],
    names: &mut Names,
) -> Result<(Object, Option<naming::Object>), DecodeError> {
    match kind {
        Kind::Service => {
            let raw = service(bytes)?;
            let named = naming::service(&raw);
            Ok((Object::Service(build::service(raw, names)?), Some(named)))
        }
        Kind::EndpointSlice => {
            let raw = endpoint_slice(bytes)?;
            let named = naming::slice(&raw);
            Ok((Object::EndpointSlice(build::endpoint_slice(raw, names)?), Some(named)))
        }
        Kind::Node | Kind::ServiceCidr => Ok((decode_protobuf(kind, bytes, names)?, None)),
    }
}

/// Reads every field of a message with a function that gets its number and value.
fn each<'a>(
    message: &'a [u8],
    mut take: impl FnMut(u32, Value<'a>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    for field in Fields::new(message) {
        let (number, value) = field?;
        take(number, value)?;
    }
    Ok(())
}

fn bytes(value: Value<'_>) -> Result<&[u8], Wrong> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Number(_) => Err(Wrong::new("a number stands where a text or message must be", 0)),
    }
}

fn text(value: Value<'_>) -> Result<Text<'_>, Wrong> {
    std::str::from_utf8(bytes(value)?).map(Cow::Borrowed).map_err(|_| Wrong::new("a text is not UTF-8", 0))
}

fn integer(value: Value<'_>) -> Result<i64, Wrong> {
    match value {
        Value::Number(number) => Ok(number.cast_signed()),
        Value::Bytes(_) => Err(Wrong::new("a text stands where a number must be", 0)),
    }
}

fn meta(message: &[u8]) -> Result<raw::Meta<'_>, Wrong> {
    let mut meta = raw::Meta::default();
    let (mut labels, mut annotations) = (raw::Labels::default(), raw::Labels::default());
    each(message, |number, value| {
        match number {
            1 => meta.name = text(value)?,
            3 => meta.namespace = text(value)?,
            5 => meta.uid = text(value)?,
            9 => meta.deletion_timestamp = Some(Timestamp::Seconds(0)),
            8 => {
                let mut seconds = 0;
                each(bytes(value)?, |number, value| {
                    if number == 1 {
                        seconds = integer(value)?;
                    }
                    Ok(())
                })?;
                meta.creation_timestamp = (seconds != 0).then_some(Timestamp::Seconds(seconds));
            }
            11 | 12 => {
                let (mut key, mut label) = (Text::default(), Text::default());
                each(bytes(value)?, |number, value| {
                    match number {
                        1 => key = text(value)?,
                        2 => label = text(value)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                let place = if number == 11 { &mut labels } else { &mut annotations };
                place.put(&key, label);
            }
            _ => {}
        }
        Ok(())
    })?;
    (meta.labels, meta.annotations) = (Some(labels), Some(annotations));
    Ok(meta)
}

fn service(message: &[u8]) -> Result<raw::Service<'_>, Wrong> {
    let mut service = raw::Service::default();
    each(message, |number, value| {
        match number {
            1 => service.metadata = meta(bytes(value)?)?,
            2 => service.spec = service_spec(bytes(value)?)?,
            3 => each(bytes(value)?, |number, value| {
                if number == 1 {
                    service.status.load_balancer = Some(load_balancer(bytes(value)?)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(service)
}

fn service_spec(message: &[u8]) -> Result<raw::ServiceSpec<'_>, Wrong> {
    let mut spec = raw::ServiceSpec::default();
    each(message, |number, value| {
        match number {
            1 => spec.ports.get_or_insert_default().push(service_port(bytes(value)?)?),
            3 => spec.cluster_ip = Some(text(value)?),
            4 => spec.service_type = Some(text(value)?),
            5 => spec.external_ips.get_or_insert_default().push(text(value)?),
            7 => spec.session_affinity = Some(text(value)?),
            10 => spec.external_name = Some(text(value)?),
            9 => spec.load_balancer_source_ranges.get_or_insert_default().push(text(value)?),
            11 => spec.external_traffic_policy = Some(text(value)?),
            12 => spec.health_check_node_port = Number::Is(integer(value)?),
            14 => spec.session_affinity_config = Some(affinity_config(bytes(value)?)?),
            18 => spec.cluster_ips.get_or_insert_default().push(text(value)?),
            22 => spec.internal_traffic_policy = Some(text(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(spec)
}

fn service_port(message: &[u8]) -> Result<raw::ServicePort<'_>, Wrong> {
    let mut port = raw::ServicePort::default();
    each(message, |number, value| {
        match number {
            1 => port.name = Some(text(value)?),
            2 => port.protocol = Some(text(value)?),
            3 => port.port = Number::Is(integer(value)?),
            5 => port.node_port = Number::Is(integer(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(port)
}

fn affinity_config(message: &[u8]) -> Result<raw::AffinityConfig, Wrong> {
    let mut config = raw::AffinityConfig::default();
    each(message, |number, value| {
        if number == 1 {
            let mut client_ip = raw::ClientIpConfig::default();
            each(bytes(value)?, |number, value| {
                if number == 1 {
                    client_ip.timeout_seconds = Number::Is(integer(value)?);
                }
                Ok(())
            })?;
            config.client_ip = Some(client_ip);
        }
        Ok(())
    })?;
    Ok(config)
}

fn load_balancer(message: &[u8]) -> Result<raw::LoadBalancer<'_>, Wrong> {
    let mut all = Vec::new();
    each(message, |number, value| {
        if number == 1 {
            let mut ingress = raw::Ingress::default();
            each(bytes(value)?, |number, value| {
                match number {
                    1 => ingress.ip = Some(text(value)?),
                    3 => ingress.ip_mode = Some(text(value)?),
                    _ => {}
                }
                Ok(())
            })?;
            all.push(ingress);
        }
        Ok(())
    })?;
    Ok(raw::LoadBalancer { ingress: Some(all) })
}

fn endpoint_slice(message: &[u8]) -> Result<raw::EndpointSlice<'_>, Wrong> {
    let mut slice = raw::EndpointSlice::default();
    let mut endpoints = Vec::new();
    let mut ports = Vec::new();
    each(message, |number, value| {
        match number {
            1 => slice.metadata = meta(bytes(value)?)?,
            2 => endpoints.push(endpoint(bytes(value)?)?),
            3 => ports.push(slice_port(bytes(value)?)?),
            4 => slice.address_type = text(value)?,
            _ => {}
        }
        Ok(())
    })?;
    (slice.endpoints, slice.ports) = (Some(endpoints), Some(ports));
    Ok(slice)
}

fn endpoint(message: &[u8]) -> Result<raw::Endpoint<'_>, Wrong> {
    let mut endpoint = raw::Endpoint::default();
    each(message, |number, value| {
        match number {
            1 => endpoint.addresses.get_or_insert_default().push(text(value)?),
            2 => endpoint.conditions = Some(conditions(bytes(value)?)?),
            3 => endpoint.hostname = Some(text(value)?),
            4 => endpoint.target_ref = Some(reference(bytes(value)?)?),
            6 => endpoint.node_name = Some(text(value)?),
            8 => endpoint.hints = Some(hints(bytes(value)?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(endpoint)
}

fn reference(message: &[u8]) -> Result<raw::Named<'_>, Wrong> {
    let mut name = Text::default();
    each(message, |number, value| {
        if number == 3 {
            name = text(value)?;
        }
        Ok(())
    })?;
    Ok(raw::Named { name })
}

fn conditions(message: &[u8]) -> Result<raw::Conditions, Wrong> {
    let mut conditions = raw::Conditions::default();
    each(message, |number, value| {
        match number {
            1 => conditions.ready = Some(integer(value)? != 0),
            2 => conditions.serving = Some(integer(value)? != 0),
            3 => conditions.terminating = Some(integer(value)? != 0),
            _ => {}
        }
        Ok(())
    })?;
    Ok(conditions)
}

fn hints(message: &[u8]) -> Result<raw::Hints<'_>, Wrong> {
    let mut hints = raw::Hints::default();
    each(message, |number, value| {
        let list = match number {
            1 => &mut hints.for_zones,
            2 => &mut hints.for_nodes,
            _ => return Ok(()),
        };
        let mut name = Text::default();
        each(bytes(value)?, |number, value| {
            if number == 1 {
                name = text(value)?;
            }
            Ok(())
        })?;
        list.get_or_insert_default().push(raw::Named { name });
        Ok(())
    })?;
    Ok(hints)
}

fn slice_port(message: &[u8]) -> Result<raw::SlicePort<'_>, Wrong> {
    let mut port = raw::SlicePort::default();
    each(message, |number, value| {
        match number {
            1 => port.name = Some(text(value)?),
            2 => port.protocol = Some(text(value)?),
            3 => port.port = Number::Is(integer(value)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(port)
}

fn node(message: &[u8]) -> Result<raw::Node<'_>, Wrong> {
    let mut node = raw::Node::default();
    each(message, |number, value| {
        match number {
            1 => node.metadata = meta(bytes(value)?)?,
            2 => each(bytes(value)?, |number, value| {
                match number {
                    1 => node.spec.pod_cidr = Some(text(value)?),
                    5 => each(bytes(value)?, |number, value| {
                        if number == 1 {
                            node.spec.taints.get_or_insert_default().push(raw::Taint { key: text(value)? });
                        }
                        Ok(())
                    })?,
                    7 => node.spec.pod_cidrs.get_or_insert_default().push(text(value)?),
                    _ => {}
                }
                Ok(())
            })?,
            3 => each(bytes(value)?, |number, value| {
                if number == 5 {
                    node.status.addresses.get_or_insert_default().push(node_address(bytes(value)?)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(node)
}

fn node_address(message: &[u8]) -> Result<raw::NodeAddress<'_>, Wrong> {
    let mut address = raw::NodeAddress::default();
    each(message, |number, value| {
        match number {
            1 => address.kind = text(value)?,
            2 => address.address = text(value)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(address)
}

fn service_cidr(message: &[u8]) -> Result<raw::ServiceCidr<'_>, Wrong> {
    let mut cidr = raw::ServiceCidr::default();
    each(message, |number, value| {
        match number {
            1 => cidr.metadata = meta(bytes(value)?)?,
            2 => each(bytes(value)?, |number, value| {
                if number == 1 {
                    cidr.spec.cidrs.get_or_insert_default().push(text(value)?);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(cidr)
}
