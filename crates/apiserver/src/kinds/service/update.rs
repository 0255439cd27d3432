//! How a Service changes: what clients leave out stays, what does not go with its new type is dropped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::spec::{Spec, fields, node_port, set_node_port};

/// Takes over what was given to the Service and the client does not name: so a client can write again what it wrote
/// first.
pub(super) fn keep_allocated(new: &mut Value, old: &Value) {
    let (was, is) = (Spec::of(old), Spec::of(new));
    let keeps_address = !was.is_external_name() && !is.is_external_name();
    let keeps_ports = was.wants_node_ports() && is.wants_node_ports();
    let keeps_health_port = was.needs_health_check() && is.needs_health_check();
    let mut keep = |field: &str| {
        let is_empty = match fields(new).get(field) {
            None => true,
            Some(value) => value == "" || value == 0 || *value == json!([]),
        };
        if let Some(value) = was.field(field).filter(|_| is_empty) {
            fields(new).insert(field.to_owned(), value.clone());
        }
    };
    if keeps_address {
        keep("clusterIP");
        keep("clusterIPs");
    }
    if keeps_health_port {
        keep("healthCheckNodePort");
    }
    if keeps_ports {
        keep_node_ports(new, old);
    }
}

/// A port is the same as before if its name is.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    let before: BTreeSet<i64> = Spec::of(old).node_ports().into_iter().collect();
    let asked: BTreeSet<i64> =
        Spec::of(new).node_ports().into_iter().filter(|number| before.contains(number)).collect();
    // Of several with a name the last one counts.
    let by_name: BTreeMap<String, i64> =
        Spec::of(old).ports().iter().map(|port| (name(port), node_port(port))).collect();
    let kept = |port: &Value| {
        let same = by_name.get(&name(port)).copied();
        same.filter(|number| node_port(port) == 0 && !asked.contains(number))
    };
    let kept: Vec<Option<i64>> = Spec::of(new).ports().iter().map(kept).collect();
    for (at, number) in kept.into_iter().enumerate() {
        if let Some(number) = number {
            set_node_port(new, at, number);
        }
    }
}

/// Makes `clusterIP` and `clusterIPs` agree where it is clear what the client means; it may know only the first.
pub(super) fn join_cluster_ips(new: &mut Value, old: Option<&Value>) {
    let single = Spec::of(new).text("clusterIP").to_owned();
    let is_same =
        old.is_some_and(|old| Spec::of(old).texts("clusterIPs") == Spec::of(new).texts("clusterIPs"));
    let Some(old) = old.map(Spec::of) else {
        if !single.is_empty() && Spec::of(new).texts("clusterIPs").is_empty() {
            fields(new).insert("clusterIPs".to_owned(), json!([single]));
        }
        return;
    };
    let before = old.text("clusterIP");
    if before == single {
        if let Some(all) = old.field("clusterIPs").filter(|_| Spec::of(new).texts("clusterIPs").is_empty()) {
            fields(new).insert("clusterIPs".to_owned(), all.clone());
        }
    } else if is_same && single.is_empty() {
        fields(new).remove("clusterIPs");
    } else if is_same {
        fields(new).insert("clusterIPs".to_owned(), json!([single]));
    }
}

/// Takes back the status, and drops what the old type had and the new one cannot have, unless the client changed it too.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    match old.get("status") {
        Some(status) => new["status"] = status.clone(),
        None => new["status"] = json!({"loadBalancer": {}}),
    }
    for field in to_drop(new, old) {
        fields(new).remove(field);
    }
    if drops_node_ports(new, old) {
        for at in 0..Spec::of(new).ports().len() {
            set_node_port(new, at, 0);
        }
    }
    if !Spec::of(new).is("LoadBalancer") {
        new["status"]["loadBalancer"] = json!({});
    }
}

fn to_drop(new: &Value, old: &Value) -> Vec<&'static str> {
    let (was, is) = (Spec::of(old), Spec::of(new));
    let same = |field: &&str| was.field(field) == is.field(field);
    let mut drop = Vec::new();
    if !was.is_external_name() && is.is_external_name() {
        if ["clusterIP", "clusterIPs"].iter().all(same) {
            drop.extend(["clusterIP", "clusterIPs"]);
        }
        drop.extend(["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if was.needs_health_check() && !is.needs_health_check() {
        drop.push("healthCheckNodePort");
    }
    if was.is("LoadBalancer") && !is.is("LoadBalancer") {
        drop.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if was.is_external() && !is.is_external() {
        drop.push("externalTrafficPolicy");
    }
    drop.into_iter().filter(|field| same(field)).collect()
}

fn drops_node_ports(new: &Value, old: &Value) -> bool {
    let (was, is) = (Spec::of(old), Spec::of(new));
    let before: BTreeSet<i64> = was.node_ports().into_iter().collect();
    was.has_node_ports()
        && !is.has_node_ports()
        && is.node_ports().iter().all(|number| before.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_keep_their_numbers_by_name() {
        let old = json!({"spec": {"type": "NodePort", "ports": [
            {"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [
            {"name": "b", "port": 90}, {"name": "c", "port": 82}, {"name": "a", "port": 83},
            {"name": "d", "port": 84, "nodePort": 30001}]}});
        keep_allocated(&mut new, &old);
        assert_eq!(Spec::of(&new).ports().iter().map(node_port).collect::<Vec<_>>(), [30002, 0, 0, 30001]);
    }

    #[test]
    fn cluster_ips_are_joined() {
        let of = |one: &str, all: &[&str]| json!({"spec": {"clusterIP": one, "clusterIPs": all}});
        let check = |mut new: Value, old: Option<Value>, wanted: &[&str]| {
            join_cluster_ips(&mut new, old.as_ref());
            assert_eq!(Spec::of(&new).texts("clusterIPs"), wanted, "{old:?}");
        };
        check(of("a", &[]), None, &["a"]);
        check(of("", &["a"]), None, &["a"]);
        check(of("a", &[]), Some(of("a", &["a", "b"])), &["a", "b"]);
        check(of("", &["a", "b"]), Some(of("a", &["a", "b"])), &[]);
        check(of("None", &["a"]), Some(of("a", &["a"])), &["None"]);
        check(of("x", &["y"]), Some(of("a", &["a"])), &["y"]);
    }
}
