//! Worlds of namespaces: packets get where they should, and nothing is left.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::traffic::{Answered, Places, Probing, Server, Target, probe, until_answered};
use testkit::world::{World, conformance, one_node};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED (needs root): network namespaces");
    }
    root
}

/// Serves in one namespace and probes from another; answers what each target says.
fn answers(world: &World, server: &str, client: &str, targets: &[&str]) -> Vec<Answered> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let places = Places { name: server.to_owned(), tcp: vec![80], udp: vec![53], sctp: vec![9999] };
            let serve = || Server::open(places).unwrap().run(|| stop.load(Ordering::Relaxed));
            world.namespace(server).run(serve).unwrap();
        });
        let targets: Vec<Target> = targets.iter().map(|text| text.parse().unwrap()).collect();
        let asked = world.namespace(client).run(|| {
            let tcp = &targets[..1];
            assert!(until_answered(tcp, Duration::from_millis(20), Duration::from_secs(5)), "{tcp:?}");
            targets.iter().flat_map(|target| probe(&Probing::new(*target, 1))).collect()
        });
        stop.store(true, Ordering::Relaxed);
        asked.unwrap()
    })
}

#[test]
fn one_node_carries_packets_between_its_pods_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let prefix = format!("sbt{}-", std::process::id());
    let mut node = one_node(&prefix).unwrap();
    let addresses: [IpAddr; 2] = ["10.244.1.2".parse().unwrap(), "fd00:10:244:1::2".parse().unwrap()];
    node.add_pod("a", &addresses).unwrap();
    node.add_pod("b", &["10.244.1.3".parse().unwrap(), "fd00:10:244:1::3".parse().unwrap()]).unwrap();
    let targets = [
        "tcp/10.244.1.2:80",
        "tcp/[fd00:10:244:1::2]:80",
        "udp/10.244.1.2:53",
        "sctp/10.244.1.2:9999",
        "icmp/10.244.1.2",
    ];
    for answered in answers(node.world(), "a", "b", &targets) {
        assert_eq!(answered.verdict, "ok");
    }
    for answered in answers(node.world(), "a", "outside", &targets) {
        assert_eq!(answered.verdict, "ok");
    }
    node.remove_pod("a").unwrap();
    node.add_pod("a", &addresses).unwrap();
    assert!(answers(node.world(), "a", "node", &targets[..2]).iter().all(Answered::is_ok));
    let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _node = node;
        panic!("on purpose");
    }));
    assert!(crash.is_err());
    assert_eq!(sys::netns::names(&prefix), Vec::<String>::new());
}

#[test]
fn the_network_of_the_cases_carries_packets_across_nodes() {
    if !is_root() {
        return;
    }
    if std::process::Command::new("nft").arg("--version").output().is_err() {
        eprintln!("SKIPPED (needs nft): the network of the cases");
        return;
    }
    let prefix = format!("sbc{}-", std::process::id());
    let world = conformance(&prefix).unwrap();
    let targets = [
        "tcp/10.244.2.2:80",
        "tcp/[fd00:10:244:2::2]:80",
        "sctp/[fd00:10:244:2::2]:9999",
        "udp/[fd00:10:244:2::2]:53",
    ];
    for client in ["b1", "ext", "n3", "k2", "a2"] {
        let seen = answers(&world, "a2", client, &targets);
        assert!(seen.iter().all(Answered::is_ok), "{client}: {seen:?}");
    }
    let many = answers(&world, "k3", "c1", &["tcp/10.244.3.200:80", "udp/[fd00:10:244:3::1005]:53"]);
    assert!(many.iter().all(Answered::is_ok), "{many:?}");
    let nobody = world.namespace("ext").run(|| {
        let target = "tcp/10.96.0.77:80".parse().unwrap();
        probe(&Probing::new(target, 1))
    });
    assert_eq!(nobody.unwrap()[0].verdict, "unreachable");
    drop(world);
    assert_eq!(sys::netns::names(&prefix), Vec::<String>::new());
}
