//! Addresses of a Service, the old way.

use serde_json::Value;

use super::rules::{Column, created, first_three, list, text};
use super::{ALL_VERBS, Kind, Rules, Scope};
use crate::address;
use crate::mistake::{Mistake, Path};
use crate::names;

/// Addresses of a Service, the old way.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Endpoints",
    type_name: "core.v1.Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    selectable: &[],
    table: "endpoints",
    rules: RULES,
};

const RULES: Rules = Rules {
    defaults,
    validate,
    validate_update: |new, old| match new.get("subsets") == old.get("subsets") {
        // Older versions allowed more.
        true => Vec::new(),
        false => validate(new),
    },
    is_created_by_update: true,
    deprecation: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
    columns: &[Column::new("Endpoints", "string", "The first addresses that are ready."), Column::AGE],
    cells: |object, now| vec![shown(object).into(), created(object, now)],
    ..Rules::PLAIN
};

fn defaults(object: &mut Value) {
    for subset in object["subsets"].as_array_mut().into_iter().flatten() {
        for port in subset["ports"].as_array_mut().into_iter().flatten() {
            if text(port, "/protocol").is_empty() {
                port["protocol"] = "TCP".into();
            }
        }
        if subset["ports"].is_null() {
            super::rules::remove(subset, "ports");
        }
    }
    if object["subsets"].is_null() {
        super::rules::remove(object, "subsets");
    }
}

fn validate(object: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (at, subset) in list(object, "/subsets").iter().enumerate() {
        let path = Path::new("subsets").index(at);
        let groups = ["addresses", "notReadyAddresses"].map(|field| (field, list(&subset[field], "")));
        if groups.iter().all(|(_, addresses)| addresses.is_empty()) {
            found.push(Mistake::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (field, addresses) in groups {
            let each = addresses.iter().enumerate();
            found.extend(each.flat_map(|(at, address)| judge_address(address, &path.child(field).index(at))));
        }
        let ports = list(subset, "/ports");
        for (at, port) in ports.iter().enumerate() {
            found.extend(judge_port(port, ports.len() > 1, &path.child("ports").index(at)));
        }
    }
    found
}

fn judge_address(one: &Value, path: &Path) -> Vec<Mistake> {
    let (ip, at) = (text(one, "/ip"), path.child("ip"));
    let mut found = address::address(ip, &at);
    let hostname = text(one, "/hostname");
    if !hostname.is_empty() {
        found.extend(wrong(names::dns_label(hostname), hostname, &path.child("hostname")));
    }
    if let Some(node) = one["nodeName"].as_str() {
        found.extend(wrong(names::dns_subdomain(node), node, &path.child("nodeName")));
    }
    found.extend(address::endpoint(ip, &at));
    found
}

/// Each reason, as a mistake.
pub(super) fn wrong(whys: Vec<String>, text: &str, path: &Path) -> Vec<Mistake> {
    whys.into_iter().map(|why| Mistake::invalid(path, text, why)).collect()
}

/// The protocols of ports.
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

fn judge_port(port: &Value, needs_name: bool, path: &Path) -> Vec<Mistake> {
    let name = text(port, "/name");
    let mut found = match (name.is_empty(), needs_name) {
        (true, true) => vec![Mistake::required(&path.child("name"), "")],
        (true, false) => Vec::new(),
        (false, _) => wrong(names::dns_label(name), name, &path.child("name")),
    };
    let number = port["port"].as_i64().unwrap_or(0);
    let whys = names::port_number(number).into_iter();
    found.extend(whys.map(|why| Mistake::invalid(&path.child("port"), number, why)));
    let protocol = text(port, "/protocol");
    if protocol.is_empty() {
        found.push(Mistake::required(&path.child("protocol"), ""));
    } else if !PROTOCOLS.contains(&protocol) {
        found.push(Mistake::not_supported(&path.child("protocol"), protocol, &PROTOCOLS));
    }
    if let Some(application) = port["appProtocol"].as_str() {
        found.extend(wrong(names::qualified_name(application), application, &path.child("appProtocol")));
    }
    found
}

fn shown(object: &Value) -> String {
    let subsets = list(object, "/subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in subsets {
        let addresses = list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            all.extend(addresses.map(str::to_owned));
            continue;
        }
        for port in ports {
            let port = port["port"].as_i64().unwrap_or(0);
            all.extend(addresses.clone().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{port}"),
                false => format!("{ip}:{port}"),
            }));
        }
    }
    first_three(&all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn the_first_three_are_shown() {
        let check = |subsets: Value, wanted: &str| assert_eq!(shown(&json!({"subsets": subsets})), wanted);
        check(json!([]), "<none>");
        check(json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}]}]), "");
        check(json!([{"addresses": [{"ip": "10.0.0.1"}]}]), "10.0.0.1");
        let addresses = json!([{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]);
        check(
            json!([{"addresses": addresses, "ports": [{"port": 80}, {"port": 81}]}]),
            "10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more...",
        );
    }

    #[test]
    fn what_was_allowed_once_may_stay() {
        let old = json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]});
        assert_eq!((RULES.validate_update)(&old, &old), []);
        let new = json!({"subsets": [{"addresses": [{"ip": "127.0.0.2", "nodeName": "N"}], "ports": [{"port": 1}]}]});
        let found = aggregate(&(RULES.validate_update)(&new, &old));
        assert!(
            found.starts_with("[subsets[0].addresses[0].nodeName: Invalid value: \"N\": a lowercase"),
            "{found}"
        );
        assert!(found.ends_with("subsets[0].ports[0].protocol: Required value]"), "{found}");
    }
}
