//! Objects as they are written down, field by field, before anything is checked. Both decoders fill these, so that they
//! cannot drift apart; `build` makes the typed objects of them.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// A text that is borrowed from the input where possible.
pub(crate) type Text<'a> = Cow<'a, str>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct Meta<'a> {
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) name: Text<'a>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) namespace: Text<'a>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) uid: Text<'a>,
    pub(crate) creation_timestamp: Option<Timestamp>,
    pub(crate) deletion_timestamp: Option<Timestamp>,
    #[serde(borrow)]
    pub(crate) labels: Option<Labels<'a>>,
    #[serde(borrow)]
    pub(crate) annotations: Option<Labels<'a>>,
}

/// Seconds since 1970, or what stood there instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timestamp {
    Seconds(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|text| Self::Text(text.into_owned()))
    }
}

/// The labels, or annotations, that mean something to us; no key is both.
#[derive(Debug, Default)]
pub(crate) struct Labels<'a> {
    pub(crate) service: Option<Text<'a>>,
    pub(crate) headless: bool,
    pub(crate) other_proxy: bool,
    pub(crate) zone: Option<Text<'a>>,
    pub(crate) last_change: Option<Text<'a>>,
}

impl<'a> Labels<'a> {
    pub(crate) fn put(&mut self, key: &str, value: Text<'a>) {
        match key {
            "kubernetes.io/service-name" => self.service = Some(value),
            "service.kubernetes.io/headless" => self.headless = true,
            "service.kubernetes.io/service-proxy-name" => self.other_proxy = true,
            "topology.kubernetes.io/zone" => self.zone = Some(value),
            "endpoints.kubernetes.io/last-change-trigger-time" => self.last_change = Some(value),
            _ => {}
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Labels::default();
                while let Some((Borrowed(key), value)) = map.next_entry::<_, Option<Borrowed<'de>>>()? {
                    labels.put(&key, value.map_or(Text::Borrowed(""), |value| value.0));
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// A `Cow` that really borrows (`Cow` alone always copies).
#[derive(Default, Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

/// Kubernetes writes null for what is not there, and so do people.
fn null_as_empty<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
    let text: Option<Borrowed<'de>> = Option::deserialize(deserializer)?;
    Ok(text.map_or(Text::Borrowed(""), |text| text.0))
}

/// The same for parts of an object.
fn null_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// The same for the entries of a list; an entry that is null is an empty one, as Kubernetes reads it.
fn nulls_as_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let entries: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(entries.map(|entries| entries.into_iter().map(Option::unwrap_or_default).collect()))
}

/// The same for lists of texts.
fn nulls_as_empty<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<Text<'a>>>, D::Error> {
    let texts: Option<Vec<Borrowed<'de>>> = nulls_as_default(deserializer)?;
    Ok(texts.map(|texts| texts.into_iter().map(|text| text.0).collect()))
}

/// A number, or what stood there instead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Number {
    #[default]
    Absent,
    Is(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }
            fn visit_i64<E>(self, v: i64) -> Result<Number, E> {
                Ok(Number::Is(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Number, E> {
                Ok(i64::try_from(v).map_or_else(|_| Number::Text(v.to_string()), Number::Is))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Number, E> {
                Ok(Number::Text(v.to_string()))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Number, E> {
                Ok(Number::Text(v.to_string()))
            }
            fn visit_str<E>(self, v: &str) -> Result<Number, E> {
                Ok(Number::Text(v.to_owned()))
            }
            fn visit_unit<E>(self) -> Result<Number, E> {
                Ok(Number::Absent)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Number, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Number::Text("a list".to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Number, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Number::Text("an object".to_owned()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct Service<'a> {
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) metadata: Meta<'a>,
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) spec: ServiceSpec<'a>,
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) status: ServiceStatus<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct ServiceSpec<'a> {
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) ports: Option<Vec<ServicePort<'a>>>,
    #[serde(borrow, rename = "clusterIP")]
    pub(crate) cluster_ip: Option<Text<'a>>,
    #[serde(borrow, deserialize_with = "nulls_as_empty", rename = "clusterIPs")]
    pub(crate) cluster_ips: Option<Vec<Text<'a>>>,
    #[serde(borrow, rename = "type")]
    pub(crate) service_type: Option<Text<'a>>,
    #[serde(borrow, deserialize_with = "nulls_as_empty", rename = "externalIPs")]
    pub(crate) external_ips: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(crate) session_affinity: Option<Text<'a>>,
    pub(crate) session_affinity_config: Option<AffinityConfig>,
    #[serde(borrow, deserialize_with = "nulls_as_empty")]
    pub(crate) load_balancer_source_ranges: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    pub(crate) external_traffic_policy: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) internal_traffic_policy: Option<Text<'a>>,
    pub(crate) health_check_node_port: Number,
    #[serde(borrow)]
    pub(crate) external_name: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub(crate) client_ip: Option<ClientIpConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ClientIpConfig {
    pub(crate) timeout_seconds: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct ServicePort<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) protocol: Option<Text<'a>>,
    pub(crate) port: Number,
    pub(crate) node_port: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct ServiceStatus<'a> {
    #[serde(borrow)]
    pub(crate) load_balancer: Option<LoadBalancer<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct LoadBalancer<'a> {
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) ingress: Option<Vec<Ingress<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct Ingress<'a> {
    #[serde(borrow)]
    pub(crate) ip: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) ip_mode: Option<Text<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct EndpointSlice<'a> {
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) metadata: Meta<'a>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) address_type: Text<'a>,
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) endpoints: Option<Vec<Endpoint<'a>>>,
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) ports: Option<Vec<SlicePort<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct Endpoint<'a> {
    #[serde(borrow, deserialize_with = "nulls_as_empty")]
    pub(crate) addresses: Option<Vec<Text<'a>>>,
    pub(crate) conditions: Option<Conditions>,
    #[serde(borrow)]
    pub(crate) node_name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) hints: Option<Hints<'a>>,
    #[serde(borrow)]
    pub(crate) hostname: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) target_ref: Option<Named<'a>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
pub(crate) struct Conditions {
    pub(crate) ready: Option<bool>,
    pub(crate) serving: Option<bool>,
    pub(crate) terminating: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(crate) struct Hints<'a> {
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) for_zones: Option<Vec<Named<'a>>>,
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) for_nodes: Option<Vec<Named<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct Named<'a> {
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) name: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct SlicePort<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) protocol: Option<Text<'a>>,
    pub(crate) port: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct Node<'a> {
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) metadata: Meta<'a>,
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) spec: NodeSpec<'a>,
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) status: NodeStatus<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct NodeSpec<'a> {
    #[serde(borrow, rename = "podCIDR")]
    pub(crate) pod_cidr: Option<Text<'a>>,
    #[serde(borrow, deserialize_with = "nulls_as_empty", rename = "podCIDRs")]
    pub(crate) pod_cidrs: Option<Vec<Text<'a>>>,
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) taints: Option<Vec<Taint<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct Taint<'a> {
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) key: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct NodeStatus<'a> {
    #[serde(borrow, deserialize_with = "nulls_as_default")]
    pub(crate) addresses: Option<Vec<NodeAddress<'a>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct NodeAddress<'a> {
    #[serde(borrow, deserialize_with = "null_as_empty", rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow, deserialize_with = "null_as_empty")]
    pub(crate) address: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct ServiceCidr<'a> {
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) metadata: Meta<'a>,
    #[serde(borrow, deserialize_with = "null_as_default")]
    pub(crate) spec: ServiceCidrSpec<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub(crate) struct ServiceCidrSpec<'a> {
    #[serde(borrow, deserialize_with = "nulls_as_empty")]
    pub(crate) cidrs: Option<Vec<Text<'a>>>,
}
