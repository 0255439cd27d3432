//! A server, the controllers, nodes, and kubectl to look at them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use controllers::{Controller, Settings};
use testkit::answers;
use tokio::runtime::Runtime;
use tokio::sync::watch as channel;
use watch::ApiConfig;
use watch::client::Client;

use super::kubelet;
use super::machine::{Machine, brought};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    program: PathBuf,
    stop: channel::Sender<bool>,
    machine: Machine,
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
        let stage = Self { runtime, client, program, stop, machine, grace };
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
        let home = self.machine.folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(&self.program);
        command.args(line.split_whitespace()).current_dir(&home).env("HOME", &home);
        command.env("KUBECONFIG", self.machine.server.kubeconfig()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    /// Runs a command that must succeed; answers what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        let (is_success, stdout, stderr) = self.kubectl(line);
        assert!(is_success, "kubectl {line}\n{stdout}{stderr}{}", self.everything());
        stdout.trim_end().to_owned()
    }

    #[track_caller]
    pub(crate) fn prints(&self, line: &str, expected: &str) {
        assert_eq!(self.ok(line), expected, "kubectl {line}");
    }

    /// Waits until a command prints something.
    #[track_caller]
    pub(crate) fn comes_to(&self, line: &str, expected: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (_, stdout, stderr) = self.kubectl(line);
            if stdout.trim_end() == expected {
                return;
            }
            assert!(
                Instant::now() < end,
                "kubectl {line}\n{stdout}{stderr}instead of {expected}\n{}",
                self.everything()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn everything(&self) -> String {
        self.kubectl("get deploy,rs,pods,events -A -o wide").1
    }
}
