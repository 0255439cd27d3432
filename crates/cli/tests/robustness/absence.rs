//! The API server goes away and comes back with another past: traffic goes on, and in the end its word counts.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::apiserver::{ApiServer, Behaviour};

use crate::cluster::{self, service, slice};
use crate::load::{Load, await_that, healthz};
use crate::node::{Mode, Node, Proxy, in_modes};

in_modes! {
    a_server_that_is_away_for_long_and_forgot_its_history_is_believed_again: Nftables Legacy;
    a_server_that_was_restored_from_a_backup_is_believed: Nftables Legacy;
    an_agent_that_starts_without_its_server_leaves_the_rules_alone: Nftables Legacy;
}

/// Longer than the first waits of the client, so that it is deep in its back-off.
const ABSENCE: Duration = Duration::from_secs(8);

/// A Service of its own address, with one pod.
fn put(server: &ApiServer, name: &str, (address, pod): (&str, &str)) {
    server.apply(service(name, &[address], json!({})));
    server.apply(slice(name, "IPv4", &[pod]));
}

fn start(node: &mut Node) -> Proxy {
    let kubeconfig = cluster::kubeconfig(node);
    node.proxy_with(&["--kubeconfig", &kubeconfig])
}

#[track_caller]
fn await_answers(node: &Node, target: &str, wanted: &str) {
    await_that(&format!("{target} is {wanted}"), || {
        let seen = node.answers(target);
        if seen == [wanted] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

/// Watches `/healthz` for as long as the server is away.
fn is_healthy_all_the_while(node: &Node) {
    let begin = Instant::now();
    while begin.elapsed() < ABSENCE {
        let health = healthz(node);
        assert_eq!(health.code, Some(200), "without the API server: {health:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn a_server_that_is_away_for_long_and_forgot_its_history_is_believed_again(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let mut server = cluster::start(&node, Behaviour::default());
    put(&server, "goes", ("10.96.0.30", "10.244.1.13"));
    put(&server, "moves", ("10.96.0.31", "10.244.1.13"));
    let proxy = start(&mut node);
    await_answers(&node, "tcp/10.96.0.30:80", "pod3");
    await_answers(&node, "tcp/10.96.0.31:80", "pod3");
    let load = Load::on_steady(&node);

    server.stop();
    proxy.await_log(&["WARN", "keeping the last state"]);
    is_healthy_all_the_while(&node);
    assert_eq!(node.answers("tcp/10.96.0.30:80"), ["pod3"]);
    for object in [("Service", "goes"), ("EndpointSlice", "goes-ipv4")] {
        assert!(server.delete(object.0, "shop", object.1));
    }
    put(&server, "moves", ("10.96.0.31", "10.244.1.11"));
    put(&server, "comes", ("10.96.0.32", "10.244.1.12"));
    server.compact();
    server.restart().unwrap();

    await_answers(&node, "tcp/10.96.0.32:80", "pod2");
    await_answers(&node, "tcp/10.96.0.31:80", "pod1");
    await_that("what is gone is gone", || {
        let listing = node.program();
        if listing.contains("10.96.0.30") { Err(listing) } else { Ok(()) }
    });
    assert_eq!(healthz(&node).code, Some(200));
    put(&server, "comes", ("10.96.0.32", "10.244.1.13"));
    await_answers(&node, "tcp/10.96.0.32:80", "pod3");
    load.end(100);
    proxy.terminate();
}

fn a_server_that_was_restored_from_a_backup_is_believed(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let mut server = cluster::start(&node, Behaviour::default());
    put(&server, "old", ("10.96.0.30", "10.244.1.11"));
    let backup = server.revision();
    let proxy = start(&mut node);
    await_answers(&node, "tcp/10.96.0.30:80", "pod1");
    put(&server, "old", ("10.96.0.30", "10.244.1.12"));
    put(&server, "young", ("10.96.0.31", "10.244.1.13"));
    await_answers(&node, "tcp/10.96.0.30:80", "pod2");
    await_answers(&node, "tcp/10.96.0.31:80", "pod3");
    let load = Load::on_steady(&node);

    server.stop();
    proxy.await_log(&["WARN", "keeping the last state"]);
    server.restore(backup);
    server.restart().unwrap();
    // It knows nothing of what came after the backup, and says so to nobody who does not ask.
    await_answers(&node, "tcp/10.96.0.30:80", "pod1");
    await_that("what was never there is gone", || {
        let listing = node.program();
        if listing.contains("10.96.0.31") { Err(listing) } else { Ok(()) }
    });
    put(&server, "other", ("10.96.0.32", "10.244.1.13"));
    await_answers(&node, "tcp/10.96.0.32:80", "pod3");
    load.end(100);
    proxy.terminate();
}

fn an_agent_that_starts_without_its_server_leaves_the_rules_alone(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let mut server = cluster::start(&node, Behaviour::default());
    put(&server, "moves", ("10.96.0.31", "10.244.1.13"));
    let proxy = start(&mut node);
    await_answers(&node, "tcp/10.96.0.31:80", "pod3");
    proxy.await_log(&["IPv6", "in step"]);
    let load = Load::on_steady(&node);
    proxy.kill();
    server.stop();
    let proxy = start(&mut node);
    proxy.await_log(&["WARN", "cannot reach the server"]);
    std::thread::sleep(Duration::from_secs(3));
    assert!(!proxy.log().contains("in step"), "{}", proxy.log());
    assert_eq!(node.answers("tcp/10.96.0.31:80"), ["pod3"]);
    put(&server, "moves", ("10.96.0.31", "10.244.1.11"));
    server.restart().unwrap();
    await_answers(&node, "tcp/10.96.0.31:80", "pod1");
    load.end(100);
    proxy.terminate();
}
