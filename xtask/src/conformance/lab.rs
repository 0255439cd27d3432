//! Everything that runs: the network, the API server, the servers, the proxies; started, wiped and removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Behaviour, Options};
use testkit::cases::{Family, NODES, Plan, ProxyConfig};

use super::proxy::{Template, Values, configuration, flags};
use super::tool::{Tool, script};
use crate::contain::{self, Mount};

const API_SERVER: &str = "192.168.77.2:6443";
/// What the sentinel's endpoint listens to; see [`Lab::converge`].
const SENTINEL_PORT: u16 = 7007;
/// How long the proxies may take to follow.
const CONVERGENCE_LIMIT: Duration = Duration::from_secs(40);
/// Rest after the sentinel has answered.
const SETTLE: Duration = Duration::from_millis(250);
/// More rest for Nodes, which come by a watch of their own.
pub(super) const NODE_SETTLE: Duration = Duration::from_millis(500);

/// The laboratory. Dropping it removes everything.
pub(super) struct Lab {
    pub(super) plan: Plan,
    pub(super) tool: Tool,
    pub(super) api: ApiServer,
    setup: Setup,
    kubeconfig: PathBuf,
    servers: Vec<Child>,
    proxies: BTreeMap<String, Child>,
    /// What the proxies were started with last.
    config: ProxyConfig,
    sentinels: u32,
    serves_api: bool,
}

/// How to set a laboratory up.
pub(super) struct Setup {
    /// A folder for logs and configurations; it exists.
    pub(super) folder: PathBuf,
    pub(super) mode: String,
    pub(super) template: Template,
    /// The root directory that the proxies run in; `None` for the machine's.
    pub(super) root: Option<PathBuf>,
    /// The PATH of the proxies.
    pub(super) path: std::ffi::OsString,
}

impl Lab {
    /// Starts everything but the proxies, in namespaces that exist already and whose names begin so.
    pub(super) fn start(setup: Setup, netns_prefix: String) -> Result<Self> {
        let tool = Tool::new(netns_prefix)?;
        let api = ApiServer::start(Options {
            listen: API_SERVER.parse::<SocketAddr>().context("the address of the API server")?,
            netns: Some(tool.netns("cp")),
            tls: true,
            behaviour: Behaviour { token: Some("conformance".into()), ..Behaviour::default() },
            ..Options::default()
        })
        .context("starting the API server")?;
        let kubeconfig = setup.folder.join("kubeconfig");
        std::fs::write(&kubeconfig, api.kubeconfig()).context("writing the kubeconfig")?;
        let mut lab = Self {
            plan: Plan::new(),
            tool,
            api,
            setup,
            kubeconfig,
            servers: Vec::new(),
            proxies: BTreeMap::new(),
            config: ProxyConfig::default(),
            sentinels: 0,
            serves_api: true,
        };
        lab.start_servers()?;
        lab.write_first_objects()?;
        Ok(lab)
    }

    fn start_servers(&mut self) -> Result<()> {
        for (name, ports) in server_places() {
            let mut command = self.tool.command("serve", &name);
            command.args(["--with-parent", "--name", &name]).args(ports);
            let child = self.logged(&format!("serve-{name}"), &mut command)?;
            self.servers.push(child);
        }
        let limit = Instant::now() + Duration::from_secs(20);
        for (name, _) in server_places() {
            let log = format!("serve-{name}");
            while !self.tail(&log, 1).contains("ready") {
                if Instant::now() > limit {
                    bail!("the server of {name} did not start: {}", self.tail(&log, 5));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    /// What a real API server and its machines have before anybody asks.
    fn write_first_objects(&self) -> Result<()> {
        for name in ["conf-b", "conf-sentinel"] {
            self.write(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        }
        self.write(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
            "spec": {"clusterIP": "10.96.0.1",
                     "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]}}))?;
        let mut slice = slice("default", "kubernetes", (Family::V4, 6443, "192.168.77.2"));
        slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "kubernetes"});
        slice["ports"][0]["name"] = json!("https");
        self.write(slice)?;
        NODES.into_iter().try_for_each(|node| self.put_node(node))
    }

    /// Cuts the API server off, as its death does.
    pub(super) fn stop_api_server(&mut self) {
        self.api.stop();
        self.serves_api = false;
    }

    /// Lets the API server serve again, if it does not.
    pub(super) fn start_api_server(&mut self) -> Result<()> {
        if !self.serves_api {
            self.api.restart().context("starting the API server again")?;
            self.serves_api = true;
        }
        Ok(())
    }

    /// Creates or replaces an object.
    pub(super) fn write(&self, object: Value) -> Result<()> {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        match self.api.try_apply(object) {
            Ok(_) => Ok(()),
            Err(refusal) => bail!("the API server refused {name}: {refusal}"),
        }
    }

    /// Writes the Node object as it should be between cases.
    pub(super) fn put_node(&self, node: &str) -> Result<()> {
        let is_dying = |node: &Value| !node["metadata"]["deletionTimestamp"].is_null();
        if self.api.get("Node", "", node).as_ref().is_some_and(is_dying) {
            self.api.merge_patch(("Node", "", node), &json!({"metadata": {"finalizers": null}}), false);
        }
        let number = node.trim_start_matches('n');
        let zone = if node == "n3" { "z2" } else { "z1" };
        let ranges = [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")];
        let address = |family| self.plan.address(node, family).map(|ip| ip.to_string());
        self.write(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node, "labels": {"kubernetes.io/hostname": node, "topology.kubernetes.io/zone": zone}},
            "spec": {"podCIDR": ranges[0], "podCIDRs": ranges},
            "status": {"addresses": [
                {"type": "InternalIP", "address": address(Family::V4)},
                {"type": "InternalIP", "address": address(Family::V6)},
                {"type": "Hostname", "address": node}]}}))
    }

    /// Starts the proxies of these nodes, those that do not run yet.
    pub(super) fn start_proxies(&mut self, nodes: &[String], config: Option<&ProxyConfig>) -> Result<()> {
        if let Some(config) = config {
            self.config = config.clone();
        }
        for node in nodes {
            if let Some(proxy) = self.proxies.get_mut(node)
                && proxy.try_wait()?.is_none()
            {
                continue;
            }
            let words = self.proxy_command(node)?;
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", self.tool.netns(node).display()));
            // It must not outlive this program, however this ends.
            command.args(["setpriv", "--pdeathsig", "KILL", "--"]).args(words).stdin(Stdio::null());
            // Each node has its own lock, as each machine has.
            command.env("XTABLES_LOCKFILE", self.setup.folder.join(format!("xtables-{node}.lock")));
            command.env("PATH", &self.setup.path);
            let child = self.logged(&format!("proxy-{node}"), &mut command)?;
            self.proxies.insert(node.clone(), child);
        }
        Ok(())
    }

    fn proxy_command(&self, node: &str) -> Result<Vec<String>> {
        let mode = match (self.config.other_mode, self.setup.mode.as_str()) {
            (false, mode) => mode,
            (true, "nftables") => "iptables",
            (true, _) => "nftables",
        };
        let file = self.setup.folder.join(format!("proxy-{node}.yaml"));
        let configuration = configuration(&self.config, mode, &self.kubeconfig);
        std::fs::write(&file, format!("{configuration:#}\n")).context("writing the configuration")?;
        let address = self.plan.address(node, Family::V4).map(|ip| ip.to_string()).unwrap_or_default();
        let values = Values::from([
            ("config", file.display().to_string()),
            ("node", node.to_owned()),
            ("kubeconfig", self.kubeconfig.display().to_string()),
            ("mode", mode.to_owned()),
            ("workdir", self.setup.folder.display().to_string()),
            ("netns", self.tool.netns(node).display().to_string()),
            ("node_ip", address),
        ]);
        let flags = flags(&self.config, mode, (node, &self.kubeconfig));
        let mut words = self.contained()?;
        words.extend(self.setup.template.command(&values, &flags)?);
        Ok(words)
    }

    /// What comes before the command of a proxy that runs in a root directory of its own: it sees its files, nothing else.
    fn contained(&self) -> Result<Vec<String>> {
        let Some(root) = &self.setup.root else { return Ok(Vec::new()) };
        let files = Mount { from: self.setup.folder.clone(), to: self.setup.folder.clone() };
        contain::words(root, &[files])
    }

    /// Ends the proxies of these nodes: kindly with a signal that they can heed, or by force.
    pub(super) fn stop_proxies(&mut self, nodes: &[String], kindly: bool) {
        for node in nodes {
            let Some(proxy) = self.proxies.get_mut(node) else { continue };
            // Who is gone already needs no signal.
            drop(if kindly { terminate(proxy) } else { proxy.kill() });
        }
        for node in nodes {
            let Some(mut proxy) = self.proxies.remove(node) else { continue };
            let limit = Instant::now() + Duration::from_secs(10);
            while matches!(proxy.try_wait(), Ok(None)) && Instant::now() < limit {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(proxy.kill());
            drop(proxy.wait());
        }
    }

    /// Whether every node has a proxy.
    pub(super) fn has_all_proxies(&self) -> bool {
        self.proxies.len() == NODES.len()
    }

    /// Fails when a proxy has ended by itself.
    pub(super) fn check_proxies(&mut self) -> Result<()> {
        for (node, proxy) in &mut self.proxies {
            if let Some(status) = proxy.try_wait()? {
                let tail = tail(&self.setup.folder, &format!("proxy-{node}"), 15);
                bail!("the proxy of {node} ended with {status}:\n{tail}");
            }
        }
        Ok(())
    }

    /// Waits until every proxy serves a Service that was not there before.
    ///
    /// Watches deliver in order, so what was written earlier has been seen by then, too.
    pub(super) fn converge(&mut self) -> Result<()> {
        if self.proxies.is_empty() {
            return Ok(());
        }
        self.check_proxies()?;
        self.sentinels = self.sentinels % 250 + 1;
        let name = format!("s{}", self.sentinels);
        let ips = [format!("10.96.255.{}", self.sentinels), format!("fd00:10:96::ff{:02x}", self.sentinels)];
        for (suffix, family, address) in [("4", Family::V4, "192.168.77.2"), ("6", Family::V6, "fd77::2")] {
            let mut slice =
                slice("conf-sentinel", &format!("{name}-{suffix}"), (family, SENTINEL_PORT, address));
            slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": name});
            self.write(slice)?;
        }
        self.write(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "conf-sentinel"},
            "spec": {"clusterIPs": ips, "clusterIP": ips[0], "ipFamilyPolicy": "RequireDualStack",
                     "ports": [{"port": 7, "protocol": "TCP"}]}}))?;
        let late = self.await_sentinel(&ips)?;
        for suffix in ["4", "6"] {
            self.api.delete("EndpointSlice", "conf-sentinel", &format!("{name}-{suffix}"));
        }
        self.api.delete("Service", "conf-sentinel", &name);
        self.check_proxies()?;
        if let Some(first) = late.first() {
            bail!(
                "the sentinel never answered on {}\n{}",
                late.join(", "),
                self.tail(&format!("proxy-{first}"), 15)
            );
        }
        std::thread::sleep(SETTLE);
        Ok(())
    }

    /// Answers the nodes on which the sentinel did not answer in time.
    fn await_sentinel(&self, ips: &[String; 2]) -> Result<Vec<String>> {
        let limit = CONVERGENCE_LIMIT.as_millis().to_string();
        let targets = [format!("tcp/{}:7", ips[0]), format!("tcp/[{}]:7", ips[1])];
        let mut waiting = Vec::new();
        for node in self.proxies.keys() {
            let mut command = self.tool.command("await", node);
            command.args(["--to", &targets[0], "--to", &targets[1], "--give-up-ms", &limit]);
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("awaiting")?;
            waiting.push((node.clone(), child));
        }
        let mut late = Vec::new();
        for (node, mut child) in waiting {
            if !child.wait().context("awaiting the sentinel")?.success() {
                late.push(node);
            }
        }
        Ok(late)
    }

    /// Makes nodes what they are before any proxy ran: no rules, no sets, no flows.
    pub(super) fn wipe(&self, nodes: &[String]) -> Result<()> {
        self.on_nodes(nodes, WIPE).map(drop)
    }

    /// Empties the nodes' tables of flows.
    pub(super) fn flush_flows(&self) -> Result<()> {
        self.on_nodes(&NODES.map(str::to_owned), FLUSH_FLOWS).map(drop)
    }

    /// Runs a script on nodes, as somebody else would, and fails where it fails. A firewall is of the flavour that is tested, as
    /// it is on a machine with one of them.
    pub(super) fn host(&self, nodes: &[String], text: &str) -> Result<()> {
        let text = match self.setup.mode.as_str() {
            "iptables" => text.replace("iptables-legacy ", "iptables "),
            _ => text.to_owned(),
        };
        for (node, output) in self.on_nodes(nodes, &format!("set -e\n{text}"))? {
            if !output.status.success() {
                bail!("on {node}: {}", String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        Ok(())
    }

    fn on_nodes(&self, nodes: &[String], text: &str) -> Result<Vec<(String, std::process::Output)>> {
        let mut running = Vec::new();
        for node in nodes {
            let mut command = script(&self.tool.netns(node), text);
            command.env("PATH", &self.setup.path);
            command.env("XTABLES_LOCKFILE", self.setup.folder.join(format!("xtables-{node}.lock")));
            let child =
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().context("running sh")?;
            running.push((node.clone(), child));
        }
        let finished = running.into_iter().map(|(node, child)| Ok((node, child.wait_with_output()?)));
        finished.collect()
    }

    /// Starts a process whose output goes to a log. To be called from the main thread only: it ends with its thread.
    fn logged(&self, name: &str, command: &mut Command) -> Result<Child> {
        let path = log_path(&self.setup.folder, name);
        let log = File::options().create(true).append(true).open(&path).context("opening a log")?;
        command.stdout(log.try_clone().context("opening a log")?).stderr(log);
        command.spawn().with_context(|| format!("starting {name}"))
    }

    fn tail(&self, name: &str, lines: usize) -> String {
        tail(&self.setup.folder, name, lines)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.proxies.values_mut().chain(&mut self.servers) {
            // Go on and end the others, whatever happened to this one.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn terminate(child: &Child) -> std::io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::other("a process without a number"))?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
}

/// Who serves what.
fn server_places() -> Vec<(String, Vec<&'static str>)> {
    let outside = ["--tcp", "80,8080", "--udp", "53,8080"];
    let node = ["--tcp", "18080,18081,30999", "--udp", "18053", "--sctp", "19999"];
    let pod = ["--tcp", "80,8080,8081,8443,9000-9009,18080", "--udp", "53,5353,8080", "--sctp", "9998,9999"];
    let mut places = vec![("cp".to_owned(), vec!["--tcp", "7007"])];
    places.extend(["ext", "ext2"].map(|name| (name.to_owned(), outside.to_vec())));
    for (number, name) in (1..).zip(NODES) {
        places.push((name.to_owned(), node.to_vec()));
        places.extend(["a", "b", "c", "d", "k"].map(|letter| (format!("{letter}{number}"), pod.to_vec())));
    }
    places
}

fn slice(namespace: &str, name: &str, (family, port, address): (Family, u16, &str)) -> Value {
    let address_type = if family == Family::V4 { "IPv4" } else { "IPv6" };
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": address_type,
        "metadata": {"name": name, "namespace": namespace},
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]})
}

fn log_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

fn tail(folder: &Path, name: &str, lines: usize) -> String {
    let text = std::fs::read(log_path(folder, name)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

const FLUSH_FLOWS: &str = "conntrack -F; conntrack -F -f ipv6";

const WIPE: &str = "
for f in ip ip6; do
  for t in $(cat /proc/net/${f}_tables_names); do
    ${f}tables-legacy -w -t $t -F; ${f}tables-legacy -w -t $t -X
    for c in INPUT FORWARD OUTPUT; do ${f}tables-legacy -w -t $t -P $c ACCEPT; done
  done
done
nft flush ruleset
command -v ipset >/dev/null && { ipset flush; ipset destroy; }
for f in /proc/sys/net/ipv4/conf/*/route_localnet; do echo 0 > $f; done
conntrack -F; conntrack -F -f ipv6";
