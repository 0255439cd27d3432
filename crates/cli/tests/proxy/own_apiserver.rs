//! Both halves together: `signalbox apiserver` outside, `signalbox proxy` on the node with no more rights than a proxy needs.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use http::Method;
use serde_json::{Value, json};
use sys::netns::Namespace;
use testkit::answers::{Access, Call, Client};

use crate::apiserver::slice;
use crate::node::{Mode, Node, PATIENCE, in_modes, signalbox};

in_modes! {
    traffic_follows_the_objects_of_our_own_api_server_also_after_a_crash: Nftables Legacy;
}

const ADDRESS: &str = "192.168.77.100:6443";
const CLUSTER_IP: &str = "tcp/10.96.0.10:80";
const NODE_PORT: &str = "tcp/192.168.77.11:30080";
const SERVICES: &str = "/api/v1/namespaces/shop/services";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices";

/// The API server, in the namespace outside the cluster.
pub(crate) struct ApiServer {
    outside: Namespace,
    child: Child,
}

impl ApiServer {
    pub(crate) fn start(node: &Node) -> Self {
        let tokens = node.folder.join("tokens");
        let mut options = File::options();
        let file = options.create(true).truncate(true).write(true).mode(0o600).open(&tokens).unwrap();
        std::io::Write::write_all(&mut &file, b"t,admin,1,system:masters\n").unwrap();
        let log = File::options().create(true).append(true).open(node.folder.join("apiserver.log")).unwrap();
        let child = node
            .world
            .world()
            .command("outside", signalbox())
            .args(["apiserver", "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112"])
            .args(["--listen", ADDRESS, "--data"])
            .arg(node.folder.join("data"))
            .arg("--token-auth-file")
            .arg(&tokens)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { outside: node.world.world().namespace("outside"), child };
        let begin = Instant::now();
        while server.try_call(&Call::new(Method::GET, "/readyz")).is_none() {
            let log = || fs::read_to_string(node.folder.join("apiserver.log"));
            assert!(begin.elapsed() < PATIENCE, "{:?}", log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        server
    }

    fn try_call(&self, call: &Call) -> Option<(u16, Value)> {
        let ask = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let access = Access::new(&format!("https://{ADDRESS}"), "t");
            runtime.block_on(async { Client::new(&access).call(call).await })
        };
        let answer = self.outside.run(ask).unwrap().ok()?;
        Some((answer.code, answer.json()))
    }

    #[track_caller]
    pub(crate) fn send(&self, method: Method, path: &str, object: &Value) {
        let (code, answer) = self.try_call(&Call::json(method, path, object)).unwrap();
        assert!(matches!(code, 200 | 201), "{path}: {answer}");
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        // It may have been killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The kubeconfig of a proxy, as an administrator makes it.
pub(crate) fn kubeconfig(node: &Node) -> String {
    let file = node.folder.join("proxy.kubeconfig").display().to_string();
    let data = node.folder.join("data").display().to_string();
    let words = ["kubeconfig", "--data", &data, "--role", "node-proxy", "--output", &file];
    let made = Command::new(signalbox()).args(words).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    file
}

fn traffic_follows_the_objects_of_our_own_api_server_also_after_a_crash(mode: Mode) {
    let Some(mut node) = Node::in_mode(mode) else { return };
    let server = ApiServer::start(&node);
    let kubeconfig = kubeconfig(&node);
    server.send(
        Method::POST,
        "/api/v1/nodes",
        &json!({"metadata": {"name": "node"},
                "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"}]}}),
    );
    server.send(Method::POST, "/api/v1/namespaces", &json!({"metadata": {"name": "shop"}}));
    let ports = json!([{"port": 80, "targetPort": 8080, "nodePort": 30080}]);
    let service = json!({"metadata": {"name": "web"}, "spec": {"type": "NodePort", "clusterIP": "10.96.0.10", "ports": ports}});
    server.send(Method::POST, SERVICES, &service);
    server.send(Method::POST, SLICES, &slice(&["10.244.1.11"]));
    let proxy = node.proxy_with(&["--kubeconfig", &kubeconfig]);
    node.await_answers(CLUSTER_IP, &["pod1"]);
    assert_eq!(names(&node, NODE_PORT), ["pod1"]);
    let path = format!("{SLICES}/web");
    server.send(Method::PUT, &path, &slice(&["10.244.1.12", "10.244.1.13"]));
    node.await_answers(CLUSTER_IP, &["pod2", "pod3"]);
    assert_eq!(names(&node, NODE_PORT), ["pod2", "pod3"]);

    server.kill();
    proxy.await_log(&["WARN", "keeping the last state"]);
    assert_eq!(node.answers(CLUSTER_IP), ["pod2", "pod3"]);
    let server = ApiServer::start(&node);
    server.send(Method::PUT, &path, &slice(&["10.244.1.11"]));
    node.await_answers(CLUSTER_IP, &["pod1"]);
    assert_eq!(names(&node, NODE_PORT), ["pod1"]);

    server.send(Method::DELETE, &format!("{SERVICES}/web"), &json!({}));
    node.await_answers(CLUSTER_IP, &["timeout"]);
    assert!(!proxy.log().contains("refused access"), "{}", proxy.log());
    proxy.terminate();
}

/// Who answers a client outside.
fn names(node: &Node, target: &str) -> Vec<String> {
    let mut names: Vec<String> =
        node.ask_from("outside", target, 40).into_iter().map(|answered| answered.name).collect();
    names.sort();
    names.dedup();
    names
}
