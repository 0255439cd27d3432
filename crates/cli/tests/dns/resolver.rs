//! The C library's resolver in a network namespace, with the resolv.conf of a pod.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use dns::wire::Name;
use dns::{Policy, Settings, Sockets};
use sys::netns::Namespace;

use super::stage;

/// A network namespace with a resolv.conf; both go when it is dropped.
struct Pod {
    name: String,
    namespace: Namespace,
    folder: PathBuf,
}

impl Pod {
    fn new() -> Self {
        let name = format!("dns-test-{}", std::process::id());
        let namespace = Namespace::create(&name).unwrap();
        // `ip netns exec` puts what is there in the place of /etc/resolv.conf.
        let folder = PathBuf::from("/etc/netns").join(&name);
        let pod = Self { name, namespace, folder };
        fs::create_dir_all(&pod.folder).unwrap();
        let text = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 127.0.0.1\noptions ndots:5\n";
        fs::write(pod.folder.join("resolv.conf"), text).unwrap();
        // The C library asks for a family only where there is an address of it other than the loopback's.
        for line in ["link set lo up", "addr add 10.244.0.9/32 dev lo", "addr add fd00::9/128 dev lo"] {
            let status = Command::new("ip").args(["-n", &pod.name]).args(line.split(' ')).status();
            assert!(status.unwrap().success(), "{line}");
        }
        pod
    }

    /// Answers the addresses that a program of this pod gets for a name.
    fn getent(&self, database: &str, name: &str) -> String {
        let mut command = Command::new("ip");
        let output = command.args(["netns", "exec", &self.name, "getent", database, name]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut addresses: Vec<&str> =
            text.lines().filter_map(|line| line.split_whitespace().next()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.join(" ")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
        self.namespace.remove();
    }
}

/// The sockets are opened in the pod's network, the server runs outside of it.
#[test]
fn the_c_library_finds_every_form_of_a_name() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: network namespaces need root");
        return;
    }
    let (_machine, runtime, client) = stage::machine();
    runtime.block_on(stage::add_everything(&client));
    let pod = Pod::new();
    let mut sockets = Sockets::default();
    let address: SocketAddr = "127.0.0.1:53".parse().unwrap();
    pod.namespace.run(|| sockets.open(address, 2)).unwrap().unwrap();
    let zone: Name = "cluster.local".parse().unwrap();
    let settings = Settings {
        zone: dns::zone::Settings::new(zone),
        sockets,
        policy: Policy { recursion: Vec::new(), udp_size: 1232, rate: None, cookies: None },
        health: None,
        ready: None,
        metrics: None,
        lameduck: Duration::ZERO,
        elsewhere: None,
        blocks: dns::serve::no_blocks(),
    };
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let server = runtime.spawn(dns::run(client, settings, stopping));
    let end = Instant::now() + Duration::from_secs(20);
    while pod.getent("ahostsv4", "web") != "10.96.0.77" {
        assert!(Instant::now() < end, "the name is never there");
        std::thread::sleep(Duration::from_millis(50));
    }
    for name in [
        "web",
        "web.shop",
        "web.shop.svc",
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
        "WEB",
    ] {
        assert_eq!(pod.getent("ahostsv4", name), "10.96.0.77", "{name}");
        // Both families in one call, as most programs ask.
        assert_eq!(pod.getent("ahosts", name), "10.96.0.77", "{name}");
    }
    assert_eq!(pod.getent("ahostsv4", "one.db"), "10.244.0.5");
    assert_eq!(pod.getent("ahostsv4", "db"), "10.244.0.5 10.244.0.6");
    assert_eq!(pod.getent("ahostsv4", "nothing"), "");
    assert_eq!(pod.getent("hosts", "10.96.0.77"), "10.96.0.77");
    stop.send_replace(true);
    runtime.block_on(server).unwrap().unwrap();
}
