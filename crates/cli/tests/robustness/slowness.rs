//! A server that trickles, one that says nothing new, and a network that swallows everything for a while.

use std::time::Duration;

use serde_json::json;
use testkit::apiserver::{ApiServer, Behaviour, Fault, FaultRule, WatchList};

use crate::cluster::{self, service, slice};
use crate::load::{Load, await_that, nft};
use crate::node::{Mode, Node, Proxy, in_modes};

in_modes! {
    a_server_that_trickles_is_listened_to_until_it_has_said_everything: Nftables Legacy;
    a_network_that_swallows_everything_for_a_while_loses_no_event: Nftables Legacy;
}

const TARGET: &str = "tcp/10.96.0.30:80";

fn put(server: &ApiServer, pod: &str) {
    server.apply(service("other", &["10.96.0.30"], json!({})));
    server.apply(slice("other", "IPv4", &[pod]));
}

fn start(node: &mut Node) -> Proxy {
    let kubeconfig = cluster::kubeconfig(node);
    node.proxy_with(&["--kubeconfig", &kubeconfig])
}

/// Warnings, but for those about what this machine does not let anybody set.
fn warnings(proxy: &Proxy) -> Vec<String> {
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains("WARN") && !line.contains("a kernel setting"));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn await_answer(node: &Node, wanted: &str) {
    await_that(&format!("{TARGET} is {wanted}"), || {
        let seen = node.answers(TARGET);
        if seen == [wanted] { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

fn a_server_that_trickles_is_listened_to_until_it_has_said_everything(mode: Mode) {
    for watch_list in [WatchList::Served, WatchList::Forbidden] {
        let Some(mut node) = Node::in_mode(mode) else { return };
        let server = cluster::start(&node, Behaviour { watch_list, ..Behaviour::default() });
        put(&server, "10.244.1.13");
        for number in 0..150 {
            let name = format!("more-{number}");
            server.apply(service(&name, &[&format!("10.96.4.{number}")], json!({})));
            server.apply(slice(&name, "IPv4", &["10.244.1.11"]));
        }
        // 512 bytes at a time.
        server.inject(FaultRule::new(Fault::Slow(Duration::from_millis(10))));
        let proxy = start(&mut node);
        proxy.await_log(&["watching the API server"]);
        let before = node.program();
        if !proxy.log().contains("every source has synced") {
            assert!(!before.contains("signalbox") && !before.contains("KUBE-"), "half a list is no list");
        }
        await_that("everything is known", || {
            let log = proxy.log();
            if log.contains("every source has synced services=152 slices=153") { Ok(()) } else { Err(log) }
        });
        await_answer(&node, "pod3");
        let load = Load::on_steady(&node);
        put(&server, "10.244.1.12");
        await_answer(&node, "pod2");
        assert_eq!(warnings(&proxy), [] as [&str; 0], "slowness is no failure");
        load.end(1);
        proxy.terminate();
    }
}

#[test]
fn a_watch_that_brings_only_bookmarks_is_left_alone_and_brings_the_next_event() {
    let Some(mut node) = Node::build() else { return };
    let behaviour = Behaviour { bookmark_interval: Duration::from_millis(50), ..Behaviour::default() };
    let mut server = cluster::start(&node, behaviour);
    put(&server, "10.244.1.13");
    let proxy = start(&mut node);
    await_answer(&node, "pod3");
    proxy.await_log(&["IPv6", "in step"]);
    let asked = server.take_requests();
    assert!(asked.len() >= 4, "{asked:?}");
    // A hundred bookmarks for each kind.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(server.take_requests().len(), 0, "bookmarks are no reason to ask again");
    put(&server, "10.244.1.12");
    await_answer(&node, "pod2");
    assert_eq!(server.take_requests().len(), 0);
    // What bookmarks are for: the watch goes on from the last one, although everything before it is forgotten.
    for number in 0..20 {
        server.apply(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("n{number}")}}),
        );
    }
    std::thread::sleep(Duration::from_secs(1));
    server.compact();
    server.stop();
    proxy.await_log(&["WARN", "keeping the last state"]);
    server.restart().unwrap();
    put(&server, "10.244.1.11");
    await_answer(&node, "pod1");
    let asked = server.take_requests();
    let is_list = |record: &&testkit::apiserver::Record| {
        // With a limit of one it only asks how far the server is.
        record.parameter("resourceVersion").is_none() && record.parameter("limit") != Some("1")
    };
    let lists = asked.iter().filter(is_list).count();
    assert_eq!(lists, 0, "watches go on from their last bookmark: {asked:?}");
    proxy.terminate();
}

fn a_network_that_swallows_everything_for_a_while_loses_no_event(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = cluster::start(&node, Behaviour::default());
    put(&server, "10.244.1.13");
    let proxy = start(&mut node);
    await_answer(&node, "pod3");
    let load = Load::on_steady(&node);
    let outside = node.world.world().namespace("outside");
    nft(
        &outside,
        "add table inet hole; \
         add chain inet hole in { type filter hook input priority 0; }; \
         add chain inet hole out { type filter hook output priority 0; }; \
         add rule inet hole in tcp dport 6443 drop; add rule inet hole out tcp sport 6443 drop",
    );
    put(&server, "10.244.1.12");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(node.answers(TARGET), ["pod3"], "nothing can have come through");
    nft(&outside, "delete table inet hole");
    await_answer(&node, "pod2");
    assert_eq!(warnings(&proxy), [] as [&str; 0], "nobody needs to be woken");
    load.end(100);
    proxy.terminate();
}
