//! From the wire to the objects that are kept: texts, labels and ports that are alike are stored once.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::object::{
    AddressType, Endpoints, Family, Hints, Known, Manager, NamedPort, Node, Pairs, Pod, Port, Ports,
    Preference, Service, ServicePort, Slice, Target, Text, value,
};
use crate::words::{
    CONTROL_PLANE, MANAGED_BY, MASTER, MIRROR, OLD_TOPOLOGY_MODE, SELECTOR, SERVICE_NAME, TOPOLOGY_MODE, ZONE,
};
use crate::{endpoints, time, wire};

/// Everything that is shared.
#[derive(Debug, Default)]
pub struct Names {
    texts: Pool<str>,
    pairs: Pool<[(Text, Text)]>,
    ports: Pool<[Port]>,
    named: Pool<[NamedPort]>,
    hints: Pool<Hints>,
}

/// Values that are shared; those that nobody uses any more are thrown out from time to time.
#[derive(Debug)]
struct Pool<T: ?Sized> {
    all: FxHashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized + Hash + Eq> Default for Pool<T> {
    fn default() -> Self {
        Self { all: FxHashSet::default(), sweep_at: 1024 }
    }
}

impl<T: ?Sized + Hash + Eq> Pool<T> {
    fn shared(&mut self, wanted: &T, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        if let Some(shared) = self.all.get(wanted) {
            return shared.clone();
        }
        if self.all.len() >= self.sweep_at {
            self.all.retain(|shared| Arc::strong_count(shared) > 1);
            self.sweep_at = (self.all.len() * 2).max(1024);
        }
        let made = make();
        self.all.insert(made.clone());
        made
    }
}

impl Names {
    /// Answers the one text of these letters.
    pub fn text(&mut self, text: &str) -> Text {
        self.texts.shared(text, || text.into())
    }

    fn pairs(&mut self, map: &BTreeMap<String, String>) -> Pairs {
        let pairs: Vec<(Text, Text)> =
            map.iter().map(|(key, value)| (self.text(key), self.text(value))).collect();
        self.pairs.shared(&pairs, || pairs.as_slice().into())
    }

    /// Answers the one set of these ports, sorted.
    pub fn ports(&mut self, mut ports: Vec<Port>) -> Ports {
        ports.sort();
        self.ports.shared(&ports, || ports.as_slice().into())
    }

    fn option(&mut self, text: Option<&String>) -> Option<Text> {
        text.map(|text| self.text(text))
    }

    pub(crate) fn service(&mut self, wire: &wire::Service) -> Service {
        let wire::Service { metadata, spec } = wire;
        let annotation = |key: &str| metadata.annotations.get(key).map(String::as_str);
        let mode = annotation(OLD_TOPOLOGY_MODE).or(annotation(TOPOLOGY_MODE));
        let preference = match (mode, spec.traffic_distribution.as_deref()) {
            (Some("Auto" | "auto"), _) => Preference::Proportional,
            (_, Some("PreferClose" | "PreferSameZone")) => Preference::SameZone,
            (_, Some("PreferSameNode")) => Preference::SameNode,
            (_, Some(_) | None) => Preference::Anywhere,
        };
        Service {
            namespace: self.text(&metadata.namespace),
            name: self.text(&metadata.name),
            uid: self.text(&metadata.uid),
            labels: self.pairs(&metadata.labels),
            // A selector that asks for nothing is none.
            selector: (!spec.selector.is_empty()).then(|| self.pairs(&spec.selector)),
            families: families(spec),
            headless: matches!(spec.cluster_ip.as_str(), "" | "None"),
            external_name: spec.r#type == "ExternalName",
            publish_not_ready: spec.publish_not_ready_addresses,
            ports: spec.ports.iter().map(|port| self.service_port(port)).collect(),
            preference,
            created: seconds(metadata.creation_timestamp.as_ref()),
            deleting: metadata.deletion_timestamp.is_some(),
        }
    }

    fn service_port(&mut self, wire: &wire::ServicePort) -> ServicePort {
        ServicePort {
            name: self.text(&wire.name),
            protocol: self.protocol(&wire.protocol),
            target: match &wire.target_port {
                Some(wire::Target::Number(number)) => Target::Number(*number),
                Some(wire::Target::Name(name)) => Target::Name(self.text(name)),
                None => Target::Number(0),
            },
            app_protocol: self.option(wire.app_protocol.as_ref()),
        }
    }

    fn protocol(&mut self, protocol: &str) -> Text {
        self.text(if protocol.is_empty() { "TCP" } else { protocol })
    }

    pub(crate) fn pod(&mut self, wire: &wire::Pod) -> Pod {
        let wire::Pod { metadata, spec, status } = wire;
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let addresses = status.pod_ips.iter().filter_map(|ip| ip.ip.parse::<IpAddr>().ok());
        let has_host = !spec.hostname.is_empty() && !spec.subdomain.is_empty();
        let sidecars = spec
            .init_containers
            .iter()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = spec.containers.iter().chain(sidecars).flat_map(|container| &container.ports);
        let ports: Vec<NamedPort> =
            ports.filter(|port| !port.name.is_empty()).map(|port| self.named_port(port)).collect();
        Pod {
            namespace: self.text(&metadata.namespace),
            name: self.text(&metadata.name),
            uid: self.text(&metadata.uid),
            node: self.text(&spec.node_name),
            labels: self.pairs(&metadata.labels),
            addresses: addresses.map(|address| address.to_canonical()).collect(),
            host: has_host.then(|| Box::new((self.text(&spec.hostname), self.text(&spec.subdomain)))),
            ports: self.named.shared(&ports, || ports.as_slice().into()),
            ready_since: seconds(ready.and_then(|ready| ready.last_transition_time.as_ref())),
            ready: ready.is_some_and(|ready| ready.status == "True"),
            terminating: metadata.deletion_timestamp.is_some(),
            ended: matches!(status.phase.as_str(), "Succeeded" | "Failed"),
        }
    }

    fn named_port(&mut self, wire: &wire::ContainerPort) -> NamedPort {
        NamedPort {
            name: self.text(&wire.name),
            protocol: self.protocol(&wire.protocol),
            port: wire.container_port,
        }
    }

    pub(crate) fn node(&mut self, wire: &wire::Node) -> Node {
        let labels = &wire.metadata.labels;
        let ready = wire.status.conditions.iter().find(|condition| condition.r#type == "Ready");
        Node {
            name: self.text(&wire.metadata.name),
            zone: self.option(labels.get(ZONE).filter(|zone| !zone.is_empty())),
            ready: ready.is_some_and(|ready| ready.status == "True"),
            milli_cpu: wire.status.allocatable.get("cpu").map_or(0, milli),
            control_plane: labels.contains_key(CONTROL_PLANE) || labels.contains_key(MASTER),
        }
    }

    pub(crate) fn slice(&mut self, wire: &wire::Slice) -> Slice {
        let metadata = &wire.metadata;
        let labels = self.pairs(&metadata.labels);
        let manager = match value(&labels, MANAGED_BY).map(|manager| &**manager) {
            Some(SELECTOR) => Manager::Selector,
            Some(MIRROR) => Manager::Mirror,
            Some(_) | None => Manager::Other,
        };
        let owners = metadata.owner_references.iter();
        let owners = owners.filter(|owner| owner.kind == "Service" && owner.api_version == "v1");
        let ports = wire.ports.iter().map(|port| self.port(port)).collect();
        Slice {
            namespace: self.text(&metadata.namespace),
            name: self.text(&metadata.name),
            revision: metadata.resource_version.as_str().into(),
            generation: metadata.generation,
            service: value(&labels, SERVICE_NAME).cloned().unwrap_or_else(|| self.text("")),
            manager,
            annotations: self.pairs(&metadata.annotations),
            owners: owners.map(|owner| self.text(&owner.uid)).collect(),
            address_type: match wire.address_type.as_str() {
                "IPv4" => AddressType::Ip(Family::V4),
                "IPv6" => AddressType::Ip(Family::V6),
                _ => AddressType::Other,
            },
            ports: self.ports(ports),
            endpoints: wire.endpoints.iter().map(|endpoint| self.known(endpoint)).collect(),
            deleting: metadata.deletion_timestamp.is_some(),
            labels,
        }
    }

    fn port(&mut self, wire: &wire::Port) -> Port {
        Port {
            name: self.text(wire.name.as_deref().unwrap_or_default()),
            protocol: self.protocol(wire.protocol.as_deref().unwrap_or_default()),
            port: wire.port,
            app_protocol: self.option(wire.app_protocol.as_ref()),
        }
    }

    fn known(&mut self, wire: &wire::Endpoint) -> Known {
        let target = wire.target_ref.as_ref();
        let (namespace, name) = target.map_or(("", ""), |target| (&target.namespace, &target.name));
        let mut addresses: Vec<&str> = wire.addresses.iter().map(String::as_str).collect();
        addresses.sort_unstable();
        let identity = (&*addresses, wire.hostname.as_deref().unwrap_or_default(), (namespace, name));
        let conditions = &wire.conditions;
        let conditions = (conditions.ready, conditions.serving, conditions.terminating);
        Known {
            key: key(identity),
            state: state((wire.node_name.as_deref(), wire.zone.as_deref()), conditions, target),
            hints: wire.hints.as_ref().map(|hints| {
                let mut texts = |all: &[wire::Named]| all.iter().map(|one| self.text(&one.name)).collect();
                let hints = Hints { zones: texts(&hints.for_zones), nodes: texts(&hints.for_nodes) };
                self.hints.shared(&hints, || Arc::new(hints.clone()))
            }),
        }
    }

    pub(crate) fn endpoints(&mut self, wire: &wire::Endpoints) -> Endpoints {
        Endpoints {
            namespace: self.text(&wire.metadata.namespace),
            name: self.text(&wire.metadata.name),
            revision: wire.metadata.resource_version.as_str().into(),
            labels: self.pairs(&wire.metadata.labels),
            annotations: self.pairs(&wire.metadata.annotations),
            digest: endpoints::digest(&wire.subsets),
        }
    }
}

/// Hashes what tells endpoints of a slice apart: sorted addresses, hostname, namespace and name of what is behind it.
pub(crate) fn key(identity: (&[&str], &str, (&str, &str))) -> u64 {
    hash(&identity)
}

type Conditions = (Option<bool>, Option<bool>, Option<bool>);

/// Hashes the rest of an endpoint but its hints.
pub(crate) fn state(
    place: (Option<&str>, Option<&str>),
    conditions: Conditions,
    target: Option<&wire::Reference>,
) -> u64 {
    hash(&(place, conditions, target))
}

/// The same for the same value in every process; different for different ones but for chances of one in 2^64.
pub(crate) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().build_hasher();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Servers have filled in families since Kubernetes 1.20; where they are missing, the address tells.
fn families(spec: &wire::ServiceSpec) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::with_capacity(spec.ip_families.len().max(1));
    for family in &spec.ip_families {
        match family.as_str() {
            "IPv4" => families.push(Family::V4),
            "IPv6" => families.push(Family::V6),
            _ => {}
        }
    }
    if families.is_empty() {
        match spec.cluster_ip.parse::<IpAddr>() {
            Ok(address) => families.push(Family::of(address)),
            Err(_) => families.extend([Family::V4, Family::V6]),
        }
    }
    families
}

fn seconds(time: Option<&String>) -> i64 {
    time.and_then(|time| time::parse(time)).unwrap_or_default()
}

/// Reads a quantity such as `4`, `3920m` or `1.5` as thousandths; 0 where it is none.
fn milli(quantity: &serde_json::Value) -> u64 {
    let number = quantity.as_u64().map(|number| number.to_string());
    let text = quantity.as_str().map(str::to_owned).or(number).unwrap_or_default();
    let (digits, worth) = match text.as_bytes().last() {
        Some(b'm') => (&text[..text.len() - 1], 1.0),
        Some(b'k') => (&text[..text.len() - 1], 1e6),
        Some(_) | None => (text.as_str(), 1e3),
    };
    digits.parse::<f64>().map_or(0, |number| (number * worth).ceil().clamp(0.0, 1e15) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_thousandths() {
        for (text, expected) in
            [("4", 4000), ("3920m", 3920), ("1.5", 1500), ("0.1m", 1), ("x", 0), ("", 0), ("-1", 0)]
        {
            assert_eq!(milli(&text.into()), expected, "{text}");
        }
        assert_eq!(milli(&2.into()), 2000);
    }

    #[test]
    fn what_is_alike_is_shared_and_what_is_unused_goes() {
        let mut names = Names::default();
        let one = names.text("one");
        assert!(Arc::ptr_eq(&one, &names.text("one")));
        for number in 0..5000 {
            names.text(&number.to_string());
        }
        assert!(names.texts.all.len() <= 2048 && names.texts.all.contains("one"));
    }
}
