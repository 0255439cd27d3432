//! The machine itself as a node: its programs use Services, and it gets everything back. A namespace stands for it.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use model::IpNet;
use sys::link::{End, Links, Towards};
use sys::netns::Namespace;
use testkit::traffic::{Places, Server, Target, get};

use super::stage::Stage;

/// A machine with an uplink, and somebody at the other end of it.
pub(crate) struct Machine {
    pub(crate) here: Namespace,
    outside: Namespace,
}

impl Drop for Machine {
    fn drop(&mut self) {
        for place in [&self.here, &self.outside] {
            sys::netns::kill_processes(std::slice::from_ref(place));
            place.remove();
        }
    }
}

const HERE: &str = "192.0.2.2";
const OUTSIDE: &str = "192.0.2.1";

pub(crate) fn machine(name: &str) -> Option<Machine> {
    if !sys::process::is_root() {
        println!("SKIPPED (needs root): signalbox up");
        return None;
    }
    let name = |what: &str| format!("sbt-{name}-{}-{what}", std::process::id());
    let machine = Machine {
        here: Namespace::create(&name("here")).unwrap(),
        outside: Namespace::create(&name("outside")).unwrap(),
    };
    let far = machine.outside.open().unwrap();
    let address = |text: &str| IpNet::new(text.parse().unwrap(), 24).unwrap();
    let here = || {
        let mut links = Links::open()?;
        links.set_up("lo")?;
        let [near, there] = ["uplink", "eth0"].map(|name| End { name, address: None });
        links.add_veth(near, there, Some(far.as_fd()))?;
        links.set_up("uplink")?;
        links.add_address("uplink", address(HERE), true)?;
        links.add_route("0.0.0.0/0".parse().unwrap(), Towards::Gateway(OUTSIDE.parse().unwrap()))
    };
    machine.here.run(here).unwrap().unwrap();
    let outside = || {
        let mut links = Links::open()?;
        links.set_up("lo")?;
        links.set_up("eth0")?;
        links.add_address("eth0", address(OUTSIDE), true)
    };
    machine.outside.run(outside).unwrap().unwrap();
    machine.here.run(|| Links::open()?.await_running("uplink")).unwrap().unwrap();
    Some(machine)
}

/// What a machine's network is made of.
fn network(here: &Namespace) -> String {
    let read = || {
        let mut links = Links::open()?;
        let tables: Vec<_> = model::Family::BOTH
            .into_iter()
            .flat_map(|family| {
                sys::nftables::Nftables::tables(&mut sys::nftables::NftSocket::open().unwrap(), family)
                    .unwrap()
            })
            .collect();
        let forwarding = sys::sysctl::read("net/ipv4/ip_forward")?;
        Ok::<_, sys::Error>(format!(
            "{:?}\n{:?}\n{tables:?}\n{forwarding}",
            links.addresses()?,
            links.routes()?
        ))
    };
    here.run(read).unwrap().unwrap()
}

#[test]
fn programs_of_the_machine_use_services_and_it_gets_everything_back() {
    let Some(machine) = machine("host") else { return };
    let before = network(&machine.here);
    let Some(mut stage) = Stage::new(&["--listen=127.0.0.1:0"], Some(machine.here.clone())) else { return };
    let service = stage.backend(3);
    let body = stage.answer(&machine.here, service);
    assert!(body.starts_with("backend-"), "{body}");

    // NodePorts answer those outside, and at the machine's own address.
    stage.ok(r#"patch service backend -p '{"spec":{"type":"NodePort"}}'"#);
    let port: u16 = stage.ok("get service backend -o jsonpath={.spec.ports[0].nodePort}").parse().unwrap();
    let at = SocketAddr::new(HERE.parse().unwrap(), port);
    stage.answer(&machine.outside, at);
    stage.answer(&machine.here, at);

    // A Service without endpoints refuses at once, also a program of the machine.
    stage.ok("create service clusterip empty --tcp=80");
    let empty: IpAddr = stage.ok("get service empty -o jsonpath={.spec.clusterIP}").parse().unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while super::stage::ask(&machine.here, SocketAddr::new(empty, 80)).verdict != "refused" {
        assert!(std::time::Instant::now() < end, "the empty Service does not refuse");
    }

    // Pods reach the rest of the world, with the machine's address.
    let places = Places { name: "world".to_owned(), tcp: vec![80], ..Places::default() };
    let server = machine.outside.run(|| Server::open(places)).unwrap().unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopping = stop.clone();
    let thread =
        std::thread::spawn(move || server.run(|| stopping.load(std::sync::atomic::Ordering::Relaxed)));
    let client = stage.sleeper("client");
    let target: Target = format!("tcp/{OUTSIDE}:80").parse().unwrap();
    let probing = testkit::traffic::Probing::new(target, 1);
    let answered = client.run(|| testkit::traffic::probe(&probing)).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    thread.join().unwrap();
    assert_eq!(
        answered[0].src.map(|address| address.ip().to_string()).as_deref(),
        Some(HERE),
        "{answered:?}"
    );

    // And the API server, at its Service.
    let answer = client.run(|| {
        std::net::TcpStream::connect_timeout(&"10.96.0.1:443".parse().unwrap(), Duration::from_secs(10))
    });
    answer.unwrap().unwrap();

    stage.up.down().unwrap();
    assert_eq!(network(&machine.here), before);
}

#[test]
fn nodes_can_hang_on_the_machine() {
    let Some(machine) = machine("hang") else { return };
    let before = network(&machine.here);
    let words = ["--listen=127.0.0.1:0", "--nodes=2"];
    let Some(mut stage) = Stage::new(&words, Some(machine.here.clone())) else { return };
    let service = stage.backend(4);
    // The machine itself, a node, and a pod.
    let client = stage.sleeper("client");
    for from in [&machine.here, &stage.up.node("node-1").unwrap(), &client] {
        stage.answer(from, service);
    }
    // Everything again after a kill, and everything back after a stop.
    stage.up.kill().unwrap();
    stage.up.start().unwrap();
    stage.answer(&machine.here, service);
    stage.up.interrupt().unwrap();
    let answer = machine.here.run(|| get(service, "/", Duration::from_millis(300))).unwrap();
    assert_ne!(answer.code, Some(200));
    stage.up.down().unwrap();
    assert_eq!(network(&machine.here), before);
}

#[test]
fn what_a_killed_one_left_on_the_machine_goes_though_the_next_is_isolated() {
    let Some(machine) = machine("kill") else { return };
    let before = network(&machine.here);
    let words = ["--listen=127.0.0.1:0"];
    let Some(mut stage) = Stage::new(&words, Some(machine.here.clone())) else { return };
    stage.up.kill().unwrap();
    assert!(network(&machine.here).contains("signalbox"));
    stage.up.set_words(&["--isolated", "--listen=127.0.0.1:0"]);
    stage.up.start().unwrap();
    stage.up.down().unwrap();
    assert_eq!(network(&machine.here), before);
}

#[test]
fn a_machine_has_one_owner_of_its_rules() {
    let Some(machine) = machine("owner") else { return };
    let Some(stage) = Stage::new(&["--listen=127.0.0.1:0"], Some(machine.here.clone())) else { return };
    let ranges = [
        "--listen=127.0.0.1:0",
        "--cluster-cidr=10.145.0.0/16",
        "--node-cidr=10.146.0.0/24",
        "--service-cluster-ip-range=10.147.0.0/16",
    ];
    let Some(mut other) = Stage::prepared(&ranges, Some(machine.here.clone())) else { return };
    let before = network(&machine.here);
    let error = other.up.start().unwrap_err().to_string();
    for expected in ["another proxy has rules on this machine", "--isolated"] {
        assert!(error.contains(expected), "{error}");
    }
    drop(other);
    assert_eq!(network(&machine.here), before);
    let service = stage.backend(1);
    stage.answer(&machine.here, service);
}

#[test]
fn ranges_that_the_machine_uses_are_refused() {
    let Some(machine) = machine("range") else { return };
    let route = || {
        Links::open()?.add_route("10.244.7.0/24".parse().unwrap(), Towards::Gateway(OUTSIDE.parse().unwrap()))
    };
    machine.here.run(route).unwrap().unwrap();
    let before = network(&machine.here);
    let Some(mut stage) = Stage::prepared(&["--listen=127.0.0.1:0"], Some(machine.here.clone())) else {
        return;
    };
    let error = stage.up.start().unwrap_err().to_string();
    for expected in
        ["10.244.0.0/16 is in use: this machine has a route to 10.244.7.0/24", "--cluster-cidr", "--isolated"]
    {
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(network(&machine.here), before);
    stage.up.set_words(&["--listen=127.0.0.1:0", "--cluster-cidr=10.245.0.0/16"]);
    stage.up.start().unwrap();
    stage.comes_to("get nodes -o jsonpath={.items[0].spec.podCIDR}", "10.245.1.0/24");
}
