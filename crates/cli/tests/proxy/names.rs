//! Names on the node: who answers a pod at the cluster's DNS address and at the node's own, and what connection tracking sees.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use dns::wire::{Message, Type, flag, write_query};
use http::Method;
use model::Family;
use serde_json::{Value, json};
use sys::conntrack::Conntrack;

use crate::node::{Mode, Node, PATIENCE, in_modes, signalbox};
use crate::own_apiserver::{ApiServer, kubeconfig};

const NAME: &str = "web.shop.svc.cluster.local";
/// What the API server says of the name, and what the stand-in of the cluster's DNS says.
const HERE: &str = "10.96.0.77";
const THERE: &str = "192.0.2.53";
const CLUSTER: &str = "10.96.0.10:53";
const CLUSTER_SIX: &str = "[fd00:10:96::10]:53";
const LOCAL: &str = "169.254.20.10:53";
const LOCAL_SIX: &str = "[fd00:169::10]:53";
const LISTEN: &str = "--dns-listen=169.254.20.10,fd00:169::10";
/// `pod1`.
const STAND_IN: [&str; 2] = ["10.244.1.11", "fd00:10:244:1::11"];

/// A server that knows one name, as one pod of the cluster's DNS.
struct StandIn(Child);

impl StandIn {
    fn start(node: &Node) -> Self {
        let corefile = node.folder.join("Corefile");
        fs::write(&corefile, format!(".:53 {{\n hosts {{\n {THERE} {NAME}\n fallthrough\n }}\n}}\n"))
            .unwrap();
        let log = File::create(node.folder.join("stand-in.log")).unwrap();
        let mut command = node.world.world().command("pod1", signalbox());
        command.args(["dns", "--threads=1", "--config"]).arg(corefile);
        let server = Self(command.stdin(Stdio::null()).stderr(log).spawn().unwrap());
        let begin = Instant::now();
        while ask(node, "pod1", "127.0.0.1:53", false) != THERE {
            let log = || fs::read_to_string(node.folder.join("stand-in.log"));
            assert!(begin.elapsed() < PATIENCE, "{:?}", log());
        }
        server
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The address that a server has for the name, or what else becomes of the question.
fn ask(node: &Node, from: &str, server: &str, over_tcp: bool) -> String {
    let server: SocketAddr = server.parse().unwrap();
    let asking = || if over_tcp { over_stream(server) } else { over_datagram(server) };
    let answer = node.world.world().namespace(from).run(asking).unwrap();
    let Ok(answer) = answer else { return "no answer".to_owned() };
    let message = Message::read(&answer).unwrap();
    let record = message.records().map(Result::unwrap).find(|record| record.kind == Type::A);
    record.map_or_else(
        || message.rcode().to_string(),
        |record| Ipv4Addr::from(<[u8; 4]>::try_from(record.data()).unwrap()).to_string(),
    )
}

fn question() -> Vec<u8> {
    let mut wire: Vec<u8> = Vec::new();
    for label in NAME.split('.') {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    let mut out = vec![0; 300];
    let len = write_query(&mut out, (77, flag::RECURSION_DESIRED), (&wire, Type::A), None).unwrap();
    out.truncate(len);
    out
}

const WAIT: Option<Duration> = Some(Duration::from_millis(700));

/// Connected, so that an answer from another address, and a refusal, are what they would be to a resolver.
fn over_datagram(server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(WAIT)?;
    socket.send(&question())?;
    let mut room = vec![0; 1500];
    let len = socket.recv(&mut room)?;
    room.truncate(len);
    Ok(room)
}

fn over_stream(server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_millis(700))?;
    stream.set_read_timeout(WAIT)?;
    let question = question();
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat())?;
    let mut len = [0; 2];
    stream.read_exact(&mut len)?;
    let mut room = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut room)?;
    Ok(room)
}

#[track_caller]
fn comes_to(node: &Node, (from, server): (&str, &str), expected: &str) {
    let begin = Instant::now();
    loop {
        let found = ask(node, from, server, false);
        if found == expected {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{from} {server}: {found}, not {expected}\n{}", state(node));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a person would look at.
fn state(node: &Node) -> String {
    let mut text = node.logs();
    for line in ["ip route show table local", "ip -6 route show table local", "nft list tables"] {
        let words: Vec<&str> = line.split(' ').collect();
        text += &String::from_utf8_lossy(&node.run(words[0], &words[1..]).stdout);
    }
    text
}

#[track_caller]
fn is_everywhere(node: &Node, servers: &[&str], expected: &str) {
    for server in servers {
        for (from, over_tcp) in [("client", false), ("client", true), ("node", false), ("node", true)] {
            let found = ask(node, from, server, over_tcp);
            assert_eq!(found, expected, "{from} {server} over TCP: {over_tcp}\n{}", state(node));
        }
    }
}

/// How many flows to port 53 the node's connection tracking knows.
fn tracked(node: &Node) -> usize {
    let count = || {
        let mut conntrack = Conntrack::open().unwrap();
        let mut flows =
            |family| conntrack.udp_flows(family, |flow| flow.destination.port() == 53).unwrap().len();
        Family::BOTH.into_iter().map(&mut flows).sum()
    };
    node.world.world().namespace("node").run(count).unwrap()
}

fn forget_flows(node: &Node) {
    let forget = || {
        let mut conntrack = Conntrack::open().unwrap();
        for family in Family::BOTH {
            let flows = conntrack.udp_flows(family, |flow| flow.destination.port() == 53).unwrap();
            conntrack.delete(&flows).unwrap();
        }
    };
    node.world.world().namespace("node").run(forget).unwrap();
}

/// What is there of the table and of the routes.
fn left(node: &Node) -> String {
    let tables = node.nft("list tables");
    let tables = tables.lines().filter(|line| line.ends_with(" signalbox-dns")).count();
    let routes = |family: &str| {
        let shown = node.run("ip", &[family, "route", "show", "table", "local", "proto", "153"]).stdout;
        String::from_utf8(shown).unwrap().lines().count()
    };
    format!("{tables} tables, {} and {} routes", routes("-4"), routes("-6"))
}

fn metadata(name: &str, namespace: &str) -> Value {
    json!({"name": name, "namespace": namespace})
}

/// A Service with the name, and the cluster's DNS with one pod of each family.
fn fill(server: &ApiServer) {
    let post = |path: &str, object: Value| server.send(Method::POST, path, &object);
    post(
        "/api/v1/nodes",
        json!({"metadata": {"name": "node"},
               "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"},
                                        {"type": "InternalIP", "address": "fd77::11"}]}}),
    );
    post("/api/v1/namespaces", json!({"metadata": {"name": "shop"}}));
    let ports = json!([{"port": 80}]);
    post(
        "/api/v1/namespaces/shop/services",
        json!({"metadata": metadata("web", "shop"), "spec": {"clusterIP": HERE, "ports": ports}}),
    );
    let ports = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]);
    post(
        "/api/v1/namespaces/kube-system/services",
        json!({"metadata": metadata("kube-dns", "kube-system"),
               "spec": {"clusterIPs": ["10.96.0.10", "fd00:10:96::10"], "clusterIP": "10.96.0.10",
                        "ipFamilyPolicy": "RequireDualStack", "ports": ports}}),
    );
    for (name, address) in ["kube-dns-4", "kube-dns-6"].into_iter().zip(STAND_IN) {
        let mut metadata = metadata(name, "kube-system");
        metadata["labels"] = json!({"kubernetes.io/service-name": "kube-dns"});
        post(
            "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices",
            json!({"metadata": metadata, "addressType": if address.contains(':') { "IPv6" } else { "IPv4" },
                   "ports": ports, "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]}),
        );
    }
}

/// All that happens to a node in its life, in one mode.
fn names_are_answered_on_the_node_without_a_trace_in_connection_tracking(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = ApiServer::start(&node);
    let kubeconfig = kubeconfig(&node);
    fill(&server);
    let _stand_in = StandIn::start(&node);
    let words = ["--dns", LISTEN, "--kubeconfig", &kubeconfig];

    // Before, the cluster's DNS answers, and is tracked.
    let plain = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    comes_to(&node, ("client", CLUSTER), THERE);
    comes_to(&node, ("client", CLUSTER_SIX), THERE);
    assert!(tracked(&node) > 0);
    plain.terminate();

    // The same while nothing is known: the API server is away. Nobody has said where the cluster's DNS is.
    server.kill();
    let proxy = node.proxy_with(&words);
    comes_to(&node, ("client", LOCAL), "SERVFAIL");
    is_everywhere(&node, &[CLUSTER, CLUSTER_SIX], THERE);
    let server = ApiServer::start(&node);
    proxy.await_log(&["answering in place of the cluster's DNS", "10.96.0.10", "fd00:10:96::10"]);
    is_everywhere(&node, &[CLUSTER, CLUSTER_SIX, LOCAL, LOCAL_SIX], HERE);
    proxy.await_log(&["WARN", "may not list Namespaces"]);
    assert_eq!(proxy.log().matches("may not list").count(), 1, "{}", proxy.log());

    // The table of names is no change by somebody else.
    assert!(!proxy.log().contains("somebody else"), "{}", proxy.log());

    // What was tracked before is forgotten; nothing comes anew.
    forget_flows(&node);
    is_everywhere(&node, &[CLUSTER, CLUSTER_SIX, LOCAL, LOCAL_SIX], HERE);
    assert_eq!(tracked(&node), 0, "{}", state(&node));

    // What listens on the node at all addresses is not reached by way of the Service's.
    let listen = || TcpListener::bind("[::]:9999").unwrap();
    let _listener = node.world.world().namespace("node").run(listen).unwrap();
    for (address, is_there) in
        [("192.168.77.11:9999", true), ("10.96.0.10:9999", false), ("[fd00:10:96::10]:9999", false)]
    {
        let address: SocketAddr = address.parse().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(700)).is_ok();
        let found = node.world.world().namespace("client").run(connect).unwrap();
        assert_eq!(found, is_there, "{address}\n{}", state(&node));
    }

    // A change is in the next answer, although names are not asked for by anybody else.
    server.send(Method::DELETE, "/api/v1/namespaces/shop/services/web", &json!({}));
    comes_to(&node, ("client", CLUSTER), "NXDOMAIN");
    assert_eq!(ask(&node, "pod1", "127.0.0.1:53", false), THERE);

    // Killed, it leaves the Service's rules, which lead to the cluster's DNS at once; and routes, which lead nowhere.
    proxy.kill();
    is_everywhere(&node, &[CLUSTER, CLUSTER_SIX], THERE);
    assert_eq!(left(&node), "0 tables, 2 and 2 routes");
    let proxy = node.proxy_with(&words);
    comes_to(&node, ("client", CLUSTER), "NXDOMAIN");
    assert_eq!(left(&node), "2 tables, 2 and 2 routes");

    // Ended, it leaves nothing.
    proxy.terminate();
    is_everywhere(&node, &[CLUSTER, CLUSTER_SIX], THERE);
    assert_eq!(left(&node), "0 tables, 0 and 0 routes");

    // A start without names removes what a kill left.
    let proxy = node.proxy_with(&words);
    comes_to(&node, ("client", CLUSTER), "NXDOMAIN");
    proxy.kill();
    let plain = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    plain.await_log(&["removed 4 tables and routes of this node's DNS"]);
    assert_eq!(left(&node), "0 tables, 0 and 0 routes");
    plain.await_log(&["IPv6", "in step"]);
    plain.terminate();

    // Removed after a kill, nothing is left either.
    let proxy = node.proxy_with(&words);
    comes_to(&node, ("client", CLUSTER), "NXDOMAIN");
    proxy.kill();
    let removed = node.run(&signalbox().display().to_string(), &["cleanup"]);
    assert!(removed.status.success(), "{removed:?}");
    let said = String::from_utf8(removed.stdout).unwrap();
    assert!(said.contains("removed 4 tables and routes of this node's DNS"), "{said}");
    assert_eq!(left(&node), "0 tables, 0 and 0 routes");
}

in_modes! {
    names_are_answered_on_the_node_without_a_trace_in_connection_tracking: Nftables Legacy Nft;
}

/// Names of Pods that are to be verified, by an account that may not see them: nothing is ever known.
#[test]
fn what_is_not_known_here_is_asked_of_the_clusters_dns() {
    let Some(mut node) = Node::build() else { return };
    let server = ApiServer::start(&node);
    let kubeconfig = kubeconfig(&node);
    fill(&server);
    let stand_in = StandIn::start(&node);
    let file = node.folder.join("names");
    fs::write(&file, ". {\n kubernetes cluster.local {\n pods verified\n }\n prometheus\n}\n").unwrap();
    let config = format!("--dns-config={}", file.display());
    let proxy = node.proxy_with(&["--dns", LISTEN, &config, "--kubeconfig", &kubeconfig]);
    comes_to(&node, ("client", LOCAL), THERE);
    comes_to(&node, ("client", CLUSTER), THERE);
    is_everywhere(&node, &[LOCAL, LOCAL_SIX, CLUSTER, CLUSTER_SIX], THERE);
    proxy.await_log(&["WARN", "may not list Pods"]);
    assert!(!proxy.log().contains("answering in place"), "{}", proxy.log());
    let page = node.page("127.0.0.1:10249", "/metrics").body;
    assert!(page.contains("\nsignalbox_dns_in_charge 0\n"), "{page}");
    assert!(page.contains("\ncoredns_dns_requests_total{"), "{page}");
    // Nobody else can be asked.
    drop(stand_in);
    comes_to(&node, ("client", LOCAL), "SERVFAIL");
    proxy.terminate();
}

/// A server that asks itself would ask for ever.
#[test]
fn queries_that_come_back_leave_names_to_the_clusters_dns() {
    let Some(mut node) = Node::build() else { return };
    let server = ApiServer::start(&node);
    let kubeconfig = kubeconfig(&node);
    fill(&server);
    let _stand_in = StandIn::start(&node);
    let file = node.folder.join("names");
    let corefile = ". {\n kubernetes cluster.local\n forward . 169.254.20.10\n loop\n}\n";
    fs::write(&file, corefile).unwrap();
    let config = format!("--dns-config={}", file.display());
    let proxy = node.proxy_with(&["--dns", LISTEN, &config, "--kubeconfig", &kubeconfig]);
    proxy.await_log(&["ERROR", "names are not answered on this node"]);
    proxy.await_log(&["IPv6", "in step"]);
    comes_to(&node, ("client", CLUSTER), THERE);
    is_everywhere(&node, &[CLUSTER, CLUSTER_SIX], THERE);
    assert_eq!(left(&node), "0 tables, 0 and 0 routes");
    proxy.terminate();
}

#[test]
fn a_file_of_names_that_is_for_another_server_is_refused() {
    let Some(node) = Node::build() else { return };
    let file = node.folder.join("names").display().to_string();
    let words =
        ["proxy", "--hostname-override=node", "--kubeconfig=/nowhere", "--dns", "--dns-config", &file];
    for (corefile, expected) in [
        (". {\n kubernetes a\n bind 10.0.0.1\n}\n", "has addresses or another port"),
        (".:54 {\n kubernetes a\n}\n", "has addresses or another port"),
        (". {\n forward . 10.0.0.1\n}\n", "has the names of 0 clusters"),
        (". {\n kubernetes a {\n endpoint http://10.0.0.1\n }\n}\n", "names an API server"),
        (". {\n kubernetes a {\n labels b=c\n }\n}\n", "has `labels`"),
        (". {\n kubernetes a {\n multicluster b\n }\n}\n", "3:2: `multicluster`"),
    ] {
        fs::write(&file, corefile).unwrap();
        let output = node.run(&signalbox().display().to_string(), &words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{corefile}\n{said}");
    }
}

/// A page that is somebody else's is a mistake of the file as well, before anything waits for the API server.
#[test]
fn a_page_that_is_taken_is_refused_at_the_start() {
    let Some(node) = Node::build() else { return };
    let listen = || TcpListener::bind("127.0.0.1:8181").unwrap();
    let _taken = node.world.world().namespace("node").run(listen).unwrap();
    let file = node.folder.join("names").display().to_string();
    fs::write(&file, ". {\n kubernetes a\n ready 127.0.0.1:8181\n}\n").unwrap();
    let words =
        ["proxy", "--hostname-override=node", "--kubeconfig=/nowhere", "--dns", "--dns-config", &file];
    let output = node.run(&signalbox().display().to_string(), &words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("failed to listen on 127.0.0.1:8181"), "{said}");
}
