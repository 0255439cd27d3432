//! What is there from the first start on: the ranges of the cluster, and the Service by which the server is found.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{NodePorts, Owner, addresses, ranges};
use crate::body::canonical;
use crate::body::time::Precision;
use crate::kinds::Kind;
use crate::kinds::service::Spec;
use crate::range::Range;
use crate::schema::Schema;
use crate::writing::Writing;

/// What a cluster is set up with.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// From where Services get addresses: at most one range of each family, the usual one first.
    pub service_ranges: Vec<Range>,
    /// Which ports of the nodes Services can have.
    pub node_ports: NodePorts,
    /// Where the server is found.
    pub server: Vec<IpAddr>,
    /// At which port.
    pub server_port: u16,
}

/// Makes what is missing: the ServiceCIDR `kubernetes`, and in the namespace `default` the Service `kubernetes` with its
/// EndpointSlice and Endpoints, which follow the server when it moves. Answers what could not be made.
///
/// A ServiceCIDR that is there may get a second family; otherwise it stays as it is, whatever the ranges are now.
pub fn set_up(writing: &mut Writing<'_>, cluster: &Cluster) -> Vec<String> {
    cluster.node_ports.write(writing);
    let mut wrong: Vec<String> = make_range(writing, cluster).into_iter().collect();
    if let Err(why) = make_service(writing, cluster) {
        wrong.push(why);
    }
    let address_type = service(writing).map(|service| service["spec"]["ipFamilies"][0].clone());
    if let Some(family) = address_type.as_ref().and_then(Value::as_str) {
        let at: Vec<String> = cluster
            .server
            .iter()
            .filter(|at| addresses::family(**at) == family)
            .map(ToString::to_string)
            .collect();
        point(writing, slice(&at, family, cluster.server_port));
        point(writing, endpoints(&at, cluster.server_port));
    }
    wrong
}

/// Answers why the ranges are not as they shall be.
fn make_range(writing: &mut Writing<'_>, cluster: &Cluster) -> Option<String> {
    let wanted: Vec<String> = cluster.service_ranges.iter().map(|range| range.masked().to_string()).collect();
    let Some(mut known) = writing.object(ranges::kind(), ranges::OWN) else {
        let mut object = json!({"kind": "ServiceCIDR", "apiVersion": "networking.k8s.io/v1",
                                "metadata": {"name": ranges::OWN, "finalizers": [ranges::FINALIZER]},
                                "spec": {"cidrs": wanted}, "status": {}});
        ranges::set_ready(writing, &mut object, ("True", "", "Kubernetes Service CIDR is ready"));
        put_new(writing, ranges::kind(), object);
        return None;
    };
    let is = known["spec"]["cidrs"].take();
    if is == json!(wanted) {
        return None;
    }
    if is != json!(wanted[..wanted.len().min(1)]) {
        return Some(format!("the ServiceCIDR kubernetes stays {is}, it is not {}", json!(wanted)));
    }
    known["spec"]["cidrs"] = json!(wanted);
    writing.put_object(ranges::kind(), &mut known);
    None
}

fn services() -> &'static Kind {
    Kind::find("", "v1", "services").expect("it is served")
}

fn service(writing: &Writing<'_>) -> Option<Value> {
    writing.object(services(), &services().key_of("default", "kubernetes"))
}

fn make_service(writing: &mut Writing<'_>, cluster: &Cluster) -> Result<(), String> {
    if let Some(known) = service(writing) {
        return mend_service(writing, cluster, known);
    }
    let range = ranges::own(writing).into_iter().next();
    let Some(address) = range.and_then(addresses::first) else {
        return Err("the Service kubernetes was not made: there is no range for its address".to_owned());
    };
    let object = json!({
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default",
                     "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": spec(&Addresses::one(address), cluster.server_port),
        "status": {"loadBalancer": {}},
    });
    let taken = addresses::take_address(writing, address, &Owner::of(&object));
    taken.map_err(|why| format!("the Service kubernetes was not made: {address}: {why}"))?;
    put_new(writing, services(), object);
    Ok(())
}

/// Makes a Service that is there what it shall be, whatever clients made of it. Only that the server moved is nothing wrong.
fn mend_service(writing: &mut Writing<'_>, cluster: &Cluster, mut known: Value) -> Result<(), String> {
    let addresses = Addresses::of(&known);
    let is_right = known["spec"]["type"] == "ClusterIP" && known["spec"]["ports"][0]["port"] == PORT;
    if let Some(target) =
        known.pointer_mut("/spec/ports/0/targetPort").filter(|_| is_right && addresses.is_some())
    {
        if *target != cluster.server_port {
            *target = cluster.server_port.into();
            writing.put_object(services(), &mut known);
        }
        return Ok(());
    }
    let addresses = match addresses {
        Some(addresses) => addresses,
        None => Addresses::one(some_address(writing, &Owner::of(&known))?),
    };
    known["spec"] = spec(&addresses, cluster.server_port);
    known["status"] = json!({"loadBalancer": {}});
    make_canonical(&mut known, services());
    writing.put_object(services(), &mut known);
    Err("the Service kubernetes was not what it has to be, and was mended".to_owned())
}

/// Takes the address that the Service usually has, or another one if that is somebody else's now.
fn some_address(writing: &mut Writing<'_>, owner: &Owner) -> Result<IpAddr, String> {
    let range = ranges::own(writing).into_iter().next();
    let first = range.and_then(addresses::first);
    let first = first.ok_or("the Service kubernetes was not mended: there is no range for its address")?;
    if addresses::take_address(writing, first, owner).is_ok() {
        return Ok(first);
    }
    let other = addresses::take_any_address(writing, addresses::family(first), owner);
    other.map_err(|why| format!("the Service kubernetes was not mended: {why}"))
}

/// At which port the Service is reached.
const PORT: u16 = 443;

/// What a Service says of its addresses.
struct Addresses {
    all: Vec<String>,
    families: Value,
    policy: Value,
}

impl Addresses {
    fn one(address: IpAddr) -> Self {
        let families = json!([addresses::family(address)]);
        Self { all: vec![address.to_string()], families, policy: "SingleStack".into() }
    }

    /// `None`: it has none, or does not say of which families they are.
    fn of(service: &Value) -> Option<Self> {
        let spec = &service["spec"];
        let all: Vec<String> =
            Spec::of(service).addresses().into_iter().map(|address| address.to_string()).collect();
        let is_known = !all.is_empty() && spec["ipFamilies"][0].is_string();
        let (families, policy) = (spec["ipFamilies"].clone(), spec["ipFamilyPolicy"].clone());
        is_known.then_some(Self { all, families, policy })
    }
}

fn spec(addresses: &Addresses, server_port: u16) -> Value {
    json!({
        "type": "ClusterIP",
        "clusterIP": addresses.all[0],
        "clusterIPs": addresses.all,
        "ipFamilies": addresses.families,
        "ipFamilyPolicy": addresses.policy,
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "ports": [{"name": "https", "protocol": "TCP", "port": PORT, "targetPort": server_port}],
    })
}

fn slice(at: &[String], family: &str, port: u16) -> Value {
    let endpoints: Vec<Value> =
        at.iter().map(|at| json!({"addresses": [at], "conditions": {"ready": true}})).collect();
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"name": "kubernetes", "namespace": "default",
                     "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": endpoints,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    })
}

fn endpoints(at: &[String], port: u16) -> Value {
    let mut object = json!({
        "kind": "Endpoints",
        "apiVersion": "v1",
        "metadata": {"name": "kubernetes", "namespace": "default",
                     "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
    });
    if !at.is_empty() {
        let addresses: Vec<Value> = at.iter().map(|at| json!({"ip": at})).collect();
        object["subsets"] =
            json!([{"addresses": addresses, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
    }
    object
}

/// Writes an object if it is not there or says something else; of its metadata only the labels are ours.
fn point(writing: &mut Writing<'_>, wanted: Value) {
    let Some(kind) = Kind::of(&wanted) else { return };
    let Some(old) = writing.object(kind, &kind.key(&wanted)) else {
        return put_new(writing, kind, wanted);
    };
    let mut new = wanted;
    let labels = new["metadata"]["labels"].take();
    new["metadata"] = old["metadata"].clone();
    for (label, value) in labels.as_object().into_iter().flatten() {
        new["metadata"]["labels"][label] = value.clone();
    }
    make_canonical(&mut new, kind);
    if new == old {
        return;
    }
    if let Some(generation) = old["metadata"]["generation"].as_i64() {
        new["metadata"]["generation"] = generation.saturating_add(1).into();
    }
    writing.put_object(kind, &mut new);
}

/// Writes an object that is not there yet.
fn put_new(writing: &mut Writing<'_>, kind: &Kind, mut object: Value) {
    make_canonical(&mut object, kind);
    object["metadata"]["uid"] = writing.chance.uid().into();
    object["metadata"]["creationTimestamp"] = writing.now.print(Precision::Seconds).into();
    // Of these kinds only slices count what they should be.
    if kind.kind == "EndpointSlice" {
        object["metadata"]["generation"] = 1.into();
    }
    writing.put_object(kind, &mut object);
}

fn make_canonical(object: &mut Value, kind: &Kind) {
    if let Some(of) = Schema::get().find(kind.type_name) {
        canonical(object, of);
    }
}
