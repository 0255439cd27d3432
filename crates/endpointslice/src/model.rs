//! Random histories of a Service, its pods and nodes: the slices are what a naive specification wants, a second look
//! changes nothing, and one change writes little.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::names::Names;
use crate::nodes::Nodes;
use crate::object::{Pod, Slice};
use crate::reconcile::{Action, Situation, reconcile};

/// What there is, as the API server has it.
#[derive(Debug, Default)]
struct World {
    service: Value,
    pods: BTreeMap<String, Value>,
    nodes: BTreeMap<String, Value>,
    slices: BTreeMap<String, Value>,
    revision: u64,
    created: u64,
}

/// One change; numbers say what and how.
type Change = (u8, u8, u8);

impl World {
    fn new() -> Self {
        let mut world = Self { service: service(0), ..Self::default() };
        (0..3).for_each(|number| world.put_node(number, 0));
        world
    }

    /// Answers how many slices of a family it may write: one place that endpoints leave, and one that they come to.
    fn change(&mut self, (what, which, how): Change) -> usize {
        match what % 8 {
            0..=3 => {
                let name = format!("p{:03}", which % 120);
                let pod = pod(&name, how);
                self.pods.insert(name, pod);
                2
            }
            4 => {
                self.pods.remove(&format!("p{:03}", which % 120));
                1
            }
            5 => {
                for number in 0..which {
                    let name = format!("p{number:03}");
                    self.pods.insert(name.clone(), pod(&name, how));
                }
                usize::MAX
            }
            6 => {
                self.put_node(which % 3, how);
                usize::MAX
            }
            _ => {
                self.service = service(how);
                usize::MAX
            }
        }
    }

    fn put_node(&mut self, number: u8, how: u8) {
        let name = format!("n{number}");
        if how % 5 == 4 {
            self.nodes.remove(&name);
            return;
        }
        let labels = if how % 5 == 3 {
            json!({})
        } else {
            json!({"topology.kubernetes.io/zone": format!("z{}", (number % 3 + how % 3) % 3)})
        };
        let node = json!({
            "metadata": {"name": name, "labels": labels},
            "status": {"allocatable": {"cpu": (1 + how % 4).to_string()},
                       "conditions": [{"type": "Ready", "status": "True"}]},
        });
        self.nodes.insert(name, node);
    }

    fn reconcile(&self) -> Vec<Action> {
        let mut names = Names::default();
        let mut nodes = Nodes::default();
        for node in self.nodes.values() {
            nodes.put(names.node(&read(node)));
        }
        let pods: Vec<Pod> = self.pods.values().map(|pod| names.pod(&read(pod))).collect();
        let slices: Vec<Slice> = self.slices.values().map(|slice| names.slice(&read(slice))).collect();
        let service = names.service(&read(&self.service));
        let (pods, slices): (Vec<&Pod>, Vec<&Slice>) = (pods.iter().collect(), slices.iter().collect());
        let situation =
            Situation { service: &service, pods: &pods, nodes: &nodes, slices: &slices, trigger: None };
        reconcile(&situation).actions
    }

    fn apply(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.revision += 1;
            match action {
                Action::Create(mut slice) => {
                    self.created += 1;
                    let name = format!("s{:04}", self.created);
                    slice["metadata"]["name"] = name.as_str().into();
                    slice["metadata"]["resourceVersion"] = self.revision.to_string().into();
                    self.slices.insert(name, slice);
                }
                Action::Patch { name, patch } => {
                    let slice = self.slices.get_mut(&*name).unwrap();
                    let (found, wanted) =
                        (&slice["metadata"]["resourceVersion"], &patch["metadata"]["resourceVersion"]);
                    assert_eq!(found, wanted, "a patch of what was not seen");
                    merge(slice, &patch);
                    slice["metadata"]["resourceVersion"] = self.revision.to_string().into();
                }
                Action::Delete { name } => assert!(self.slices.remove(&*name).is_some()),
            }
        }
    }

    /// Family, ports and endpoint of everything that is to be there. Proportional hints are left out: they are not for one
    /// endpoint to tell.
    fn wanted(&self) -> BTreeSet<String> {
        let spec = &self.service["spec"];
        let mut wanted = BTreeSet::new();
        for pod in self.pods.values() {
            let status = &pod["status"];
            let node = self.nodes.get(pod["spec"]["nodeName"].as_str().unwrap());
            if matches!(status["phase"].as_str(), Some("Failed" | "Succeeded"))
                || (node.is_none() && spec["publishNotReadyAddresses"] != true)
            {
                continue;
            }
            for family in spec["ipFamilies"].as_array().unwrap() {
                let address = status["podIPs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .find(|address| address["ip"].as_str().unwrap().contains(':') == (family == "IPv6"));
                let Some(address) = address else { continue };
                let endpoint = endpoint(spec, pod, (node, &address["ip"]));
                wanted.insert(canonical(&json!([family, ports(spec, pod), endpoint])));
            }
        }
        wanted
    }

    fn found(&self) -> Vec<String> {
        let is_proportional = self.service["metadata"]["annotations"].is_object();
        let mut found = Vec::new();
        for slice in self.slices.values() {
            for endpoint in slice["endpoints"].as_array().unwrap() {
                let mut endpoint = endpoint.clone();
                if is_proportional {
                    endpoint.as_object_mut().unwrap().remove("hints");
                }
                found.push(canonical(&json!([slice["addressType"], slice["ports"], endpoint])));
            }
        }
        found.sort();
        found
    }

    fn check(&self) {
        let (found, wanted) = (self.found(), self.wanted());
        let strange = found.iter().find(|found| !wanted.contains(*found));
        let missing = wanted.iter().find(|wanted| !found.contains(*wanted));
        assert_eq!((strange, missing, found.len()), (None, None, wanted.len()));
        let families = self.service["spec"]["ipFamilies"].as_array().unwrap();
        for slice in self.slices.values() {
            assert!(families.contains(&slice["addressType"]));
            assert!(slice["endpoints"].as_array().unwrap().len() <= 100);
            assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], "u");
            let mut labels = self.service["metadata"]["labels"].clone();
            labels["kubernetes.io/service-name"] = "s".into();
            labels["endpointslice.kubernetes.io/managed-by"] = "endpointslice-controller.k8s.io".into();
            // Only a change of the Service's own labels, not of its address, rewrites slices.
            let mut found = slice["metadata"]["labels"].clone();
            found.as_object_mut().unwrap().remove("service.kubernetes.io/headless");
            assert_eq!(found, labels);
        }
        for family in families {
            assert!(
                self.slices.values().any(|slice| slice["addressType"] == *family),
                "no slice of {family}"
            );
        }
    }
}

/// Writes a value with sorted keys.
fn canonical(value: &Value) -> String {
    let Some(map) = value.as_object() else {
        let Some(list) = value.as_array() else { return value.to_string() };
        return format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(","));
    };
    let fields: BTreeMap<&String, String> = map.iter().map(|(key, value)| (key, canonical(value))).collect();
    format!("{fields:?}").replace('\\', "")
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn service(how: u8) -> Value {
    let families = [json!(["IPv4"]), json!(["IPv4", "IPv6"]), json!(["IPv6"])][usize::from(how % 3)].clone();
    let target = if how & 4 == 0 { json!(8080) } else { json!("http") };
    let mut service = json!({
        "metadata": {"namespace": "a", "name": "s", "uid": "u", "labels": {"l": (how & 3).to_string()}},
        "spec": {"clusterIP": "10.0.0.1", "ipFamilies": families, "selector": {"app": "a"},
                 "publishNotReadyAddresses": how & 8 != 0,
                 "ports": [{"name": "http", "protocol": "TCP", "targetPort": target}]},
    });
    match how >> 4 & 3 {
        1 => service["spec"]["trafficDistribution"] = "PreferSameZone".into(),
        2 => service["spec"]["trafficDistribution"] = "PreferSameNode".into(),
        3 => service["metadata"]["annotations"] = json!({"service.kubernetes.io/topology-mode": "Auto"}),
        _ => {}
    }
    service
}

fn pod(name: &str, how: u8) -> Value {
    let number: usize = name[1..].parse().unwrap();
    let mut addresses = vec![json!({"ip": format!("10.1.{}.{}", number / 100, number % 100 + 1)})];
    if how & 1 != 0 {
        addresses.push(json!({"ip": format!("fd00::{:x}", number + 1)}));
    }
    let mut metadata =
        json!({"namespace": "a", "name": name, "uid": format!("uid-{name}"), "labels": {"app": "a"}});
    if how & 24 == 24 {
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    }
    let port = json!({"name": "http", "protocol": "TCP", "containerPort": 8000 + i32::from(how & 32)});
    json!({
        "metadata": metadata,
        "spec": {"nodeName": format!("n{}", number % 4),
                 "containers": [{"ports": if how & 128 == 0 { json!([port]) } else { json!([]) }}]},
        "status": {"phase": if how & 66 == 66 { "Failed" } else { "Running" }, "podIPs": addresses,
                   "conditions": [{"type": "Ready", "status": if how & 4 == 0 { "True" } else { "False" }}]},
    })
}

fn ports(spec: &Value, pod: &Value) -> Value {
    let number = match &spec["ports"][0]["targetPort"] {
        Value::String(_) => pod["spec"]["containers"][0]["ports"][0]["containerPort"].clone(),
        number => number.clone(),
    };
    if number.is_null() { json!([]) } else { json!([{"name": "http", "protocol": "TCP", "port": number}]) }
}

fn endpoint(spec: &Value, pod: &Value, (node, address): (Option<&Value>, &Value)) -> Value {
    let metadata = &pod["metadata"];
    let serving = pod["status"]["conditions"][0]["status"] == "True";
    let terminating = metadata["deletionTimestamp"].is_string();
    let ready = spec["publishNotReadyAddresses"] == true || (serving && !terminating);
    let mut endpoint = json!({
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "nodeName": pod["spec"]["nodeName"],
        "targetRef": {"kind": "Pod", "namespace": "a", "name": metadata["name"], "uid": metadata["uid"]},
    });
    let zone = node.map(|node| &node["metadata"]["labels"]["topology.kubernetes.io/zone"]);
    let zone = zone.filter(|zone| zone.is_string());
    if let Some(zone) = zone {
        endpoint["zone"] = zone.clone();
    }
    let mut hints = Map::new();
    let distribution = spec["trafficDistribution"].as_str().filter(|_| ready);
    if let (Some(_), Some(zone)) = (distribution, zone) {
        hints.insert("forZones".into(), json!([{"name": zone}]));
    }
    if distribution == Some("PreferSameNode") {
        hints.insert("forNodes".into(), json!([{"name": pod["spec"]["nodeName"]}]));
    }
    if !hints.is_empty() {
        endpoint["hints"] = hints.into();
    }
    endpoint
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn slices_are_what_is_wanted_with_few_writes(
        history in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..30)
    ) {
        let mut world = World::new();
        let first = world.reconcile();
        world.apply(first);
        for change in history {
            let most = world.change(change);
            let is_proportional = world.service["metadata"]["annotations"].is_object();
            let actions = world.reconcile();
            let families = world.service["spec"]["ipFamilies"].as_array().unwrap().len();
            // Proportional hints of other slices may have to change with any endpoint.
            if !is_proportional {
                assert!(actions.len() <= most.saturating_mul(families), "{change:?}: {actions:#?}");
            }
            world.apply(actions);
            world.check();
            assert_eq!(world.reconcile(), [], "a second look after {change:?}");
        }
    }
}
