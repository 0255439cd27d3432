//! `cargo xtask demo`: the whole story with real packets, in network namespaces of its own.
//!
//! Needs root and Rust, no other program. Everything is removed at the end, on errors and on Ctrl-C.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use model::Family;
use sys::link::Links;
use testkit::traffic::{Answered, Places, Probing, Server, Target, probe, until_answered};
use testkit::world::{OneNode, one_node};

use crate::sweep::Sweep;

const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);
const FRONTEND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 10));
const PODS: [(&str, IpAddr); 3] = [
    ("backend-1", IpAddr::V4(Ipv4Addr::new(10, 244, 1, 11))),
    ("backend-2", IpAddr::V4(Ipv4Addr::new(10, 244, 1, 12))),
    ("backend-3", IpAddr::V4(Ipv4Addr::new(10, 244, 1, 13))),
];
const NEW_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 42));
const REQUESTS: usize = 300;

/// Runs the demo.
pub(crate) fn run(root: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the demo builds network namespaces and sets kernel rules inside them, which needs root: run \
             `sudo -E env PATH=$PATH cargo xtask demo`"
        );
    }
    let binary = build(root)?;
    let sweep = Sweep::begin("demo", false)?;
    let mut stage = Stage::build(&sweep, root).context("building the world of network namespaces")?;
    stage.introduce()?;
    stage.ghost()?;
    let mut proxy = stage.start_proxy(&binary)?;
    let result = stage.story();
    // It may have ended already; then the story has failed and says so.
    drop(proxy.kill());
    drop(proxy.wait());
    result.with_context(|| {
        format!("the proxy said:\n{}", fs::read_to_string(stage.log()).unwrap_or_default())
    })?;
    println!("\nDone. Namespaces, rules and processes of this demo are removed; the machine is as it was.");
    Ok(())
}

/// The proxy as a debug build: its work is done by the kernel.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "-p", "cli"]).current_dir(root);
    if !command.status().context("running cargo")?.success() {
        bail!("the proxy could not be built");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join("debug/signalbox"))
}

struct Stage {
    node: OneNode,
    folder: PathBuf,
    later: PathBuf,
    servers: BTreeMap<String, Arc<AtomicBool>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.servers.values().for_each(|stop| stop.store(true, Ordering::Relaxed));
    }
}

impl Stage {
    fn build(sweep: &Sweep, root: &Path) -> Result<Self> {
        let folder = sweep.folder().join("manifests");
        fs::create_dir_all(&folder).context("a folder for the manifests")?;
        for entry in fs::read_dir(root.join("demo/manifests")).context("demo/manifests")? {
            let path = entry?.path();
            fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))
                .context("copying the manifests")?;
        }
        let node = one_node(&format!("{}-", sweep.run())).map_err(|error| anyhow!("failed to {error}"))?;
        let later = root.join("demo/later");
        let mut stage = Self { node, folder, later, servers: BTreeMap::new() };
        stage.node.add_pod("frontend", &[FRONTEND]).map_err(|error| anyhow!("failed to {error}"))?;
        for (name, address) in PODS {
            stage.start_pod(name, address)?;
        }
        Ok(stage)
    }

    /// A pod with a server that answers with the pod's name.
    fn start_pod(&mut self, name: &str, address: IpAddr) -> Result<()> {
        self.node.add_pod(name, &[address]).map_err(|error| anyhow!("failed to {error}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        self.servers.insert(name.to_owned(), stop.clone());
        let places = Places { name: name.to_owned(), tcp: vec![8080], ..Places::default() };
        let namespace = self.node.world().namespace(name);
        let server = namespace.run(|| Server::open(places)).map_err(|error| anyhow!("failed to {error}"))?;
        let server = server.context("starting a pod's server")?;
        std::thread::spawn(move || server.run(|| stop.load(Ordering::Relaxed)));
        Ok(())
    }

    fn kill_pod(&mut self, name: &str) -> Result<()> {
        if let Some(stop) = self.servers.remove(name) {
            stop.store(true, Ordering::Relaxed);
        }
        self.node.remove_pod(name).map_err(|error| anyhow!("failed to {error}"))
    }

    fn introduce(&self) -> Result<()> {
        println!("A node, three backend pods and one frontend pod, each a network namespace of its own:\n");
        for name in ["node", "frontend", "backend-1", "backend-2", "backend-3"] {
            let read = self.node.world().namespace(name).run(|| Links::open()?.addresses());
            let addresses = read.and_then(|read| read).map_err(|error| anyhow!("failed to {error}"))?;
            let shown: Vec<String> = addresses
                .iter()
                .filter(|net| net.addr().is_ipv4() && !net.addr().is_loopback())
                .map(|net| net.addr().to_string())
                .collect();
            if addresses.iter().any(|net| net.addr() == SERVICE.ip()) {
                bail!("{name} has the Service IP");
            }
            println!("    {name:<10} {}", shown.join(" "));
        }
        println!(
            "\nThe Service `backend-service` has the IP {}. It is on no interface: a ghost.",
            SERVICE.ip()
        );
        Ok(())
    }

    fn ghost(&self) -> Result<()> {
        let probing = Probing { timeout: Duration::from_millis(150), ..Probing::new(service(), 1) };
        let answered = self.ask(&probing)?;
        println!("Without rules, frontend -> {SERVICE}: {}.", answered[0].verdict);
        if answered[0].is_ok() {
            bail!("somebody answers for the Service before any rule was set");
        }
        Ok(())
    }

    fn start_proxy(&self, binary: &Path) -> Result<Child> {
        let log = File::create(self.log()).context("the proxy's log")?;
        let mut command = self.node.world().command("node", binary);
        command.args(["proxy", "--hostname-override=node", "--cluster-cidr=10.244.0.0/16", "--manifests"]);
        command.arg(&self.folder).stdin(std::process::Stdio::null()).stderr(log);
        println!(
            "\n$ signalbox proxy --manifests demo/manifests --cluster-cidr 10.244.0.0/16    (on the node)"
        );
        command.spawn().with_context(|| format!("starting {}", binary.display()))
    }

    fn story(&mut self) -> Result<()> {
        let begin = Instant::now();
        self.await_service()?;
        println!("In force {} ms after the start.\n", begin.elapsed().as_millis());
        self.show_requests(&PODS)?;

        println!("\nbackend-2 dies; its EndpointSlice says so (demo/later/1-pods.yaml):\n");
        self.kill_pod("backend-2")?;
        self.replace_pods("1-pods.yaml")?;
        let [first, _, last] = PODS;
        self.await_only(&[first.0, last.0])?;
        self.show_requests(&[first, last])?;

        println!("\nIt comes back with another address, {NEW_ADDRESS} (demo/later/2-pods.yaml):\n");
        self.start_pod("backend-2", NEW_ADDRESS)?;
        let begin = Instant::now();
        self.replace_pods("2-pods.yaml")?;
        self.await_answer_of("backend-2")?;
        let took = begin.elapsed();
        self.show_requests(&[first, ("backend-2", NEW_ADDRESS), last])?;
        println!(
            "\nThe same Service IP all the time. From the changed file to an answer of the new pod: {} ms.",
            took.as_millis()
        );
        self.show_rules()
    }

    fn await_service(&self) -> Result<()> {
        let wait = || until_answered(&[service()], Duration::from_millis(5), Duration::from_secs(20));
        match self.in_frontend(wait)? {
            true => Ok(()),
            false => bail!("{SERVICE} did not answer within 20 seconds"),
        }
    }

    /// Waits until only these answer.
    fn await_only(&self, names: &[&str]) -> Result<()> {
        self.await_answers("still goes to the dead pod", |answered| {
            answered.iter().all(|one| one.is_ok() && names.contains(&one.name.as_str()))
        })
    }

    fn await_answer_of(&self, name: &str) -> Result<()> {
        self.await_answers("never goes to the new pod", |answered| {
            answered.iter().any(|one| one.name == name)
        })
    }

    fn await_answers(&self, otherwise: &str, done: impl Fn(&[Answered]) -> bool) -> Result<()> {
        let begin = Instant::now();
        let probing =
            Probing { timeout: Duration::from_millis(100), parallel: 10, ..Probing::new(service(), 10) };
        while !done(&self.ask(&probing)?) {
            if begin.elapsed() > Duration::from_secs(20) {
                bail!("{SERVICE} {otherwise}");
            }
        }
        Ok(())
    }

    fn replace_pods(&self, file: &str) -> Result<()> {
        fs::copy(self.later.join(file), self.folder.join("pods.yaml"))
            .context("changing the manifests")
            .map(drop)
    }

    /// Sends requests and shows who answered; each of the pods must have.
    fn show_requests(&self, pods: &[(&str, IpAddr)]) -> Result<()> {
        let probing = Probing { parallel: 8, ..Probing::new(service(), REQUESTS) };
        let answered = self.ask(&probing)?;
        println!("    {REQUESTS} requests, frontend -> {SERVICE}, answered by");
        let mut total = 0;
        for (name, address) in pods {
            let is_by =
                |one: &&Answered| one.name == *name && one.dst.is_some_and(|dst| dst.ip() == *address);
            let count = answered.iter().filter(is_by).count();
            total += count;
            println!(
                "    {name:<10} {:<17} {count:>4}  {}",
                format!("{address}:8080"),
                "#".repeat(count / 4)
            );
        }
        let others: Vec<&str> =
            answered.iter().filter(|one| !one.is_ok()).map(|one| one.verdict.as_str()).collect();
        if total != REQUESTS {
            bail!("{} of {REQUESTS} requests went elsewhere: {others:?}", REQUESTS - total);
        }
        Ok(())
    }

    /// What the kernel holds for the Service, read over netlink.
    fn show_rules(&self) -> Result<()> {
        let read = self.node.world().namespace("node").run(|| crate::rules::in_kernel(Family::V4));
        let program = read.map_err(|error| anyhow!("failed to {error}"))??;
        println!(
            "\nThat is all there is to it in the node's kernel (`nft list table ip signalbox` shows the rest):\n"
        );
        for line in crate::rules::about(Family::V4, &program, &SERVICE.ip().to_string()).lines() {
            println!("    {}", line.replace('\t', "  "));
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.folder.with_file_name("proxy.log")
    }

    fn ask(&self, probing: &Probing) -> Result<Vec<Answered>> {
        self.in_frontend(|| probe(probing))
    }

    fn in_frontend<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T> {
        self.node.world().namespace("frontend").run(function).map_err(|error| anyhow!("failed to {error}"))
    }
}

fn service() -> Target {
    format!("tcp/{SERVICE}").parse().expect("the Service's address is a target")
}
