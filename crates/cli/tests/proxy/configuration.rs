//! The configuration: followed while the process runs, written, and the flags that end at once.

use std::net::TcpListener;

use crate::node::{Mode, Node, in_modes, service, signalbox_says, slice};

in_modes! {
    a_changed_file_takes_effect_or_ends_the_process_and_says_why: Nftables Legacy;
}

const WEB: &str = "tcp/10.96.0.10:80";
const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ";

fn configure(node: &Node, lines: &str) -> String {
    let path = node.folder.join("config.conf");
    let hidden = node.folder.join(".config.conf");
    std::fs::write(&hidden, format!("{HEAD}{}\n{lines}", node.mode.name())).unwrap();
    std::fs::rename(hidden, &path).unwrap();
    path.display().to_string()
}

fn a_changed_file_takes_effect_or_ends_the_process_and_says_why(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    node.write(
        "service.yaml",
        &service("web", "{type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]}"),
    );
    node.write("slice.yaml", &slice("web", &["10.244.1.11"]));
    let config = configure(&node, "clusterCIDR: 10.244.0.0/16\n");
    let manifests = node.folder.join("manifests").display().to_string();
    let words = ["--config", &config, "--manifests", &manifests, "--hostname-override=node"];
    let mut proxy = node.kube_proxy(&words);
    node.await_answers(WEB, &["pod1"]);
    proxy.await_log(&["IPv6", "in step"]);
    let source = |node: &Node| node.ask(WEB, 1).pop().unwrap().src.unwrap().to_string();
    assert!(source(&node).starts_with("10.244.1.10"), "a pod's address is kept");

    let name = mode.name();
    configure(
        &node,
        &format!("clusterCIDR: 10.244.0.0/16\n{name}: {{masqueradeAll: true}}\nlogging: {{verbosity: 2}}\n"),
    );
    proxy.await_log(&["the configuration changed", "logging.verbosity", &format!("{name}.masqueradeAll")]);
    proxy.await_log(&["DEBUG", "wrote a change"]);
    assert!(!source(&node).starts_with("10.244.1.10"), "now it is masqueraded");
    let page = node.page("127.0.0.1:10249", "/configz").body;
    assert!(page.contains("\"masqueradeAll\":true"), "{page}");

    configure(&node, "clusterCIDR: x\noomScoreAdj: 5000\n");
    proxy.await_log(&["ERROR", "clusterCIDR", "`x` is not an address range"]);
    proxy.await_log(&["ERROR", "oomScoreAdj", "5000"]);
    assert_eq!(node.answers(WEB), ["pod1"]);

    configure(
        &node,
        "clusterCIDR: 10.244.0.0/16\nmetricsBindAddress: 127.0.0.1:1\nbindAddressHardFail: true\n",
    );
    assert!(!proxy.await_end());
    proxy.await_log(&[
        "config.conf: bindAddressHardFail, metricsBindAddress changed, which needs a new process",
    ]);
    assert_eq!(node.answers(WEB), ["pod1"], "the rules stay");
}

#[test]
fn a_file_in_the_middle_of_being_written_changes_nothing() {
    let Some(mut node) = Node::build() else { return };
    let config = configure(&node, "clusterCIDR: 10.244.0.0/16\nhealthzBindAddress: 0.0.0.0:10300\n");
    let whole = std::fs::read_to_string(&config).unwrap();
    let manifests = node.folder.join("manifests").display().to_string();
    let proxy =
        node.kube_proxy(&["--config", &config, "--manifests", &manifests, "--hostname-override=node"]);
    proxy.await_log(&["IPv6", "in step"]);
    // Each of these is a configuration of its own, for less than two looks.
    let head = whole.find("clusterCIDR").unwrap();
    for end in [head, head + 27, whole.len()] {
        std::fs::write(&config, &whole[..end]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1200));
    }
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert!(!proxy.log().contains("the configuration changed"), "{}", proxy.log());
    assert_eq!(node.page("127.0.0.1:10300", "/livez").code, Some(200));
    // A period that no clock can count is a mistake like others.
    configure(&node, "nftables: {syncPeriod: 5000000000000000h}\n");
    proxy.await_log(&["ERROR", "nftables.syncPeriod", "is no duration"]);
    proxy.terminate();
}

#[test]
fn a_port_that_somebody_has_is_tried_again_unless_it_must_be_had() {
    let Some(mut node) = Node::build() else { return };
    let manifests = node.folder.join("manifests").display().to_string();
    let taken =
        node.world.world().namespace("node").run(|| TcpListener::bind("0.0.0.0:10256")).unwrap().unwrap();
    let words = ["--manifests", &manifests, "--bind-address-hard-fail"];
    let mut proxy = node.proxy_with(&words);
    assert!(!proxy.await_end());
    proxy.await_log(&["failed to serve the health port at 0.0.0.0:10256: Address already in use"]);
    let proxy = node.proxy_with(&words[..2]);
    proxy.await_log(&["WARN", "the port cannot be served yet", "0.0.0.0:10256"]);
    drop(taken);
    node.await_page(("127.0.0.1:10256", "/livez"), |answer| answer.code == Some(200));
    proxy.await_log(&["INFO", "the port is served now"]);
}

#[test]
fn what_flags_mean_can_be_written_into_a_file() {
    let path = std::env::temp_dir().join(format!("signalbox-written-{}", std::process::id()));
    let to = format!("--write-config-to={}", path.display());
    let (ok, text) = signalbox_says(&["proxy", &to, "--cluster-cidr=10.0.0.0/8", "--masquerade-all"]);
    assert!(ok, "{text}");
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for line in
        ["apiVersion: kubeproxy.config.k8s.io/v1alpha1", "clusterCIDR: 10.0.0.0/8", "  masqueradeAll: true"]
    {
        assert!(written.lines().any(|has| has == line), "{line}: {written}");
    }
    let (ok, text) = signalbox_says(&["proxy", "--write-config-to=/nowhere/at/all"]);
    assert!(!ok && text.contains("/nowhere/at/all"), "{text}");
}

#[test]
fn the_version_is_said() {
    let (ok, text) = signalbox_says(&["proxy", "--version"]);
    assert!(ok && text.starts_with("Kubernetes v1.") && text.contains("signalbox 0."), "{text}");
    let (ok, text) = signalbox_says(&["proxy", "--version=raw"]);
    assert!(ok && text.starts_with("signalbox 0."), "{text}");
}

#[test]
fn the_privileged_part_can_be_done_alone() {
    let Some(mut node) = Node::build() else { return };
    let mut proxy = node.proxy_with(&["--init-only", "--conntrack-udp-timeout=77s", "--oom-score-adj=0"]);
    assert!(proxy.await_end(), "{}", proxy.log());
    let set = node.run("cat", &["/proc/sys/net/netfilter/nf_conntrack_udp_timeout"]);
    assert_eq!(String::from_utf8(set.stdout).unwrap().trim(), "77");
    assert!(!node.nft("list tables").contains("signalbox"));
}

#[test]
fn the_api_server_hears_of_the_start_and_of_ports_that_cannot_be_served() {
    let Some(mut node) = Node::build() else { return };
    let server = crate::apiserver::start(&node);
    server.merge_patch(
        ("Service", "shop", "web"),
        &serde_json::json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32100}}),
        false,
    );
    let taken: Vec<TcpListener> = ["0.0.0.0:10256", "127.0.0.1:10249", "192.168.77.11:32100"]
        .map(|at| node.world.world().namespace("node").run(|| TcpListener::bind(at)).unwrap().unwrap())
        .into();
    let kubeconfig = node.folder.join("kubeconfig").display().to_string();
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    let begin = std::time::Instant::now();
    let said = loop {
        let events = server.list(testkit::apiserver::Resource::Events);
        let mut said: Vec<String> = events
            .iter()
            .map(|event| {
                let text = |at: &str| {
                    event.pointer(at).and_then(serde_json::Value::as_str).unwrap_or("-").to_owned()
                };
                let regarding = format!(
                    "{} {}/{}",
                    text("/regarding/kind"),
                    text("/regarding/namespace"),
                    text("/regarding/name")
                );
                [
                    text("/metadata/namespace"),
                    text("/type"),
                    text("/reason"),
                    text("/action"),
                    regarding,
                    text("/note"),
                ]
                .join(" | ")
            })
            .collect();
        said.sort();
        if said.len() == 4 {
            break said;
        }
        assert!(begin.elapsed() < crate::node::PATIENCE, "{said:?}\n{}", proxy.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let in_use = "Address already in use (os error 98)";
    assert_eq!(
        said,
        [
            "default | Normal | Starting | StartKubeProxy | Node -/node | ".to_owned(),
            format!(
                "default | Warning | FailedToStartMetricServer | StartKubeProxy | Node -/node | failed to serve the metrics port at 127.0.0.1:10249: {in_use}"
            ),
            format!(
                "default | Warning | FailedToStartProxierHealthcheck | StartKubeProxy | Node -/node | failed to serve the health port at 0.0.0.0:10256: {in_use}"
            ),
            format!(
                "shop | Warning | FailedToStartServiceHealthcheck | Listen | Service shop/web | failed to serve the health-check node port at 192.168.77.11:32100: {in_use}"
            ),
        ]
    );
    drop(taken);
    proxy.terminate();
}
