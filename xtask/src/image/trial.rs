//! `cargo xtask image --check`: the image on a node, started as the DaemonSet says with the ConfigMap of `deploy/`, and an
//! API server that only a name leads to.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Options};
use testkit::traffic::get;
use testkit::world::{NODE_ADDRESSES, OneNode, one_node};

use super::dns;
use super::manifests::Manifests;
use crate::contain::{self, Mount};
use crate::sweep::Sweep;

/// The name that leads to the API server. Its domain is reserved for tests (RFC 6761).
const NAME: &str = "control-plane.signalbox.test";
const API_SERVER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 100);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tries the image in this root directory.
pub(super) fn run(project: &Path, root: &Path) -> Result<()> {
    crate::tools::require_tools()?;
    let manifests = Manifests::read(project)?;
    let sweep = Sweep::begin("image", false)?;
    let network = one_node(&format!("{}-", sweep.run()))
        .map_err(|error| anyhow::anyhow!("building the network: failed to {error}"))?;
    let api = start_api_server(&network)?;
    start_dns(&network)?;
    let trial = Trial { manifests, network, api, root: root.to_owned(), folder: sweep.folder().to_owned() };
    trial.write_files()?;
    let hosts = format!("127.0.0.1 localhost\n{API_SERVER} {NAME}\n");
    trial.follow("10.96.0.11", (&hosts, "")).context("with the API server's name in /etc/hosts")?;
    println!("ok: finds the API server by /etc/hosts, follows it, is alive");
    let resolver = format!("nameserver {API_SERVER}\n");
    trial.follow("10.96.0.12", ("127.0.0.1 localhost\n", &resolver)).context("with the name in DNS")?;
    println!("ok: finds the API server by DNS, follows it, is alive");
    trial.check_requests()?;
    println!("ok: asks for nothing that the ClusterRole does not allow");
    Ok(())
}

struct Trial {
    manifests: Manifests,
    network: OneNode,
    api: ApiServer,
    root: PathBuf,
    folder: PathBuf,
}

fn start_api_server(network: &OneNode) -> Result<ApiServer> {
    let api = ApiServer::start(Options {
        listen: SocketAddr::from((API_SERVER, 6443)),
        netns: Some(network.world().namespace("outside").path().to_owned()),
        tls: true,
        behaviour: Behaviour { token: Some("trial".into()), ..Behaviour::default() },
        ..Options::default()
    });
    let api = api.context("starting the API server")?;
    api.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                     "status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESSES[0]}]}}));
    Ok(api)
}

fn start_dns(network: &OneNode) -> Result<()> {
    let outside = network.world().namespace("outside");
    let socket = outside.run(|| UdpSocket::bind((API_SERVER, 53)));
    let socket =
        socket.map_err(|error| anyhow::anyhow!("failed to {error}"))?.context("the DNS server's port")?;
    // It ends with this program; whoever misses an answer says so.
    std::thread::spawn(move || dns::serve(&socket, NAME, API_SERVER));
    Ok(())
}

impl Trial {
    /// The files of the ConfigMap and of the service account, as a kubelet shows them.
    fn write_files(&self) -> Result<()> {
        let folders = ["config", "account"].map(|name| self.folder.join(name));
        for folder in &folders {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let data =
            self.manifests.of_kind("ConfigMap")?["data"].as_object().context("a ConfigMap without data")?;
        for (name, text) in data {
            let text = text.as_str().with_context(|| name.clone())?;
            fs::write(folders[0].join(name), for_the_test(text)?)?;
        }
        fs::write(folders[1].join("ca.crt"), self.api.ca_pem().context("an API server without TLS")?)?;
        fs::write(folders[1].join("token"), "trial")?;
        Ok(())
    }

    /// Starts the container with these files in `/etc` and waits until it has written a Service and is alive.
    fn follow(&self, address: &str, (hosts, resolver): (&str, &str)) -> Result<()> {
        fs::write(self.folder.join("hosts"), hosts)?;
        fs::write(self.folder.join("resolv.conf"), resolver)?;
        self.api.apply(json!({"apiVersion": "v1", "kind": "Service",
                              "metadata": {"name": address.replace('.', "-"), "namespace": "default"},
                              "spec": {"clusterIP": address, "ports": [{"port": 80}]}}));
        let mut proxy = Proxy { child: self.start()?, log: self.folder.join("proxy.log") };
        let begin = Instant::now();
        while !self.rules().contains(address) {
            proxy.must_run()?;
            if begin.elapsed() > PATIENCE {
                bail!("no rule for {address}:\n{}", proxy.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        for probe in ["livenessProbe", "readinessProbe"] {
            self.probe(&self.manifests.container()?[probe])
                .with_context(|| format!("{probe}\n{}", proxy.log()))?;
        }
        self.probe(&json!({"httpGet": {"path": "/healthz", "port": 10256}})).with_context(|| proxy.log())?;
        proxy.end()
    }

    /// Starts the DaemonSet's container.
    fn start(&self) -> Result<Child> {
        let mut mounts = Vec::new();
        for (from, to) in [
            ("config", "/var/lib/kube-proxy"),
            ("account", "/var/run/secrets/kubernetes.io/serviceaccount"),
            ("hosts", "/etc/hosts"),
            ("resolv.conf", "/etc/resolv.conf"),
        ] {
            mounts.push(Mount { from: self.folder.join(from), to: to.into() });
        }
        let words = contain::words(&self.root, &mounts)?;
        let mut command = self.network.world().command("node", Path::new(&words[0]));
        command.args(&words[1..]);
        for word in self.manifests.container()?["command"].as_array().context("no command")? {
            command.arg(word.as_str().context("a word of the command")?.replace("$(NODE_NAME)", "node"));
        }
        let log = File::create(self.folder.join("proxy.log")).context("the log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("starting the container")
    }

    fn rules(&self) -> String {
        let mut command = self.network.world().command("node", Path::new("nft"));
        // Without the table there are none.
        let output = command.args(["list", "table", "ip", "signalbox"]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    fn probe(&self, probe: &Value) -> Result<()> {
        let path = probe["httpGet"]["path"].as_str().context("no path")?;
        let port =
            probe["httpGet"]["port"].as_u64().and_then(|port| port.try_into().ok()).context("no port")?;
        let node = self.network.world().namespace("node");
        let answer = node
            .run(|| get(SocketAddr::new(NODE_ADDRESSES[0], port), path, Duration::from_secs(2)))
            .map_err(|error| anyhow::anyhow!("failed to {error}"))?;
        if answer.code != Some(200) {
            bail!("{path} at port {port}: {answer:?}");
        }
        Ok(())
    }

    fn check_requests(&self) -> Result<()> {
        for request in self.api.take_requests() {
            if !self.manifests.allow(&request)? {
                bail!("the ClusterRole of deploy/rbac.yaml does not allow {request:?}");
            }
        }
        Ok(())
    }
}

/// Puts the test's API server into the kubeconfig. Its certificate is for its address.
fn for_the_test(text: &str) -> Result<String> {
    const PLACEHOLDER: &str = "server: https://control-plane.invalid:6443";
    let server = format!("server: https://{NAME}:6443");
    match text.lines().find_map(|line| line.split_once(PLACEHOLDER).map(|(indentation, _)| indentation)) {
        Some(indentation) => {
            Ok(text.replace(PLACEHOLDER, &format!("{server}\n{indentation}tls-server-name: {API_SERVER}")))
        }
        None if text.contains("server:") => bail!("the kubeconfig does not have the line `{PLACEHOLDER}`"),
        None => Ok(text.to_owned()),
    }
}

/// The container; it is killed when this is dropped.
struct Proxy {
    child: Child,
    log: PathBuf,
}

impl Proxy {
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended with {status}:\n{}", self.log()),
            None => Ok(()),
        }
    }

    /// Ends it as a kubelet does.
    fn end(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("SIGTERM")?;
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("after SIGTERM it ended with {status}:\n{}", self.log()),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        bail!("it does not heed SIGTERM:\n{}", self.log())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
