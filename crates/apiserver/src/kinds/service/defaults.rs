//! What a Service says when it says nothing.

use serde_json::{Value, json};

use super::spec::{Spec, fields};

/// Fills in what was not given.
pub(super) fn complete(service: &mut Value) {
    for port in list(service, "/spec/ports") {
        complete_port(port);
    }
    let spec = fields(service);
    let set = |spec: &mut serde_json::Map<String, Value>, name: &str, value: Value| {
        if spec.get(name).is_none_or(|value| value.as_str() == Some("")) {
            spec.insert(name.to_owned(), value);
        }
    };
    set(spec, "sessionAffinity", "None".into());
    set(spec, "type", "ClusterIP".into());
    if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    }
    if spec["sessionAffinity"] == "ClientIP" {
        let timeout =
            spec.get("sessionAffinityConfig").and_then(|config| config.pointer("/clientIP/timeoutSeconds"));
        if !timeout.is_some_and(Value::is_number) {
            spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10_800}}));
        }
    }
    let read = Spec::of(service);
    let (is_external, is_load_balancer) = (read.is_external(), read.is("LoadBalancer"));
    let is_internal = read.has_node_ports() || read.is("ClusterIP");
    let spec = fields(service);
    if is_external {
        set(spec, "externalTrafficPolicy", "Cluster".into());
    }
    // Unlike the others this one can be empty and given.
    if is_internal && !spec.contains_key("internalTrafficPolicy") {
        spec.insert("internalTrafficPolicy".to_owned(), "Cluster".into());
    }
    if is_load_balancer {
        spec.entry("allocateLoadBalancerNodePorts").or_insert(Value::Bool(true));
        complete_status(service);
    }
}

fn list<'a>(service: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    service.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

fn complete_port(port: &mut Value) {
    if port["protocol"].as_str().unwrap_or_default().is_empty() {
        port["protocol"] = "TCP".into();
    }
    let target = &port["targetPort"];
    if target.is_null() || target == 0 || target == "" {
        port["targetPort"] = port["port"].clone();
    }
}

fn complete_status(service: &mut Value) {
    for one in list(service, "/status/loadBalancer/ingress") {
        let has_address = one["ip"].as_str().is_some_and(|ip| !ip.is_empty());
        if has_address && one.get("ipMode").is_none() {
            one["ipMode"] = "VIP".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: Value, wanted: Value) {
        let mut service = json!({"spec": given, "status": {"loadBalancer": {}}});
        complete(&mut service);
        assert_eq!(service["spec"], wanted);
        let once = service.clone();
        complete(&mut service);
        assert_eq!(service, once, "it matters how often");
    }

    #[test]
    fn what_is_not_given_is_filled_in() {
        check(
            json!({}),
            json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"}),
        );
        check(
            json!({"type": "ExternalName", "sessionAffinityConfig": {}}),
            json!({"type": "ExternalName", "sessionAffinity": "None"}),
        );
        check(
            json!({"sessionAffinity": "ClientIP", "ports": [{"port": 80, "targetPort": ""}, {"port": 53, "targetPort": "dns", "protocol": "UDP"}]}),
            json!({"type": "ClusterIP", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
                   "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10_800}},
                   "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"},
                             {"port": 53, "targetPort": "dns", "protocol": "UDP"}]}),
        );
        check(
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "internalTrafficPolicy": "Local"}),
            json!({"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "internalTrafficPolicy": "Local",
                   "sessionAffinity": "None", "externalTrafficPolicy": "Cluster"}),
        );
    }
}
