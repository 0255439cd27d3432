//! A cluster, and kubectl to work with it. Everything of it goes when it is dropped.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use sys::netns::Namespace;
use testkit::answers;
use testkit::kubectl::Kubectl;
use testkit::traffic::{HttpAnswer, get};
use testkit::up::Up;

use super::machine::{Folder, SIGNALBOX, brought};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    // Dropped first: it writes into the folder.
    pub(crate) up: Up,
    // It goes when this does.
    _folder: Folder,
    kubectl: Kubectl,
}

impl Stage {
    /// An isolated one. `None`, loudly, where it cannot be.
    pub(crate) fn isolated(words: &[&str]) -> Option<Self> {
        Self::new(&[&["--isolated", "--listen=127.0.0.1:0"], words].concat(), None)
    }

    /// One that takes a namespace for the machine's own network.
    pub(crate) fn new(words: &[&str], place: Option<Namespace>) -> Option<Self> {
        let mut stage = Self::prepared(words, place)?;
        stage.up.start().unwrap();
        Some(stage)
    }

    /// One that was not started.
    pub(crate) fn prepared(words: &[&str], place: Option<Namespace>) -> Option<Self> {
        if !sys::process::is_root() {
            println!("SKIPPED (needs root): signalbox up");
            return None;
        }
        let program = brought(answers::installed_kubectl(), "kubectl")?;
        let folder = Folder::new();
        let up = Up::new(Path::new(SIGNALBOX), &folder.path().join("data"), words, place.clone());
        let kubectl = Kubectl::new(&program, &folder.path().join("home"), &up.kubeconfig(), place);
        Some(Self { up, _folder: folder, kubectl })
    }

    pub(crate) fn kubectl(&self, line: &str) -> (bool, String, String) {
        self.kubectl.run(line)
    }

    /// Runs a command that must succeed; answers what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        self.kubectl.ok(line, &|| self.said())
    }

    /// Waits until a command prints something.
    #[track_caller]
    pub(crate) fn comes_to(&self, line: &str, expected: &str) {
        self.comes(line, &|text| text == expected, expected);
    }

    /// Waits until what a command prints is good.
    #[track_caller]
    pub(crate) fn comes(&self, line: &str, is_good: &dyn Fn(&str) -> bool, what: &str) {
        self.kubectl.comes(line, (is_good, what), &|| self.said());
    }

    /// A Deployment and its Service, ready. Answers where the Service is.
    #[track_caller]
    pub(crate) fn backend(&self, replicas: usize) -> SocketAddr {
        let image = "--image=signalbox/whoami:v1 --port=8080";
        self.ok(&format!("create deployment backend {image} --replicas={replicas}"));
        self.ok("expose deployment backend --port=80 --target-port=8080");
        self.ok("rollout status deployment/backend --timeout=60s");
        SocketAddr::new(self.ok("get service backend -o jsonpath={.spec.clusterIP}").parse().unwrap(), 80)
    }

    /// The same with a readiness probe: without one a pod is sent requests before its server listens, in any cluster.
    #[track_caller]
    pub(crate) fn probed_backend(&self, replicas: usize) -> SocketAddr {
        let service = self.backend(replicas);
        let probe = r#"{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":1}"#;
        let container = format!(r#"{{"name":"whoami","readinessProbe":{probe}}}"#);
        self.ok(&format!(
            r#"patch deployment backend -p '{{"spec":{{"template":{{"spec":{{"containers":[{container}]}}}}}}}}'"#
        ));
        self.ok("rollout status deployment/backend --timeout=60s");
        service
    }

    /// A pod that does nothing. Answers its network.
    #[track_caller]
    pub(crate) fn sleeper(&self, name: &str) -> Namespace {
        let rest = "--image=none --restart=Never --grace-period=1 --command -- sleep infinity";
        self.ok(&format!("run {name} {}", rest.replace("--grace-period=1 ", "")));
        self.ok(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"));
        self.network(name)
    }

    /// The network of a pod.
    #[track_caller]
    pub(crate) fn network(&self, pod: &str) -> Namespace {
        Namespace::named(&format!("sb-{}", self.ok(&format!("get pod {pod} -o jsonpath={{.metadata.uid}}"))))
    }

    /// Waits until a Service answers, and answers what.
    #[track_caller]
    pub(crate) fn answer(&self, from: &Namespace, to: SocketAddr) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = ask(from, to);
            if answer.code == Some(200) {
                return answer.body;
            }
            assert!(Instant::now() < end, "{to}: {answer:?}\n{}", self.everything());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn everything(&self) -> String {
        format!("{}{}", self.kubectl.everything(), self.said())
    }

    fn said(&self) -> String {
        format!("\n{}\n{}", self.up.said(), self.up.log())
    }
}

pub(crate) fn ask(from: &Namespace, to: SocketAddr) -> HttpAnswer {
    from.run(|| get(to, "/", Duration::from_secs(5))).unwrap()
}

/// How many processes have these words in their command line.
pub(crate) fn processes(words: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
    all.map(line).filter(|line| String::from_utf8_lossy(line).replace('\0', " ").contains(words)).count()
}
