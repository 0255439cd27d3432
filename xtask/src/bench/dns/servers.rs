//! The servers that are compared, each on the same core, and what processor time they have used.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dns::wire::{Name, Type, flag, write_query};
use rustix::thread::{CpuSet, gettid, sched_setaffinity};
use sys::datagram::{Batch, open};

use super::load::{OUTSIDE, OUTSIDE_NAMES, outside_name, service_name};

/// The core of the servers. knot binds its first thread to the first one, whatever it is told.
const CORE: usize = 0;
/// How long one may take to know all names.
const LIMIT: Duration = Duration::from_secs(60);
/// As `signalbox dns` has it.
const ROOM: (usize, usize) = (4096, 1232);

/// A server that answers.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// Whether it sends back what it gets.
    pub(super) echoes: bool,
    stat: PathBuf,
    _process: Option<Running>,
}

/// Seconds of processor time.
pub(super) struct Spent {
    pub(super) all: f64,
    /// Outside of the kernel.
    pub(super) own: f64,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What cannot be faster: as many system calls for as many datagrams, and nothing done with them.
pub(super) fn echo() -> Result<Server> {
    let socket = open((Ipv4Addr::LOCALHOST, 0).into()).context("opening the echo's socket")?;
    let address = socket.local_addr()?;
    let (tell, told) = std::sync::mpsc::channel();
    // It ends with the process.
    std::thread::spawn(move || {
        let mut cores = CpuSet::new();
        cores.set(CORE);
        let pinned = sched_setaffinity(None, &cores);
        if tell.send(pinned.map(|()| gettid())).is_err() || pinned.is_err() {
            return;
        }
        let mut batch = Batch::new(ROOM.0, ROOM.1);
        while let Ok(count) = batch.receive(&socket) {
            for number in 0..count {
                let (datagram, _, room) = batch.get(number);
                let len = datagram.len().min(room.len());
                room[..len].copy_from_slice(&datagram[..len]);
                batch.set_answer(number, len);
            }
            batch.send(&socket);
        }
    });
    let thread = told.recv().context("the echo's thread")?.context("giving the echo its core")?;
    let stat = format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()).into();
    Ok(Server { name: "echo", address, echoes: true, stat, _process: None })
}

/// The product, following the API server.
pub(super) fn signalbox(binary: &Path, kubeconfig: &Path) -> Result<Server> {
    let address = free_address()?;
    let mut command = pinned(binary);
    command.args(["dns", "-v=0", "--threads=1", "--health=", "--ready=", "--listen", &address.to_string()]);
    command.arg("--kubeconfig").arg(kubeconfig);
    start("signalbox", address, command)
}

/// The product with a configuration that has another server asked for names outside of the cluster, and their answers kept.
pub(super) fn signalbox_in_front(
    folder: &Path,
    (binary, kubeconfig): (&Path, &Path),
    other: SocketAddr,
) -> Result<Server> {
    let address = free_address()?;
    let text = format!(
        ".:{} {{\n bind {}\n kubernetes cluster.local in-addr.arpa ip6.arpa {{\n  kubeconfig {}\n }}\n          forward . {other}\n cache\n}}\n",
        address.port(),
        address.ip(),
        kubeconfig.display()
    );
    let file = folder.join("Corefile");
    std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    let mut command = pinned(binary);
    command.args(["dns", "-v=0", "--threads=1", "--config"]).arg(file);
    start("signalbox", address, command)
}

/// unbound with the same, and nothing that looks at signatures.
pub(super) fn unbound_in_front(folder: &Path, other: SocketAddr) -> Result<Server> {
    let text = format!(
        " module-config: \"iterator\"\n do-not-query-localhost: no\n\
         forward-zone:\n name: \".\"\n forward-addr: {}@{}\n",
        other.ip(),
        other.port()
    );
    start_unbound(folder, "unbound-cache.conf", &text)
}

/// unbound with the names as local data, which it answers without its cache.
pub(super) fn unbound(folder: &Path, addresses: &[String]) -> Result<Server> {
    let mut text = " local-zone: \"cluster.local.\" static\n".to_owned();
    for record in records(addresses) {
        writeln!(text, " local-data: \"{record}\"")?;
    }
    start_unbound(folder, "unbound.conf", &text)
}

/// `text` stands in the middle of its configuration, and begins with more of the server.
fn start_unbound(folder: &Path, file: &str, text: &str) -> Result<Server> {
    let address = free_address()?;
    let text = format!(
        "server:\n interface: {}@{}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"{}\"\n \
         pidfile: \"\"\n use-syslog: no\n verbosity: 0\n num-threads: 1\n do-ip6: no\n minimal-responses: yes\n\
         {text}remote-control:\n control-enable: no\n",
        address.ip(),
        address.port(),
        folder.display()
    );
    let file = folder.join(file);
    std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    let mut command = pinned(Path::new("unbound"));
    command.arg("-c").arg(file);
    start("unbound", address, command)
}

/// knot with the names as its zone, and those outside as another one.
pub(super) fn knot(folder: &Path, addresses: &[String]) -> Result<Server> {
    let address = free_address()?;
    let folder = folder.join("knot");
    std::fs::create_dir_all(&folder)?;
    let mut zone = String::new();
    for record in records(addresses) {
        writeln!(zone, "{record}")?;
    }
    std::fs::write(folder.join("zone"), zone)?;
    let mut outside = format!(
        "{OUTSIDE}. 3600 IN SOA ns.{OUTSIDE}. root.{OUTSIDE}. 1 7200 1800 86400 3600\n{OUTSIDE}. 3600 IN NS ns.{OUTSIDE}.\nns.{OUTSIDE}. 3600 IN A 127.0.0.1\n"
    );
    for number in 0..OUTSIDE_NAMES {
        writeln!(outside, "{}. 3600 IN A 192.0.2.{}", outside_name(number), number % 256)?;
    }
    std::fs::write(folder.join("outside"), outside)?;
    let place = folder.display();
    let text = format!(
        "server:\n    rundir: \"{place}\"\n    listen: {}@{}\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\n\
         database:\n    storage: \"{place}\"\n\
         log:\n  - target: stderr\n    any: error\n\
         zone:\n  - domain: cluster.local\n    file: \"{place}/zone\"\n    zonefile-sync: -1\n    journal-content: none\n  \
         - domain: {OUTSIDE}\n    file: \"{place}/outside\"\n    zonefile-sync: -1\n    journal-content: none\n",
        address.ip(),
        address.port()
    );
    let file = folder.join("knot.conf");
    std::fs::write(&file, text)?;
    let mut command = pinned(Path::new("knotd"));
    command.arg("-c").arg(file);
    start("knot", address, command)
}

/// What a zone has to have, and the Services.
fn records(addresses: &[String]) -> impl Iterator<Item = String> {
    let soa = "cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5";
    let head = [
        soa.to_owned(),
        "cluster.local. 5 IN NS ns.dns.cluster.local.".to_owned(),
        "ns.dns.cluster.local. 5 IN A 127.0.0.1".to_owned(),
    ];
    let service = |(number, address)| format!("{}. 5 IN A {address}", service_name(number));
    head.into_iter().chain((0..).zip(addresses).map(service))
}

fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &CORE.to_string()]).arg(program);
    command
}

fn start(name: &'static str, address: SocketAddr, mut command: Command) -> Result<Server> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    command.env("PATH", std::env::join_paths(folders)?).stdin(Stdio::null()).stdout(Stdio::null());
    // taskset becomes the program, under the same number.
    let process = Running(command.spawn().with_context(|| format!("starting {name}"))?);
    let stat = format!("/proc/{}/stat", process.0.id()).into();
    Ok(Server { name, address, echoes: false, stat, _process: Some(process) })
}

fn free_address() -> Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

impl Server {
    /// Waits until it answers a name with one address.
    pub(super) fn wait_for(&self, name: &str) -> Result<()> {
        let name: Name = name.parse().map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (mut query, mut answer) = ([0; 512], [0; 512]);
        let len = write_query(&mut query, (7, flag::RECURSION_DESIRED), (name.as_wire(), Type::A), None)
            .context("a query")?;
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            // Refused as long as nobody listens.
            let sent = socket.send(&query[..len]);
            let received = sent.and_then(|_| socket.recv(&mut answer)).unwrap_or_default();
            let is_answered =
                answer[..received].get(3..8).is_some_and(|head| head[0] & 15 == 0 && head[4] == 1);
            if is_answered {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} does not answer {name}", self.name)
    }

    /// Answers what processor time it has used.
    pub(super) fn spent(&self) -> Result<Spent> {
        let stat = std::fs::read_to_string(&self.stat).with_context(|| format!("{} has ended", self.name))?;
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let mut ticks = fields.skip(11).filter_map(|ticks| ticks.parse::<f64>().ok());
        let (own, kernel) = (ticks.next().unwrap_or_default(), ticks.next().unwrap_or_default());
        let second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Spent { all: (own + kernel) / second, own: own / second })
    }
}
