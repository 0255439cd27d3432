//! Worlds of namespaces: packets get where they should, and nothing is left.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sys::link::Links;
use testkit::traffic::{Answered, Places, Probing, Server, Target, probe, until_answered};
use testkit::world::{World, conformance, one_node};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED (needs root): network namespaces");
    }
    root
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-V").output().is_ok();
    if !found {
        eprintln!("SKIPPED (needs {program}): network namespaces");
    }
    found
}

/// Serves in one namespace and probes from another; answers what each target says.
fn answers(world: &World, server: &str, client: &str, targets: &[&str]) -> Vec<Answered> {
    let targets: Vec<Target> = targets.iter().map(|text| text.parse().unwrap()).collect();
    let ask = || targets.iter().flat_map(|target| probe(&Probing::new(*target, 1))).collect();
    while_serving(world, (server, client), &targets[..1], ask)
}

fn asked_with(world: &World, places: (&str, &str), probing: &Probing) -> Vec<Answered> {
    let tcp = SocketAddr::new(probing.targets[0].address.ip(), 80);
    while_serving(world, places, &[format!("tcp/{tcp}").parse().unwrap()], || probe(probing))
}

/// Asks from one namespace while a server runs in another and has answered on TCP.
fn while_serving(
    world: &World,
    (server, client): (&str, &str),
    tcp: &[Target],
    ask: impl Fn() -> Vec<Answered> + Sync,
) -> Vec<Answered> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let places = Places { name: server.to_owned(), tcp: vec![80], udp: vec![53], sctp: vec![9999] };
            let serve = || open_server(&places).run(|| stop.load(Ordering::Relaxed));
            world.namespace(server).run(serve).unwrap();
        });
        let asked = world.namespace(client).run(|| {
            assert!(until_answered(tcp, Duration::from_millis(20), Duration::from_secs(5)), "{tcp:?}");
            ask()
        });
        stop.store(true, Ordering::Relaxed);
        asked.unwrap()
    })
}

/// Takes the ports. A process that another test is about to start has a copy of every socket of this one until it runs
/// its program, those of an earlier server among them.
fn open_server(places: &Places) -> Server {
    let begin = Instant::now();
    loop {
        match Server::open(places.clone()) {
            Err(error)
                if error.kind() == ErrorKind::AddrInUse && begin.elapsed() < Duration::from_secs(3) =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.unwrap(),
        }
    }
}

/// Starts a shell in a namespace that starts another process there; answers the shell and the other's number.
fn start_two_processes(world: &World, name: &str) -> (Child, u32) {
    let mut command = world.command(name, Path::new("sh"));
    command.args(["-c", "sleep 600 & echo $!; wait"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut shell = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (shell, line.trim().parse().unwrap())
}

/// A zombie that nobody has fetched yet does not run.
fn runs(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[track_caller]
fn check_nothing_is_left(prefix: &str, (mut shell, other): (Child, u32)) {
    assert_eq!(sys::netns::names(prefix), Vec::<String>::new());
    // Without the kill this would wait for ten minutes.
    assert!(!runs(shell.id()) && !runs(other), "processes go on");
    assert!(!shell.wait().unwrap().success());
}

#[test]
fn what_a_killed_run_left_is_removed_by_the_next_one() {
    if !is_root() {
        return;
    }
    let prefix = format!("sbl{}-", std::process::id());
    let killed = one_node(&prefix).unwrap();
    let processes = start_two_processes(killed.world(), "node");
    assert!(runs(processes.0.id()) && runs(processes.1));
    assert_eq!(sys::netns::names(&prefix), [format!("{prefix}node"), format!("{prefix}outside")]);
    std::mem::forget(killed);
    let next = World::new(&prefix);
    check_nothing_is_left(&prefix, processes);
    drop(next);
}

#[test]
fn a_panic_leaves_nothing_of_the_network_of_the_cases() {
    if !is_root() || !has("nft") {
        return;
    }
    let prefix = format!("sbp{}-", std::process::id());
    let mut processes = None;
    let crash = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let world = conformance(&prefix).unwrap();
        processes = Some(start_two_processes(&world, "a1"));
        panic!("on purpose");
    }));
    assert!(crash.is_err());
    check_nothing_is_left(&prefix, processes.unwrap());
}

#[test]
fn a_pod_goes_with_its_processes_and_only_with_its_own() {
    if !is_root() {
        return;
    }
    let prefix = format!("sbq{}-", std::process::id());
    let mut node = one_node(&prefix).unwrap();
    node.add_pod("a", &["10.244.1.2".parse().unwrap()]).unwrap();
    node.add_pod("b", &["10.244.1.3".parse().unwrap()]).unwrap();
    let ([mut gone, mut stays], [of_gone, of_stays]) = {
        let [(a, of_a), (b, of_b)] = ["a", "b"].map(|pod| start_two_processes(node.world(), pod));
        ([a, b], [of_a, of_b])
    };
    node.remove_pod("a").unwrap();
    assert!(!runs(gone.id()) && !runs(of_gone));
    assert!(runs(stays.id()) && runs(of_stays));
    drop(node);
    assert!(!runs(stays.id()) && !runs(of_stays));
    assert!(!gone.wait().unwrap().success() && !stays.wait().unwrap().success());
}

#[test]
#[should_panic(expected = "is not like")]
fn a_world_does_not_begin_like_the_names_of_others() {
    let _world = World::new("sb-");
}

#[test]
fn namespaces_are_those_of_ip_netns() {
    if !is_root() || !has("ip") {
        return;
    }
    let prefix = format!("sbi{}-", std::process::id());
    let node = one_node(&prefix).unwrap();
    let words = ["netns", "exec", &format!("{prefix}node"), "cat", "/proc/sys/net/ipv4/ip_forward"];
    let output = Command::new("ip").args(words).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{output:?}");
    drop(node);
}

/// What becomes of a connection, and what the server sees of it.
#[test]
fn every_verdict_and_the_source_are_told() {
    if !is_root() {
        return;
    }
    let mut node = one_node(&format!("sbv{}-", std::process::id())).unwrap();
    let address: IpAddr = "10.244.1.2".parse().unwrap();
    node.add_pod("a", &[address]).unwrap();
    let sources = ["10.244.1.3", "10.244.1.4"].map(|text| text.parse::<IpAddr>().unwrap());
    node.add_pod("b", &sources).unwrap();
    let world = node.world();
    // At this address nobody listens: the frames go to hardware that is not there.
    let silent: IpAddr = "192.168.77.50".parse().unwrap();
    world
        .namespace("node")
        .run(|| Links::open()?.add_neighbour("uplink", silent, [2, 0, 0, 9, 9, 9]))
        .unwrap()
        .unwrap();
    for (target, verdict) in [
        ("tcp/10.244.1.2:81", "refused"),
        ("udp/10.244.1.2:54", "refused"),
        ("tcp/192.168.77.50:80", "timeout"),
        ("udp/192.168.77.50:80", "timeout"),
        ("icmp/192.168.77.50", "timeout"),
        ("tcp/172.16.0.1:80", "timeout"),
    ] {
        let probing =
            Probing { timeout: Duration::from_millis(300), ..Probing::new(target.parse().unwrap(), 1) };
        let seen = world.namespace("b").run(|| probe(&probing)).unwrap();
        assert_eq!(seen[0].verdict, verdict, "{target}");
        assert_eq!((&*seen[0].name, seen[0].src), ("", None), "{target}");
    }
    for target in ["tcp/10.244.1.2:80", "udp/10.244.1.2:53", "sctp/10.244.1.2:9999"] {
        let target: Target = target.parse().unwrap();
        let bind = sources.map(|source| SocketAddr::new(source, 0)).to_vec();
        let probing = Probing { bind, parallel: 4, ..Probing::new(target, 20) };
        let seen = asked_with(world, ("a", "b"), &probing);
        assert_eq!(seen.len(), 20);
        for (index, answered) in seen.iter().enumerate() {
            assert_eq!((&*answered.verdict, &*answered.name), ("ok", "a"));
            assert_eq!(answered.src.map(|src| src.ip()), Some(sources[index % 2]));
            assert_eq!(answered.dst, Some(target.address));
        }
    }
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
    if !is_root() || !has("nft") {
        return;
    }
    let prefix = format!("sbw{}-", std::process::id());
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
