//! `signalbox dns` as people meet it: dig, the C library's resolver, and the in-tree API server with changing Services.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod configured;
#[path = "../apiserver/machine.rs"]
#[allow(dead_code, reason = "not all of it is used here")]
mod machine;
mod resolver;
mod stage;

use std::time::{Duration, Instant};

use serde_json::json;

use stage::Stage;

#[test]
fn dig_gets_what_the_specification_says() {
    let Some(stage) = Stage::new(&["--lameduck", "1"]) else { return };
    stage.add_everything();
    let check = |question: &str, expected: &str| stage.comes_to(question, expected);
    check("A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
    check("AAAA web.shop.svc.cluster.local", "NOERROR");
    check("SRV _http._tcp.web.shop.svc.cluster.local", "NOERROR 0 100 80 web.shop.svc.cluster.local.");
    check("-x 10.96.0.77", "NOERROR web.shop.svc.cluster.local.");
    check("A db.shop.svc.cluster.local", "NOERROR 10.244.0.5 10.244.0.6");
    check("A one.db.shop.svc.cluster.local", "NOERROR 10.244.0.5");
    check("A 10-244-0-6.db.shop.svc.cluster.local", "NOERROR 10.244.0.6");
    check("A 10-244-0-7.db.shop.svc.cluster.local", "NXDOMAIN");
    check(
        "SRV _pg._tcp.db.shop.svc.cluster.local",
        "NOERROR 0 50 5432 10-244-0-6.db.shop.svc.cluster.local. 0 50 5432 one.db.shop.svc.cluster.local.",
    );
    check("-x 10.244.0.5", "NOERROR one.db.shop.svc.cluster.local.");
    check("CNAME www.shop.svc.cluster.local", "NOERROR www.example.org.");
    check("TXT dns-version.cluster.local", "NOERROR \"1.1.0\"");
    check("A 10-1-2-3.shop.pod.cluster.local", "NOERROR 10.1.2.3");
    check("A shop.svc.cluster.local", "NOERROR");
    check("A web.nowhere.svc.cluster.local", "NXDOMAIN");
    check("A example.org", "REFUSED");
    // What dig can do to a server.
    check("+tcp A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
    check("+tcp +keepopen A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
    check("+noedns A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
    check("+edns=1 +noednsnegotiation A web.shop.svc.cluster.local", "BADVERS");
    check("+opcode=notify A web.shop.svc.cluster.local", "NOTIMP");
    check("+header-only", "FORMERR");
    check("+dnssec +cookie=0123456789abcdef A WeB.shop.SVC.cluster.local", "NOERROR 10.96.0.77");
    check("-c CH TXT version.bind", "REFUSED");
    check("ANY web.shop.svc.cluster.local", "NOERROR");
    check("AXFR cluster.local", "REFUSED");
}

#[test]
fn dig_on_the_servers_port_hears_the_server() {
    let Some(stage) = Stage::new(&[]) else { return };
    stage.add_everything();
    stage.comes_to("A db.shop.svc.cluster.local", "NOERROR 10.244.0.5 10.244.0.6");
    let from = |own: &str| stage.dig_from(&format!("{own}#{}", stage.port()), "A db.shop.svc.cluster.local");
    assert_eq!(from("127.0.0.2"), "NOERROR 10.244.0.5 10.244.0.6");
    // With the server's address as well, it is its own query that comes back: why `dig` has another one.
    assert_eq!(from("127.0.0.1"), "NOERROR");
}

#[test]
fn answers_follow_the_api_server_and_outlive_it() {
    let Some(mut stage) = Stage::new(&[]) else { return };
    stage.add_everything();
    stage.comes_to("A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
    stage.comes_to("A db.shop.svc.cluster.local", "NOERROR 10.244.0.5 10.244.0.6");
    // Names that stay are there whatever comes and goes beside them.
    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let name = format!("short-{number}");
        let spec = json!({"clusterIP": format!("10.96.1.{}", number + 1), "ports": [{"port": 80}]});
        stage.create("/api/v1/namespaces/shop/services", json!({"metadata": {"name": name}, "spec": spec}));
        let begun = Instant::now();
        let question = format!("A {name}.shop.svc.cluster.local");
        stage.comes_to(&question, &format!("NOERROR 10.96.1.{}", number + 1));
        slowest = slowest.max(begun.elapsed());
        stage.stays("A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
        stage.delete(&format!("/api/v1/namespaces/shop/services/{name}"));
        stage.comes_to(&question, "NXDOMAIN");
    }
    println!("slowest from the API server's answer to dig's: {slowest:?}");
    // The API server goes away and comes back.
    stage.machine.server.restart().unwrap();
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        stage.stays("A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
        stage.stays("A db.shop.svc.cluster.local", "NOERROR 10.244.0.5 10.244.0.6");
    }
    stage.reconnect();
    stage.delete("/api/v1/namespaces/shop/services/web");
    stage.comes_to("A web.shop.svc.cluster.local", "NXDOMAIN");
}
