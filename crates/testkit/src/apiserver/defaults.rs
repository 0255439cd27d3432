//! What the real API server fills in where a Service proxy depends on it: defaults, ClusterIPs, node ports.
//!
//! Does *not* validate beyond what is needed to allocate; the proxy must live with odd objects anyway.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::event;
use super::resource::Resource;
use super::status::Refusal;

/// Requested numbers are taken from the beginning of a range, so the server hands out those behind it.
const FIRST_FREE_ADDRESS: u128 = 256;
const FIRST_FREE_NODE_PORT: u16 = 30_086;
const LAST_NODE_PORT: u16 = 32_767;

/// Which ClusterIPs and node ports are taken.
#[derive(Debug, Clone)]
pub(super) struct Allocator {
    ranges: Vec<IpNet>,
    addresses: BTreeSet<IpAddr>,
    node_ports: BTreeSet<u16>,
}

impl Allocator {
    /// Allocates from these ranges, the first being the default family. What is no prefix is left out.
    pub(super) fn new(ranges: &[&str]) -> Self {
        let ranges = ranges.iter().filter_map(|range| range.parse().ok()).collect();
        Self { ranges, addresses: BTreeSet::new(), node_ports: BTreeSet::new() }
    }

    /// Answers the ranges, as a ServiceCIDR shows them.
    pub(super) fn ranges(&self) -> Vec<String> {
        self.ranges.iter().map(IpNet::to_string).collect()
    }

    /// Gives back everything an object holds.
    pub(super) fn release(&mut self, object: &Value) {
        if object["kind"] != Resource::Services.kind() {
            return;
        }
        for address in addresses_of(&object["spec"]) {
            self.addresses.remove(&address);
        }
        for port in node_ports_of(&object["spec"]) {
            self.node_ports.remove(&port);
        }
    }

    /// Takes what an object says it has.
    pub(super) fn take(&mut self, object: &Value) {
        if object["kind"] != Resource::Services.kind() {
            return;
        }
        self.addresses.extend(addresses_of(&object["spec"]));
        self.node_ports.extend(node_ports_of(&object["spec"]));
    }

    fn free_address(&mut self, family: &str) -> Result<IpAddr, Refusal> {
        let range = self.ranges.iter().find(|range| family_of(range.addr()) == family);
        let range = range.ok_or_else(|| Refusal::invalid(format!("no service range of family {family}")))?;
        let base = number(range.network());
        let size = 1_u128 << (range.max_prefix_len() - range.prefix_len()).min(20);
        let first = if size > 2 * FIRST_FREE_ADDRESS { FIRST_FREE_ADDRESS } else { 2 };
        let free = (first..size - 1).map(|offset| address(range.addr(), base + offset));
        let free = free.into_iter().find(|candidate| !self.addresses.contains(candidate));
        let free = free.ok_or_else(|| Refusal::invalid("range is full"))?;
        self.addresses.insert(free);
        Ok(free)
    }

    fn free_node_port(&mut self) -> Result<u16, Refusal> {
        let free = (FIRST_FREE_NODE_PORT..=LAST_NODE_PORT).find(|port| !self.node_ports.contains(port));
        let free = free.ok_or_else(|| Refusal::invalid("no node port is free"))?;
        self.node_ports.insert(free);
        Ok(free)
    }
}

/// Completes an object that is about to be stored.
pub(super) fn complete(
    allocator: &mut Allocator,
    before: Option<&Value>,
    object: &mut Value,
) -> Result<(), Refusal> {
    match object["kind"].as_str().and_then(Resource::named) {
        Some(Resource::Services) => complete_service(allocator, before, object),
        Some(Resource::EndpointSlices) => {
            complete_slice(object);
            Ok(())
        }
        Some(Resource::Namespaces) => {
            set_default(object, "spec", json!({"finalizers": ["kubernetes"]}));
            set_default(object, "status", json!({"phase": "Active"}));
            Ok(())
        }
        Some(Resource::Nodes | Resource::ServiceCidrs) => {
            set_default(object, "spec", json!({}));
            set_default(object, "status", json!({}));
            Ok(())
        }
        Some(Resource::Events) => event::check(before, object),
        None => Err(Refusal::no_such_path()),
    }
}

fn complete_slice(object: &mut Value) {
    set_default(object, "endpoints", json!([]));
    for port in list_mut(object, "ports") {
        set_default(port, "name", json!(""));
        set_default(port, "protocol", json!("TCP"));
    }
    for endpoint in list_mut(object, "endpoints") {
        set_default(endpoint, "conditions", json!({}));
    }
}

fn complete_service(
    allocator: &mut Allocator,
    before: Option<&Value>,
    object: &mut Value,
) -> Result<(), Refusal> {
    if !object["spec"].is_object() {
        object["spec"] = json!({});
    }
    set_default(object, "status", json!({"loadBalancer": {}}));
    if let Some(before) = before {
        keep_allocations(&before["spec"], &mut object["spec"]);
    }
    default_fields(&mut object["spec"]);
    drop_fields_of_other_types(&mut object["spec"]);
    let mut trial = allocator.clone();
    if let Some(before) = before {
        trial.release(before);
    }
    refuse_taken(&trial, &object["spec"])?;
    trial.take(object);
    allocate_addresses(&mut trial, &mut object["spec"])?;
    allocate_node_ports(&mut trial, &mut object["spec"])?;
    *allocator = trial;
    Ok(())
}

/// A replacement that leaves out what was allocated keeps it.
fn keep_allocations(before: &Value, spec: &mut Value) {
    let single_stack = spec["ipFamilyPolicy"] == "SingleStack";
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) && spec["clusterIPs"].is_null() {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec[field].is_null() && !before[field].is_null() {
                spec[field] = before[field].clone();
            }
        }
    }
    if single_stack {
        for field in ["clusterIPs", "ipFamilies"] {
            if let Some(list) = spec.get_mut(field).and_then(Value::as_array_mut) {
                list.truncate(1);
            }
        }
    }
    if spec["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 && !before["healthCheckNodePort"].is_null() {
        spec["healthCheckNodePort"] = before["healthCheckNodePort"].clone();
    }
    let identity =
        |port: &Value| (port["port"].clone(), port["protocol"].as_str().unwrap_or("TCP").to_owned());
    let old: Vec<&Value> = before["ports"].as_array().into_iter().flatten().collect();
    for port in list_mut(spec, "ports") {
        let same = old.iter().find(|old| identity(old) == identity(port) && !old["nodePort"].is_null());
        if let Some(same) = same.filter(|_| port["nodePort"].is_null()) {
            port["nodePort"] = same["nodePort"].clone();
        }
    }
}

fn default_fields(spec: &mut Value) {
    set_default(spec, "type", json!("ClusterIP"));
    set_default(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        if spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null() {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10_800}});
        }
    } else {
        remove(spec, "sessionAffinityConfig");
    }
    for port in list_mut(spec, "ports") {
        set_default(port, "protocol", json!("TCP"));
        let target = port["port"].clone();
        set_default(port, "targetPort", target);
    }
    if spec["type"] != "ExternalName" {
        set_default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if is_externally_accessible(spec) {
        set_default(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if spec["type"] == "LoadBalancer" {
        set_default(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
}

fn is_externally_accessible(spec: &Value) -> bool {
    let external_ips = spec["externalIPs"].as_array().is_some_and(|list| !list.is_empty());
    matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) || external_ips
}

fn needs_health_check_port(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

fn drop_fields_of_other_types(spec: &mut Value) {
    let kind = spec["type"].as_str().unwrap_or("").to_owned();
    if kind == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            remove(spec, field);
        }
    }
    if !matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        for port in list_mut(spec, "ports") {
            remove(port, "nodePort");
        }
    }
    if !is_externally_accessible(spec) {
        remove(spec, "externalTrafficPolicy");
    }
    if kind != "LoadBalancer" {
        remove(spec, "allocateLoadBalancerNodePorts");
    }
    if !needs_health_check_port(spec) {
        remove(spec, "healthCheckNodePort");
    }
}

fn refuse_taken(taken: &Allocator, spec: &Value) -> Result<(), Refusal> {
    if let Some(address) = addresses_of(spec).find(|address| taken.addresses.contains(address)) {
        return Err(Refusal::invalid(format!(
            "spec.clusterIPs: {address}: provided IP is already allocated"
        )));
    }
    if let Some(port) = node_ports_of(spec).find(|port| taken.node_ports.contains(port)) {
        return Err(Refusal::invalid(format!(
            "spec.ports: nodePort {port}: provided port is already allocated"
        )));
    }
    Ok(())
}

fn allocate_addresses(allocator: &mut Allocator, spec: &mut Value) -> Result<(), Refusal> {
    if spec["type"] == "ExternalName" {
        return Ok(());
    }
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        match spec["clusterIPs"][0].as_str().map(str::to_owned) {
            Some(first) => spec["clusterIP"] = json!(first),
            None => remove(spec, "clusterIP"),
        }
    }
    if spec["clusterIPs"].as_array().is_none_or(Vec::is_empty) && !spec["clusterIP"].is_null() {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    let families = wanted_families(allocator, spec);
    if spec["clusterIP"] != "None" {
        let mut addresses: Vec<String> = strings(&spec["clusterIPs"]);
        for family in families.iter().skip(addresses.len()) {
            addresses.push(allocator.free_address(family)?.to_string());
        }
        spec["clusterIP"] = json!(addresses.first());
        spec["clusterIPs"] = json!(addresses);
    }
    let policy = if families.len() > 1 { "RequireDualStack" } else { "SingleStack" };
    set_default(spec, "ipFamilyPolicy", json!(policy));
    spec["ipFamilies"] = json!(families);
    Ok(())
}

/// Families follow from the addresses given, then from `ipFamilies`, then from the policy.
fn wanted_families(allocator: &Allocator, spec: &Value) -> Vec<String> {
    let mut families: Vec<String> = addresses_of(spec).map(|address| family_of(address).to_owned()).collect();
    for family in strings(&spec["ipFamilies"]) {
        if !families.contains(&family) {
            families.push(family);
        }
    }
    let served: Vec<String> =
        allocator.ranges.iter().map(|range| family_of(range.addr()).to_owned()).collect();
    let dual = matches!(spec["ipFamilyPolicy"].as_str(), Some("PreferDualStack" | "RequireDualStack"));
    let wanted = if dual { 2 } else { 1 };
    for family in served {
        if families.len() < wanted && !families.contains(&family) {
            families.push(family);
        }
    }
    families
}

fn allocate_node_ports(allocator: &mut Allocator, spec: &mut Value) -> Result<(), Refusal> {
    let wanted = match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    };
    if wanted {
        for port in list_mut(spec, "ports") {
            if port["nodePort"].as_u64().unwrap_or(0) == 0 {
                port["nodePort"] = json!(allocator.free_node_port()?);
            }
        }
    }
    if needs_health_check_port(spec) && spec["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
        spec["healthCheckNodePort"] = json!(allocator.free_node_port()?);
    }
    Ok(())
}

fn addresses_of(spec: &Value) -> impl Iterator<Item = IpAddr> {
    let many = strings(&spec["clusterIPs"]);
    let one = spec["clusterIP"].as_str().map(str::to_owned).filter(|_| many.is_empty());
    many.into_iter().chain(one).filter_map(|address| address.parse().ok())
}

/// The numbers of one Service, each once: TCP and UDP may share one.
fn node_ports_of(spec: &Value) -> impl Iterator<Item = u16> {
    let ports = spec["ports"].as_array().into_iter().flatten().map(|port| &port["nodePort"]);
    let numbers = ports.chain([&spec["healthCheckNodePort"]]).filter_map(Value::as_u64);
    let numbers: BTreeSet<u16> = numbers.filter_map(|n| u16::try_from(n).ok()).filter(|n| *n != 0).collect();
    numbers.into_iter()
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The objects in a list of `object`; going through an index would add a missing field as null.
fn list_mut<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten().filter(|item| item.is_object())
}

fn set_default(object: &mut Value, field: &str, default: Value) {
    if object[field].is_null() {
        object[field] = default;
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}

fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(number).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allocator() -> Allocator {
        Allocator::new(&["10.96.0.0/16", "fd00:10:96::/112"])
    }

    fn completed(spec: Value) -> Value {
        let mut object = json!({"kind": "Service", "spec": spec});
        complete(&mut allocator(), None, &mut object).unwrap();
        object["spec"].take()
    }

    #[test]
    fn a_minimal_service_is_completed_as_the_real_server_does() {
        assert_eq!(
            completed(json!({"ports": [{"port": 80}], "selector": {"app": "a"}})),
            json!({"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "selector": {"app": "a"},
                   "clusterIP": "10.96.1.0", "clusterIPs": ["10.96.1.0"], "type": "ClusterIP",
                   "sessionAffinity": "None", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
                   "internalTrafficPolicy": "Cluster"})
        );
    }

    #[test]
    fn a_local_load_balancer_gets_node_ports_and_a_health_check_port() {
        let spec = completed(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "ports": [{"port": 80}, {"port": 81, "protocol": "UDP", "nodePort": 30001}]}));
        assert_eq!(spec["ports"][0]["nodePort"], 30_086);
        assert_eq!(spec["ports"][1]["nodePort"], 30_001);
        assert_eq!(spec["healthCheckNodePort"], 30_087);
        let spec = completed(json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "ports": [{"port": 80}]}));
        assert!(spec["ports"][0]["nodePort"].is_null());
        assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    }

    #[test]
    fn dual_stack_and_headless() {
        let spec =
            completed(json!({"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6"], "ports": []}));
        assert_eq!(spec["clusterIPs"], json!(["fd00:10:96::100", "10.96.1.0"]));
        assert_eq!(spec["ipFamilies"], json!(["IPv6", "IPv4"]));
        let spec = completed(json!({"clusterIPs": ["10.96.0.9", "fd00:10:96::9"], "ports": []}));
        assert_eq!(spec["clusterIP"], "10.96.0.9");
        assert_eq!(spec["ipFamilyPolicy"], "RequireDualStack");
        let spec = completed(json!({"clusterIP": "None", "ports": [{"port": 1}]}));
        assert_eq!(spec["clusterIPs"], json!(["None"]));
        let spec = completed(json!({"type": "ExternalName", "externalName": "a.b"}));
        assert!(spec["clusterIP"].is_null() && spec["internalTrafficPolicy"].is_null());
        let spec = completed(json!({"sessionAffinity": "ClientIP", "ports": []}));
        assert_eq!(spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10_800);
        let spec = completed(json!({"externalIPs": ["203.0.113.9"], "ports": []}));
        assert_eq!(spec["externalTrafficPolicy"], "Cluster");
    }

    #[test]
    fn a_replacement_keeps_what_was_allocated_and_a_taken_number_is_refused() {
        let mut allocator = allocator();
        let mut first = json!({"kind": "Service", "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        complete(&mut allocator, None, &mut first).unwrap();
        let mut again =
            json!({"kind": "Service", "spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        complete(&mut allocator, Some(&first), &mut again).unwrap();
        assert_eq!(again["spec"]["clusterIP"], first["spec"]["clusterIP"]);
        assert_eq!(again["spec"]["ports"][0]["nodePort"], first["spec"]["ports"][0]["nodePort"]);
        let mut thief =
            json!({"kind": "Service", "spec": {"clusterIP": again["spec"]["clusterIP"], "ports": []}});
        assert_eq!(complete(&mut allocator, None, &mut thief).unwrap_err().code, 422);
        let mut plain = json!({"kind": "Service", "spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        complete(&mut allocator, Some(&again), &mut plain).unwrap();
        assert!(plain["spec"]["ports"][0]["nodePort"].is_null());
        assert!(allocator.node_ports.is_empty());
    }

    #[test]
    fn slices_get_names_protocols_and_conditions() {
        let mut slice = json!({"kind": "EndpointSlice", "ports": [{"port": 80}],
                               "endpoints": [{"addresses": ["10.1.2.3"]}]});
        complete(&mut allocator(), None, &mut slice).unwrap();
        assert_eq!(slice["ports"], json!([{"port": 80, "name": "", "protocol": "TCP"}]));
        assert_eq!(slice["endpoints"], json!([{"addresses": ["10.1.2.3"], "conditions": {}}]));
    }
}
