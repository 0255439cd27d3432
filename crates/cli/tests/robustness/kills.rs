//! SIGKILL at any moment: nobody notices, and nothing is left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::Family;
use serde_json::json;
use testkit::apiserver::{ApiServer, Behaviour};

use crate::chance::Chance;
use crate::cluster::{self, MOVING, service, slice};
use crate::load::{Load, await_that};
use crate::node::{Mode, Node, PATIENCE, Proxy, in_modes, signalbox};
use crate::table;

in_modes! {
    killed_again_and_again_under_load_nobody_notices_and_nothing_is_left: Nftables Legacy Nft;
    killed_in_the_first_sync_of_a_large_cluster_the_next_one_finishes_it: Nftables Legacy;
}

fn killed_again_and_again_under_load_nobody_notices_and_nothing_is_left(mode: Mode) {
    const KILLS: usize = 16;
    const SERVICES: usize = 120;
    let Some(mut node) = Node::in_mode(mode) else { return };
    let mut chance = Chance::printed();
    let server = cluster::start(&node, Behaviour::default());
    server.apply(service("moving", &[MOVING], json!({})));
    server.apply(slice("moving", "IPv4", &["10.244.1.13"]));
    for number in 0..SERVICES {
        let _ = server.try_apply(cluster::noise(&format!("noise-{number}"), &mut chance, SERVICES));
    }
    let proxy = start(&mut node);
    await_in_step(&proxy);
    let mut load = Load::on_steady(&node);
    // Its pod lives, whatever becomes of its Service.
    load.flow(&node, "client", &format!("tcp/{MOVING}:80"));
    load.follower(&node, &format!("udp/{MOVING}:80"));
    let disturbance = Disturbance::default();
    let proxy = std::thread::scope(|scope| {
        let _ends_with_the_scope = EndOf(&disturbance);
        let mut other = chance.split();
        let (server, disturbance) = (&server, &disturbance);
        scope.spawn(move || disturbance.go_on(server, (&mut other, SERVICES)));
        let mut proxy = proxy;
        for number in 0..KILLS {
            if chance.once_in(4) {
                await_in_step(&proxy);
            }
            std::thread::sleep(chance.up_to(Duration::from_millis(1500)));
            eprintln!("kill {number}: {:?}", proxy.log().lines().last().unwrap_or("before its first word"));
            proxy.kill();
            if chance.once_in(2) {
                std::thread::sleep(chance.up_to(Duration::from_millis(500)));
            }
            proxy = start(&mut node);
        }
        proxy
    });
    server.apply(service("moving", &[MOVING], json!({})));
    server.apply(slice("moving", "IPv4", &["10.244.1.12"]));
    await_marker(&node, &server);
    load.await_follower("pod2");
    load.end(100);
    is_what_a_fresh_kernel_gets(&mut node, proxy);
}

fn killed_in_the_first_sync_of_a_large_cluster_the_next_one_finishes_it(mode: Mode) {
    const KILLS: usize = 5;
    let Some(mut node) = Node::in_mode(mode) else { return };
    let mut chance = Chance::printed();
    let server = cluster::start(&node, Behaviour::default());
    // More than one transaction has room for.
    for number in 0..2400_usize {
        let (name, address) =
            (format!("big-{number}"), format!("10.96.{}.{}", 4 + number / 250, number % 250));
        server.apply(service(&name, &[&address], json!({"ports": [{"name": "tcp", "port": 80}]})));
        let address = |endpoint| format!("10.244.{}.{}", 2 + number / 16, number % 16 * 16 + endpoint);
        server.apply(slice(&name, "IPv4", &(0..15).map(address).collect::<Vec<_>>()));
    }
    if mode == Mode::Nftables {
        kill_between_the_transactions(&mut node);
    }
    let mut load = None;
    for number in 0..KILLS {
        let proxy = start(&mut node);
        proxy.await_log(&["every source has synced"]);
        std::thread::sleep(chance.up_to(Duration::from_secs(2)));
        proxy.kill();
        let entrances = table::entrances(&node, Family::V4);
        eprintln!("kill {number}: {entrances:?} entrances");
        if entrances.is_some_and(|count| count > 0) && load.is_none() {
            // From the moment when packets are sent through the rules, the rules are complete.
            node.await_answers("tcp/10.96.0.10:80", &["pod1", "pod2"]);
            let mut fresh = Load::empty(&node);
            fresh.flow(&node, "client", "tcp/10.96.0.10:80");
            fresh.connections(&node, "client", "tcp/10.96.0.10:80");
            load = Some(fresh);
        }
    }
    let proxy = start(&mut node);
    await_marker(&node, &server);
    if let Some(load) = load {
        load.end(10);
    }
    is_what_a_fresh_kernel_gets(&mut node, proxy);
}

/// Leaves a table that has some of its content and is not in use yet.
fn kill_between_the_transactions(node: &mut Node) {
    for _ in 0..10 {
        let proxy = start(node);
        let begin = std::time::Instant::now();
        while table::entrances(node, Family::V4).is_none() {
            assert!(begin.elapsed() < 3 * PATIENCE, "no table; {}", proxy.log());
        }
        proxy.kill();
        if table::entrances(node, Family::V4) == Some(0) {
            return;
        }
        // It was faster.
        node.run(signalbox().to_str().unwrap(), &["cleanup"]);
    }
    panic!("no kill came between the transactions");
}

fn start(node: &mut Node) -> Proxy {
    let kubeconfig = cluster::kubeconfig(node);
    node.proxy_with(&["--kubeconfig", &kubeconfig])
}

fn await_in_step(proxy: &Proxy) {
    for family in ["IPv4", "IPv6"] {
        proxy.await_log(&[family, "in step"]);
    }
}

/// Waits until everything that the server has now was written, in both families.
fn await_marker(node: &Node, server: &ApiServer) {
    server.apply(service("marker", &["10.96.3.1", "fd00:10:96::3:1"], json!({})));
    server.apply(slice("marker", "IPv4", &["10.244.1.13"]));
    server.apply(slice("marker", "IPv6", &["fd00:10:244:1::13"]));
    for target in ["tcp/10.96.3.1:80", "tcp/[fd00:10:96::3:1]:80"] {
        await_that(target, || {
            let seen = node.answers(target);
            if seen == ["pod3"] { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }
}

/// Ends the proxy, takes its rules away, and lets another one write them anew.
fn is_what_a_fresh_kernel_gets(node: &mut Node, proxy: Proxy) {
    proxy.terminate();
    let ours = table::both(node);
    let cleaned = node.run(signalbox().to_str().unwrap(), &["cleanup"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    match node.mode {
        Mode::Nftables => assert_eq!(node.program(), "", "left behind"),
        Mode::Legacy | Mode::Nft => assert_eq!(table::both(node), [].into(), "left behind"),
    }
    let proxy = start(node);
    await_that("both families", || {
        let log = proxy.log();
        let is_there = |family| log.lines().any(|line| line.contains(family) && line.contains("in step"));
        if is_there("IPv4") && is_there("IPv6") { Ok(()) } else { Err(log) }
    });
    proxy.terminate();
    let fresh = table::both(node);
    assert!(fresh.len() > 50, "{fresh:?}");
    assert!(ours == fresh, "{}", table::difference(&ours, &fresh));
}

/// Somebody who changes some hundreds of objects a second, and a server that soon forgets its history.
#[derive(Default)]
struct Disturbance {
    is_over: AtomicBool,
}

impl Disturbance {
    fn go_on(&self, server: &ApiServer, (chance, services): (&mut Chance, usize)) {
        let mut count = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            cluster::disturb(server, chance, services);
            count += 1;
            if chance.once_in(2000) {
                server.compact();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        eprintln!("{count} changes");
    }
}

/// Ends the disturbance also when the test fails.
struct EndOf<'a>(&'a Disturbance);

impl Drop for EndOf<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}
