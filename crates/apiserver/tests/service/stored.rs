//! What is in the store besides the Services: what a start makes, what is given out of small ranges, and what is repaired.

use apiserver::allocate::{Cluster, NodePorts, repair, set_up, settle};
use apiserver::kinds::Kind;
use apiserver::range::Range;
use serde_json::{Value, json};

use crate::server::{Answer, Server, Target};

fn services() -> &'static Kind {
    Kind::find("", "v1", "services").unwrap()
}

fn service(name: &str) -> Target<'_> {
    Target { kind: services(), namespace: "ns", name, is_status: false, is_dry_run: false }
}

fn post(server: &mut Server, name: &str, spec: Value) -> Answer {
    let body = json!({"metadata": {"name": name}, "spec": spec});
    server.post(&service(name), &body.to_string())
}

#[test]
fn a_start_makes_the_server_known() {
    let server = Server::new(&["fd00:10:96::/112", "10.96.0.0/12"], NodePorts::default(), 1);
    let find = |group: &str, plural: &str| {
        let kind = Kind::find(group, "v1", plural).unwrap();
        server.get(kind, "default", "kubernetes").unwrap()
    };
    let range = find("networking.k8s.io", "servicecidrs");
    assert_eq!(range["spec"]["cidrs"], json!(["fd00:10:96::/112", "10.96.0.0/12"]));
    assert_eq!(range["status"]["conditions"][0]["status"], "True");
    let service = find("", "services");
    assert_eq!(service["spec"]["clusterIPs"], json!(["fd00:10:96::1"]));
    assert_eq!(service["spec"]["ipFamilies"], json!(["IPv6"]));
    // The server has an IPv4 address only.
    assert_eq!(find("discovery.k8s.io", "endpointslices")["endpoints"], Value::Null);
    let server = Server::new(&["10.96.0.0/12"], NodePorts::default(), 1);
    let endpoints = server.get(Kind::find("", "v1", "endpoints").unwrap(), "default", "kubernetes").unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"], json!([{"ip": "192.0.2.1"}]));
    let address = server.get(Kind::find("networking.k8s.io", "v1", "ipaddresses").unwrap(), "", "10.96.0.1");
    assert_eq!(
        address.unwrap()["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "kubernetes"})
    );
}

#[test]
fn another_start_follows_the_server() {
    let mut server = Server::new(&["10.96.0.0/12"], NodePorts::default(), 1);
    let start = |ranges: &[&str], at: &str, port: u16| Cluster {
        service_ranges: ranges.iter().map(|text| Range::parse(text).unwrap()).collect(),
        node_ports: NodePorts { first: 31_000, last: 31_999 },
        server: vec![at.parse().unwrap()],
        server_port: port,
    };
    let moved = start(&["10.96.0.0/12", "fd00::/112"], "192.0.2.2", 443);
    assert_eq!(server.write(move |writing| Ok(set_up(writing, &moved))).unwrap(), [] as [&str; 0]);
    let slices = Kind::find("discovery.k8s.io", "v1", "endpointslices").unwrap();
    let slice = server.get(slices, "default", "kubernetes").unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.2"]));
    assert_eq!((&slice["ports"][0]["port"], &slice["metadata"]["generation"]), (&json!(443), &json!(2)));
    let service = server.get(services(), "default", "kubernetes").unwrap();
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 443);
    let given = post(
        &mut server,
        "a",
        json!({"type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}),
    );
    assert_eq!(given.body["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert!(given.body["spec"]["ports"][0]["nodePort"].as_i64().unwrap() >= 31_000);
    let other = start(&["10.0.0.0/24"], "192.0.2.2", 443);
    assert_eq!(
        server.write(move |writing| Ok(set_up(writing, &other))).unwrap(),
        ["the ServiceCIDR kubernetes stays [\"10.96.0.0/12\",\"fd00::/112\"], it is not [\"10.0.0.0/24\"]"]
    );
}

#[test]
fn a_start_mends_what_clients_made_of_the_service_of_the_server() {
    let cluster = || Cluster {
        service_ranges: vec![Range::parse("10.96.0.0/12").unwrap()],
        node_ports: NodePorts::default(),
        server: vec!["192.0.2.1".parse().unwrap()],
        server_port: 6443,
    };
    let port = |number: u16| json!({"name": "x", "port": number, "targetPort": 6443, "protocol": "TCP"});
    for (broken, address) in [
        (json!({"type": "ExternalName", "externalName": "a.b"}), "10.96.0.1"),
        (json!(null), "10.96.0.1"),
        (json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"]}), "10.96.0.1"),
        (
            json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
                   "ipFamilyPolicy": "SingleStack", "ports": [port(443)]}),
            "10.96.0.9",
        ),
        (
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv4"],
                   "ports": [port(8443)]}),
            "10.96.0.1",
        ),
    ] {
        let mut server = Server::new(&["10.96.0.0/12"], NodePorts::default(), 1);
        let spec = broken.clone();
        let wrong = server.write(move |writing| {
            let mut object = writing.object(services(), "default/kubernetes").unwrap();
            object["spec"] = spec;
            writing.put_object(services(), &mut object);
            repair(writing);
            let wrong = set_up(writing, &cluster());
            assert_eq!(repair(writing), [] as [&str; 0]);
            assert_eq!(set_up(writing, &cluster()), [] as [&str; 0]);
            Ok(wrong)
        });
        let wanted = ["the Service kubernetes was not what it has to be, and was mended"];
        assert_eq!(wrong.unwrap(), wanted, "{broken}");
        let spec = server.get(services(), "default", "kubernetes").unwrap()["spec"].take();
        assert_eq!(
            (&spec["type"], &spec["clusterIPs"]),
            (&json!("ClusterIP"), &json!([address])),
            "{broken}"
        );
        let ports = json!([{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]);
        assert_eq!(spec["ports"], ports, "{broken}");
    }
}

#[test]
fn a_full_range_says_so_and_a_refused_write_takes_nothing() {
    let mut server = Server::new(&["10.0.0.0/29"], NodePorts { first: 30_000, last: 30_003 }, 2);
    let spec = json!({"ports": [{"port": 80}]});
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(post(&mut server, name, spec.clone()).code, 201);
    }
    let full = post(&mut server, "f", spec);
    let why = "Internal error occurred: failed to allocate a serviceIP: range is full";
    assert_eq!((full.code, &full.body["message"]), (500, &json!(why)));
    server.delete(&service("a"));
    // Three ports are taken before the fourth and its health check find nothing: nothing stays taken.
    let ports: Vec<Value> = (1..5).map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
    let too_many = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": ports});
    let full = post(&mut server, "g", too_many);
    let why = "Internal error occurred: failed to allocate a HealthCheck NodePort 0: range is full";
    assert_eq!((full.code, &full.body["message"]), (500, &json!(why)));
    assert!(server.list("allocated-nodeports").is_empty());
    assert_eq!(server.list("ipaddresses").len(), 5);
    assert_eq!(server.write(|writing| Ok(repair(writing))).unwrap(), [] as [&str; 0]);
}

#[test]
fn what_does_not_agree_is_repaired() {
    let mut server = Server::new(&["10.96.0.0/12"], NodePorts::default(), 3);
    let spec =
        json!({"type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 80, "nodePort": 30_010}]});
    assert_eq!(post(&mut server, "a", spec).code, 201);
    let broken = server.write(|writing| {
        let addresses = Kind::find("networking.k8s.io", "v1", "ipaddresses").unwrap();
        let mut address = writing.object(addresses, "10.96.0.10").unwrap();
        for name in ["10.96.0.11", "10.96.0.12"] {
            address["metadata"]["name"] = name.into();
            if name == "10.96.0.12" {
                // Somebody else's.
                address["metadata"].as_object_mut().unwrap().remove("labels");
            }
            writing.put_object(addresses, &mut address);
        }
        writing.delete("ipaddresses", "10.96.0.10");
        writing.put("allocated-nodeports", "30010", "x/y");
        writing.put("allocated-nodeports", "30011", "ns/a");
        let mut twin = writing.object(services(), "ns/a").unwrap();
        twin["metadata"]["name"] = "b".into();
        writing.put_object(services(), &mut twin);
        Ok(())
    });
    broken.unwrap();
    let repaired = server.write(|writing| Ok(repair(writing))).unwrap();
    let twice = [
        "address 10.96.0.10 is in two Services: ns/a and ns/b",
        "node port 30010 is in two Services: ns/a and ns/b",
    ];
    assert_eq!(repaired[..2], twice);
    assert_eq!(
        repaired[2..],
        [
            "address 10.96.0.10 of the Service ns/a was not noted",
            "address 10.96.0.11 was noted and no Service has it",
            "node port 30010 of the Service ns/a was noted for another",
            "node port 30011 was noted and no Service has it",
        ]
    );
    assert_eq!(server.write(|writing| Ok(repair(writing))).unwrap(), twice);
    // What the twin has is not its own to give back.
    server.delete(&service("b"));
    assert_eq!(server.write(|writing| Ok(repair(writing))).unwrap(), [] as [&str; 0]);
}

#[test]
fn a_range_stays_as_long_as_it_is_needed() {
    let mut server = Server::new(&["10.0.0.0/28"], NodePorts::default(), 4);
    let kind = Kind::find("networking.k8s.io", "v1", "servicecidrs").unwrap();
    let range = |name| Target { kind, namespace: "", name, is_status: false, is_dry_run: false };
    let body = |cidr: &str| json!({"metadata": {"name": "more"}, "spec": {"cidrs": [cidr]}}).to_string();
    assert_eq!(server.post(&range("more"), &body("10.1.0.0/24")).code, 201);
    assert_eq!(server.write(|writing| Ok(settle(writing))).unwrap(), ["ServiceCIDR more is settled"]);
    assert_eq!(server.write(|writing| Ok(settle(writing))).unwrap(), [] as [&str; 0]);
    let spec = json!({"clusterIP": "10.1.0.7", "ports": [{"port": 80}]});
    assert_eq!(post(&mut server, "a", spec.clone()).code, 201);
    let going = server.write(move |writing| {
        let mut object = writing.object(kind, "more").unwrap();
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        writing.put_object(kind, &mut object);
        Ok(settle(writing))
    });
    assert_eq!(going.unwrap(), ["ServiceCIDR more is settled"]);
    let ready = server.get(kind, "", "more").unwrap()["status"]["conditions"][0].clone();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Terminating")));
    // Nothing is given out of it any more.
    let spec = json!({"clusterIP": "10.1.0.8", "ports": [{"port": 80}]});
    assert_eq!(post(&mut server, "b", spec).code, 422);
    server.delete(&service("a"));
    assert_eq!(server.write(|writing| Ok(settle(writing))).unwrap(), ["ServiceCIDR more is gone"]);
    assert!(server.get(kind, "", "more").is_none());
}
