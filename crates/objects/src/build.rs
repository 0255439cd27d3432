//! From what was written down to typed objects. What makes no sense is left out and named as a [`Problem`]; only an
//! object without a usable name is refused.

use std::net::IpAddr;

use model::{Affinity, Family, IpNet, Problem, Protocol, ServiceKey, TrafficPolicy};

use crate::address::{parse_address, parse_prefix};
use crate::raw::{self, Number, Text, Timestamp};
use crate::{
    Conditions, DecodeError, EndpointRecord, EndpointSlice, Hints, Name, Names, Node, Service, ServiceCidr,
    ServicePort, ServiceType, SlicePort,
};

/// Seconds that ClientIP affinity lasts when nothing is said.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// Collects what is wrong with one object.
struct Problems {
    object: String,
    found: Vec<Problem>,
}

impl Problems {
    fn new(kind: &str, name: &str) -> Self {
        Self { object: format!("{kind} {name}"), found: Vec::new() }
    }

    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.found.push(Problem { object: self.object.clone(), field: field.into(), reason: reason.into() });
    }
}

fn name_of(kind: &'static str, meta: &raw::Meta<'_>, namespaced: bool) -> Result<String, DecodeError> {
    let wrong = |field, name: &str| DecodeError::Name { kind, field, name: name.to_owned() };
    let usable = |name: &str| !name.is_empty() && name.len() <= 253 && name.bytes().all(is_name_byte);
    if !usable(&meta.name) {
        return Err(wrong("metadata.name", &meta.name));
    }
    if !namespaced {
        return Ok(meta.name.to_string());
    }
    let namespace = if meta.namespace.is_empty() { "default" } else { &*meta.namespace };
    if !usable(namespace) {
        return Err(wrong("metadata.namespace", namespace));
    }
    Ok(format!("{namespace}/{}", meta.name))
}

/// What DNS names, and with them Kubernetes' names, are made of. Nothing else may reach a name in the kernel.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || byte == b'_'
}

/// Makes a Service.
pub(crate) fn service(raw: raw::Service<'_>, names: &mut Names) -> Result<Service, DecodeError> {
    let name = name_of("Service", &raw.metadata, true)?;
    let mut problems = Problems::new("Service", &name);
    let (namespace, short) = name.split_once('/').unwrap_or(("default", &name));
    let spec = raw.spec;
    let service_type = word(
        (spec.service_type.as_deref(), "spec.type"),
        &[
            ("ClusterIP", ServiceType::ClusterIp),
            ("NodePort", ServiceType::NodePort),
            ("LoadBalancer", ServiceType::LoadBalancer),
            ("ExternalName", ServiceType::ExternalName),
        ],
        &mut problems,
    );
    let policies = [("Cluster", TrafficPolicy::Cluster), ("Local", TrafficPolicy::Local)];
    let internal = (spec.internal_traffic_policy.as_deref(), "spec.internalTrafficPolicy");
    let external = (spec.external_traffic_policy.as_deref(), "spec.externalTrafficPolicy");
    let source_ranges =
        prefixes("spec.loadBalancerSourceRanges", spec.load_balancer_source_ranges.as_deref(), &mut problems);
    Ok(Service {
        key: ServiceKey::new(namespace, short),
        created: created(raw.metadata.creation_timestamp.as_ref(), &mut problems),
        uid: raw.metadata.uid.as_ref().into(),
        other_proxy: raw.metadata.labels.as_ref().is_some_and(|labels| labels.other_proxy),
        service_type,
        cluster_ips: cluster_ips(
            service_type,
            spec.cluster_ip.as_deref(),
            spec.cluster_ips.as_deref(),
            &mut problems,
        ),
        external_ips: sorted(addresses("spec.externalIPs", spec.external_ips.as_deref(), &mut problems)),
        load_balancer_ips: sorted(load_balancer_ips(raw.status, &mut problems)),
        source_ranges: sorted(source_ranges),
        internal_policy: word(internal, &policies, &mut problems),
        external_policy: word(external, &policies, &mut problems),
        affinity: affinity(
            spec.session_affinity.as_deref(),
            spec.session_affinity_config.as_ref(),
            &mut problems,
        ),
        health_check_node_port: port(&spec.health_check_node_port, "spec.healthCheckNodePort", &mut problems)
            .unwrap_or(0),
        ports: service_ports(spec.ports.as_deref().unwrap_or_default(), names, &mut problems),
        problems: problems.found,
    })
}

/// Finds a word among those a field may have; the first is the default, also of what is unknown.
fn word<T: Copy>((text, field): (Option<&str>, &str), words: &[(&str, T)], problems: &mut Problems) -> T {
    let default = words[0];
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return default.1;
    }
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return *value;
    }
    let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    problems.add(field, format!("`{text}` is none of {}; taken as {}", known.join(", "), default.0));
    default.1
}

fn created(timestamp: Option<&Timestamp>, problems: &mut Problems) -> i64 {
    match timestamp {
        None => 0,
        Some(Timestamp::Seconds(seconds)) => *seconds,
        Some(Timestamp::Text(text)) => crate::time::parse(text).unwrap_or_else(|| {
            problems.add("metadata.creationTimestamp", format!("`{text}` is no time; taken as oldest"));
            0
        }),
    }
}

fn cluster_ips(
    service_type: ServiceType,
    first: Option<&str>,
    all: Option<&[Text<'_>]>,
    problems: &mut Problems,
) -> Vec<IpAddr> {
    if service_type == ServiceType::ExternalName {
        return Vec::new();
    }
    let is_none = |text: &str| text.is_empty() || text == "None";
    let mut found: Vec<IpAddr> = Vec::with_capacity(all.map_or(1, |all| all.len().clamp(1, 2)));
    let mut take = |text: &str, field: String, problems: &mut Problems| {
        if is_none(text) {
            return;
        }
        let Some(address) = parse_address(text) else {
            problems.add(field, format!("`{text}` is no IP address; left out"));
            return;
        };
        if found.iter().any(|known| Family::of(*known) == Family::of(address)) {
            problems.add(field, format!("`{text}` is a second {} address; left out", Family::of(address)));
            return;
        }
        found.push(address);
    };
    match all {
        Some(all) if !all.is_empty() => {
            for (index, text) in all.iter().enumerate() {
                take(text, format!("spec.clusterIPs[{index}]"), problems);
            }
        }
        _ => take(first.unwrap_or_default(), "spec.clusterIP".to_owned(), problems),
    }
    found
}

fn addresses(field: &str, texts: Option<&[Text<'_>]>, problems: &mut Problems) -> Vec<IpAddr> {
    let texts = texts.unwrap_or_default();
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match parse_address(text) {
            Some(address) => found.push(address),
            None => problems.add(format!("{field}[{index}]"), format!("`{text}` is no IP address; left out")),
        }
    }
    found
}

fn prefixes(field: &str, texts: Option<&[Text<'_>]>, problems: &mut Problems) -> Vec<IpNet> {
    let texts = texts.unwrap_or_default();
    let mut found = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match parse_prefix(text) {
            Some(net) => found.push(net),
            None => {
                problems.add(format!("{field}[{index}]"), format!("`{text}` is no address range; left out"))
            }
        }
    }
    found
}

/// The addresses at which this node shall answer: those of mode Proxy reach the load balancer first (KEP-1860).
fn load_balancer_ips(status: raw::ServiceStatus<'_>, problems: &mut Problems) -> Vec<IpAddr> {
    let ingress = status.load_balancer.and_then(|lb| lb.ingress).unwrap_or_default();
    let mut found = Vec::new();
    for (index, ingress) in ingress.iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{index}]");
        let is_vip = word(
            (ingress.ip_mode.as_deref(), &format!("{field}.ipMode")),
            &[("VIP", true), ("Proxy", false)],
            problems,
        );
        let text = ingress.ip.as_deref().unwrap_or_default();
        if text.is_empty() || !is_vip {
            continue;
        }
        match parse_address(text) {
            Some(address) => found.push(address),
            None => problems.add(format!("{field}.ip"), format!("`{text}` is no IP address; left out")),
        }
    }
    found
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values.dedup();
    values.shrink_to_fit();
    values
}

fn affinity(word_: Option<&str>, config: Option<&raw::AffinityConfig>, problems: &mut Problems) -> Affinity {
    if !word((word_, "spec.sessionAffinity"), &[("None", false), ("ClientIP", true)], problems) {
        return Affinity::None;
    }
    const FIELD: &str = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
    let given = config.and_then(|c| c.client_ip.as_ref()).map_or(&Number::Absent, |c| &c.timeout_seconds);
    let timeout_seconds = match given {
        Number::Absent => DEFAULT_AFFINITY_SECONDS,
        Number::Is(seconds @ 1..=86_400) => u32::try_from(*seconds).unwrap_or(DEFAULT_AFFINITY_SECONDS),
        Number::Is(seconds) => {
            problems.add(
                FIELD,
                format!("{seconds} is not between 1 and 86400; taken as {DEFAULT_AFFINITY_SECONDS}"),
            );
            DEFAULT_AFFINITY_SECONDS
        }
        Number::Text(text) => {
            problems.add(FIELD, format!("`{text}` is no number; taken as {DEFAULT_AFFINITY_SECONDS}"));
            DEFAULT_AFFINITY_SECONDS
        }
    };
    Affinity::ClientIp { timeout_seconds }
}

/// Reads a port number; `None`: there is none, or it is left out with a reason.
fn port(number: &Number, field: &str, problems: &mut Problems) -> Option<u16> {
    match number {
        Number::Absent | Number::Is(0) => None,
        Number::Is(number) => {
            let port = u16::try_from(*number).ok();
            if port.is_none() {
                problems.add(field, format!("{number} is no port number (1 to 65535); left out"));
            }
            port
        }
        Number::Text(text) => {
            problems.add(field, format!("`{text}` is no port number (1 to 65535); left out"));
            None
        }
    }
}

fn protocol(text: Option<&str>, field: &str, problems: &mut Problems) -> Option<Protocol> {
    match text.unwrap_or_default() {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        other => {
            problems.add(field, format!("`{other}` is none of TCP, UDP, SCTP; the port is left out"));
            None
        }
    }
}

fn port_name(text: Option<&str>, field: &str, problems: &mut Problems) -> Option<String> {
    let text = text.unwrap_or_default();
    if text.len() > 63 || !text.bytes().all(is_name_byte) {
        problems.add(field, format!("`{text}` is no name of a port; the port is left out"));
        return None;
    }
    Some(text.to_owned())
}

fn service_ports(
    raw: &[raw::ServicePort<'_>],
    names: &mut Names,
    problems: &mut Problems,
) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        let Some(protocol) = protocol(raw.protocol.as_deref(), &field("protocol"), problems) else {
            continue;
        };
        let Some(name) = port_name(raw.name.as_deref(), &field("name"), problems) else { continue };
        let before = problems.found.len();
        let Some(number) = port(&raw.port, &field("port"), problems) else {
            if problems.found.len() == before {
                problems.add(field("port"), "is required; the port is left out");
            }
            continue;
        };
        let node_port = port(&raw.node_port, &field("nodePort"), problems).unwrap_or(0);
        if ports.iter().any(|known| known.protocol == protocol && known.port == number) {
            problems.add(field("port"), format!("{number}/{protocol} stands twice; the second is left out"));
            continue;
        }
        if ports.iter().any(|known| *known.name == *name && known.protocol == protocol) {
            problems.add(field("name"), format!("`{name}` stands twice; the second port is left out"));
            continue;
        }
        ports.push(ServicePort { name: names.share(&name), protocol, port: number, node_port });
    }
    ports
}

/// Makes an EndpointSlice.
pub(crate) fn endpoint_slice(
    raw: raw::EndpointSlice<'_>,
    names: &mut Names,
) -> Result<EndpointSlice, DecodeError> {
    let key = name_of("EndpointSlice", &raw.metadata, true)?;
    let mut problems = Problems::new("EndpointSlice", &key);
    let namespace = key.split_once('/').map_or("default", |(namespace, _)| namespace);
    let labels = raw.metadata.labels.unwrap_or_default();
    let service = labels.service.filter(|name| !name.is_empty() && !labels.headless);
    let service = service.map(|name| ServiceKey::new(namespace, &name));
    let family = match &*raw.address_type {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        "FQDN" => None,
        other => {
            problems
                .add("addressType", format!("`{other}` is none of IPv4, IPv6, FQDN; the slice is not used"));
            None
        }
    };
    let annotations = raw.metadata.annotations.unwrap_or_default();
    Ok(EndpointSlice {
        service,
        changed_at: annotations.last_change.and_then(|text| crate::time::parse_millis(&text)),
        family,
        ports: slice_ports(raw.ports.as_deref().unwrap_or_default(), names, &mut problems),
        endpoints: endpoints(raw.endpoints.unwrap_or_default(), family, (names, &mut problems)),
        key: key.into(),
        problems: problems.found,
    })
}

fn slice_ports(raw: &[raw::SlicePort<'_>], names: &mut Names, problems: &mut Problems) -> Box<[SlicePort]> {
    let mut ports = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let field = |name: &str| format!("ports[{index}].{name}");
        // A port without name or number means "all": nothing a Service port could match.
        let Some(name) = raw.name.as_deref() else { continue };
        let Some(name) = port_name(Some(name), &field("name"), problems) else { continue };
        let Some(protocol) = protocol(raw.protocol.as_deref(), &field("protocol"), problems) else {
            continue;
        };
        let Some(number) = port(&raw.port, &field("port"), problems) else { continue };
        ports.push(SlicePort { name: names.share(&name), protocol, port: number });
    }
    ports.into()
}

fn endpoints(
    raw: Vec<raw::Endpoint<'_>>,
    family: Option<Family>,
    (names, problems): (&mut Names, &mut Problems),
) -> Box<[EndpointRecord]> {
    let Some(family) = family else { return Box::default() };
    let mut records = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let Some(text) = raw.addresses.as_deref().and_then(<[_]>::first) else {
            problems.add(format!("endpoints[{index}].addresses"), "is empty; the endpoint is left out");
            continue;
        };
        let field = || format!("endpoints[{index}].addresses[0]");
        let Some(address) = parse_address(text) else {
            problems.add(field(), format!("`{text}` is no IP address; the endpoint is left out"));
            continue;
        };
        if Family::of(address) != family {
            problems.add(field(), format!("`{text}` is no {family} address; the endpoint is left out"));
            continue;
        }
        let conditions = raw.conditions.unwrap_or_default();
        let hints = raw.hints.unwrap_or_default();
        let mut shared = |hints: Option<Vec<raw::Named<'_>>>| -> Option<Box<[Name]>> {
            let hints = hints.filter(|hints| !hints.is_empty())?;
            Some(hints.iter().map(|hint| names.share(&hint.name)).collect())
        };
        let hints = Hints { zones: shared(hints.for_zones), nodes: shared(hints.for_nodes) };
        records.push(EndpointRecord {
            address,
            conditions: Conditions {
                ready: conditions.ready.unwrap_or(true),
                serving: conditions.serving.unwrap_or(true),
                terminating: conditions.terminating.unwrap_or(false),
            },
            node: raw.node_name.filter(|name| !name.is_empty()).map(|name| names.share(&name)),
            hints: hints.boxed(),
        });
    }
    records.into()
}

/// Makes a Node.
pub(crate) fn node(raw: raw::Node<'_>, names: &mut Names) -> Result<Node, DecodeError> {
    let name = name_of("Node", &raw.metadata, false)?;
    let mut problems = Problems::new("Node", &name);
    let zone = raw.metadata.labels.and_then(|labels| labels.zone).filter(|zone| !zone.is_empty());
    let pod_cidrs = match raw.spec.pod_cidrs {
        Some(all) if !all.is_empty() => prefixes("spec.podCIDRs", Some(&all), &mut problems),
        _ => prefixes(
            "spec.podCIDR",
            raw.spec.pod_cidr.as_ref().filter(|c| !c.is_empty()).map(std::slice::from_ref),
            &mut problems,
        ),
    };
    let written = raw.status.addresses.unwrap_or_default();
    let mut addresses = Vec::new();
    for wanted in ["InternalIP", "ExternalIP"] {
        for (index, entry) in written.iter().enumerate().filter(|(_, entry)| entry.kind == wanted) {
            match parse_address(&entry.address) {
                Some(address) if !addresses.contains(&address) => addresses.push(address),
                Some(_) => {}
                None => problems.add(
                    format!("status.addresses[{index}].address"),
                    format!("`{}` is no IP address; left out", entry.address),
                ),
            }
        }
    }
    let zone = zone.map(|zone| names.share(&zone));
    let about_to_go = |taint: &raw::Taint<'_>| taint.key == "ToBeDeletedByClusterAutoscaler";
    let is_leaving =
        raw.metadata.deletion_timestamp.is_some() || raw.spec.taints.iter().flatten().any(about_to_go);
    Ok(Node { name: name.into(), zone, addresses, pod_cidrs, is_leaving, problems: problems.found })
}

/// Makes a ServiceCIDR.
pub(crate) fn service_cidr(raw: raw::ServiceCidr<'_>) -> Result<ServiceCidr, DecodeError> {
    let name = name_of("ServiceCIDR", &raw.metadata, false)?;
    let mut problems = Problems::new("ServiceCIDR", &name);
    let cidrs = prefixes("spec.cidrs", raw.spec.cidrs.as_deref(), &mut problems);
    Ok(ServiceCidr { name: name.into(), cidrs, problems: problems.found })
}
