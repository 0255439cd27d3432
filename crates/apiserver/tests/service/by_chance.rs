//! Services are made, changed and deleted by chance, in small ranges that are often full: nothing is ever given twice, and what
//! is noted is always what Services say.

use std::collections::BTreeMap;

use apiserver::allocate::{NodePorts, repair};
use apiserver::kinds::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::server::{Server, Target};

const FAMILIES: &[&[&str]] = &[&[], &["IPv4"], &["IPv6"], &["IPv4", "IPv6"], &["IPv6", "IPv4"]];

#[derive(Debug, Clone)]
enum Step {
    /// Made if it is not there, or else changed: the fields that are not `None` are sent.
    Write {
        name: u8,
        spec: Value,
        keeps: bool,
    },
    Delete(u8),
}

fn port() -> impl Strategy<Value = Value> {
    let number = prop::option::weighted(0.4, 30_000..30_014_u16);
    (1..4_u8, prop::sample::select(vec!["TCP", "UDP"]), number).prop_map(|(port, protocol, number)| {
        let mut value =
            json!({"name": format!("{}{port}", protocol.to_lowercase()), "port": port, "protocol": protocol});
        if let Some(number) = number {
            value["nodePort"] = number.into();
        }
        value
    })
}

fn spec() -> impl Strategy<Value = Value> {
    let kinds = vec!["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    let policies = vec!["", "SingleStack", "PreferDualStack", "RequireDualStack"];
    let address = prop::option::weighted(
        0.3,
        prop_oneof![
            (1..14_u8).prop_map(|last| format!("10.0.0.{last}")),
            (1..15_u8).prop_map(|last| format!("fd00::{last:x}")),
            Just("None".to_owned()),
        ],
    );
    let health = prop::option::weighted(0.2, 30_000..30_014_u16);
    (
        prop::sample::select(kinds),
        prop::sample::select(policies),
        prop::sample::select(FAMILIES),
        address,
        prop::collection::vec(port(), 1..4),
        (any::<bool>(), any::<bool>(), health),
    )
        .prop_map(|(kind, policy, families, address, ports, (is_local, allocates, health))| {
            let mut spec = json!({"type": kind, "ports": ports});
            let mut set = |field: &str, value: Value| spec[field] = value;
            if kind == "ExternalName" {
                set("externalName", "x.example.com".into());
            } else {
                if !policy.is_empty() {
                    set("ipFamilyPolicy", policy.into());
                }
                if !families.is_empty() {
                    set("ipFamilies", json!(families));
                }
                if let Some(address) = address {
                    set("clusterIP", address.into());
                }
            }
            if kind == "LoadBalancer" {
                set("allocateLoadBalancerNodePorts", allocates.into());
            }
            if is_local && ["NodePort", "LoadBalancer"].contains(&kind) {
                set("externalTrafficPolicy", "Local".into());
            }
            if let Some(health) = health.filter(|_| kind == "LoadBalancer" && is_local) {
                set("healthCheckNodePort", health.into());
            }
            spec
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..8_u8, spec(), any::<bool>()).prop_map(|(name, spec, keeps)| Step::Write { name, spec, keeps }),
        1 => (0..8_u8).prop_map(Step::Delete),
    ]
}

/// What every Service says that it has: address or port, and who.
fn said(server: &Server) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let mut note = |what: String, who: &str| {
        let before = said.insert(what.clone(), who.to_owned());
        assert!(
            before.as_deref().is_none_or(|before| before == who),
            "{what} is given to {before:?} and {who}"
        );
    };
    for (key, bytes) in server.list("services") {
        let service: Value = serde_json::from_slice(&bytes).unwrap();
        let spec = &service["spec"];
        let texts = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
        let addresses = texts("clusterIPs");
        for address in addresses.iter().filter(|address| **address != "None") {
            note(format!("address {}", address.as_str().unwrap()), &key);
        }
        let has_address = spec["type"] != "ExternalName";
        assert_eq!(addresses.is_empty(), !has_address, "{service:#}");
        if addresses.first().is_some_and(|first| first != "None") {
            assert_eq!(addresses.len(), texts("ipFamilies").len(), "{service:#}");
        }
        // What an ExternalName says about ports of the nodes means nothing.
        let ports = if has_address { texts("ports") } else { Vec::new() };
        let ports = ports.into_iter().map(|port| port["nodePort"].clone());
        for number in ports.chain([spec["healthCheckNodePort"].clone()]).filter_map(|number| number.as_i64())
        {
            note(format!("port {number}"), &key);
        }
    }
    said
}

/// What is noted as taken.
fn noted(server: &Server) -> BTreeMap<String, String> {
    let addresses = server.list("ipaddresses").into_iter().map(|(key, bytes)| {
        let object: Value = serde_json::from_slice(&bytes).unwrap();
        let text = |field: &str| object["spec"]["parentRef"][field].as_str().unwrap().to_owned();
        (format!("address {key}"), format!("{}/{}", text("namespace"), text("name")))
    });
    let ports = server.list("allocated-nodeports").into_iter();
    let ports = ports.map(|(key, who)| (format!("port {key}"), String::from_utf8(who.to_vec()).unwrap()));
    addresses.chain(ports).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice(steps in prop::collection::vec(step(), 1..50), seed in any::<u8>()) {
        let ports = NodePorts { first: 30_000, last: 30_011 };
        let mut server = Server::new(&["10.0.0.0/28", "fd00::/124"], ports, seed);
        let kind = Kind::find("", "v1", "services").unwrap();
        for step in steps {
            let name = match &step {
                Step::Write { name, .. } | Step::Delete(name) => format!("s{name}"),
            };
            let target = Target { kind, namespace: "ns", name: &name, is_status: false, is_dry_run: false };
            match step {
                Step::Delete(_) => drop(server.delete(&target)),
                Step::Write { spec, keeps, .. } => {
                    let old = server.get(kind, "ns", &name).filter(|_| keeps);
                    let mut body = old.unwrap_or_else(|| json!({"metadata": {"name": name}, "spec": {}}));
                    for (field, value) in spec.as_object().unwrap() {
                        body["spec"][field] = value.clone();
                    }
                    let answer = server.put(&target, &body.to_string());
                    prop_assert!([200, 201, 422, 500].contains(&answer.code), "{:#}", answer.body);
                    if answer.code == 500 {
                        let why = answer.body["message"].as_str().unwrap().to_owned();
                        prop_assert!(why.ends_with(": range is full"), "{why}");
                    }
                }
            }
            prop_assert_eq!(said(&server), noted(&server));
        }
        let repaired = server.write(|writing| Ok(repair(writing))).unwrap();
        prop_assert!(repaired.is_empty(), "{repaired:?}");
    }
}

/// Four clients at once want more than there is.
#[test]
fn clients_at_once_get_different_things() {
    let ports = NodePorts { first: 30_000, last: 30_039 };
    let mut server = Server::new(&["10.0.0.0/26"], ports, 5);
    let client = |mut server: Server, of: usize| {
        move || {
            let kind = Kind::find("", "v1", "services").unwrap();
            for at in 0..24 {
                let name = format!("s{of}-{at}");
                let target =
                    Target { kind, namespace: "ns", name: &name, is_status: false, is_dry_run: false };
                let body = json!({"metadata": {"name": name},
                                  "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
                let answer = server.put(&target, &body.to_string());
                assert!([201, 500].contains(&answer.code), "{:#}", answer.body);
                if at % 3 == 0 {
                    server.delete(&target);
                }
            }
        }
    };
    let threads: Vec<_> = (0..4).map(|of| std::thread::spawn(client(server.client(), of))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let said = said(&server);
    assert_eq!(said.keys().filter(|what| what.starts_with("port")).count(), 40, "all ports are given");
    assert_eq!(said, noted(&server));
}
