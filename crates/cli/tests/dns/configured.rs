//! `signalbox dns --config` without a cluster: a Corefile, another server, and a file that changes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dns::wire::{Message, Name, Query, Reply, Section, Type, write_query};

use serde_json::json;
use watch::client::PatchType;

use super::machine::SIGNALBOX;
use super::stage::Stage;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running server, its file and where it is.
struct Server {
    process: Child,
    file: PathBuf,
    dns: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_file(&self.file));
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("signalbox-{name}-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn command(file: &Path) -> Command {
    let mut command = Command::new(SIGNALBOX);
    command.arg("dns").arg("--config").arg(file).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn page(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Another server, which answers everything with one address.
fn other(last: u8) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut room = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut room) {
            let Ok(query) = Query::read(&room[..len]) else { continue };
            let mut out = [0; 512];
            let mut reply = Reply::to(&query, &mut out, 512, 1232).unwrap();
            reply.push(Section::Answer, (query.name.as_wire(), Type::A, 300), &[192, 0, 2, last]);
            let len = reply.finish();
            socket.send_to(&out[..len], from).unwrap();
        }
    });
    address
}

impl Server {
    /// Asks for addresses; answers the last one, or the response code.
    fn ask(&self, name: &str) -> String {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Longer than a server waits for others.
        socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
        socket.connect(self.dns).unwrap();
        let (mut message, mut room) = ([0; 300], [0; 2048]);
        let name: Name = name.parse().unwrap();
        let len = write_query(&mut message, (7, 0x100), (name.as_wire(), Type::A), None).unwrap();
        let answered = socket.send(&message[..len]).and_then(|_| socket.recv(&mut room));
        let Ok(len) = answered else { return "silence".to_owned() };
        let answer = Message::read(&room[..len]).unwrap();
        let last = answer.records().map(Result::unwrap).filter(|record| record.kind == Type::A).last();
        let address = last.and_then(|record| Some(Ipv4Addr::from(<[u8; 4]>::try_from(record.data()).ok()?)));
        address.map_or_else(|| answer.rcode().to_string(), |address| address.to_string())
    }

    fn comes_to(&self, name: &str, wanted: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.ask(name);
            if found == wanted {
                return;
            }
            assert!(Instant::now() < end, "{name}: {found}, not {wanted}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_corefile_without_a_cluster_is_served_and_followed() {
    let (first, second) = (other(1), other(2));
    let (port, metrics, ready) = (free_port(), free_port(), free_port());
    let corefile = |upstream: SocketAddr, more: &str| {
        format!(
            ".:{port} {{\n bind 127.0.0.1\n errors\n loop\n reload 2s\n ready 127.0.0.1:{ready}\n prometheus 127.0.0.1:{metrics}\n \
             hosts /nonexistent {{\n 10.0.0.7 given.org\n fallthrough\n }}\n rewrite name other.org given.org\n cache\n \
             forward . {upstream}\n{more}}}\n"
        )
    };
    let file = file("corefile", &corefile(first, ""));
    let process = command(&file).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let server = Server { process, file, dns: ([127, 0, 0, 1], port).into() };
    server.comes_to("given.org", "10.0.0.7");
    server.comes_to("other.org", "10.0.0.7");
    server.comes_to("far.org", "192.0.2.1");
    assert_eq!(server.ask("far.org"), "192.0.2.1");
    let page = |port: u16, path: &str| page(([127, 0, 0, 1], port).into(), path);
    assert!(page(ready, "/ready").starts_with("HTTP/1.1 200"));
    let text = page(metrics, "/metrics");
    for line in [
        "coredns_build_info{",
        "coredns_proxy_request_duration_seconds_count{",
        "coredns_cache_hits_total{",
        "coredns_dns_requests_total{",
        "coredns_dns_request_duration_seconds_count{",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // A mistake changes nothing; what is right is taken over.
    std::fs::write(&server.file, corefile(second, " nonsense\n")).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(server.ask("new.org"), "192.0.2.1");
    std::fs::write(&server.file, corefile(second, "")).unwrap();
    server.comes_to("new.org", "192.0.2.2");
}

#[test]
fn several_servers_have_the_cluster_in_their_own_ways() {
    let (machine, runtime, client) = super::stage::machine();
    runtime.block_on(super::stage::add_everything(&client));
    let kubeconfig = machine.server.kubeconfig();
    let kubeconfig = kubeconfig.display();
    let (first, second) = (free_port(), free_port());
    let corefile = |zone: &str| {
        format!(
            "cluster.local:{first} in-addr.arpa:{first} {{\n bind 127.0.0.1\n errors\n reload 2s\n autopath @kubernetes\n \
             kubernetes {{\n pods verified\n kubeconfig {kubeconfig}\n }}\n}}\n\
             consul.local:{first} {{\n bind 127.0.0.1\n hosts /nonexistent {{\n 10.150.0.1 a.consul.local\n }}\n}}\n\
             .:{second} {{\n bind 127.0.0.1\n kubernetes {zone} {{\n kubeconfig {kubeconfig}\n noendpoints\n }}\n}}\n"
        )
    };
    let file = file("clusters", &corefile("second.local"));
    let process = command(&file).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let mut server = Server { process, file, dns: ([127, 0, 0, 1], first).into() };
    server.comes_to("web.shop.svc.cluster.local", "10.96.0.77");
    server.comes_to("one.db.shop.svc.cluster.local", "10.244.0.5");
    assert_eq!(server.ask("a.consul.local"), "10.150.0.1");
    assert_eq!(server.ask("web.shop.svc.second.local"), "REFUSED");
    // The search of a pod ends with its first query, that of others does not begin.
    assert_eq!(server.ask("web.shop.shop.svc.cluster.local"), "NXDOMAIN");
    let spec = json!({"containers": [{"name": "c", "image": "i"}]});
    let pod = json!({"metadata": {"name": "pod"}, "spec": spec});
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    runtime.block_on(async {
        client.create("/api/v1/namespaces/shop/pods", &pod).await.unwrap();
        let path = "/api/v1/namespaces/shop/pods/pod/status";
        client.patch(path, PatchType::Merge, &status).await.unwrap();
    });
    server.comes_to("web.shop.shop.svc.cluster.local", "10.96.0.77");

    server.dns = ([127, 0, 0, 1], second).into();
    server.comes_to("web.shop.svc.second.local", "10.96.0.77");
    assert_eq!(server.ask("one.db.shop.svc.second.local"), "NXDOMAIN");
    assert_eq!(server.ask("db.shop.svc.second.local"), "NXDOMAIN");
    // Another zone needs no new start, and is not answered before its names are known.
    std::fs::write(&server.file, corefile("third.local")).unwrap();
    let end = Instant::now() + PATIENCE;
    while server.ask("web.shop.svc.third.local") == "REFUSED" && Instant::now() < end {}
    assert_eq!(server.ask("web.shop.svc.third.local"), "10.96.0.77");
    assert_eq!(server.ask("web.shop.svc.second.local"), "REFUSED");
}

#[test]
fn mistakes_end_it_before_it_begins() {
    let file = file("wrong", ".:53 {\n forward . nowhere\n template IN A\n}\n");
    let output = command(&file).output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    for wanted in ["2:12: `nowhere` is neither an IP address", "3:2: the plugin `template` is not understood"]
    {
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn a_loop_ends_it() {
    for cache in ["", " cache\n"] {
        let port = free_port();
        let text = format!(".:{port} {{\n bind 127.0.0.1\n loop\n{cache} forward . 127.0.0.1:{port}\n}}\n");
        let file = file("loop", &text);
        let mut process = command(&file).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while process.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        // One that goes on is killed and has no success either, but nothing to say.
        drop(process.kill());
        let output = process.wait_with_output().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(!output.status.success());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("queries for . come back"), "{text}");
    }
}

#[test]
fn flags_say_who_is_asked_and_where_queries_are_counted() {
    // An address of this test's own, so that nobody else has the port.
    let metrics: SocketAddr = "127.77.0.1:9153".parse().unwrap();
    let forward = other(9).to_string();
    let Some(stage) = Stage::new(&["--forward", &forward, "--metrics", &metrics.to_string()]) else { return };
    stage.add_everything();
    stage.comes_to("A web.shop.svc.cluster.local", "NOERROR 10.96.0.77");
    assert_eq!(stage.dig("A www.example.org"), "NOERROR 192.0.2.9");
    assert_eq!(stage.dig("A none.shop.svc.cluster.local"), "NXDOMAIN");
    let text = page(metrics, "/metrics");
    for line in
        ["rcode=\"NXDOMAIN\"", "coredns_proxy_request_duration_seconds_count{", "coredns_cache_misses_total{"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn whom_nobody_can_ask_is_named_with_the_flag() {
    for server in ["1.1.1", "https://1.1.1.1", "resolv.conf", "1.1.1.1:0"] {
        let output = Command::new(SIGNALBOX).args(["dns", "--forward", server]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{server}");
        assert!(said.contains("--forward") && said.contains(server), "{said}");
    }
}
