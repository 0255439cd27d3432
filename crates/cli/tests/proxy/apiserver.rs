//! The proxy with an API server.

use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Fault, FaultRule, Options};

use crate::node::{Mode, Node, in_modes};

in_modes! {
    services_of_an_api_server_are_followed_over_tls_and_nothing_is_lost_while_it_is_away: Nftables Legacy;
    called_as_kube_proxy_it_takes_kubeadms_configuration: Nftables Legacy;
    the_kernel_is_not_written_before_everything_is_known: Nftables Legacy;
}

pub(crate) const WEB: &str = "tcp/10.96.0.10:80";

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
           "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}})
}

pub(crate) fn slice(addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> =
        addresses.iter().map(|a| json!({"addresses": [a], "nodeName": "node"})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
           "metadata": {"name": "web", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
           "ports": [{"name": "", "port": 8080}], "endpoints": endpoints})
}

pub(crate) fn start(node: &Node) -> ApiServer {
    let server = ApiServer::start(Options {
        listen: "192.168.77.100:6443".parse().unwrap(),
        netns: Some(node.world.world().namespace("outside").path().to_owned()),
        tls: true,
        behaviour: Behaviour { token: Some("secret".into()), ..Behaviour::default() },
        ..Options::default()
    })
    .unwrap();
    server.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"}]}}));
    server.apply(service());
    server.apply(slice(&["10.244.1.11"]));
    std::fs::write(node.folder.join("kubeconfig"), server.kubeconfig()).unwrap();
    server
}

fn services_of_an_api_server_are_followed_over_tls_and_nothing_is_lost_while_it_is_away(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let mut server = start(&node);
    let kubeconfig = node.folder.join("kubeconfig").display().to_string();
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    node.await_answers(WEB, &["pod1"]);
    server.apply(slice(&["10.244.1.12", "10.244.1.999"]));
    node.await_answers(WEB, &["pod2"]);
    proxy.await_log(&["EndpointSlice shop/web", "endpoints[1].addresses[0]", "10.244.1.999"]);

    server.stop();
    proxy.await_log(&["WARN", "keeping the last state"]);
    assert_eq!(node.answers(WEB), ["pod2"]);
    server.apply(slice(&["10.244.1.13"]));
    server.restart().unwrap();
    node.await_answers(WEB, &["pod3"]);

    // Its answers are garbage from now on: the rules stay, and the log says what is wrong.
    server.inject(FaultRule::new(Fault::html()));
    server.stop();
    server.restart().unwrap();
    proxy.await_log(&["text/html"]);
    assert_eq!(node.answers(WEB), ["pod3"]);
    server.clear_faults();
    server.apply(slice(&["10.244.1.11"]));
    node.await_answers(WEB, &["pod1"]);
    proxy.terminate();
}

fn called_as_kube_proxy_it_takes_kubeadms_configuration(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = start(&node);
    let kubeconfig = node.folder.join("kubeconfig").display().to_string();
    let file = include_str!("../kubeadm.yaml").replace("/var/lib/kube-proxy/kubeconfig.conf", &kubeconfig);
    let config = node.folder.join("config.conf");
    let file = match mode {
        Mode::Nftables => file,
        Mode::Legacy | Mode::Nft => file.replace("mode: \"\"", "mode: iptables"),
    };
    std::fs::write(&config, file + "unheardOf: 1\n").unwrap();
    let proxy = node.kube_proxy(&[
        "--config",
        config.to_str().unwrap(),
        "--hostname-override=node",
        "--conntrack-min=7",
    ]);
    node.await_answers(WEB, &["pod1"]);
    proxy.await_log(&["unheardOf", "is no field of KubeProxyConfiguration"]);
    proxy.await_log(&["--conntrack-min", "counts for nothing beside --config"]);
    if mode == Mode::Nftables {
        proxy.await_log(&["mode", "signalbox uses nftables"]);
    }
    server.apply(slice(&["10.244.1.12"]));
    node.await_answers(WEB, &["pod2"]);
    let health = node.world.world().namespace("outside").run(|| {
        testkit::traffic::get(
            "192.168.77.11:10256".parse().unwrap(),
            "/healthz",
            std::time::Duration::from_secs(2),
        )
    });
    let health = health.unwrap();
    assert_eq!(health.code, Some(200), "{health:?}");
    assert!(health.body.contains("\"nodeEligible\":true"), "{health:?}");
    // A node that is about to go wants no traffic from load balancers, but is alive.
    server.merge_patch(
        ("Node", "", "node"),
        &json!({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}}),
        false,
    );
    for (path, code) in [("/healthz", 503), ("/livez", 200)] {
        let begin = std::time::Instant::now();
        loop {
            let to = "192.168.77.11:10256".parse().unwrap();
            let ask = || testkit::traffic::get(to, path, std::time::Duration::from_secs(2));
            let answer = node.world.world().namespace("outside").run(ask).unwrap();
            if answer.code == Some(code) {
                break;
            }
            assert!(begin.elapsed() < crate::node::PATIENCE, "{path}: {answer:?}");
        }
    }
}

fn the_kernel_is_not_written_before_everything_is_known(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = start(&node);
    let kubeconfig = node.folder.join("kubeconfig").display().to_string();
    node.proxy_with(&["--kubeconfig", &kubeconfig]).await_log(&["IPv6", "in step"]);
    assert_eq!(node.answers(WEB), ["pod1"]);
    // A proxy that cannot list slices must not take their Services for empty.
    server.inject(FaultRule::new(Fault::Hang).on(testkit::apiserver::Resource::EndpointSlices));
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    proxy.await_log(&["watching the API server"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!proxy.log().contains("in step"), "{}", proxy.log());
    assert_eq!(node.answers(WEB), ["pod1"]);
    assert!(proxy.id() > 0);
    server.clear_faults();
}
