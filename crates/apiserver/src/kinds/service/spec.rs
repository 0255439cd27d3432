//! What a Service says, read and written by its fields.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::address;

/// The spec of a Service, for reading. What is not there is empty.
#[derive(Clone, Copy)]
pub(crate) struct Spec<'a>(&'a Value);

impl<'a> Spec<'a> {
    pub(crate) fn of(service: &'a Value) -> Self {
        Self(&service["spec"])
    }

    pub(super) fn field(self, name: &str) -> Option<&'a Value> {
        self.0.get(name)
    }

    pub(super) fn text(self, name: &str) -> &'a str {
        self.0[name].as_str().unwrap_or_default()
    }

    pub(super) fn number(self, name: &str) -> i64 {
        self.0[name].as_i64().unwrap_or(0)
    }

    pub(super) fn texts(self, name: &str) -> Vec<&'a str> {
        self.0[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(super) fn ports(self) -> &'a [Value] {
        self.0["ports"].as_array().map_or(&[], Vec::as_slice)
    }

    pub(super) fn is(self, kind: &str) -> bool {
        self.text("type") == kind
    }

    pub(super) fn is_external_name(self) -> bool {
        self.is("ExternalName")
    }

    /// Whether it says `None` instead of an address.
    pub(super) fn is_headless(self) -> bool {
        self.texts("clusterIPs") == ["None"]
    }

    pub(super) fn has_selector(self) -> bool {
        self.0["selector"].as_object().is_some_and(|selector| !selector.is_empty())
    }

    /// Whether it is reached through ports of the nodes.
    pub(super) fn has_node_ports(self) -> bool {
        self.is("NodePort") || self.is("LoadBalancer")
    }

    /// Whether its ports get ports of the nodes that it does not ask for.
    pub(super) fn wants_node_ports(self) -> bool {
        self.has_node_ports()
            && (self.is("NodePort") || self.0["allocateLoadBalancerNodePorts"].as_bool() != Some(false))
    }

    /// Whether load balancers ask each node for it.
    pub(super) fn needs_health_check(self) -> bool {
        self.is("LoadBalancer") && self.text("externalTrafficPolicy") == "Local"
    }

    /// Whether it is reached from outside of the cluster.
    pub(super) fn is_external(self) -> bool {
        self.has_node_ports() || (self.is("ClusterIP") && !self.texts("externalIPs").is_empty())
    }

    /// The ports of the nodes that its ports name.
    pub(super) fn node_ports(self) -> Vec<i64> {
        self.ports().iter().map(node_port).filter(|number| *number != 0).collect()
    }

    /// The addresses that it has.
    pub(crate) fn addresses(self) -> Vec<IpAddr> {
        if self.is_external_name() {
            return Vec::new();
        }
        self.texts("clusterIPs").into_iter().filter_map(address::lenient).collect()
    }

    /// Every port of the nodes that it has, each once. What an ExternalName says of them means nothing.
    pub(crate) fn taken_ports(self) -> Vec<i64> {
        let mut numbers = if self.has_node_ports() { self.node_ports() } else { Vec::new() };
        if self.needs_health_check() && self.number("healthCheckNodePort") > 0 {
            numbers.push(self.number("healthCheckNodePort"));
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

/// The port of the nodes of one of its ports; 0: none.
pub(super) fn node_port(port: &Value) -> i64 {
    port["nodePort"].as_i64().unwrap_or(0)
}

/// The spec of a Service, for writing.
pub(super) fn fields(service: &mut Value) -> &mut Map<String, Value> {
    let spec = &mut service["spec"];
    if !spec.is_object() {
        *spec = Value::Object(Map::new());
    }
    spec.as_object_mut().expect("it was made an object")
}

/// Writes texts; none: the field goes.
pub(super) fn set_texts(service: &mut Value, name: &str, texts: &[String]) {
    let fields = fields(service);
    if texts.is_empty() {
        fields.remove(name);
    } else {
        fields.insert(name.to_owned(), texts.to_vec().into());
    }
}

/// Writes the port of the nodes of one of its ports; 0: the field goes.
pub(super) fn set_node_port(service: &mut Value, at: usize, number: i64) {
    let port = fields(service).get_mut("ports").and_then(|ports| ports.get_mut(at));
    let Some(port) = port.and_then(Value::as_object_mut) else { return };
    if number == 0 {
        port.remove("nodePort");
    } else {
        port.insert("nodePort".to_owned(), number.into());
    }
}
