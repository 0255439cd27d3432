//! What a static program meets in the container: made in a second, unlike the real binary, but with the same C library in
//! the same way. So names are resolved here as they are there.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[path = "../src/image/dns.rs"]
mod dns;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::world::World;

/// Says what it sees.
const PROGRAM: &str = r#"
use std::net::ToSocketAddrs;
fn main() {
    for word in std::env::args().skip(1) {
        let said = match word.split_once('=').unwrap() {
            ("list", path) => {
                let mut names: Vec<_> = std::fs::read_dir(path).unwrap()
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                names.sort();
                names.join(" ")
            }
            ("read", path) => std::fs::read_to_string(path).unwrap_or_else(|error| error.to_string()),
            ("write", path) => match std::fs::write(path, "0") { Ok(()) => "written".into(), Err(error) => error.to_string() },
            ("resolve", name) => match (name, 1).to_socket_addrs() {
                Ok(found) => found.map(|address| address.ip().to_string()).next().unwrap_or_default(),
                Err(error) => error.to_string(),
            },
            _ => panic!("{word}"),
        };
        println!("{word}: {}", said.trim().replace('\n', "|"));
    }
}
"#;

/// A root directory with that program, and a network namespace. Both go when it is dropped.
struct Box {
    folder: PathBuf,
    world: World,
}

impl Box {
    /// `None`, after a loud line, without root or without the static C library.
    fn make(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED (needs root): a program in a container");
            return None;
        }
        let name = format!("sb{name}{}", std::process::id());
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir_all(folder.join("root/bin")).unwrap();
        let world = World::new(&format!("{name}-"));
        world.add("node").unwrap();
        let made = Self { folder, world };
        fs::write(made.folder.join("program.rs"), PROGRAM).unwrap();
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "-Ctarget-feature=+crt-static", "-o"]);
        let output = rustc.arg(made.program()).arg(made.folder.join("program.rs")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        if text.contains("cannot find -lc") {
            eprintln!("SKIPPED (needs the static C library, libc.a): a program in a container");
            return None;
        }
        assert!(output.status.success(), "{text}");
        Some(made)
    }

    fn program(&self) -> PathBuf {
        self.folder.join("root/bin/program")
    }

    /// Runs the program in the container; answers its lines, or what went wrong.
    fn run(&self, options: &[&str], words: &[&str]) -> Vec<String> {
        let output = self.output(options, words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn output(&self, options: &[&str], words: &[&str]) -> Output {
        let mut command = self.world.command("node", Path::new(env!("CARGO_BIN_EXE_xtask")));
        command.args(["contain", "--root"]).arg(self.folder.join("root")).args(options);
        command.args(["--", "/bin/program"]).args(words).output().unwrap()
    }

    /// An option that shows a text inside.
    fn file(&self, to: &str, text: &str) -> String {
        let from = self.folder.join(to.replace('/', "-"));
        fs::write(&from, text).unwrap();
        format!("--mount={}:{to}", from.display())
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

#[test]
fn it_sees_the_image_and_what_a_runtime_adds_and_nothing_else() {
    let Some(container) = Box::make("see") else { return };
    let mount = container.file("/etc/deep/file", "content\n");
    let seen = container.run(
        &[&mount],
        &["list=/", "list=/bin", "list=/etc", "read=/etc/deep/file", "list=/dev", "list=/sys/class/net"],
    );
    let expected = [
        "list=/: bin dev etc proc sys",
        "list=/bin: program",
        "list=/etc: deep",
        "read=/etc/deep/file: content",
        "list=/dev: full null random urandom zero",
        "list=/sys/class/net: lo",
    ];
    assert_eq!(seen, expected);
    // The image is as it was.
    let entries: Vec<_> =
        fs::read_dir(container.folder.join("root")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(entries, ["bin"]);
}

#[test]
fn it_may_write_nothing_but_its_own_oom_score_unless_privileged() {
    let Some(container) = Box::make("may") else { return };
    let mount = container.file("/config/file", "content\n");
    let words = [
        "write=/new",
        "write=/config/file",
        "write=/proc/sys/net/ipv4/ip_forward",
        "write=/proc/self/oom_score_adj",
        "read=/proc/self/status",
    ];
    let mut seen = container.run(&[&mount], &words);
    let status = seen.pop().unwrap();
    let read_only = "Read-only file system (os error 30)";
    let expected = [
        format!("write=/new: {read_only}"),
        format!("write=/config/file: {read_only}"),
        format!("write=/proc/sys/net/ipv4/ip_forward: {read_only}"),
        "write=/proc/self/oom_score_adj: written".to_owned(),
    ];
    assert_eq!(seen, expected);
    // CAP_NET_ADMIN is number 12, CAP_SYS_RESOURCE 24; the machine itself may lack the latter.
    let granted =
        capabilities(&fs::read_to_string("/proc/self/status").unwrap().replace('\n', "|"), "CapBnd");
    let granted = granted & (1 << 12 | 1 << 24);
    assert_ne!(granted, 0);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(capabilities(&status, set), granted, "{set}: {status}");
    }
    assert!(status.contains("NoNewPrivs:\t1|"), "{status}");
    let privileged = container.run(&["--privileged"], &["write=/new", "write=/proc/sys/net/ipv4/ip_forward"]);
    assert_eq!(privileged, [expected[0].as_str(), "write=/proc/sys/net/ipv4/ip_forward: written"]);
}

/// The set of this name in a process's status, lines separated by `|`.
fn capabilities(status: &str, set: &str) -> u64 {
    let value = status.split('|').find_map(|line| line.strip_prefix(set)?.strip_prefix(":\t"));
    u64::from_str_radix(value.unwrap(), 16).unwrap()
}

#[test]
fn a_static_program_resolves_names_by_its_hosts_file_and_by_dns() {
    let Some(container) = Box::make("dns") else { return };
    let namespace = container.world.namespace("node");
    let socket = namespace.run(|| UdpSocket::bind("127.0.0.1:53")).unwrap().unwrap();
    std::thread::spawn(move || dns::serve(&socket, "api.signalbox.test", Ipv4Addr::new(192, 0, 2, 2)));
    let hosts = container.file("/etc/hosts", "192.0.2.1 hosts.signalbox.test\n");
    let resolver = container.file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
    let words =
        ["resolve=hosts.signalbox.test", "resolve=api.signalbox.test", "resolve=other.signalbox.test"];
    let seen = container.run(&[&hosts, &resolver], &words);
    assert_eq!(seen[0], "resolve=hosts.signalbox.test: 192.0.2.1");
    assert_eq!(seen[1], "resolve=api.signalbox.test: 192.0.2.2");
    assert!(seen[2].contains("Name or service not known"), "{}", seen[2]);
    // As sooner or later in a cluster: neither file there.
    let seen = container.run(&[], &["resolve=hosts.signalbox.test"]);
    assert!(seen[0].contains("failed to lookup address"), "{}", seen[0]);
}

#[test]
fn what_cannot_be_run_is_said() {
    let Some(container) = Box::make("err") else { return };
    let said = |options: &[&str]| {
        let output = container.output(options, &[]);
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["--mount=/nowhere:/x"]).contains("/nowhere: No such file"));
    fs::rename(container.program(), container.folder.join("gone")).unwrap();
    assert!(said(&[]).contains("running /bin/program in the container: No such file"));
}
