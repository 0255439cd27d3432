//! An API server outside the node, and what is in it: Services that stay, and many that never rest.

use std::net::IpAddr;

use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Options};

use crate::chance::Chance;
use crate::node::{Node, PODS};

/// The Service that does not change: `pod1` and `pod2` at 80 (TCP and UDP), NodePort 30080.
pub(crate) const STEADY: [&str; 2] = ["10.96.0.10", "fd00:10:96::10"];
/// Its NodePort.
pub(crate) const STEADY_NODE_PORT: u16 = 30_080;
/// The Service whose endpoints move from pod to pod, and that comes and goes.
pub(crate) const MOVING: &str = "10.96.0.20";

/// Starts a server for this node with its Node object and the Service `steady`.
pub(crate) fn start(node: &Node, behaviour: Behaviour) -> ApiServer {
    let server = ApiServer::start(Options {
        listen: "192.168.77.100:6443".parse().unwrap(),
        netns: Some(node.world.world().namespace("outside").path().to_owned()),
        behaviour,
        ..Options::default()
    })
    .unwrap();
    server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"},
                                 {"type": "InternalIP", "address": "fd77::11"}]}}));
    let node_port = json!(STEADY_NODE_PORT);
    let ports = json!([{"name": "tcp", "port": 80, "nodePort": node_port},
                       {"name": "udp", "port": 80, "nodePort": node_port, "protocol": "UDP"}]);
    server.apply(service("steady", &STEADY, json!({"type": "NodePort", "ports": ports})));
    server.apply(slice("steady", "IPv4", &["10.244.1.11", "10.244.1.12"]));
    server.apply(slice("steady", "IPv6", &["fd00:10:244:1::11", "fd00:10:244:1::12"]));
    std::fs::write(kubeconfig(node), server.kubeconfig()).unwrap();
    server
}

/// Where the file for the proxy is.
pub(crate) fn kubeconfig(node: &Node) -> String {
    node.folder.join("kubeconfig").display().to_string()
}

/// A Service in the namespace `shop`. Without ports it has `tcp` and `udp` at 80.
pub(crate) fn service(name: &str, addresses: &[&str], mut spec: Value) -> Value {
    spec["clusterIP"] = json!(addresses[0]);
    spec["clusterIPs"] = json!(addresses);
    let family = |address: &&str| if address.contains(':') { "IPv6" } else { "IPv4" };
    spec["ipFamilies"] = json!(addresses.iter().map(family).collect::<Vec<_>>());
    spec["ipFamilyPolicy"] = json!(if addresses.len() > 1 { "PreferDualStack" } else { "SingleStack" });
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"name": "tcp", "port": 80}, {"name": "udp", "port": 80, "protocol": "UDP"}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

/// The slice of a Service, with port 8080 for `tcp` and `udp`.
pub(crate) fn slice(service: &str, family: &str, addresses: &[impl AsRef<str>]) -> Value {
    let endpoint = |address: &str| json!({"addresses": [address], "nodeName": "node"});
    let endpoints: Vec<Value> = addresses.iter().map(|address| endpoint(address.as_ref())).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
           "metadata": {"name": format!("{service}-{}", family.to_lowercase()), "namespace": "shop",
                        "labels": {"kubernetes.io/service-name": service}},
           "ports": [{"name": "tcp", "port": 8080}, {"name": "udp", "port": 8080, "protocol": "UDP"}],
           "endpoints": endpoints})
}

/// The same pod in IPv6.
pub(crate) fn six(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let [_, _, third, last] = address.octets();
    format!("fd00:10:244:{third}::{last}")
}

/// Changes something, anything but `steady`, among so many Services.
pub(crate) fn disturb(server: &ApiServer, chance: &mut Chance, services: usize) {
    if chance.once_in(8) {
        return move_endpoints(server, chance);
    }
    let name = format!("noise-{}", chance.below(services));
    match chance.below(12) {
        0 => drop(server.delete("Service", "shop", &name)),
        1 => drop(server.delete("EndpointSlice", "shop", &format!("{name}-ipv4"))),
        // Its addresses may be another's: then the server refuses it, as real ones do.
        2..5 => drop(server.try_apply(noise(&name, chance, services))),
        5 => drop(server.apply(slice(
            &name,
            "IPv6",
            &endpoints(chance).into_iter().map(six).collect::<Vec<_>>(),
        ))),
        _ => drop(server.apply(slice(
            &name,
            "IPv4",
            &endpoints(chance).iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        ))),
    }
}

fn move_endpoints(server: &ApiServer, chance: &mut Chance) {
    match chance.below(6) {
        0 => drop(server.delete("Service", "shop", "moving")),
        1 => drop(server.apply(slice("moving", "IPv4", &[] as &[&str]))),
        2 => drop(server.apply(slice("moving", "IPv4", &["10.244.1.12", "10.244.1.13"]))),
        number => {
            server.apply(service("moving", &[MOVING], json!({})));
            server.apply(slice("moving", "IPv4", &[PODS[number - 3].to_string()]));
        }
    }
}

/// A Service of any shape. Addresses wander from one to another.
pub(crate) fn noise(name: &str, chance: &mut Chance, services: usize) -> Value {
    let number = chance.below(services);
    let (four, six) =
        (format!("10.96.{}.{}", 4 + number / 250, number % 250), format!("fd00:10:96::4:{number:x}"));
    let addresses = if chance.once_in(2) { vec![&*four, &*six] } else { vec![&*four] };
    let spec = match chance.below(6) {
        0 => json!({"sessionAffinity": "ClientIP"}),
        1 => json!({"type": "NodePort", "externalTrafficPolicy": "Local"}),
        2 => json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8", "192.0.2.0/25"]}),
        3 => json!({"externalIPs": [format!("203.0.113.{}", number % 250)]}),
        4 => json!({"ports": [{"name": "tcp", "port": 443}, {"name": "udp", "port": 53, "protocol": "UDP"}]}),
        _ => json!({}),
    };
    let mut object = service(name, &addresses, spec);
    if object["spec"]["type"] == "LoadBalancer" {
        let ingress = json!([{"ip": format!("198.51.{}.{}", 100 + number / 250, number % 250)}]);
        object["status"] = json!({"loadBalancer": {"ingress": ingress}});
    }
    object
}

/// Up to eight, some of them pods.
fn endpoints(chance: &mut Chance) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = PODS.iter().map(|pod| (*pod).into()).collect();
    all.extend((0..5).map(|number| IpAddr::from([10, 244, 7, number])));
    all.retain(|_| chance.once_in(2));
    all
}
