//! One family's kernel fails: the other one goes on, `/healthz` says which, and it recovers by itself.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use testkit::apiserver::Behaviour;

use crate::cluster::{self, service, slice};
use crate::load::{Load, await_that, healthz};
use crate::node::{Mode, Node, PATIENCE, in_modes};

in_modes! {
    a_family_that_fails_is_named_and_leaves_the_other_alone: Nftables Legacy;
}

/// What makes one family's kernel fail, as long as this lives.
enum Trouble {
    /// A table of our name that the kernel lets nobody but its owner change.
    Owner(Owner),
    /// The host's program fails while this file exists.
    Program(PathBuf),
}

impl Trouble {
    /// `None`, after a loud line, where that cannot be.
    fn of(node: &Node, family: &str) -> Option<Self> {
        if node.mode == Mode::Nftables {
            return Owner::of(node, &format!("{family} signalbox")).map(Self::Owner);
        }
        let (name, trouble) = (format!("{family}tables-restore"), node.folder.join("trouble"));
        let program = node.folder.join("bin").join(&name);
        let real = std::fs::canonicalize(&program).unwrap();
        // Which program it is follows from its name.
        let real = real.with_file_name(format!("{family}tables-legacy-restore"));
        std::fs::write(&trouble, "").unwrap();
        std::fs::remove_file(&program).unwrap();
        let script = format!(
            "#!/bin/sh\ncase $1 in --version) ;; *) if [ -e {} ]; then echo 'not permitted today' >&2; exit 1; fi ;; esac\n\
             exec {} \"$@\"\n",
            trouble.display(),
            real.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self::Program(trouble))
    }

    fn end(self) {
        match self {
            Self::Owner(owner) => owner.end(),
            Self::Program(file) => std::fs::remove_file(file).unwrap(),
        }
    }
}

/// It lives as long as that process.
struct Owner(Child);

impl Owner {
    /// `None`, after a loud line, where `nft` or the kernel (before Linux 5.12) knows no owners.
    fn of(node: &Node, table: &str) -> Option<Self> {
        let mut nft = node.world.world().command("node", "nft".as_ref());
        let nft = nft.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut owner = Self(nft);
        let stdin = owner.0.stdin.as_mut().unwrap();
        writeln!(stdin, "add table {table} {{ flags owner; }}").unwrap();
        stdin.flush().unwrap();
        let begin = std::time::Instant::now();
        while !node.run("nft", &["list", "tables"]).stdout.starts_with(format!("table {table}").as_bytes()) {
            if begin.elapsed() > PATIENCE {
                eprintln!("SKIPPED (needs table owners, Linux 5.12): one family's kernel fails");
                return None;
            }
        }
        Some(owner)
    }

    fn end(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

const CONFIG: &str = "
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16,fd00:10:244::/48
";

fn health_of(node: &Node, family: &str) -> (Option<u16>, Value) {
    let answer = healthz(node);
    let body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer.code, body["status"][family]["healthy"].clone())
}

fn a_family_that_fails_is_named_and_leaves_the_other_alone(mode: Mode) {
    for (table, bad, good) in [("ip6", "IPv6", "IPv4"), ("ip", "IPv4", "IPv6")] {
        let Some(mut node) = Node::in_mode(mode) else { return };
        let Some(trouble) = Trouble::of(&node, table) else { return };
        let server = cluster::start(&node, Behaviour::default());
        let config = node.folder.join("config.yaml");
        let (name, kubeconfig) = (mode.name(), cluster::kubeconfig(&node));
        let text = format!(
            "{CONFIG}mode: {name}\n{name}: {{syncPeriod: 2s, minSyncPeriod: 0s}}\nclientConnection: {{kubeconfig: {kubeconfig}}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let proxy = node.proxy_with(&["--config", config.to_str().unwrap()]);
        if mode == Mode::Nftables {
            proxy.await_log(&["WARN", bad, "another process owns the table"]);
        }
        // Both have the same Services; `later` is the one that changes.
        let target = |family: &str, [four, six]: [&str; 2]| match family {
            "IPv4" => format!("tcp/{four}:80"),
            _ => format!("tcp/[{six}]:80"),
        };
        let (steady, later) = (cluster::STEADY, ["10.96.0.40", "fd00:10:96::40"]);
        let answers = |family: &str, which: [&str; 2], wanted: &[&str]| {
            let target = target(family, which);
            await_that(&target, || {
                let seen = node.answers(&target);
                if seen == wanted { Ok(()) } else { Err(format!("{seen:?}; {}", proxy.log())) }
            });
        };
        answers(good, steady, &["pod1", "pod2"]);
        proxy.await_log(&["WARN", bad, "the kernel was not written", "not permitted"]);
        let mut load = Load::empty(&node);
        load.flow(&node, "client", &target(good, steady));
        load.connections(&node, "client", &target(good, steady));
        server.apply(service("later", &later, json!({})));
        for (pod, [four, six]) in
            [("pod3", ["10.244.1.13", "fd00:10:244:1::13"]), ("pod1", ["10.244.1.11", "fd00:10:244:1::11"])]
        {
            server.apply(slice("later", "IPv4", &[four]));
            server.apply(slice("later", "IPv6", &[six]));
            answers(good, later, &[pod]);
        }
        // Twice `syncPeriod`.
        await_health(&node, (bad, good), 503);
        if mode == Mode::Nftables {
            let listed = node.nft(&format!("list table {table} signalbox"));
            assert!(!listed.contains("chain"), "it is somebody else's");
        }
        trouble.end();
        await_health(&node, (bad, good), 200);
        answers(bad, steady, &["pod1", "pod2"]);
        answers(bad, later, &["pod1"]);
        proxy.await_log(&["INFO", bad, "the kernel is in step"]);
        load.end(20);
        proxy.terminate();
    }
}

/// Waits for a code of `/healthz` that is about this family alone.
#[track_caller]
fn await_health(node: &Node, (bad, good): (&str, &str), code: u16) {
    await_that(&format!("/healthz says {code}"), || {
        let (seen, is_healthy) = health_of(node, bad);
        let (_, is_other_healthy) = health_of(node, good);
        if (seen, &is_healthy, &is_other_healthy) == (Some(code), &json!(code == 200), &json!(true)) {
            return Ok(());
        }
        Err(format!("{seen:?}, {bad} {is_healthy}, {good} {is_other_healthy}"))
    });
}
