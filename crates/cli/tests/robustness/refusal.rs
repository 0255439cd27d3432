//! The kernel refuses an element: its Service is named, the others are in force, and it is tried again.

use serde_json::json;
use testkit::apiserver::Behaviour;

use crate::cluster::{self, service, slice};
use crate::load::{Load, await_that};
use crate::node::Node;

/// The map of our program, by another hand: room for this many endpoints. The proxy takes it for its own.
fn small_map(node: &Node, room: usize) {
    let text = format!(
        "table ip signalbox {{\n  comment \"signalbox program 1\"\n  map slots {{\n    \
         typeof ip daddr . meta l4proto . th dport . numgen random mod 65536 : ip daddr . th dport\n    \
         size {room}\n  }}\n}}\n"
    );
    let file = node.folder.join("small.nft");
    std::fs::write(&file, text).unwrap();
    node.nft(&format!("-f {}", file.display()));
}

fn address(number: usize) -> String {
    format!("10.96.0.{}", 50 + number)
}

#[test]
fn what_the_kernel_has_no_room_for_is_named_and_follows_when_there_is_room() {
    const SERVICES: usize = 6;
    let Some(mut node) = Node::build() else { return };
    // The steady one comes first and takes four (two pods, two protocols), of the others each takes two.
    small_map(&node, 4 + 2 * (SERVICES - 2));
    let server = cluster::start(&node, Behaviour::default());
    for number in 0..SERVICES {
        let name = format!("z-part-{number}");
        server.apply(service(&name, &[&address(number)], json!({})));
        server.apply(slice(&name, "IPv4", &["10.244.1.13"]));
    }
    let kubeconfig = cluster::kubeconfig(&node);
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    proxy.await_log(&["IPv4", "the kernel is in step"]);
    let answers = |number| node.answers(&format!("tcp/{}:80", address(number)));
    let log = proxy.log();
    let is_named = |number: &usize| {
        let name = format!("z-part-{number}");
        let mut lines = log.lines().filter(|line| line.contains("the kernel refused an item"));
        let element = format!("slots {{ {} . tcp . 80 . 0 }}", address(*number));
        lines.any(|line| line.contains(&name) && line.contains(&element))
    };
    let named: Vec<usize> = (0..SERVICES).filter(is_named).collect();
    assert_eq!(named.len(), 2, "{log}");
    for number in 0..SERVICES {
        let wanted = if named.contains(&number) { "timeout" } else { "pod3" };
        assert_eq!(answers(number), [wanted], "z-part-{number}; {log}");
    }
    let load = Load::on_steady(&node);
    // Others are not hindered: one that has its place and changes, and one that needs none.
    let lucky: Vec<usize> = (0..SERVICES).filter(|number| !named.contains(number)).collect();
    let (changes, leave) = (lucky[0], &lucky[1..]);
    server.apply(slice(&format!("z-part-{changes}"), "IPv4", &["10.244.1.12"]));
    server.apply(service("without", &["10.96.0.49"], json!({})));
    let await_answer = |number: usize, wanted: &str| {
        let target = format!("tcp/{}:80", address(number));
        await_that(&format!("{target} is {wanted}"), || {
            let seen = node.answers(&target);
            if seen == [wanted] { Ok(()) } else { Err(format!("{seen:?}; {}", proxy.log())) }
        });
    };
    await_answer(changes, "pod2");
    await_that("a Service without endpoints", || {
        let seen = node.answers("tcp/10.96.0.49:80");
        if seen == ["refused"] { Ok(()) } else { Err(format!("{seen:?}; {}", proxy.log())) }
    });
    // Some leave, and the refused ones get their room without being touched.
    for number in leave {
        assert!(server.delete("Service", "shop", &format!("z-part-{number}")));
    }
    named.into_iter().for_each(|number| await_answer(number, "pod3"));
    load.end(100);
    proxy.terminate();
}

#[test]
fn a_service_whose_name_the_kernel_cannot_hold_is_named_and_the_rest_is_in_force() {
    let Some(mut node) = Node::build() else { return };
    let server = cluster::start(&node, Behaviour::default());
    // No API server takes it. Affinity makes a chain of it, and the name of a chain ends at 255 bytes.
    let name = "n".repeat(248);
    server.apply(service(&name, &["10.96.0.50"], json!({"sessionAffinity": "ClientIP"})));
    server.apply(slice(&name, "IPv4", &["10.244.1.13"]));
    server.apply(service("other", &["10.96.0.51"], json!({"sessionAffinity": "ClientIP"})));
    server.apply(slice("other", "IPv4", &["10.244.1.12"]));
    let kubeconfig = cluster::kubeconfig(&node);
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    proxy.await_log(&["WARN", "the kernel refused an item", &format!("shop/{name}")]);
    proxy.await_log(&["IPv4", "the kernel is in step"]);
    assert_eq!(node.answers("tcp/10.96.0.51:80"), ["pod2"]);
    assert_eq!(node.answers("tcp/10.96.0.10:80"), ["pod1", "pod2"]);
    let load = Load::on_steady(&node);
    server.apply(service(&name, &["10.96.0.50"], json!({})));
    await_that("without affinity it needs no chain", || {
        let seen = node.answers("tcp/10.96.0.50:80");
        if seen == ["pod3"] { Ok(()) } else { Err(format!("{seen:?}; {}", proxy.log())) }
    });
    load.end(1);
    proxy.terminate();
}
