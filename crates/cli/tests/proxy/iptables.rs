//! Iptables mode on a machine where others are at work, too, or where something is missing.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::node::{Node, PATIENCE, Proxy, service, slice};

const WEB: &str = "tcp/10.96.0.10:80";

/// A machine that uses one flavour of iptables.
struct Machine {
    node: Node,
    flavour: &'static str,
}

impl Machine {
    /// Marks the flavour as kubelet does, and puts programs in front of the machine's that write down each call.
    fn build(flavour: &'static str) -> Option<Self> {
        let node = Node::build()?;
        node.write("service.yaml", &service("web", "{clusterIP: 10.96.0.10, ports: [{port: 80}]}"));
        node.write("slice.yaml", &slice("web", &["10.244.1.11", "10.244.1.12"]));
        let machine = Self { node, flavour };
        for base in ["iptables", "ip6tables"] {
            machine.run_of(base, &["-t", "mangle", "-N", "KUBE-KUBELET-CANARY"]);
            for action in ["save", "restore"] {
                let program = format!("{base}-{flavour}-{action}");
                let calls = machine.node.folder.join("calls");
                let script =
                    format!("echo {program} >> {}\nexec /usr/sbin/{program} \"$@\"", calls.display());
                machine.script(&program, &script);
            }
        }
        Some(machine)
    }

    fn script(&self, program: &str, text: &str) {
        let folder = self.node.folder.join("bin");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(program), format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(folder.join(program), PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn proxy(&mut self) -> Proxy {
        self.proxy_in("iptables")
    }

    fn proxy_in(&mut self, mode: &str) -> Proxy {
        let folder = self.node.folder.display();
        let path = format!("PATH={folder}/bin:{}", std::env::var("PATH").unwrap_or_default());
        let lock = self.lock();
        let manifests = self.node.folder.join("manifests").display().to_string();
        let mode = format!("--proxy-mode={mode}");
        self.node.proxy_behind(&["env", &path, &lock], &["--manifests", &manifests, &mode])
    }

    fn run(&self, words: &[&str]) {
        self.run_of("iptables", words);
    }

    /// Waits for the lock that the proxy takes, too.
    fn run_of(&self, base: &str, words: &[&str]) {
        let (lock, program) = (self.lock(), format!("/usr/sbin/{base}-{}", self.flavour));
        let all: Vec<&str> =
            [lock.as_str(), &program, "-w", "20"].into_iter().chain(words.iter().copied()).collect();
        let done = self.node.run("env", &all);
        assert!(done.status.success(), "{words:?}: {done:?}");
    }

    fn lock(&self) -> String {
        format!("XTABLES_LOCKFILE={}/xtables.lock", self.node.folder.display())
    }

    #[track_caller]
    fn await_that(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            assert!(begin.elapsed() < PATIENCE, "never {what}: {}", self.saved());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn has_tables(&self) -> bool {
        let tables = self.node.run("nft", &["list", "tables"]);
        assert!(tables.status.success(), "{tables:?}");
        String::from_utf8_lossy(&tables.stdout).contains("signalbox")
    }

    fn route_localnet(&self) -> String {
        let read = self.node.run("cat", &["/proc/sys/net/ipv4/conf/all/route_localnet"]);
        String::from_utf8_lossy(&read.stdout).trim().to_owned()
    }

    fn saved(&self) -> String {
        let saved = self.node.run(&format!("/usr/sbin/iptables-{}-save", self.flavour), &[]);
        String::from_utf8(saved.stdout).unwrap()
    }

    /// All rules and chains, each with its table.
    fn rules(&self) -> BTreeSet<String> {
        let saved = self.saved();
        let mut table = "";
        let mut found = BTreeSet::new();
        for line in saved.lines() {
            if line.starts_with('*') {
                table = line;
            } else if line.starts_with("-A ") || line.starts_with(":KUBE-") {
                found.insert(format!("{table} {line}"));
            }
        }
        found
    }

    #[track_caller]
    fn await_rules(&self, wanted: &BTreeSet<String>, what: &str) -> Duration {
        let begin = Instant::now();
        while self.rules() != *wanted {
            assert!(
                begin.elapsed() < PATIENCE,
                "{what}: never repaired; missing {:#?}",
                wanted - &self.rules()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        begin.elapsed()
    }

    /// How often tables were listed.
    fn listings(&self) -> usize {
        let calls = std::fs::read_to_string(self.node.folder.join("calls")).unwrap_or_default();
        calls.lines().filter(|call| call.ends_with("-save")).count()
    }
}

/// Longer than it takes to notice a change.
fn wait_for_a_look() {
    std::thread::sleep(Duration::from_millis(1300));
}

fn what_others_do(flavour: &'static str) {
    let Some(mut machine) = Machine::build(flavour) else { return };
    for table in ["mangle", "nat", "filter"] {
        machine.run(&["-t", table, "-N", "KUBE-PROXY-CANARY"]);
    }
    machine.run(&["-t", "mangle", "-N", "KUBE-IPTABLES-HINT"]);
    let proxy = machine.proxy();
    proxy.await_log(&["IPv6", "in step"]);
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
    let begin = Instant::now();
    while machine.saved().contains("KUBE-PROXY-CANARY") {
        assert!(begin.elapsed() < PATIENCE, "{}", machine.saved());
    }
    for kubelets in ["KUBE-KUBELET-CANARY", "KUBE-IPTABLES-HINT"] {
        assert!(machine.saved().contains(kubelets), "{kubelets} is kubelet's");
    }
    wait_for_a_look();
    let whole = machine.rules();

    // Our own writes are not looked at.
    let listings = machine.listings();
    for addresses in [&["10.244.1.13"][..], &["10.244.1.11"], &["10.244.1.11", "10.244.1.12"]] {
        machine.node.write("slice.yaml", &slice("web", addresses));
        let pods: Vec<String> = addresses.iter().map(|address| format!("pod{}", &address[10..])).collect();
        machine.node.await_answers(WEB, &pods.iter().map(String::as_str).collect::<Vec<_>>());
    }
    wait_for_a_look();
    assert_eq!(machine.listings(), listings, "{}", proxy.log());
    assert_eq!(machine.rules(), whole);

    // What others do for themselves is looked at now and then where the kernel does not say what it was.
    let begin = Instant::now();
    for number in 0..20 {
        let chain = format!("DOCKER-{number}");
        machine.run(&["-t", "nat", "-N", &chain]);
        machine.run(&["-t", "nat", "-A", &chain, "-j", "RETURN"]);
        machine.run(&["-t", "nat", "-F", &chain]);
        machine.run(&["-t", "nat", "-X", &chain]);
    }
    wait_for_a_look();
    // It is looked twice a second.
    let looks = begin.elapsed().as_millis() as usize / 500 + 1;
    let most = if flavour == "nft" { 0 } else { looks };
    assert!(
        machine.listings() - listings <= most,
        "{} listings for 80 changes",
        machine.listings() - listings
    );

    let of_web = whole.iter().find_map(|line| line.strip_prefix("*nat :KUBE-SVC-")).expect("it balances");
    let of_web = format!("KUBE-SVC-{}", &of_web[..16]);
    for meddling in [
        "-t nat -F",
        "-t filter -F",
        "-t nat -D PREROUTING 1",
        "-t filter -F KUBE-FORWARD",
        &format!("-t nat -D {of_web} 1"),
        &format!("-t nat -A {of_web} -j ACCEPT"),
    ] {
        machine.run(&meddling.split(' ').collect::<Vec<_>>());
        let took = machine.await_rules(&whole, meddling);
        assert!(took < Duration::from_secs(4), "{flavour} {meddling}: {took:?}");
        println!("{flavour} {meddling}: repaired after {took:?}");
        // The notifications of the repair have been taken.
        wait_for_a_look();
    }
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
}

#[test]
fn what_others_take_from_the_nft_flavour_is_back_soon_and_nothing_else_is_listed() {
    what_others_do("nft");
}

#[test]
fn what_others_take_from_the_legacy_flavour_is_back_soon_and_nothing_else_is_listed() {
    what_others_do("legacy");
}

#[test]
fn a_lock_that_somebody_holds_is_waited_for_while_everything_else_goes_on() {
    let Some(mut machine) = Machine::build("legacy") else { return };
    let lock = File::create(machine.node.folder.join("xtables.lock")).unwrap();
    lock.lock().unwrap();
    let proxy = machine.proxy();
    for family in ["IPv4", "IPv6"] {
        proxy.await_log(&[family, "not written", "somebody else holds it", "xtables.lock"]);
    }
    let begin = Instant::now();
    proxy.terminate();
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?} to end", begin.elapsed());

    let proxy = machine.proxy();
    proxy.await_log(&["not written", "somebody else holds it"]);
    lock.unlock().unwrap();
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
    proxy.await_log(&["IPv6", "in step"]);
    wait_for_a_look();

    // Somebody takes his time while something changes.
    lock.lock().unwrap();
    let listings = machine.listings();
    machine.node.write("slice.yaml", &slice("web", &["10.244.1.13"]));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(machine.node.answers(WEB), ["pod1", "pod2"]);
    assert_eq!(machine.node.page("127.0.0.1:10256", "/livez").code, Some(200));
    assert_eq!(machine.listings(), listings, "nothing is listed that cannot be written");
    lock.unlock().unwrap();
    machine.node.await_answers(WEB, &["pod3"]);
    assert!(proxy.log().matches("somebody else holds it").count() < 8, "{}", proxy.log());
}

#[test]
fn what_another_mode_left_goes_when_the_rules_are_in_force_however_long_a_lock_is_held() {
    let Some(mut machine) = Machine::build("legacy") else { return };
    let lock = File::create(machine.node.folder.join("xtables.lock")).unwrap();
    let proxy = machine.proxy_in("nftables");
    proxy.await_log(&["IPv6", "in step"]);
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
    proxy.terminate();

    lock.lock().unwrap();
    let proxy = machine.proxy();
    for family in ["IPv4", "IPv6"] {
        proxy.await_log(&[family, "not written", "somebody else holds it"]);
    }
    wait_for_a_look();
    assert_eq!(machine.node.answers(WEB), ["pod1", "pod2"], "{}", proxy.log());
    assert!(machine.has_tables(), "{}", proxy.log());
    lock.unlock().unwrap();
    machine.await_that("rid of the tables", |machine| !machine.has_tables());
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
    machine.await_that("open to loopback", |machine| machine.route_localnet() == "1");
    proxy.terminate();

    lock.lock().unwrap();
    let proxy = machine.proxy_in("nftables");
    proxy.await_log(&["another mode may still be there", "somebody else holds it"]);
    lock.unlock().unwrap();
    machine.await_that("rid of the chains", |machine| !machine.saved().contains("KUBE-SERVICES"));
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
    assert_eq!(machine.route_localnet(), "0", "what guarded it is gone");
}

#[test]
fn programs_that_do_not_work_are_named_with_the_remedy() {
    let Some(mut machine) = Machine::build("legacy") else { return };
    for flavour in ["-nft", "-legacy", ""] {
        for action in ["save", "restore"] {
            machine.script(
                &format!("iptables{flavour}-{action}"),
                "echo cannot open shared object >&2; exit 127",
            );
        }
    }
    let mut proxy = machine.proxy();
    assert!(!proxy.await_end());
    let log = proxy.log();
    let parts = [
        "/bin/iptables-legacy-save: cannot open shared object",
        "repair",
        "package iptables",
        "--proxy-mode=nftables",
    ];
    assert!(parts.iter().all(|part| log.contains(part)), "{log}");
}

#[test]
fn programs_that_are_not_there_are_named_with_the_remedy() {
    let Some(mut machine) = Machine::build("legacy") else { return };
    std::fs::remove_dir_all(machine.node.folder.join("bin")).unwrap();
    let manifests = machine.node.folder.join("manifests").display().to_string();
    let words = ["--manifests", &manifests, "--proxy-mode=iptables"];
    let hide_all = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /usr/sbin && exec \"$@\"", "sh"];
    let mut proxy = machine.node.proxy_behind(&hide_all, &words);
    assert!(!proxy.await_end());
    let log = proxy.log();
    let parts = ["iptables-nft-restore", "in PATH", "install", "package iptables", "--proxy-mode=nftables"];
    assert!(parts.iter().all(|part| log.contains(part)), "{log}");

    // Without those for IPv6 there is IPv4.
    let real = machine.node.folder.join("sbin").display().to_string();
    let hide = "mkdir $0 && mount --bind /usr/sbin $0 && mount -t tmpfs none /usr/sbin && \
        for p in $0/iptables*; do ln -s $p /usr/sbin/; done && exec \"$@\"";
    let proxy = machine.node.proxy_behind(&["unshare", "--mount", "sh", "-c", hide, &real], &words);
    proxy.await_log(&["IPv6", "not programmed", "ip6tables-restore", "install"]);
    machine.node.await_answers(WEB, &["pod1", "pod2"]);
}

#[test]
fn the_way_to_loopback_follows_the_configuration() {
    let Some(mut machine) = Machine::build("nft") else { return };
    let file = machine.node.folder.join("config.conf");
    let configure = |lines: &str| {
        let head =
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: iptables\n";
        std::fs::write(&file, format!("{head}{lines}")).unwrap();
    };
    configure("iptables: {localhostNodePorts: true}\n");
    let manifests = machine.node.folder.join("manifests").display().to_string();
    let config = file.display().to_string();
    let proxy = machine.node.kube_proxy(&[
        "--config",
        &config,
        "--manifests",
        &manifests,
        "--hostname-override=node",
    ]);
    proxy.await_log(&["IPv6", "in step"]);
    let is = |wanted: &str| {
        let begin = Instant::now();
        let read = || machine.node.run("cat", &["/proc/sys/net/ipv4/conf/all/route_localnet"]).stdout;
        while read() != format!("{wanted}\n").as_bytes() {
            assert!(begin.elapsed() < PATIENCE, "it is never {wanted}: {}", proxy.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    is("1");
    assert!(machine.saved().contains("KUBE-LOCALNET"));
    configure("iptables: {localhostNodePorts: false}\n");
    is("0");
    configure("iptables: {localhostNodePorts: true}\n");
    is("1");
    configure("iptables: {localhostNodePorts: true}\nnodePortAddresses: [192.168.0.0/16]\n");
    is("0");
}
