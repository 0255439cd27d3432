//! Judges Services (`ValidateService` of Kubernetes): in its words, in its order.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::spec::{Spec, node_port};
use super::validate_addresses;
use crate::mistake::{Mistake, Path};
use crate::{address, meta, names};

/// The annotation that was there before the field for source ranges.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const POLICIES: &[&str] = &["Cluster", "Local"];

fn field(name: &str) -> Path {
    Path::new("spec").child(name)
}

/// Whether a text is one of those that can be; it is mistaken if not.
fn one_of(path: &Path, text: &str, known: &[&str]) -> Option<Mistake> {
    if text.is_empty() {
        return Some(Mistake::required(path, ""));
    }
    (!known.contains(&text)).then(|| Mistake::not_supported(path, text, known))
}

fn invalid(path: &Path, text: &str, wrong: Vec<String>) -> Vec<Mistake> {
    wrong.into_iter().map(|why| Mistake::invalid(path, text, why)).collect()
}

/// Judges a new Service.
pub(super) fn create(service: &Value) -> Vec<Mistake> {
    let spec = Spec::of(service);
    let mut wrong: Vec<Mistake> = topology(service).into_iter().collect();
    wrong.extend(of_type(spec));
    wrong.extend(ports(spec));
    wrong.extend(meta::labels(&service["spec"]["selector"], &field("selector")));
    wrong.extend(affinity(spec));
    wrong.extend(validate_addresses::consistent(service));
    wrong.extend(external_addresses(spec));
    wrong.extend(one_of(
        &field("type"),
        spec.text("type"),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    ));
    wrong.extend(node_ports(spec));
    wrong.extend(source_ranges(service));
    if spec.field("allocateLoadBalancerNodePorts").is_some() && !spec.is("LoadBalancer") {
        wrong.push(Mistake::forbidden(&field("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER));
    }
    wrong.extend(class(spec));
    wrong.extend(external_traffic(spec));
    wrong.extend(internal_traffic(spec));
    wrong
}

/// Judges an update.
pub(super) fn update(new: &Value, old: &Value) -> Vec<Mistake> {
    let (is, was) = (Spec::of(new), Spec::of(old));
    let mut wrong = validate_addresses::changed(new, old);
    let class_of = |spec: Spec<'_>| spec.field("loadBalancerClass").cloned().unwrap_or_default();
    if was.is("LoadBalancer") && is.is("LoadBalancer") && class_of(was) != class_of(is) {
        wrong.push(Mistake::invalid(&field("loadBalancerClass"), class_of(is), "may not change once set"));
    }
    wrong.extend(class(is));
    let port = "healthCheckNodePort";
    if was.needs_health_check() && is.needs_health_check() && was.number(port) != is.number(port) {
        wrong.push(Mistake::forbidden(&field(port), "field is immutable"));
    }
    wrong.extend(create(new));
    wrong
}

/// Judges the status.
pub(super) fn status(new: &Value, _old: &Value) -> Vec<Mistake> {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = new["status"]["loadBalancer"]["ingress"].as_array().map_or(&[][..], Vec::as_slice);
    if !ingress.is_empty() && !Spec::of(new).is("LoadBalancer") {
        return vec![Mistake::forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'")];
    }
    ingress.iter().enumerate().flat_map(|(at, one)| one_ingress(one, &path.index(at))).collect()
}

fn one_ingress(one: &Value, path: &Path) -> Vec<Mistake> {
    let text = |name: &str| one[name].as_str().unwrap_or_default();
    let (at, host, mode) = (text("ip"), text("hostname"), path.child("ipMode"));
    let mut wrong = Vec::new();
    if !at.is_empty() {
        wrong.extend(address::address(at, &path.child("ip")));
    }
    match (one.get("ipMode").and_then(Value::as_str), at.is_empty()) {
        (None, true) => {}
        (None, false) => wrong.push(Mistake::required(&mode, "must be specified when `ip` is set")),
        (Some(_), true) => wrong.push(Mistake::forbidden(&mode, "may not be specified when `ip` is not set")),
        (Some("Proxy" | "VIP"), false) => {}
        (Some(text), false) => wrong.push(Mistake::not_supported(&mode, text, &["Proxy", "VIP"])),
    }
    if !host.is_empty() {
        wrong.extend(invalid(&path.child("hostname"), host, names::dns_subdomain(host)));
        if address::lenient(host).is_some() {
            let why = "must be a DNS name, not an IP address";
            wrong.push(Mistake::invalid(&path.child("hostname"), host, why));
        }
    }
    wrong
}

fn topology(service: &Value) -> Option<Mistake> {
    let annotations = &service["metadata"]["annotations"];
    let (hints, mode) = (annotations[TOPOLOGY_HINTS].as_str()?, annotations[TOPOLOGY_MODE].as_str()?);
    let path = Path::new("metadata").child("annotations").key(TOPOLOGY_MODE);
    let why = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
    (hints != mode).then(|| Mistake::invalid(&path, mode, why))
}

fn of_type(spec: Spec<'_>) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    if spec.ports().is_empty() && !spec.is_headless() && !spec.is_external_name() {
        wrong.push(Mistake::required(&field("ports"), ""));
    }
    let kind = spec.text("type");
    if spec.is_headless() && spec.has_node_ports() {
        let why = format!("may not be set to 'None' for {kind} services");
        wrong.push(Mistake::invalid(&field("clusterIPs").index(0), "None", why));
    }
    if !spec.is_external_name() {
        return wrong;
    }
    let has = |name: &str| spec.field(name).is_some_and(|value| *value != json!([]));
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].into_iter().filter(|name| has(name)) {
        wrong.push(Mistake::forbidden(&field(name), "may not be set for ExternalName services"));
    }
    let name = spec.text("externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        wrong.push(Mistake::required(&field("externalName"), ""));
    } else {
        wrong.extend(invalid(&field("externalName"), name, names::dns_subdomain(name)));
    }
    wrong
}

fn ports(spec: Spec<'_>) -> Vec<Mistake> {
    let (ports, mut names, mut wrong) = (spec.ports(), BTreeSet::new(), Vec::new());
    for (at, port) in ports.iter().enumerate() {
        let path = field("ports").index(at);
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() && ports.len() > 1 {
            wrong.push(Mistake::required(&path.child("name"), ""));
        } else if !name.is_empty() {
            wrong.extend(invalid(&path.child("name"), name, names::dns_label(name)));
            if !names.insert(name) {
                wrong.push(Mistake::duplicate(&path.child("name"), name));
            }
        }
        wrong.extend(one_port(port, &path));
    }
    wrong
}

fn one_port(port: &Value, path: &Path) -> Vec<Mistake> {
    let number = |path: &Path, number: i64| {
        let wrong = names::port_number(number).into_iter();
        wrong.map(|why| Mistake::invalid(path, number, why)).collect::<Vec<_>>()
    };
    let mut wrong = number(&path.child("port"), port["port"].as_i64().unwrap_or(0));
    wrong.extend(one_of(&path.child("protocol"), port["protocol"].as_str().unwrap_or_default(), PROTOCOLS));
    let target = path.child("targetPort");
    match port["targetPort"].as_str() {
        Some(name) => wrong.extend(invalid(&target, name, names::port_name(name))),
        None => wrong.extend(number(&target, port["targetPort"].as_i64().unwrap_or(0))),
    }
    if let Some(protocol) = port["appProtocol"].as_str() {
        wrong.extend(invalid(&path.child("appProtocol"), protocol, names::qualified_name(protocol)));
    }
    wrong
}

fn affinity(spec: Spec<'_>) -> Vec<Mistake> {
    let (affinity, path) = (spec.text("sessionAffinity"), field("sessionAffinityConfig"));
    let mut wrong: Vec<Mistake> =
        one_of(&field("sessionAffinity"), affinity, &["ClientIP", "None"]).into_iter().collect();
    let config = spec.field("sessionAffinityConfig");
    if affinity == "None" && config.is_some() {
        wrong.push(Mistake::forbidden(&path, "must not be set when session affinity is None"));
    }
    if affinity != "ClientIP" {
        return wrong;
    }
    let client = config.and_then(|config| config.get("clientIP"));
    let timeout = client.and_then(|client| client["timeoutSeconds"].as_i64());
    let required = |path: &Path| Mistake::required(path, "when session affinity type is ClientIP");
    match (config, client, timeout) {
        (None, _, _) => wrong.push(required(&path)),
        (Some(_), None, _) => wrong.push(required(&path.child("clientIP"))),
        (Some(_), Some(_), None) => wrong.push(required(&path.child("clientIP").child("timeoutSeconds"))),
        (Some(_), Some(_), Some(1..=86_400)) => {}
        (Some(_), Some(_), Some(seconds)) => {
            let why = "must be greater than 0 and less than 86400";
            wrong.push(Mistake::invalid(&path.child("clientIP").child("timeoutSeconds"), seconds, why));
        }
    }
    wrong
}

fn external_addresses(spec: Spec<'_>) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    for (at, external) in spec.texts("externalIPs").into_iter().enumerate() {
        let path = field("externalIPs").index(at);
        let unreadable = address::address(external, &path);
        let is_readable = unreadable.is_empty();
        wrong.extend(unreadable);
        if is_readable {
            wrong.extend(address::endpoint(external, &path));
        }
    }
    wrong
}

/// What ports have twice, and ports of the nodes where there are none.
fn node_ports(spec: Spec<'_>) -> Vec<Mistake> {
    let (ports, mut wrong) = (spec.ports(), Vec::new());
    let path = |at: usize| field("ports").index(at);
    let of_nodes = || ports.iter().enumerate().filter(|(_, port)| node_port(port) != 0);
    if spec.is("ClusterIP") {
        let why = "may not be used when `type` is 'ClusterIP'";
        wrong.extend(of_nodes().map(|(at, _)| Mistake::forbidden(&path(at).child("nodePort"), why)));
    }
    let protocol = |port: &Value| port["protocol"].as_str().unwrap_or_default().to_owned();
    let (mut numbers, mut pairs) = (BTreeSet::new(), BTreeSet::new());
    for (at, port) in of_nodes() {
        let key = (protocol(port), node_port(port));
        if !numbers.insert(key.clone()) {
            wrong.push(Mistake::duplicate(&path(at).child("nodePort"), key.1));
        }
    }
    for (at, port) in ports.iter().enumerate() {
        let key = (protocol(port), port["port"].as_i64().unwrap_or(0));
        if !pairs.insert(key.clone()) {
            // A port with nothing but this pair is what Kubernetes shows.
            let shown = json!({"Name": "", "Protocol": key.0, "AppProtocol": null, "Port": key.1, "TargetPort": 0, "NodePort": 0});
            let order = ["Name", "Protocol", "AppProtocol", "Port", "TargetPort", "NodePort"];
            wrong.push(Mistake::duplicate(&path(at), shown).ordered(&order));
        }
    }
    wrong
}

fn source_ranges(service: &Value) -> Vec<Mistake> {
    let spec = Spec::of(service);
    let ranges = spec.texts("loadBalancerSourceRanges");
    let annotation = service["metadata"]["annotations"][SOURCE_RANGES].as_str();
    let path = match (ranges.is_empty(), annotation) {
        // With a capital letter: so it is in Kubernetes.
        (false, _) => field("LoadBalancerSourceRanges"),
        (true, Some(_)) => Path::new("metadata").child("annotations").key(SOURCE_RANGES),
        (true, None) => return Vec::new(),
    };
    let mut wrong = Vec::new();
    if !spec.is("LoadBalancer") {
        wrong.push(Mistake::forbidden(&path, ONLY_LOAD_BALANCER));
    }
    for (at, range) in ranges.iter().enumerate() {
        wrong.extend(address::range(range.trim(), &path.index(at)));
    }
    let annotation = annotation.unwrap_or_default().trim();
    if ranges.is_empty() && !annotation.is_empty() {
        wrong.extend(annotation.split(',').flat_map(|range| address::range(range.trim(), &path)));
    }
    wrong
}

fn class(spec: Spec<'_>) -> Vec<Mistake> {
    let path = field("loadBalancerClass");
    match spec.field("loadBalancerClass").and_then(Value::as_str) {
        None => Vec::new(),
        Some(class) if spec.is("LoadBalancer") => invalid(&path, class, names::qualified_name(class)),
        Some(_) => vec![Mistake::forbidden(&path, ONLY_LOAD_BALANCER)],
    }
}

fn external_traffic(spec: Spec<'_>) -> Vec<Mistake> {
    let (policy, port) = (spec.text("externalTrafficPolicy"), spec.number("healthCheckNodePort"));
    let (policy_field, port_field) = (field("externalTrafficPolicy"), field("healthCheckNodePort"));
    let mut wrong = Vec::new();
    if spec.is_external() {
        wrong.extend(one_of(&policy_field, policy, POLICIES));
    } else if !policy.is_empty() {
        let why = "may only be set for externally-accessible services";
        wrong.push(Mistake::invalid(&policy_field, policy, why));
    }
    if spec.needs_health_check() && port == 0 {
        wrong.push(Mistake::required(&port_field, ""));
    } else if spec.needs_health_check() {
        wrong
            .extend(names::port_number(port).into_iter().map(|why| Mistake::invalid(&port_field, port, why)));
    } else if port != 0 {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        wrong.push(Mistake::invalid(&port_field, port, why));
    }
    wrong
}

fn internal_traffic(spec: Spec<'_>) -> Vec<Mistake> {
    let mut wrong = Vec::new();
    let path = field("internalTrafficPolicy");
    match spec.field("internalTrafficPolicy").and_then(Value::as_str) {
        None if spec.has_node_ports() || spec.is("ClusterIP") => wrong.push(Mistake::required(&path, "")),
        None => {}
        Some(policy) if POLICIES.contains(&policy) => {}
        Some(policy) => wrong.push(Mistake::not_supported(&path, policy, POLICIES)),
    }
    let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    if let Some(text) = spec.field("trafficDistribution").and_then(Value::as_str)
        && !known.contains(&text)
    {
        wrong.push(Mistake::not_supported(&field("trafficDistribution"), text, &known));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::aggregate;

    /// What is wrong when these fields are set, by pointers, in a Service that is right.
    fn judged(set: Value, judge: impl Fn(&Value) -> Vec<Mistake>) -> String {
        let mut service = json!({
            "metadata": {"annotations": {}},
            "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
                     "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
                     "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"}]},
            "status": {"loadBalancer": {}},
        });
        for (pointer, value) in set.as_object().into_iter().flatten() {
            let (place, key) = pointer.rsplit_once('/').unwrap();
            service.pointer_mut(place).unwrap()[key] = value.clone();
        }
        match &judge(&service)[..] {
            [] => String::new(),
            wrong => aggregate(wrong),
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_kubernetes_words() {
        for (set, wanted) in [
            (json!({}), ""),
            (
                json!({"/spec/type": "X"}),
                r#"spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort""#,
            ),
            (
                json!({"/spec/ports": [{"port": 0, "targetPort": "a--b", "protocol": "TCP", "appProtocol": "/"}]}),
                "[spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive, \
              spec.ports[0].targetPort: Invalid value: \"a--b\": must not contain consecutive hyphens, \
              spec.ports[0].appProtocol: Invalid value: \"/\": prefix part must be non-empty, \
              spec.ports[0].appProtocol: Invalid value: \"/\": name part must be non-empty, \
              spec.ports[0].appProtocol: Invalid value: \"/\": name part must consist of alphanumeric characters, '-', '_' or '.', \
              and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', \
              regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')]",
            ),
            (
                json!({"/spec/sessionAffinity": "X"}),
                r#"spec.sessionAffinity: Unsupported value: "X": supported values: "ClientIP", "None""#,
            ),
            (
                json!({"/spec/sessionAffinity": "ClientIP"}),
                "spec.sessionAffinityConfig: Required value: when session affinity type is ClientIP",
            ),
            (
                json!({"/spec/sessionAffinity": "ClientIP", "/spec/sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 86_401}}}),
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400",
            ),
            (
                json!({"/spec/clusterIPs": ["None", "10.96.0.9"], "/spec/clusterIP": "None"}),
                r#"spec.clusterIPs: Invalid value: ["None","10.96.0.9"]: 'None' must be the first and only value"#,
            ),
            (
                json!({"/spec/externalTrafficPolicy": "Local"}),
                r#"spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services"#,
            ),
            (
                json!({"/spec/healthCheckNodePort": 7}),
                "spec.healthCheckNodePort: Invalid value: 7: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
            ),
            (
                json!({"/spec/loadBalancerClass": "a/b"}),
                "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
            ),
            (
                json!({"/spec/loadBalancerSourceRanges": ["10.0.0.0/8", " 10.0.0.0/40"]}),
                "[spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer', \
              spec.LoadBalancerSourceRanges[1]: Invalid value: \"10.0.0.0/40\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)]",
            ),
            (
                json!({"/spec/trafficDistribution": "Near"}),
                r#"spec.trafficDistribution: Unsupported value: "Near": supported values: "PreferClose", "PreferSameNode", "PreferSameZone""#,
            ),
            (
                json!({"/spec/type": "NodePort", "/spec/externalTrafficPolicy": "Cluster", "/spec/ports": [
                {"name": "a", "port": 80, "targetPort": 80, "protocol": "TCP", "nodePort": 30_000},
                {"name": "b", "port": 81, "targetPort": 81, "protocol": "TCP", "nodePort": 30_000},
                {"name": "c", "port": 81, "targetPort": 81, "protocol": "UDP", "nodePort": 30_000}]}),
                "spec.ports[1].nodePort: Duplicate value: 30000",
            ),
            (
                json!({"/metadata/annotations": {TOPOLOGY_HINTS: "auto", TOPOLOGY_MODE: "Auto"}}),
                "metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Auto\": must match \
              annotations[service.kubernetes.io/topology-aware-hints] when both are specified",
            ),
        ] {
            assert_eq!(judged(set.clone(), create), wanted, "{set}");
        }
    }

    #[test]
    fn what_cannot_change_is_said_in_kubernetes_words() {
        let old = json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.96.0.9", "fd00::9"], "clusterIP": "10.96.0.9",
                                  "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack",
                                  "externalTrafficPolicy": "Local", "healthCheckNodePort": 30_000}});
        let balanced = |mut set: Value| {
            let fields = [
                ("type", json!("LoadBalancer")),
                ("allocateLoadBalancerNodePorts", json!(true)),
                ("externalTrafficPolicy", json!("Local")),
                ("healthCheckNodePort", json!(30_000)),
            ];
            for (field, value) in fields {
                set[format!("/spec/{field}")] = value;
            }
            set
        };
        for (set, wanted) in [
            (json!({}), ""),
            (
                json!({"/spec/ipFamilyPolicy": "PreferDualStack"}),
                "[spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary clusterIP, \
              spec.ipFamilyPolicy: Invalid value: \"PreferDualStack\": must be set to 'SingleStack' when releasing the secondary ipFamily]",
            ),
            (
                json!({"/spec/clusterIP": "10.96.0.8", "/spec/clusterIPs": ["10.96.0.8"]}),
                r#"spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set"#,
            ),
            (
                json!({"/spec/loadBalancerClass": "x/y"}),
                r#"spec.loadBalancerClass: Invalid value: "x/y": may not change once set"#,
            ),
        ] {
            assert_eq!(judged(balanced(set.clone()), |new| update(new, &old)), wanted, "{set}");
        }
    }

    #[test]
    fn only_load_balancers_have_ingress() {
        let set = |kind: &str, ingress: Value| json!({"/spec/type": kind, "/status/loadBalancer": {"ingress": ingress}});
        for (set, wanted) in [
            (
                set("NodePort", json!([{"ip": "192.0.2.1"}])),
                "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
            ),
            (
                set("LoadBalancer", json!([{"hostname": "a", "ipMode": "VIP"}])),
                "status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set",
            ),
            (
                set("LoadBalancer", json!([{"ip": "192.0.2.1"}])),
                "status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set",
            ),
            (set("LoadBalancer", json!([])), ""),
        ] {
            assert_eq!(judged(set.clone(), |new| status(new, new)), wanted, "{set}");
        }
    }
}
