//! What becomes of JSON, protobuf and manifests: what is kept, what is left out and named, and that nothing panics.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;

use objects::wire::{Fields, Value as WireValue};
use objects::{
    Kind, Names, Object, decode_json, decode_json_names, decode_json_with_names, decode_manifest,
    decode_protobuf, decode_protobuf_with_names,
};
use proptest::collection::vec;
use proptest::prelude::{Just, any};
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy};
use proptest::{option, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};
use testkit::protobuf;

const KINDS: [(Kind, &str); 4] = [
    (Kind::Service, "Service"),
    (Kind::EndpointSlice, "EndpointSlice"),
    (Kind::Node, "Node"),
    (Kind::ServiceCidr, "ServiceCIDR"),
];

fn json(kind: Kind, object: &Value) -> Result<Object, String> {
    decode_json(kind, object.to_string().as_bytes(), &mut Names::new()).map_err(|error| error.to_string())
}

/// The object in one line, and a line for each problem.
fn shown(kind: Kind, object: &Value) -> String {
    let mut text = String::new();
    let problems = match json(kind, object) {
        Err(error) => return error,
        Ok(Object::Service(service)) => {
            let ports: Vec<String> = service
                .ports
                .iter()
                .map(|port| format!("{}:{}/{}/{}", port.name, port.protocol, port.port, port.node_port))
                .collect();
            let addresses = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
            let _ = write!(
                text,
                "{} {:?} {addresses:?} {:?} {:?} {:?} {:?} {} [{}]",
                service.key,
                service.service_type,
                service.source_ranges,
                service.internal_policy,
                service.external_policy,
                service.affinity,
                service.health_check_node_port,
                ports.join(" ")
            );
            service.problems
        }
        Ok(Object::EndpointSlice(slice)) => {
            let endpoints: Vec<String> = slice
                .endpoints
                .iter()
                .map(|record| {
                    let c = record.conditions;
                    let flags = [(c.ready, "R"), (c.serving, "S"), (c.terminating, "T")];
                    let flags: String =
                        flags.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect();
                    let hints = record.zone_hints().map(<[_]>::to_vec);
                    format!("{} {flags} {:?} {hints:?}", record.address, record.node)
                })
                .collect();
            let ports: Vec<String> = slice
                .ports
                .iter()
                .map(|port| format!("{}:{}/{}", port.name, port.protocol, port.port))
                .collect();
            let service = slice.service.map(|service| service.to_string());
            let _ = write!(text, "{} {service:?} {:?} {ports:?} {endpoints:?}", slice.key, slice.family);
            slice.problems
        }
        Ok(Object::Node(node)) => {
            let _ = write!(text, "{} {:?} {:?} {:?}", node.name, node.zone, node.addresses, node.pod_cidrs);
            node.problems
        }
        Ok(Object::ServiceCidr(cidr)) => {
            let _ = write!(text, "{} {:?}", cidr.name, cidr.cidrs);
            cidr.problems
        }
    };
    for problem in problems {
        let _ = write!(text, "\n{problem}");
    }
    text
}

#[track_caller]
fn check(kind: Kind, object: Value, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(shown(kind, &object), expected.join("\n"));
}

fn service(spec: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
}

#[test]
fn services_with_everything() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-01-02T03:04:05Z", "unknown": [1]},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10", "fd00::10"],
            "externalIPs": ["192.0.2.2", "192.0.2.1", "192.0.2.2"],
            "loadBalancerSourceRanges": [" 10.0.0.0/8 ", "10.1.0.0/16"], "internalTrafficPolicy": "Local",
            "externalTrafficPolicy": "Local", "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}, "healthCheckNodePort": 30000,
            "ports": [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "x"}, {"ip": "203.0.113.2", "ipMode": "Proxy"}]}}
    });
    check(
        Kind::Service,
        object,
        "shop/web LoadBalancer [[10.96.0.10, fd00::10], [192.0.2.1, 192.0.2.2], [203.0.113.1]] [10.0.0.0/8, 10.1.0.0/16] Local Local ClientIp { timeout_seconds: 60 } 30000 [http:tcp/80/30080 dns:udp/53/0]",
    );
}

#[test]
fn nulls_are_as_good_as_nothing() {
    for object in [
        json!({"metadata": {"name": "web", "namespace": "shop", "labels": null, "creationTimestamp": null, "uid": null}, "spec": null, "status": null}),
        service(
            json!({"ports": null, "clusterIPs": null, "clusterIP": null, "externalIPs": null, "type": null,
                       "loadBalancerSourceRanges": null, "sessionAffinity": null, "sessionAffinityConfig": null,
                       "internalTrafficPolicy": null, "externalTrafficPolicy": null, "healthCheckNodePort": null}),
        ),
        service(json!({"clusterIP": "None", "sessionAffinityConfig": {"clientIP": null}})),
    ] {
        check(Kind::Service, object, "shop/web ClusterIp [[], [], []] [] Cluster Cluster None 0 []");
    }
    let slice = json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "IPv4", "ports": null, "endpoints": null});
    check(Kind::EndpointSlice, slice, "shop/s None Some(V4) [] []");
    let endpoint =
        json!({"addresses": ["10.0.0.1"], "conditions": null, "nodeName": null, "hints": null, "zone": null});
    let slice = json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "IPv4",
                       "ports": [{"name": null, "port": 80, "protocol": null}, {"name": "", "port": null}], "endpoints": [endpoint]});
    let text = shown(Kind::EndpointSlice, &slice);
    assert!(text.contains(r#"["10.0.0.1 RS None None"]"#), "{text}");
    let node = json!({"metadata": {"name": "n"}, "spec": null, "status": {"addresses": null}});
    check(Kind::Node, node, "n None [] []");
    check(Kind::ServiceCidr, json!({"metadata": {"name": "c"}, "spec": {"cidrs": null}}), "c []");
}

#[test]
fn mistakes_are_named_and_the_rest_is_kept() {
    let object = service(json!({
            "clusterIPs": ["10.96.0.10", "10.96.0.300"], "externalIPs": ["010.0.0.1", "::ffff:192.0.2.1", "192.0.2.1"],
            "loadBalancerSourceRanges": ["10.0.0.0/33", "10.0.0.0/8"],
            "ports": [{"port": 0}, {"port": 70000}, {"port": "http"}, {"port": 80}, {"port": 80, "name": "again"},
                      {"port": 81, "protocol": "ICMP"}, {"port": 82, "nodePort": 99999, "name": "b"}]}));
    check(Kind::Service, object, "shop/web ClusterIp [[10.96.0.10], [10.0.0.1, 192.0.2.1], []] [10.0.0.0/8] Cluster Cluster None 0 [:tcp/80/0 b:tcp/82/0]
         Service shop/web: spec.loadBalancerSourceRanges[0]: `10.0.0.0/33` is no address range; left out
         Service shop/web: spec.clusterIPs[1]: `10.96.0.300` is no IP address; left out
         Service shop/web: spec.ports[0].port: is required; the port is left out
         Service shop/web: spec.ports[1].port: 70000 is no port number (1 to 65535); left out
         Service shop/web: spec.ports[2].port: `http` is no port number (1 to 65535); left out
         Service shop/web: spec.ports[4].port: 80/tcp stands twice; the second is left out
         Service shop/web: spec.ports[5].protocol: `ICMP` is none of TCP, UDP, SCTP; the port is left out
         Service shop/web: spec.ports[6].nodePort: 99999 is no port number (1 to 65535); left out");
    check(
        Kind::EndpointSlice,
        json!({
            "metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "x", "port": 99999}, {"name": "y", "port": 1, "protocol": "QUIC"}],
            "endpoints": [
                {"addresses": ["10.0.0.1", "10.0.0.2"], "conditions": {"ready": false, "terminating": true}, "nodeName": "n1",
                 "hints": {"forZones": [{"name": "z1"}]}},
                {"addresses": ["10.0.0.256"]}, {"addresses": ["fd00::1"]}, {"addresses": []}]}),
        "shop/s Some(\"shop/web\") Some(V4) [\"http:tcp/8080\"] [\"10.0.0.1 ST Some(\\\"n1\\\") Some([\\\"z1\\\"])\"]
         EndpointSlice shop/s: ports[1].port: 99999 is no port number (1 to 65535); left out
         EndpointSlice shop/s: ports[2].protocol: `QUIC` is none of TCP, UDP, SCTP; the port is left out
         EndpointSlice shop/s: endpoints[1].addresses[0]: `10.0.0.256` is no IP address; the endpoint is left out
         EndpointSlice shop/s: endpoints[2].addresses[0]: `fd00::1` is no IPv4 address; the endpoint is left out
         EndpointSlice shop/s: endpoints[3].addresses: is empty; the endpoint is left out",
    );
    check(
        Kind::EndpointSlice,
        json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "FQDN"}),
        "shop/s None None [] []",
    );
    check(
        Kind::Node,
        json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": "z"}},
               "spec": {"podCIDRs": ["10.244.0.0/24", "x"]},
               "status": {"addresses": [{"type": "ExternalIP", "address": "192.0.2.1"}, {"type": "InternalIP", "address": "10.0.0.1"},
                                        {"type": "InternalIP", "address": "y"}, {"type": "Hostname", "address": "n"}]}}),
        "n Some(\"z\") [10.0.0.1, 192.0.2.1] [10.244.0.0/24]
         Node n: spec.podCIDRs[1]: `x` is no address range; left out
         Node n: status.addresses[2].address: `y` is no IP address; left out",
    );
    check(
        Kind::ServiceCidr,
        json!({"metadata": {"name": "c"}, "spec": {"cidrs": ["10.96.0.0/16", "10.96.0.1"]}}),
        "c [10.96.0.0/16]
         ServiceCIDR c: spec.cidrs[1]: `10.96.0.1` is no address range; left out",
    );
    check(
        Kind::Service,
        json!({"metadata": {"namespace": "shop"}}),
        "the Service: metadata.name: `` is not a name",
    );
    check(Kind::Node, json!({"metadata": {"name": "a/b"}}), "the Node: metadata.name: `a/b` is not a name");
}

#[test]
fn a_null_in_a_list_is_an_empty_entry() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": null}},
        "spec": {"clusterIPs": [null, "10.96.0.1"], "externalIPs": [null], "loadBalancerSourceRanges": [null, "10.0.0.0/8"],
                 "ports": [null, {"port": 80}]},
        "status": {"loadBalancer": {"ingress": [null, {"ip": "203.0.113.1"}]}}});
    check(
        Kind::Service,
        object,
        "shop/web ClusterIp [[10.96.0.1], [], [203.0.113.1]] [10.0.0.0/8] Cluster Cluster None 0 [:tcp/80/0]
         Service shop/web: spec.loadBalancerSourceRanges[0]: `` is no address range; left out
         Service shop/web: spec.externalIPs[0]: `` is no IP address; left out
         Service shop/web: spec.ports[0].port: is required; the port is left out",
    );
    check(
        Kind::EndpointSlice,
        json!({"metadata": {"name": "s", "namespace": "shop", "labels": {"kubernetes.io/service-name": null}}, "addressType": "IPv4",
               "ports": [null, {"name": "", "port": 80}],
               "endpoints": [null, {"addresses": [null]}, {"addresses": ["10.0.0.1"], "hints": {"forZones": [null], "forNodes": null}}]}),
        "shop/s None Some(V4) [\":tcp/80\"] [\"10.0.0.1 RS None Some([\\\"\\\"])\"]
         EndpointSlice shop/s: endpoints[0].addresses: is empty; the endpoint is left out
         EndpointSlice shop/s: endpoints[1].addresses[0]: `` is no IP address; the endpoint is left out",
    );
    check(
        Kind::Node,
        json!({"metadata": {"name": "n", "labels": {"topology.kubernetes.io/zone": null}},
               "spec": {"podCIDRs": [null], "taints": [null]}, "status": {"addresses": [null, {"type": "InternalIP", "address": null}]}}),
        "n None [] []
         Node n: spec.podCIDRs[0]: `` is no address range; left out
         Node n: status.addresses[1].address: `` is no IP address; left out",
    );
    check(
        Kind::ServiceCidr,
        json!({"metadata": {"name": "c"}, "spec": {"cidrs": [null]}}),
        "c []\nServiceCIDR c: spec.cidrs[0]: `` is no address range; left out",
    );
}

#[test]
fn what_is_no_number_is_named_where_a_number_must_be() {
    for (wrong, shown) in [
        (json!("80"), "`80`"),
        (json!(80.5), "`80.5`"),
        (json!(true), "`true`"),
        (json!([80, {"a": [1]}]), "`a list`"),
        (json!({"number": {"deep": [80]}}), "`an object`"),
        (json!(u64::MAX), "`18446744073709551615`"),
        (json!(-1), "-1"),
        (json!(65_536), "65536"),
    ] {
        let object = service(json!({
            "clusterIP": "10.96.0.1", "healthCheckNodePort": wrong, "sessionAffinity": "ClientIP",
            "ports": [{"name": "a", "port": wrong}, {"name": "b", "port": 81, "nodePort": wrong}]}));
        check(
            Kind::Service,
            object,
            &format!(
                "shop/web ClusterIp [[10.96.0.1], [], []] [] Cluster Cluster ClientIp {{ timeout_seconds: 10800 }} 0 [b:tcp/81/0]
                 Service shop/web: spec.healthCheckNodePort: {shown} is no port number (1 to 65535); left out
                 Service shop/web: spec.ports[0].port: {shown} is no port number (1 to 65535); left out
                 Service shop/web: spec.ports[1].nodePort: {shown} is no port number (1 to 65535); left out"
            ),
        );
        let slice = json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "IPv4",
                           "ports": [{"name": "", "port": wrong}, {"name": "b", "port": 81}]});
        check(
            Kind::EndpointSlice,
            slice,
            &format!(
                "shop/s None Some(V4) [\"b:tcp/81\"] []
                 EndpointSlice shop/s: ports[0].port: {shown} is no port number (1 to 65535); left out"
            ),
        );
    }
    let timeout = |seconds: Value| {
        service(
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": seconds}}}),
        )
    };
    for (seconds, reason) in [
        (json!("60"), "`60` is no number"),
        (json!(0), "0 is not between 1 and 86400"),
        (json!(86_401), "86401 is not between 1 and 86400"),
    ] {
        check(
            Kind::Service,
            timeout(seconds),
            &format!(
                "shop/web ClusterIp [[], [], []] [] Cluster Cluster ClientIp {{ timeout_seconds: 10800 }} 0 []
                 Service shop/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: {reason}; taken as 10800"
            ),
        );
    }
}

#[test]
fn words_that_mean_nothing_are_taken_as_the_default() {
    let object = json!({
        "metadata": {"name": "web", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00+9999999999999999:00"},
        "spec": {"type": "Odd", "internalTrafficPolicy": "local", "externalTrafficPolicy": "Any", "sessionAffinity": "clientIP",
                 "clusterIPs": ["10.96.0.1", "10.96.0.2", "fd00::1", "fe80::1%eth0"],
                 "ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}, {"name": "a", "port": 80, "protocol": "UDP"},
                           {"name": "no space", "port": 82}, {"name": "c", "port": 83, "protocol": "tcp"}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "vip"}, {"ip": "203.0.113"}]}}});
    check(Kind::Service, object, "shop/web ClusterIp [[10.96.0.1, fd00::1], [], [203.0.113.1]] [] Cluster Cluster None 0 [a:tcp/80/0 a:udp/80/0]
         Service shop/web: spec.type: `Odd` is none of ClusterIP, NodePort, LoadBalancer, ExternalName; taken as ClusterIP
         Service shop/web: metadata.creationTimestamp: `2026-01-01T00:00:00+9999999999999999:00` is no time; taken as oldest
         Service shop/web: spec.clusterIPs[1]: `10.96.0.2` is a second IPv4 address; left out
         Service shop/web: spec.clusterIPs[3]: `fe80::1%eth0` is no IP address; left out
         Service shop/web: status.loadBalancer.ingress[0].ipMode: `vip` is none of VIP, Proxy; taken as VIP
         Service shop/web: status.loadBalancer.ingress[1].ip: `203.0.113` is no IP address; left out
         Service shop/web: spec.internalTrafficPolicy: `local` is none of Cluster, Local; taken as Cluster
         Service shop/web: spec.externalTrafficPolicy: `Any` is none of Cluster, Local; taken as Cluster
         Service shop/web: spec.sessionAffinity: `clientIP` is none of None, ClientIP; taken as None
         Service shop/web: spec.ports[1].name: `a` stands twice; the second port is left out
         Service shop/web: spec.ports[3].name: `no space` is no name of a port; the port is left out
         Service shop/web: spec.ports[4].protocol: `tcp` is none of TCP, UDP, SCTP; the port is left out");
    check(
        Kind::EndpointSlice,
        json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "ipv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        "shop/s None None [] []
         EndpointSlice shop/s: addressType: `ipv4` is none of IPv4, IPv6, FQDN; the slice is not used",
    );
}

#[test]
fn manifests_say_what_they_are_and_need_no_port_names() {
    let decoded =
        |value: Value| decode_manifest(&value, &mut Names::new()).map_err(|error| error.to_string());
    assert_eq!(decoded(json!({"kind": "Service"})), Err("the object: apiVersion: is required".to_owned()));
    assert_eq!(
        decoded(json!({"apiVersion": "v1", "kind": null})),
        Err("the object: kind: is required".to_owned())
    );
    assert_eq!(decoded(json!([])), Err("the object: apiVersion: is required".to_owned()));
    assert_eq!(decoded(json!({"apiVersion": "v1", "kind": "Pod", "spec": 5})), Ok(None));
    assert_eq!(decoded(json!({"apiVersion": "v1", "kind": "EndpointSlice"})), Ok(None));
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                       "metadata": {"name": "s"}, "ports": [{"port": 80}, null]});
    let Ok(Some(Object::EndpointSlice(slice))) = decoded(slice) else { panic!("no slice") };
    assert_eq!(&*slice.key, "default/s");
    assert_eq!(slice.ports.len(), 1);
    assert_eq!((&*slice.ports[0].name, slice.ports[0].port), ("", 80));
}

#[test]
fn a_thousand_endpoints_in_one_slice_share_their_strings() {
    let endpoints: Vec<Value> = (0..1000)
        .map(|number| json!({"addresses": [format!("10.1.{}.{}", number / 250, number % 250)], "nodeName": format!("n{}", number % 3)}))
        .collect();
    let object = json!({"metadata": {"name": "s", "namespace": "shop"}, "addressType": "IPv4", "endpoints": endpoints});
    let mut names = Names::new();
    let decoded = decode_json(Kind::EndpointSlice, object.to_string().as_bytes(), &mut names).unwrap();
    let Object::EndpointSlice(slice) = decoded else { panic!("another kind") };
    assert_eq!(slice.endpoints.len(), 1000);
    let nodes: Vec<_> = slice.endpoints.iter().flat_map(|record| &record.node).collect();
    assert!(std::sync::Arc::ptr_eq(nodes[0], nodes[3]));
}

/// The message with fields in it that no version of Kubernetes knows, at the start, between all fields, and in the messages
/// one level below. Everything but the family of a slice is a message there.
fn with_unknown_fields(kind: Kind, message: &[u8], depth: u32) -> Vec<u8> {
    const UNKNOWN: &[u8] = b"\xc0\x3e\xff\x01\xca\x3e\x03\xff\xff\xff\xd1\x3e12345678\xdd\x3e1234";
    let varint = |out: &mut Vec<u8>, mut number: u64| {
        while number >= 0x80 {
            out.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        out.push(number.to_le_bytes()[0]);
    };
    let mut out = UNKNOWN.to_vec();
    for field in Fields::new(message) {
        let (number, value) = field.unwrap();
        match value {
            WireValue::Number(value) => {
                varint(&mut out, u64::from(number) << 3);
                varint(&mut out, value);
            }
            WireValue::Bytes(bytes) => {
                let is_text = kind == Kind::EndpointSlice && number == 4;
                let bytes = if depth > 0 && !is_text {
                    with_unknown_fields(kind, bytes, depth - 1)
                } else {
                    bytes.to_vec()
                };
                varint(&mut out, u64::from(number) << 3 | 2);
                varint(&mut out, bytes.len() as u64);
                out.extend(bytes);
            }
        }
        out.extend(UNKNOWN);
    }
    out
}

/// A text that may or may not make sense where it stands.
fn word(words: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![9 => select(words).prop_map(Value::from), 1 => Just(Value::Null)]
}

const ADDRESSES: &[&str] =
    &["10.0.0.1", "10.0.0.2", "fd00::1", "::ffff:10.0.0.3", "10.0.0.300", "01.2.3.4", "", "None", "x"];
const RANGES: &[&str] = &["10.0.0.0/8", "fd00::/64", "10.0.0.1", "10.0.0.1/33", " 10.1.0.0/16 ", "0.0.0.0/0"];
const POLICIES: &[&str] = &["Cluster", "Local", "", "Other"];

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![6 => (1..65_536_i64).prop_map(Value::from), 1 => select(vec![0, -1, 65_536, 70_000, i64::from(i32::MAX)]).prop_map(Value::from), 1 => Just(Value::Null)]
}

fn meta() -> impl Strategy<Value = Value> {
    let labels = option::of(word(&["web", "api", ""]));
    (labels, any::<bool>(), word(&["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z"])).prop_map(
        |(service, proxy, created)| {
            let mut labels = json!({"app": "x", "topology.kubernetes.io/zone": "z1"});
            if let Some(Value::String(service)) = service {
                labels["kubernetes.io/service-name"] = service.into();
            }
            if proxy {
                labels["service.kubernetes.io/service-proxy-name"] = "other".into();
            }
            json!({"name": "a", "namespace": "b", "uid": "u", "creationTimestamp": created, "labels": labels})
        },
    )
}

fn object(kind: Kind) -> BoxedStrategy<Value> {
    let rest = match kind {
        Kind::Service => service_rest().boxed(),
        Kind::EndpointSlice => slice_rest().boxed(),
        Kind::Node => node_rest().boxed(),
        Kind::ServiceCidr => {
            vec(word(RANGES), 0..4).prop_map(|cidrs| json!({"spec": {"cidrs": not_null(cidrs)}})).boxed()
        }
    };
    (meta(), rest)
        .prop_map(|(meta, mut rest)| {
            rest["metadata"] = meta;
            rest
        })
        .boxed()
}

/// Lists of texts have no nulls in them.
fn not_null(values: Vec<Value>) -> Vec<Value> {
    values.into_iter().filter(|value| !value.is_null()).collect()
}

fn service_rest() -> impl Strategy<Value = Value> {
    let port = (word(&["", "http", "dns"]), word(&["TCP", "UDP", "SCTP", "ICMP", ""]), number(), number()).prop_map(
        |(name, protocol, port, node_port)| json!({"name": name, "protocol": protocol, "port": port, "nodePort": node_port, "targetPort": 8080}),
    );
    let ingress =
        (word(ADDRESSES), word(&["VIP", "Proxy"])).prop_map(|(ip, mode)| json!({"ip": ip, "ipMode": mode}));
    let addresses = || vec(word(ADDRESSES), 0..4).prop_map(not_null);
    let first = (
        word(&["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", "Odd"]),
        word(ADDRESSES),
        addresses(),
        addresses(),
    );
    let second = (
        vec(word(RANGES), 0..4).prop_map(not_null),
        word(POLICIES),
        word(POLICIES),
        word(&["ClientIP", "None"]),
        number(),
        number(),
    );
    (first, second, vec(port, 0..4), vec(ingress, 0..3)).prop_map(|(first, second, ports, ingress)| {
        json!({
            "spec": {
                "type": first.0, "clusterIP": first.1, "clusterIPs": first.2, "externalIPs": first.3,
                "loadBalancerSourceRanges": second.0, "internalTrafficPolicy": second.1, "externalTrafficPolicy": second.2,
                "externalName": "www.example.org", "sessionAffinity": second.3, "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": second.4}},
                "healthCheckNodePort": second.5, "ports": ports},
            "status": {"loadBalancer": {"ingress": ingress}}})
    })
}

fn slice_rest() -> impl Strategy<Value = Value> {
    let port = (word(&["", "http"]), word(&["TCP", "UDP", "QUIC"]), number())
        .prop_map(|(name, protocol, port)| json!({"name": name, "protocol": protocol, "port": port}));
    let flag = || option::of(any::<bool>());
    let names = || vec(select(vec!["z1", "z2"]).prop_map(|name| json!({"name": name})), 0..3);
    let texts = (word(&["n1", "n2", ""]), word(&["one", ""]), word(&["p1", ""]));
    let endpoint = (vec(word(ADDRESSES), 0..3), flag(), flag(), flag(), texts, names(), names()).prop_map(
        |(addresses, ready, serving, terminating, (node, host, pod), zones, nodes)| {
            json!({"addresses": not_null(addresses), "nodeName": node, "hostname": host, "targetRef": {"kind": "Pod", "name": pod}, "hints": {"forZones": zones, "forNodes": nodes},
                   "conditions": {"ready": ready, "serving": serving, "terminating": terminating}})
        },
    );
    (word(&["IPv4", "IPv6", "FQDN", ""]), vec(port, 0..3), vec(endpoint, 0..6)).prop_map(
        |(family, ports, endpoints)| json!({"addressType": family, "ports": ports, "endpoints": endpoints}),
    )
}

fn node_rest() -> impl Strategy<Value = Value> {
    let taint = word(&["ToBeDeletedByClusterAutoscaler", "other"])
        .prop_map(|key| json!({"key": key, "effect": "NoSchedule"}));
    let address = (word(&["InternalIP", "ExternalIP", "Hostname"]), word(ADDRESSES))
        .prop_map(|(kind, address)| json!({"type": kind, "address": address}));
    (word(RANGES), vec(word(RANGES), 0..3), vec(taint, 0..2), vec(address, 0..4)).prop_map(|(range, ranges, taints, addresses)| {
        json!({"spec": {"podCIDR": range, "podCIDRs": not_null(ranges), "taints": taints}, "status": {"addresses": addresses}})
    })
}

fn any_object() -> impl Strategy<Value = (usize, Value)> {
    (0..KINDS.len()).prop_flat_map(|index| object(KINDS[index].0).prop_map(move |object| (index, object)))
}

proptest! {
    #[test]
    fn json_and_protobuf_say_the_same((index, object) in any_object()) {
        let (kind, name) = KINDS[index];
        let bytes = protobuf::bare(name, &object).unwrap();
        let from_protobuf = decode_protobuf(kind, &bytes, &mut Names::new()).map_err(|error| error.to_string());
        prop_assert_eq!(from_protobuf, json(kind, &object), "{}", object);
    }

    /// What names follow from is the same in both forms, and whether or not it is asked for together with the rest.
    #[test]
    fn names_follow_from_the_same_in_both_forms((index, object) in any_object()) {
        let (kind, name) = KINDS[index];
        let (text, bytes) = (object.to_string(), protobuf::bare(name, &object).unwrap());
        let alone = decode_json_names(kind, text.as_bytes()).unwrap();
        let (rest, named) = decode_json_with_names(kind, text.as_bytes(), &mut Names::new()).unwrap();
        prop_assert_eq!(&rest, &json(kind, &object).unwrap());
        prop_assert_eq!(&named, &alone);
        let from_protobuf = decode_protobuf_with_names(kind, &bytes, &mut Names::new()).unwrap();
        prop_assert_eq!(from_protobuf, (rest, named), "{}", object);
    }

    #[test]
    fn unknown_protobuf_fields_change_nothing((index, object) in any_object()) {
        let (kind, name) = KINDS[index];
        let bytes = protobuf::bare(name, &object).unwrap();
        let decoded = |bytes: &[u8]| decode_protobuf(kind, bytes, &mut Names::new()).map_err(|error| error.to_string());
        let expected = decoded(&bytes);
        for depth in 0..2 {
            prop_assert_eq!(decoded(&with_unknown_fields(kind, &bytes, depth)), expected.clone());
        }
    }

    #[test]
    fn nothing_panics_on_bytes_that_were_damaged(
        (index, object) in any_object(),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (kind, name) = KINDS[index];
        let mut bytes = protobuf::bare(name, &object).unwrap();
        let mut text = object.to_string().into_bytes();
        for (at, byte) in damage {
            for damaged in [&mut bytes, &mut text] {
                if !damaged.is_empty() {
                    let at = at.index(damaged.len());
                    damaged[at] = byte;
                }
            }
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        // An error or an object with what could be read: both are fine.
        drop(decode_protobuf(kind, &bytes, &mut Names::new()));
        drop(decode_json(kind, &text, &mut Names::new()));
        if let Ok(value) = serde_json::from_slice::<Value>(&text) {
            drop(decode_manifest(&value, &mut Names::new()));
        }
    }

    #[test]
    fn nothing_panics_on_noise(bytes in vec(any::<u8>(), 0..200)) {
        for (kind, _) in KINDS {
            drop(decode_protobuf(kind, &bytes, &mut Names::new()));
            drop(decode_json(kind, &bytes, &mut Names::new()));
        }
    }
}
