//! A server, the controllers, nodes, and kubectl to look at them.

use std::time::Duration;

use controllers::{Controller, Settings};
use testkit::answers;
use testkit::kubectl::Kubectl;
use tokio::runtime::Runtime;
use tokio::sync::watch as channel;
use watch::ApiConfig;
use watch::client::Client;

use super::kubelet;
use super::machine::{Machine, brought};

pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    kubectl: Kubectl,
    stop: channel::Sender<bool>,
    // It goes when this does.
    _machine: Machine,
    grace: Duration,
}

impl Stage {
    /// With these nodes.
    pub(crate) fn new(nodes: &[&str]) -> Option<Self> {
        Self::with(nodes, Duration::from_secs(50))
    }

    /// With these nodes, which may be silent for that long.
    pub(crate) fn with(nodes: &[&str], grace: Duration) -> Option<Self> {
        let program = brought(answers::installed_kubectl(), "kubectl")?;
        let machine = Machine::start();
        let runtime = Runtime::new().unwrap();
        let config = ApiConfig::new(Some(machine.server.kubeconfig()), None, "");
        let client = runtime.block_on(Client::connect(&config)).unwrap();
        for node in nodes {
            runtime.block_on(kubelet::register(&client, node));
        }
        runtime.spawn(kubelet::run(client.clone()));
        let (stop, _) = channel::channel(false);
        let home = machine.folder.path().join("home");
        let kubectl = Kubectl::new(&program, &home, &machine.server.kubeconfig(), None);
        let stage = Self { runtime, client, kubectl, stop, _machine: machine, grace };
        stage.start();
        Some(stage)
    }

    fn start(&self) {
        let settings = Settings {
            controllers: Controller::ALL.iter().map(|(_, controller)| *controller).collect(),
            cluster_ranges: vec!["10.244.0.0/16".parse().unwrap(), "fd00:10:244::/56".parse().unwrap()],
            root_certificate: Some("it is me\n".to_owned()),
            node_grace: self.grace,
            ..Settings::default()
        };
        self.runtime.spawn(controllers::run(self.client.clone(), settings, self.stop.subscribe()));
    }

    /// Stops the controllers and starts others.
    pub(crate) fn restart(&self) {
        self.stop.send_replace(true);
        std::thread::sleep(Duration::from_millis(100));
        self.stop.send_replace(false);
        self.start();
    }

    pub(crate) fn kubectl(&self, line: &str) -> (bool, String, String) {
        self.kubectl.run(line)
    }

    /// Runs a command that must succeed; answers what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        self.kubectl.ok(line, &String::new)
    }

    #[track_caller]
    pub(crate) fn prints(&self, line: &str, expected: &str) {
        assert_eq!(self.ok(line), expected, "kubectl {line}");
    }

    /// Waits until a command prints something.
    #[track_caller]
    pub(crate) fn comes_to(&self, line: &str, expected: &str) {
        self.kubectl.comes(line, (&|text| text == expected, expected), &String::new);
    }
}
