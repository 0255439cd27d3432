//! The compact form of objects and questions, and [`check`].
//!
//! ```text
//! options detect=10.244.0.0/16 nodeports=primary masquerade-all addresses=192.168.77.11
//! node n1 zone=z1 addresses=192.168.77.11,fd77::11 pods=10.244.1.0/24
//! cidr 10.96.0.0/16
//! service shop/web 10.96.0.1 ports=http:80/tcp@30080,dns:53/udp external=198.51.100.1 lb=203.0.113.1
//!         itp=local etp=local ranges=192.0.2.0/24 affinity=30 created=5 external-name other-proxy
//! slice shop/web-1 http:8080/tcp
//! 10.244.1.2 n1 terminating zones=z1,z2 nodes=n1
//! ? routes shop/web
//! ? tcp 10.244.1.7 10.96.0.1:80 via cni0
//! ```
//!
//! (A Service is one line.) A slice `shop/web-1` belongs to `shop/web`, its endpoints are the lines after it. A packet
//! without `via` comes through `eth0`; `via node`: a process of the node sent it.

use std::fmt::{Display, Write as _};
use std::net::{IpAddr, SocketAddr};

use desired::{
    Claims, DetectLocal, NodePortAddresses, Options, Surroundings, here, node_view, route, service_view,
};
use model::{
    Affinity, Family, FrontendKind, FrontendView, IpNet, LocalTraffic, NodeView, Origin, Packet, PortView,
    Problem, Protocol, Route, Scope, ServiceKey, ServiceView, TrafficPolicy, View,
};
use objects::{
    Conditions, EndpointRecord, EndpointSlice, Hints, Name, Node, Service, ServicePort, ServiceType,
    SlicePort,
};

/// Compares the answers to the questions in `given` with the lines of `expected`, blanks at both ends aside.
#[track_caller]
pub(crate) fn check(given: &str, expected: &str) {
    let trimmed = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let answers = trimmed(&World::read(given).answers());
    assert!(!answers.is_empty(), "this test asks nothing");
    assert_eq!(answers, trimmed(expected), "\nanswers:\n{answers}");
}

/// Objects, and questions about them.
pub(crate) struct World {
    options: Options,
    node: Option<Node>,
    cidrs: Vec<IpNet>,
    services: Vec<Service>,
    slices: Vec<EndpointSlice>,
    questions: Vec<String>,
}

impl World {
    fn read(text: &str) -> Self {
        let mut world = Self {
            options: Options {
                node_name: "n1".into(),
                node_addresses: Vec::new(),
                fallback_addresses: Vec::new(),
                detect_local: DetectLocal::ClusterCidr(vec![
                    parse("10.244.0.0/16"),
                    parse("fd00:10:244::/48"),
                ]),
                masquerade_all: false,
                masquerade_bit: 14,
                node_port_addresses: NodePortAddresses::Primary,
                manners: model::Manners::default(),
            },
            node: None,
            cidrs: Vec::new(),
            services: Vec::new(),
            slices: Vec::new(),
            questions: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            world.read_line(line);
        }
        world
    }

    fn read_line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "?" => self.questions.push(rest.to_owned()),
            "options" => read_options(&mut self.options, rest),
            "node" => self.node = Some(read_node(rest)),
            "cidr" => self.cidrs.extend(list::<IpNet>(rest)),
            "service" => self.services.push(read_service(rest)),
            "slice" => self.slices.push(read_slice(rest)),
            address => {
                let slice = self.slices.last_mut().expect("an endpoint follows its slice");
                let record = read_endpoint(parse(address), rest);
                slice.endpoints = slice.endpoints.iter().cloned().chain([record]).collect();
            }
        }
    }

    fn node_view(&self, family: Family) -> NodeView {
        node_view(&self.options, self.node.as_ref(), &self.cidrs, family)
    }

    fn view(&self, family: Family) -> View {
        let mut claims = Claims::default();
        for service in &self.services {
            claims.update(&service.key, Some(service));
        }
        let node = self.node_view(family);
        let here = here(&self.options, self.node.as_ref());
        let around = Surroundings { here: &here, node_addresses: &node.addresses, claims: &claims };
        let mut services: Vec<ServiceView> = self
            .services
            .iter()
            .filter_map(|service| {
                let of = |slice: &&EndpointSlice| slice.service.as_ref() == Some(&service.key);
                let slices: Vec<&EndpointSlice> = self.slices.iter().filter(of).collect();
                service_view(service, &slices, family, around)
            })
            .collect();
        services.sort_by(|a, b| a.key.cmp(&b.key));
        View { node, services }
    }

    fn answers(&self) -> String {
        let mut out = String::new();
        for question in &self.questions {
            self.answer(question, &mut out);
        }
        out
    }

    fn answer(&self, question: &str, out: &mut String) {
        let mut words = question.split_whitespace();
        let (word, subject) = (words.next().expect("a question"), words.next().unwrap_or(""));
        let rest: Vec<&str> = words.collect();
        let family = if rest.contains(&"6") { Family::V6 } else { Family::V4 };
        match word {
            "services" => {
                let view = self.view(if subject == "6" { Family::V6 } else { Family::V4 });
                writeln!(out, "services: {}", joined(view.services.iter().map(|service| &service.key)))
            }
            "node" => writeln!(
                out,
                "{}",
                node_text(&self.node_view(if subject == "6" { Family::V6 } else { Family::V4 }))
            ),
            "frontends" => writeln!(out, "{}", self.ports(subject, family, frontend_text)),
            "routes" => writeln!(out, "{}", self.ports(subject, family, route_text)),
            "fates" => writeln!(out, "{}", self.ports(subject, family, fate_text)),
            "problems" => {
                let view = self.view(family);
                let service = view.services.iter().find(|service| service.key.as_str() == subject);
                let problems: &[Problem] = service.map_or(&[], |service| &service.problems);
                if problems.is_empty() {
                    writeln!(out, "no problem")
                } else {
                    writeln!(out, "{}", lines(problems))
                }
            }
            protocol => {
                let packet = read_packet(protocol, subject, &rest);
                let outcomes = route(&self.view(Family::of(packet.destination)), &packet);
                writeln!(out, "{}", outcomes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
        }
        .expect("writing into a string succeeds");
    }

    /// One text per port of a Service.
    fn ports(&self, key: &str, family: Family, text: fn(&PortView) -> String) -> String {
        let view = self.view(family);
        match view.services.iter().find(|service| service.key.as_str() == key) {
            Some(service) => service.ports.iter().map(text).collect::<Vec<_>>().join("\n"),
            None => format!("no view of {key}"),
        }
    }
}

// Reading.

fn parse<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("cannot read `{text}`"))
}

fn list<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter(|part| !part.is_empty()).map(parse).collect()
}

fn names(text: &str) -> Box<[Name]> {
    text.split(',').filter(|name| !name.is_empty()).map(Name::from).collect()
}

fn read_options(options: &mut Options, text: &str) {
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("name", name) => options.node_name = name.into(),
            ("addresses", value) => options.node_addresses = list(value),
            ("detect", "node") => options.detect_local = DetectLocal::NodeCidr,
            ("detect", value) => options.detect_local = DetectLocal::ClusterCidr(list(value)),
            ("bridge", value) => options.detect_local = DetectLocal::BridgeInterface(value.to_owned()),
            ("prefix", value) => options.detect_local = DetectLocal::InterfaceNamePrefix(value.to_owned()),
            ("masquerade-all", _) => options.masquerade_all = true,
            ("bit", value) => options.masquerade_bit = parse(value),
            ("nodeports", "primary") => options.node_port_addresses = NodePortAddresses::Primary,
            ("nodeports", value) => options.node_port_addresses = NodePortAddresses::Within(list(value)),
            (other, _) => panic!("unknown option `{other}`"),
        }
    }
}

fn read_node(text: &str) -> Node {
    let (name, text) = text.split_once(' ').unwrap_or((text, ""));
    let (zone, addresses, pod_cidrs) = (None, Vec::new(), Vec::new());
    let mut node =
        Node { name: name.into(), zone, addresses, pod_cidrs, is_leaving: false, problems: Vec::new() };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("zone", value) => node.zone = Some(value.into()),
            ("addresses", value) => node.addresses = list(value),
            ("pods", value) => node.pod_cidrs = list(value),
            (other, _) => panic!("unknown word of a node: `{other}`"),
        }
    }
    node
}

fn key(text: &str) -> ServiceKey {
    let (namespace, name) = text.split_once('/').expect("namespace/name");
    ServiceKey::new(namespace, name)
}

fn policy(text: &str) -> TrafficPolicy {
    match text {
        "local" => TrafficPolicy::Local,
        "cluster" => TrafficPolicy::Cluster,
        other => panic!("unknown policy `{other}`"),
    }
}

fn protocol(text: &str) -> Protocol {
    Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == text).expect("tcp, udp or sctp")
}

fn read_service(text: &str) -> Service {
    let (name, text) = text.split_once(' ').expect("a Service has more than a name");
    let mut service = Service {
        key: key(name),
        created: 0,
        uid: "".into(),
        other_proxy: false,
        service_type: ServiceType::ClusterIp,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        health_check_node_port: 0,
        ports: Vec::new(),
        problems: Vec::new(),
    };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("ports", value) => service.ports = value.split(',').map(read_service_port).collect(),
            ("external", value) => service.external_ips = list(value),
            ("lb", value) => service.load_balancer_ips = list(value),
            ("ranges", value) => service.source_ranges = list(value),
            ("itp", value) => service.internal_policy = policy(value),
            ("etp", value) => service.external_policy = policy(value),
            ("affinity", value) => service.affinity = Affinity::ClientIp { timeout_seconds: parse(value) },
            ("created", value) => service.created = parse(value),
            ("uid", value) => service.uid = value.into(),
            ("external-name", _) => service.service_type = ServiceType::ExternalName,
            ("other-proxy", _) => service.other_proxy = true,
            ("headless", _) => service.cluster_ips = Vec::new(),
            (addresses, "") => service.cluster_ips = list(addresses),
            (other, _) => panic!("unknown word of a service: `{other}`"),
        }
    }
    service
}

/// `name:80/tcp@30080`
fn read_service_port(text: &str) -> ServicePort {
    let (text, node_port) = text.split_once('@').unwrap_or((text, "0"));
    let SlicePort { name, protocol, port } = read_port(text);
    ServicePort { name, protocol, port, node_port: parse(node_port) }
}

/// `name:80/tcp`
fn read_port(text: &str) -> SlicePort {
    let (name, text) = text.split_once(':').expect("name:number/protocol");
    let (number, protocol_text) = text.split_once('/').expect("name:number/protocol");
    SlicePort { name: name.into(), protocol: protocol(protocol_text), port: parse(number) }
}

fn read_slice(text: &str) -> EndpointSlice {
    let mut words = text.split_whitespace();
    let name = words.next().expect("the slice's name");
    let (service, _) = name.rsplit_once('-').expect("service-number");
    let mut slice = EndpointSlice {
        changed_at: None,
        key: name.into(),
        service: Some(key(service)),
        family: Some(Family::V4),
        ports: Box::default(),
        endpoints: Box::default(),
        problems: Vec::new(),
    };
    for word in words {
        match word {
            "6" => slice.family = Some(Family::V6),
            "fqdn" => slice.family = None,
            "unlabelled" => slice.service = None,
            ports => slice.ports = ports.split(',').map(read_port).collect(),
        }
    }
    slice
}

fn read_endpoint(address: IpAddr, text: &str) -> EndpointRecord {
    let conditions = Conditions { ready: true, serving: true, terminating: false };
    let mut record = EndpointRecord { address, conditions, node: None, hints: None };
    let mut hints = Hints::default();
    let state = |ready, serving, terminating| Conditions { ready, serving, terminating };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("zones", value) => hints.zones = Some(names(value)),
            ("nodes", value) => hints.nodes = Some(names(value)),
            ("notready", _) => record.conditions = state(false, false, false),
            ("serving-only", _) => record.conditions = state(false, true, false),
            ("terminating", _) => record.conditions = state(false, true, true),
            ("gone", _) => record.conditions = state(false, false, true),
            ("ready-terminating", _) => record.conditions = state(true, true, true),
            ("ready-not-serving", _) => record.conditions = state(true, false, false),
            (node, _) => record.node = Some(node.into()),
        }
    }
    record.hints = hints.boxed();
    record
}

/// `tcp SOURCE DESTINATION:PORT [via INTERFACE|node]`
fn read_packet(protocol_text: &str, source: &str, rest: &[&str]) -> Packet {
    let to: SocketAddr = parse(rest.first().expect("where to"));
    let origin = match rest.get(1..) {
        Some(["via", "node"]) => Origin::ThisNode,
        Some(["via", interface]) => Origin::Interface((*interface).to_owned()),
        _ => Origin::Interface("eth0".to_owned()),
    };
    let (source, protocol) = (parse(source), protocol(protocol_text));
    Packet { origin, source, destination: to.ip(), protocol, port: to.port() }
}

// Writing.

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

fn lines<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn node_text(node: &NodeView) -> String {
    let local = match &node.local_traffic {
        LocalTraffic::Unknown => "unknown".to_owned(),
        LocalTraffic::From(range) => format!("from {range}"),
        LocalTraffic::Interface(name) => format!("through {name}"),
        LocalTraffic::InterfacePrefix(prefix) => format!("through {prefix}*"),
    };
    format!(
        "{} {}: addresses {}; local {local}; nodeports {}; service ranges {}; mark {:#x}{}",
        node.name,
        node.family,
        joined(&node.addresses),
        joined(&node.node_port_addresses),
        joined(&node.service_cidrs),
        node.masquerade_mark,
        if node.masquerade_all { "; masquerade all" } else { "" },
    )
}

fn head(port: &PortView) -> String {
    format!("{} {}/{}", port.name, port.protocol, port.port).trim_start().to_owned()
}

fn frontend_text(port: &PortView) -> String {
    let frontends = port.frontends.iter().map(|frontend: &FrontendView| {
        let kind = match frontend.kind {
            FrontendKind::ClusterIp => "cluster",
            FrontendKind::ExternalIp => "external",
            FrontendKind::LoadBalancerIp => "lb",
            FrontendKind::NodePort => "nodeport",
        };
        let place = match frontend.address {
            Some(address) => SocketAddr::new(address, frontend.port).to_string(),
            None => frontend.port.to_string(),
        };
        let sources =
            frontend.sources.as_ref().map_or(String::new(), |s| format!(" only from {}", joined(s)));
        let shadow = frontend.shadowed_by.as_ref().map_or(String::new(), |by| format!(" shadowed by {by}"));
        format!("{kind} {place}{sources}{shadow}")
    });
    format!("{}: {}", head(port), frontends.collect::<Vec<_>>().join(", "))
}

fn route_text(port: &PortView) -> String {
    let text = |route: &Route| match route {
        Route::Balance(Scope::Cluster, endpoints) => format!("cluster {}", joined(endpoints)),
        Route::Balance(Scope::Local, endpoints) => format!("local {}", joined(endpoints)),
        Route::Drop => "drop".to_owned(),
        Route::Reject => "reject".to_owned(),
    };
    let policy = match port.external_policy {
        TrafficPolicy::Cluster => "",
        TrafficPolicy::Local => " (external policy Local)",
    };
    let affinity = match port.affinity {
        Affinity::None => String::new(),
        Affinity::ClientIp { timeout_seconds } => format!(" sticky for {timeout_seconds} s"),
    };
    let (internal, external) = (text(&port.internal), text(&port.external));
    let from_cluster = text(&port.external_from_cluster);
    format!("{}{policy}{affinity}: {internal} | {external} | {from_cluster}", head(port))
}

fn fate_text(port: &PortView) -> String {
    let endpoints = port.endpoints.iter().map(|view| {
        let place = view.node.as_ref().map_or(String::new(), |node| format!(" on {node}"));
        let local = if view.local { " (here)" } else { "" };
        format!("\n{}{place}{local}: {:?}, {:?}", view.endpoint, view.cluster, view.in_local)
    });
    format!("{}:{}", head(port), endpoints.collect::<String>())
}
