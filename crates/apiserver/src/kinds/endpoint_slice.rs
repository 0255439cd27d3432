//! Addresses of a Service.

use serde_json::Value;

use super::endpoints::{PROTOCOLS, wrong};
use super::rules::{Column, created, first_three, list, remove, text};
use super::{ALL_VERBS, Kind, Rules, Scope};
use crate::address;
use crate::meta::{self, immutable};
use crate::mistake::{Mistake, Path};
use crate::names;

/// Addresses of a Service.
pub(super) const KIND: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    type_name: "discovery.v1.EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "endpointslices",
    rules: RULES,
};

const RULES: Rules = Rules {
    defaults,
    prepare: |new| {
        new["metadata"]["generation"] = 1.into();
        forget_topology(new);
    },
    prepare_update,
    validate: |new| {
        let mut found = judge_slice(new);
        found.extend(judge_endpoints(new));
        found
    },
    validate_update,
    warnings,
    columns: &[
        Column::new("AddressType", "string", "What sort of addresses it has."),
        Column::new("Ports", "string", "The first ports."),
        Column::new("Endpoints", "string", "The first addresses."),
        Column::AGE,
    ],
    cells: |object, now| {
        let (ports, addresses) = (ports_shown(object), addresses_shown(object));
        vec![text(object, "/addressType").into(), ports.into(), addresses.into(), created(object, now)]
    },
    ..Rules::PLAIN
};

/// The most that a slice may have of each.
const MOST_ENDPOINTS: usize = 1000;
const MOST_ADDRESSES: usize = 100;
const MOST_PORTS: usize = 20_000;
const MOST_TOPOLOGY: usize = 16;
const MOST_HINTS: usize = 8;

fn defaults(object: &mut Value) {
    for port in object["ports"].as_array_mut().into_iter().flatten() {
        if !port["name"].is_string() {
            port["name"] = "".into();
        }
        if !port["protocol"].is_string() {
            port["protocol"] = "TCP".into();
        }
    }
}

/// The older version of the kind kept labels of nodes here; this one has fields for them.
fn forget_topology(new: &mut Value) {
    for endpoint in new["endpoints"].as_array_mut().into_iter().flatten() {
        remove(endpoint, "deprecatedTopology");
    }
}

fn prepare_update(new: &mut Value, old: &Value) {
    let part = |object: &Value, field: &str| object.get(field).cloned().unwrap_or_default();
    let is_changed =
        ["addressType", "endpoints", "ports"].iter().any(|field| part(new, field) != part(old, field))
            || part(&new["metadata"], "labels") != part(&old["metadata"], "labels");
    let generation = old["metadata"]["generation"].as_i64().unwrap_or(0);
    new["metadata"]["generation"] = generation.saturating_add(i64::from(is_changed)).into();
    if part(new, "endpoints") != part(old, "endpoints") {
        forget_topology(new);
    }
}

fn validate_update(new: &Value, old: &Value) -> Vec<Mistake> {
    let mut found = judge_slice(new);
    // Addresses that were allowed once may stay.
    if new["endpoints"] != old["endpoints"] {
        found.extend(judge_endpoints(new));
    }
    found.extend(immutable(&new["addressType"], &old["addressType"], &Path::new("addressType")));
    found
}

fn judge_slice(object: &Value) -> Vec<Mistake> {
    let (kind, path) = (text(object, "/addressType"), Path::new("addressType"));
    let mut found = Vec::new();
    let kinds = ["FQDN", "IPv4", "IPv6"];
    if kind.is_empty() {
        found.push(Mistake::required(&path, ""));
    } else if !kinds.contains(&kind) {
        found.push(Mistake::not_supported(&path, kind, &kinds));
    }
    let (ports, path) = (list(object, "/ports"), Path::new("ports"));
    if ports.len() > MOST_PORTS {
        found.push(Mistake::too_many(&path, ports.len(), MOST_PORTS));
        return found;
    }
    let mut names = std::collections::BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let is_new = names.insert(text(port, "/name"));
        found.extend(judge_port(port, is_new, &path.index(at)));
    }
    found
}

fn judge_port(port: &Value, is_new: bool, path: &Path) -> Vec<Mistake> {
    let name = text(port, "/name");
    let mut found = Vec::new();
    if !name.is_empty() {
        found.extend(wrong(names::dns_label(name), name, &path.child("name")));
    }
    if !is_new {
        found.push(Mistake::duplicate(&path.child("name"), name));
    }
    let protocol = text(port, "/protocol");
    if !PROTOCOLS.contains(&protocol) {
        found.push(Mistake::not_supported(&path.child("protocol"), protocol, &PROTOCOLS));
    }
    if let Some(application) = port["appProtocol"].as_str() {
        found.extend(wrong(names::qualified_name(application), application, &path.child("appProtocol")));
    }
    found
}

fn judge_endpoints(object: &Value) -> Vec<Mistake> {
    let (endpoints, path) = (list(object, "/endpoints"), Path::new("endpoints"));
    if endpoints.len() > MOST_ENDPOINTS {
        return vec![Mistake::too_many(&path, endpoints.len(), MOST_ENDPOINTS)];
    }
    let kind = text(object, "/addressType");
    let each = endpoints.iter().enumerate();
    each.flat_map(|(at, endpoint)| judge_endpoint(endpoint, kind, &path.index(at))).collect()
}

fn judge_endpoint(endpoint: &Value, kind: &str, path: &Path) -> Vec<Mistake> {
    let (addresses, at) = (list(endpoint, "/addresses"), path.child("addresses"));
    let mut found = Vec::new();
    if addresses.is_empty() {
        found.push(Mistake::required(&at, "must contain at least 1 address"));
    } else if addresses.len() > MOST_ADDRESSES {
        found.push(Mistake::too_many(&at, addresses.len(), MOST_ADDRESSES));
    }
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        found.extend(judge_address(address, kind, (&at, index)));
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        found.extend(wrong(names::dns_subdomain(node), node, &path.child("nodeName")));
    }
    let (topology, at) = (&endpoint["deprecatedTopology"], path.child("deprecatedTopology"));
    let count = topology.as_object().map_or(0, serde_json::Map::len);
    if count > MOST_TOPOLOGY {
        found.push(Mistake::too_many(&at, count, MOST_TOPOLOGY));
    }
    found.extend(meta::labels(topology, &at));
    if let Some(hostname) = endpoint["hostname"].as_str() {
        found.extend(wrong(names::dns_label(hostname), hostname, &path.child("hostname")));
    }
    for (field, judge) in
        [("forZones", names::label_value as fn(&str) -> _), ("forNodes", names::dns_subdomain)]
    {
        found.extend(judge_hints(
            list(&endpoint["hints"][field], ""),
            judge,
            &path.child("hints").child(field),
        ));
    }
    found
}

fn judge_address(address: &str, kind: &str, (path, index): (&Path, usize)) -> Vec<Mistake> {
    let at = path.index(index);
    if kind == "FQDN" {
        if address.is_empty() {
            return vec![Mistake::required(&at, "")];
        }
        let wrong = names::host_name(address).into_iter();
        return wrong.map(|(part, why)| Mistake::invalid(&at, part, why)).collect();
    }
    let is_other_family = match kind {
        "IPv4" => address.contains(':'),
        "IPv6" => !address.contains(':'),
        _ => return Vec::new(),
    };
    let mut found = address::address(address, &at);
    if !found.is_empty() {
        return found;
    }
    if is_other_family {
        found.push(Mistake::invalid(path, address, format!("must be an {kind} address")));
    }
    found.extend(address::endpoint(address, &at));
    found
}

fn judge_hints(hints: &[Value], judge: fn(&str) -> Vec<String>, path: &Path) -> Vec<Mistake> {
    if hints.len() > MOST_HINTS {
        return vec![Mistake::too_many(path, hints.len(), MOST_HINTS)];
    }
    let mut names = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for (at, hint) in hints.iter().enumerate() {
        let (name, at) = (text(hint, "/name"), path.index(at).child("name"));
        if !names.insert(name) {
            found.push(Mistake::duplicate(&at, name));
        }
        found.extend(wrong(judge(name), name, &at));
    }
    found
}

/// What the controllers of Kubernetes write is not warned of: they know what they do.
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_none() && text(new, "/addressType") == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let manager = new["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].as_str();
    if manager.is_some_and(|manager| CONTROLLERS.contains(&manager)) {
        return warnings;
    }
    for (at, endpoint) in list(new, "/endpoints").iter().enumerate() {
        let path = Path::new("endpoints").index(at).child("addresses");
        let each = list(endpoint, "/addresses").iter().filter_map(Value::as_str).enumerate();
        warnings.extend(each.filter_map(|(at, address)| address::warning(address, &path.index(at))));
    }
    warnings
}

fn ports_shown(object: &Value) -> String {
    let shown = |port: &Value| match (port["port"].as_i64(), port["name"].as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    let all: Vec<String> = list(object, "/ports").iter().map(shown).collect();
    or_unset(first_three(&all))
}

fn addresses_shown(object: &Value) -> String {
    let addresses = list(object, "/endpoints").iter().flat_map(|endpoint| list(endpoint, "/addresses"));
    let all: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    or_unset(first_three(&all))
}

fn or_unset(shown: String) -> String {
    if shown.is_empty() { "<unset>".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn hints_are_few_and_different() {
        let check = |hints: Value, wanted: &str| {
            let endpoint = json!({"addresses": ["10.0.0.1"], "hints": hints});
            let slice = json!({"addressType": "IPv4", "endpoints": [endpoint]});
            assert_eq!(aggregate(&(RULES.validate)(&slice)), wanted);
        };
        check(json!({"forZones": [{"name": "a"}], "forNodes": [{"name": "a"}]}), "[]");
        check(
            json!({"forZones": [{"name": "a"}, {"name": "a"}]}),
            "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"",
        );
        check(
            json!({"forNodes": vec![json!({"name": "a"}); 9]}),
            "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
        );
    }

    #[test]
    fn the_generation_counts_what_changed() {
        let old = json!({"metadata": {"generation": 3}, "addressType": "IPv4", "endpoints": null});
        let check = |field: &str, value: Value, wanted: i64| {
            let mut new = old.clone();
            new["metadata"] = json!({"annotations": {"a": "b"}});
            *new.pointer_mut(field).unwrap() = value;
            prepare_update(&mut new, &old);
            assert_eq!(new["metadata"]["generation"], wanted, "{field}");
        };
        check("/metadata", json!({"generation": 9}), 3);
        check("/metadata", json!({"labels": {"a": "b"}}), 4);
        check("/endpoints", json!([{"addresses": ["10.0.0.1"]}]), 4);
        let last = json!({"metadata": {"generation": i64::MAX}, "endpoints": null});
        let mut new = json!({"metadata": {}, "endpoints": []});
        prepare_update(&mut new, &last);
        assert_eq!(new["metadata"]["generation"], i64::MAX);
    }

    #[test]
    fn the_type_of_addresses_stays() {
        let old = json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]});
        let new = json!({"addressType": "IPv6", "endpoints": [{"addresses": ["127.0.0.1"]}]});
        let found = aggregate(&validate_update(&new, &old));
        assert_eq!(found, "addressType: Invalid value: \"IPv6\": field is immutable");
        let new =
            json!({"addressType": "x", "ports": [{"name": "a", "protocol": "TCP", "appProtocol": "/"}]});
        let found = aggregate(&judge_slice(&new));
        let supported = "Unsupported value: \"x\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"";
        assert!(found.starts_with(&format!("[addressType: {supported}, ports[0].appProtocol: ")), "{found}");
    }

    #[test]
    fn people_are_warned_of_addresses_in_other_forms() {
        let slice = |manager: &str| {
            json!({"metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": manager}},
                   "endpoints": [{"addresses": ["fd00:0::1"]}]})
        };
        let wanted = "endpoints[0].addresses[0]: IPv6 address \"fd00:0::1\" should be in RFC 5952 canonical format \
                      (\"fd00::1\")";
        assert_eq!(warnings(&slice("me"), None), [wanted]);
        assert!(warnings(&slice(CONTROLLERS[0]), None).is_empty());
    }
}
