//! An API server, a node in a network namespace of its own, and the program that runs the node's pods. All of it goes
//! when it is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sys::netns::Namespace;
use testkit::answers::OwnServer;
use watch::ApiConfig;
use watch::client::Client;
use workload::{Runtime, Settings};

pub(crate) const SIGNALBOX: &str = env!("CARGO_BIN_EXE_signalbox");
/// What is waited for comes within this time, or never.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const NODE: &str = "node-1";

/// A directory that goes when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("signalbox-{name}"));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder in /tmp harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(crate) struct World {
    // Dropped before the folder, into which it writes.
    _server: OwnServer,
    folder: Folder,
    pub(crate) node: Namespace,
    netns: String,
    images: Vec<&'static str>,
    running: Option<Child>,
    kubeconfig: PathBuf,
    client: Client,
    pub(crate) tokio: tokio::runtime::Runtime,
}

impl World {
    /// `None`, loudly, for who is not root.
    pub(crate) fn start(images: &[&'static str]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED (needs root): pods as processes");
            return None;
        }
        let netns = format!("sbt-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Folder::new(&netns);
        let server = OwnServer::start(Path::new(SIGNALBOX), &folder.path().join("data"), &[]).unwrap();
        let node = Namespace::create(&netns).unwrap();
        prepare(&node);
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kubeconfig = server.kubeconfig();
        let config = ApiConfig::new(Some(kubeconfig.clone()), None, "");
        let client = tokio.block_on(Client::connect(&config)).unwrap();
        let images = images.to_vec();
        let mut world =
            Self { _server: server, folder, node, netns, images, running: None, kubeconfig, client, tokio };
        world.make_account();
        world.run();
        Some(world)
    }

    /// What controllers make in a namespace: without it each pod would wait for its token.
    fn make_account(&self) {
        let of = |kind: &str, name: &str| serde_json::json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        self.create("/api/v1/namespaces/default/serviceaccounts", &of("ServiceAccount", "default"));
        let mut root = of("ConfigMap", "kube-root-ca.crt");
        root["data"]["ca.crt"] =
            std::fs::read_to_string(self.folder.path().join("data/pki/ca.crt")).unwrap().into();
        self.create("/api/v1/namespaces/default/configmaps", &root);
    }

    /// The port of the API server at the host's loopback.
    pub(crate) fn server_port(&self) -> u16 {
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let (_, after) = text.split_once("https://127.0.0.1:").unwrap();
        after.split(|letter: char| !letter.is_ascii_digit()).next().unwrap().parse().unwrap()
    }

    /// The permissions of the directories of pods and volumes.
    pub(crate) fn modes(&self) -> [u32; 2] {
        use std::os::unix::fs::MetadataExt;
        ["pods", "volumes"].map(|name| std::fs::metadata(self.state().join(name)).unwrap().mode() & 0o777)
    }

    /// What is mounted for this world's pods on the host.
    pub(crate) fn mounts(&self) -> Vec<PathBuf> {
        sys::mount::mounts_below(&self.state())
    }

    /// Starts the program that runs the pods.
    pub(crate) fn run(&mut self) {
        let log =
            File::options().create(true).append(true).open(self.folder.path().join("workload.log")).unwrap();
        let mut command = self.command();
        for image in &self.images {
            command.arg("--image").arg(image);
        }
        self.running = Some(command.stderr(log).spawn().unwrap());
    }

    fn command(&self) -> Command {
        let mut command = Command::new(SIGNALBOX);
        command.arg("workload").arg("--state").arg(self.state()).arg("--kubeconfig").arg(&self.kubeconfig);
        command
            .arg(format!("--node-name={NODE}"))
            .arg("--node-ip=192.0.2.1")
            .arg(format!("--netns={}", self.netns))
            .arg(format!("--client-ca-file={}", self.key("ca.crt").display()));
        command.arg("--pod-cidrs=10.244.1.0/24,fd00:1::/64").stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// A file of the server's keys.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join("data/pki").join(name)
    }

    /// The kubeconfig of somebody who may only look.
    pub(crate) fn kubeconfig_of(&self, user: &str) -> String {
        let mut command = Command::new(SIGNALBOX);
        command.args(["kubeconfig", "--role=readonly", "--user", user, "--data"]);
        let output = command.arg(self.folder.path().join("data")).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The number of the program that runs the pods.
    pub(crate) fn running(&self) -> u32 {
        self.running.as_ref().unwrap().id()
    }

    /// Kills the program that runs the pods, without a chance to do anything about it.
    pub(crate) fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn people(&self) -> Runtime {
        Runtime::new(&self.settings())
    }

    fn settings(&self) -> Settings {
        Settings { state_dir: self.state(), netns: Some(self.netns.clone()), ..Settings::default() }
    }

    /// Ends all processes from outside.
    pub(crate) fn stop_all(&self) {
        workload::stop_all(&self.settings(), Duration::from_secs(1));
    }

    /// Creates an object and answers it.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Value {
        self.tokio.block_on(self.client.create(path, object)).unwrap()
    }

    /// Creates a pod on the node and answers its uid.
    pub(crate) fn pod(&self, name: &str, mut spec: Value) -> String {
        spec["nodeName"] = NODE.into();
        let object = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec});
        let made = self.create("/api/v1/namespaces/default/pods", &object);
        made["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        match self.tokio.block_on(self.client.get(path)) {
            Ok(object) => Some(object),
            Err(error) if error.is_not_found() => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub(crate) fn read(&self, name: &str) -> Option<Value> {
        self.get(&format!("/api/v1/namespaces/default/pods/{name}"))
    }

    pub(crate) fn update(&self, path: &str, object: &Value) {
        self.tokio.block_on(self.client.update(path, object)).unwrap();
    }

    pub(crate) fn delete(&self, name: &str) {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        self.tokio.block_on(self.client.delete(&path, &Value::Null)).unwrap();
    }

    /// Waits until a pod is so, and answers it.
    pub(crate) fn await_pod(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        self.until(&format!("{name} is {what}"), || self.read(name).filter(|pod| is_so(pod)))
    }

    pub(crate) fn until<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = found() {
                return found;
            }
            if begin.elapsed() > LIMIT {
                let log =
                    std::fs::read_to_string(self.folder.path().join("workload.log")).unwrap_or_default();
                let pods =
                    self.get("/api/v1/pods").map(|pods| format!("{:#}", pods["items"])).unwrap_or_default();
                panic!("never: {what}\n{pods}\n{log}");
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// What a container said so far.
    pub(crate) fn log(&self, uid: &str, container: &str, options: workload::LogOptions) -> String {
        self.tokio.block_on(async {
            let Ok(mut pieces) = self.people().logs(uid, container, options).await else {
                return String::new();
            };
            let mut said = Vec::new();
            while let Some(piece) = pieces.recv().await {
                said.extend_from_slice(&piece.text);
            }
            String::from_utf8(said).unwrap()
        })
    }

    /// Kills the keeper of a container's first run.
    pub(crate) fn kill_keeper(&self, uid: &str, container: &str) {
        let file = self.state().join("pods").join(uid).join(container).join("0/started.json");
        let started: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let number = |field: &str| started[field].as_u64().unwrap();
        let keeper = u32::try_from(number("keeper")).unwrap();
        sys::process::Handle::open(keeper, number("keeper_ticks")).unwrap().kill();
    }

    /// What the machine has of a pod: its namespace, links, groups, processes and files.
    pub(crate) fn traces(&self, uid: &str) -> Vec<String> {
        let mut found = sys::netns::names(&format!("sb-{uid}"));
        let digits: String = uid.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let links = self.node.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
        found.extend(links.lines().filter(|line| line.contains(&digits)).map(str::to_owned));
        for root in ["/sys/fs/cgroup/signalbox", "/sys/fs/cgroup/unified/signalbox"] {
            let group = Path::new(root).join(uid);
            found.extend(group.exists().then(|| group.display().to_string()));
        }
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if String::from_utf8_lossy(&environment).contains(uid) {
                found.push(process.path().display().to_string());
            }
        }
        let files = self.state().join("pods").join(uid);
        let volumes = self.state().join("volumes").join(uid);
        found.extend(sys::mount::mounts_below(&volumes).iter().map(|path| path.display().to_string()));
        let left = [files, volumes].into_iter().filter(|path| path.exists());
        found.extend(left.map(|path| path.display().to_string()));
        found
    }

    /// Removes everything, and answers how many pods there were.
    pub(crate) fn purge(&self) -> String {
        let output = self.command().arg("--purge").stdout(Stdio::piped()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// The node has an address, as nodes have.
pub(crate) fn prepare(node: &Namespace) {
    let made = node.run(|| {
        let mut links = sys::link::Links::open()?;
        links.set_up("lo")?;
        links.add_address("lo", "192.0.2.1/32".parse().unwrap(), true)?;
        links.add_address("lo", "2001:db8::1/128".parse().unwrap(), true)
    });
    made.unwrap().unwrap();
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.kill());
            drop(running.wait());
        }
        self.purge();
        self.node.remove();
    }
}
