//! A server with objects, `signalbox dns` beside it, and dig.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use watch::ApiConfig;
use watch::client::Client;

use super::machine::{Machine, SIGNALBOX, brought};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    server: Dns,
    pub(crate) machine: Machine,
}

/// A process that ends when it is dropped.
struct Dns {
    process: Child,
    address: SocketAddr,
}

impl Drop for Dns {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A machine with a client of its API server.
pub(crate) fn machine() -> (Machine, Runtime, Client) {
    let machine = Machine::start();
    let runtime = Runtime::new().unwrap();
    let config = ApiConfig::new(Some(machine.server.kubeconfig()), None, "");
    let client = runtime.block_on(Client::connect(&config)).unwrap();
    (machine, runtime, client)
}

impl Stage {
    pub(crate) fn new(flags: &[&str]) -> Option<Self> {
        brought(Command::new("dig").arg("-v").output().ok().map(|_| "dig".into()), "dig")?;
        let (machine, runtime, client) = machine();
        let server = Dns::start(&machine, flags);
        Some(Self { runtime, client, server, machine })
    }

    /// Connects anew, to where the API server is now.
    pub(crate) fn reconnect(&mut self) {
        let config = ApiConfig::new(Some(self.machine.server.kubeconfig()), None, "");
        self.client = self.runtime.block_on(Client::connect(&config)).unwrap();
    }

    /// Creates the objects of these tests.
    pub(crate) fn add_everything(&self) {
        self.runtime.block_on(add_everything(&self.client));
    }

    pub(crate) fn create(&self, path: &str, object: Value) {
        self.runtime.block_on(self.client.create(path, &object)).unwrap();
    }

    pub(crate) fn delete(&self, path: &str) {
        self.runtime.block_on(self.client.delete(path, &Value::Null)).unwrap();
    }

    /// Answers the status and the sorted answers.
    pub(crate) fn dig(&self, question: &str) -> String {
        self.dig_from("127.0.0.2", question)
    }

    /// The same with dig at an address of its own.
    ///
    /// dig shares its port with whoever shares it too (SO_REUSEPORT), so that the kernel may give it the server's. On the server's
    /// address it would hear its own query then, and take it for an answer without records.
    pub(crate) fn dig_from(&self, own: &str, question: &str) -> String {
        let address = self.server.address;
        let mut command = Command::new("dig");
        command.args([
            "-b",
            own,
            &format!("@{}", address.ip()),
            "-p",
            &address.port().to_string(),
            "+tries=1",
            "+timeout=2",
        ]);
        command.args(["+noidnin", "+noall", "+comments", "+answer"]).args(question.split(' '));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
        let records = text.lines().filter(|line| !line.starts_with(';') && !line.is_empty());
        let mut data: Vec<String> =
            records.map(|line| line.split_whitespace().skip(4).collect::<Vec<_>>().join(" ")).collect();
        data.sort();
        data.insert(0, status.map_or_else(|| format!("no answer: {text}"), str::to_owned));
        data.join(" ")
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// What dig says now is what it said before; where it is not, what the API server has is told as well.
    #[track_caller]
    pub(crate) fn stays(&self, question: &str, expected: &str) {
        let found = self.dig(question);
        if found != expected {
            let again = self.dig(question);
            let services = self.runtime.block_on(self.client.get("/api/v1/namespaces/shop/services"));
            panic!("dig {question}\n{found}\ninstead of\n{expected}\nand then\n{again}\n{services:?}");
        }
    }

    /// Waits until dig says something.
    #[track_caller]
    pub(crate) fn comes_to(&self, question: &str, expected: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.dig(question);
            if found == expected {
                return;
            }
            assert!(Instant::now() < end, "dig {question}\n{found}\ninstead of\n{expected}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Dns {
    fn start(machine: &Machine, flags: &[&str]) -> Self {
        let mut command = Command::new(SIGNALBOX);
        command.arg("dns").arg("--kubeconfig").arg(machine.server.kubeconfig());
        command
            .args(["--listen", "127.0.0.1:0", "--health", "127.0.0.1:0", "--ready", "127.0.0.1:0"])
            .args(flags);
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().unwrap().unwrap();
            if let Some(at) = line.split("addresses=[").nth(1) {
                break at.trim_end_matches(']').parse().unwrap();
            }
        };
        // Read on, so that the process can go on writing.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }
}

/// Creates a namespace with a Service, a headless one with two ready endpoints of three, and an alias.
pub(crate) async fn add_everything(client: &Client) {
    let create = async |path: &str, object: Value| client.create(path, &object).await.unwrap();
    create("/api/v1/namespaces", json!({"metadata": {"name": "shop"}})).await;
    let services = "/api/v1/namespaces/shop/services";
    let ports = json!([{"name": "http", "port": 80}]);
    create(
        services,
        json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.77", "ports": ports}}),
    )
    .await;
    let ports = json!([{"name": "pg", "port": 5432}]);
    create(services, json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": ports}}))
        .await;
    let spec = json!({"type": "ExternalName", "externalName": "www.example.org"});
    create(services, json!({"metadata": {"name": "www"}, "spec": spec})).await;
    let slice = json!({
        "metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
        "addressType": "IPv4",
        "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": ["10.244.0.5"], "hostname": "one", "conditions": {"ready": true}},
            {"addresses": ["10.244.0.6"], "conditions": {"ready": true}},
            {"addresses": ["10.244.0.7"], "conditions": {"ready": false}},
        ],
    });
    create("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices", slice).await;
}
