//! A node with pods, the proxy on it, and requests from a client.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::traffic::{Answered, HttpAnswer, Places, Probing, Server, probe, request};
use testkit::world::{OneNode, one_node};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The pods `pod1` to `pod3`.
pub(crate) const PODS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(10, 244, 1, 11), Ipv4Addr::new(10, 244, 1, 12), Ipv4Addr::new(10, 244, 1, 13)];

/// How the proxy programs the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Nftables,
    /// iptables mode, and the host's iptables is the legacy one.
    Legacy,
    /// iptables mode, and the host's iptables is the one that makes nftables of it.
    Nft,
}

/// A test for each mode in which the same must happen: `name: Nftables Legacy`. The function takes the mode.
macro_rules! in_modes {
    ($($name:ident: $($mode:ident)+;)+) => {$(
        mod $name {
            $(#[test]
            #[allow(non_snake_case, reason = "named like the mode")]
            fn $mode() {
                super::$name(crate::node::Mode::$mode);
            })+
        }
    )+};
}
pub(crate) use in_modes;

/// A node, a client pod, three pods with servers on TCP and UDP 8080, and a folder. Everything goes when it is dropped.
pub(crate) struct Node {
    pub(crate) world: OneNode,
    pub(crate) folder: PathBuf,
    pub(crate) mode: Mode,
    proxies: u32,
}

/// The proxy; it is killed when this is dropped.
pub(crate) struct Proxy {
    child: Child,
    log: PathBuf,
}

pub(crate) fn signalbox() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_signalbox"))
}

impl Node {
    /// In nftables mode.
    pub(crate) fn build() -> Option<Self> {
        Self::in_mode(Mode::Nftables)
    }

    /// `None`, after a loud line, without root.
    pub(crate) fn in_mode(mode: Mode) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED (needs root): the proxy in a network namespace of its own");
            return None;
        }
        let name = format!("sbp{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(folder.join("manifests")).unwrap();
        mode.make_programs(&folder.join("bin"));
        let mut world = one_node(&format!("{name}-")).unwrap();
        world
            .add_pod("client", &["10.244.1.10".parse().unwrap(), "fd00:10:244:1::10".parse().unwrap()])
            .unwrap();
        for (number, address) in (1..).zip(PODS) {
            let six: IpAddr = format!("fd00:10:244:1::1{number}").parse().unwrap();
            let name = format!("pod{number}");
            world.add_pod(&name, &[address.into(), six]).unwrap();
            let places = Places { name: name.clone(), tcp: vec![8080], udp: vec![8080], ..Places::default() };
            let server = world.world().namespace(&name).run(|| Server::open(places).unwrap()).unwrap();
            std::thread::spawn(move || server.run(|| false));
        }
        Some(Self { world, folder, mode, proxies: 0 })
    }

    /// Writes a manifest as editors do: the whole file at once.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let hidden = self.folder.join("manifests").join(format!(".{name}.new"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.folder.join("manifests").join(name)).unwrap();
    }

    /// Starts the proxy on the node with the manifests.
    pub(crate) fn proxy(&mut self) -> Proxy {
        let manifests = self.folder.join("manifests").display().to_string();
        self.proxy_with(&["--manifests", &manifests])
    }

    pub(crate) fn proxy_with(&mut self, words: &[&str]) -> Proxy {
        let mut all =
            vec!["proxy", "--hostname-override=node", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"];
        // A configuration file says it itself.
        if self.mode != Mode::Nftables && !words.contains(&"--config") {
            all.push("--proxy-mode=iptables");
        }
        all.extend(words);
        self.start(signalbox(), &all)
    }

    /// Starts the proxy by a command that becomes it.
    pub(crate) fn proxy_behind(&mut self, command: &[&str], words: &[&str]) -> Proxy {
        let (program, rest) = command.split_first().unwrap();
        let proxy = ["proxy", "--hostname-override=node", "--cluster-cidr=10.244.0.0/16,fd00:10:244::/48"];
        let all: Vec<&str> = rest
            .iter()
            .copied()
            .chain(signalbox().to_str())
            .chain(proxy)
            .chain(words.iter().copied())
            .collect();
        self.start(Path::new(program), &all)
    }

    /// Starts it through a link that is called `kube-proxy`.
    pub(crate) fn kube_proxy(&mut self, words: &[&str]) -> Proxy {
        let link = self.folder.join("kube-proxy");
        std::os::unix::fs::symlink(signalbox(), &link).unwrap();
        self.start(&link, words)
    }

    fn start(&mut self, program: &Path, words: &[&str]) -> Proxy {
        self.proxies += 1;
        let log = self.folder.join(format!("proxy{}.log", self.proxies));
        let mut command = self.command(program);
        let child =
            command.args(words).stdin(Stdio::null()).stderr(File::create(&log).unwrap()).spawn().unwrap();
        Proxy { child, log }
    }

    /// Runs a command on the node.
    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Output {
        self.command(program.as_ref()).args(words).output().unwrap()
    }

    /// A command on the node, which finds the mode's iptables and has a lock of its own: tests have one file system.
    fn command(&self, program: &Path) -> Command {
        let mut command = self.world.world().command("node", program);
        if self.mode != Mode::Nftables {
            let usual = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{}:{usual}", self.folder.join("bin").display()));
            command.env("XTABLES_LOCKFILE", self.folder.join("xtables.lock"));
        }
        command
    }

    /// The program that the kernel has, of both families, in the words of `nft` or `iptables-save`.
    pub(crate) fn program(&self) -> String {
        let saved = |program| String::from_utf8(self.run(program, &[]).stdout).unwrap();
        match self.mode {
            Mode::Nftables => self.nft("list ruleset"),
            Mode::Legacy | Mode::Nft => ["iptables-save", "ip6tables-save"].map(saved).concat(),
        }
    }

    pub(crate) fn nft(&self, words: &str) -> String {
        let output = self.run("nft", &words.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "nft {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What becomes of this many requests from the client.
    pub(crate) fn ask(&self, target: &str, count: usize) -> Vec<Answered> {
        self.ask_from("client", target, count)
    }

    pub(crate) fn ask_from(&self, from: &str, target: &str, count: usize) -> Vec<Answered> {
        let probing = Probing {
            timeout: Duration::from_millis(300),
            parallel: 10,
            ..Probing::new(target.parse().unwrap(), count)
        };
        self.world.world().namespace(from).run(|| probe(&probing)).unwrap()
    }

    /// Waits until requests are answered by exactly these pods, or meet this verdict.
    #[track_caller]
    pub(crate) fn await_answers(&self, target: &str, wanted: &[&str]) -> Duration {
        let begin = Instant::now();
        loop {
            let seen = self.answers(target);
            if seen == wanted {
                return begin.elapsed();
            }
            assert!(begin.elapsed() < PATIENCE, "{target}: {seen:?}, not {wanted:?}; {}", self.logs());
        }
    }

    /// Who answers, or what else happens; sorted.
    pub(crate) fn answers(&self, target: &str) -> Vec<String> {
        let name = |answered: Answered| if answered.is_ok() { answered.name } else { answered.verdict };
        let mut seen: Vec<String> = self.ask(target, 40).into_iter().map(name).collect();
        seen.sort();
        seen.dedup();
        seen
    }

    /// What a port of the proxy on the node answers to a whole request.
    pub(crate) fn request(&self, to: &str, text: &str) -> HttpAnswer {
        let to = to.parse().unwrap();
        self.world.world().namespace("node").run(|| request(to, text, PATIENCE)).unwrap()
    }

    /// What a port of the proxy on the node answers to a path.
    pub(crate) fn page(&self, to: &str, path: &str) -> HttpAnswer {
        self.request(to, &format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n"))
    }

    /// Waits until a page is answered and says what is wanted of it.
    #[track_caller]
    pub(crate) fn await_page(
        &self,
        (to, path): (&str, &str),
        wanted: impl Fn(&HttpAnswer) -> bool,
    ) -> HttpAnswer {
        let begin = Instant::now();
        loop {
            let answer = self.page(to, path);
            if wanted(&answer) {
                return answer;
            }
            assert!(begin.elapsed() < PATIENCE, "{to}{path}: {answer:?}; {}", self.logs());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn logs(&self) -> String {
        let read =
            |number| fs::read_to_string(self.folder.join(format!("proxy{number}.log"))).unwrap_or_default();
        (1..=self.proxies).map(read).collect()
    }
}

impl Mode {
    /// What `--proxy-mode` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Legacy | Self::Nft => "iptables",
        }
    }

    /// Makes the host's usual iptables one of this flavour, for who has the folder in `PATH`.
    fn make_programs(self, folder: &Path) {
        let flavour = match self {
            Self::Nftables => return,
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        };
        fs::create_dir_all(folder).unwrap();
        for (family, action) in [("ip", "save"), ("ip", "restore"), ("ip6", "save"), ("ip6", "restore")] {
            let program = format!("/usr/sbin/{family}tables-{flavour}-{action}");
            std::os::unix::fs::symlink(program, folder.join(format!("{family}tables-{action}"))).unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A file that somebody still writes to harms nobody.
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Proxy {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a line of the log that contains all of these.
    #[track_caller]
    pub(crate) fn await_log(&self, parts: &[&str]) {
        let begin = Instant::now();
        while !self.log().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
            assert!(begin.elapsed() < PATIENCE, "never logged: {parts:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn terminate(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself; answers whether it was content.
    #[track_caller]
    pub(crate) fn await_end(&mut self) -> bool {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            assert!(begin.elapsed() < PATIENCE, "it still runs; {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Output of `signalbox` with these words, without any namespace.
pub(crate) fn signalbox_says(words: &[&str]) -> (bool, String) {
    let output =
        Command::new(signalbox()).args(words).env_remove("KUBERNETES_SERVICE_HOST").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

/// A Service as a manifest.
pub(crate) fn service(name: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n")
}

/// The EndpointSlice of a Service, for these addresses at port 8080.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> String {
    let endpoints: Vec<String> =
        addresses.iter().map(|address| format!("{{addresses: ['{address}'], nodeName: node}}")).collect();
    let family =
        if addresses.first().is_some_and(|address| address.contains("::")) { "IPv6" } else { "IPv4" };
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {service}-{family}\n  \
         namespace: shop\n  labels: {{kubernetes.io/service-name: {service}}}\naddressType: {family}\n\
         ports: [{{name: '', port: 8080, protocol: TCP}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}
