//! A server whose file changes while it runs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::script::{query, render};

const PATIENCE: Duration = Duration::from_secs(30);

/// What the file says, and a server that follows it.
struct Stage {
    file: PathBuf,
    stop: watch::Sender<bool>,
    server: Option<std::thread::JoinHandle<Result<(), Failure>>>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        drop(self.server.take().map(std::thread::JoinHandle::join));
        drop(std::fs::remove_file(&self.file));
    }
}

impl Stage {
    fn start(name: &str, text: &str) -> Self {
        let file = std::env::temp_dir().join(format!("signalbox-{name}-{}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let configured = Configured {
            file: file.clone(),
            environment: |_| None,
            api: ApiConfig::new(None, None, ""),
            own: Vec::new(),
            policy: Policy {
                recursion: vec!["127.0.0.0/8".parse().unwrap()],
                udp_size: 1232,
                rate: None,
                cookies: None,
            },
            has_cookies: None,
            threads: 1,
            version: "",
        };
        let (stop, stopping) = watch::channel(false);
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run_configured(configured, stopping))
        });
        Self { file, stop, server: Some(server) }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.file, text).unwrap();
    }
}

/// The last word of the answer: an address, or what was said instead.
fn ask(server: SocketAddr, name: &str) -> String {
    let client = UdpSocket::bind((server.ip(), 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    client.connect(server).unwrap();
    let mut room = [0; 2048];
    let answered = client.send(&query(&format!("A {name}"), None)).and_then(|_| client.recv(&mut room));
    let text = answered.map_or_else(|_| "silence".to_owned(), |len| render(&room[..len]));
    text.split_whitespace().last().unwrap().to_owned()
}

fn page(address: SocketAddr, path: &str) -> String {
    let mut text = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        stream.read_to_string(&mut text).unwrap();
    }
    text
}

#[track_caller]
fn comes_to(what: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A free port of an address that other tests do not have.
fn free(last: u8) -> SocketAddr {
    TcpListener::bind(SocketAddr::from(([127, 0, 77, last], 0))).unwrap().local_addr().unwrap()
}

#[test]
fn other_places_need_no_new_start() {
    let (first, second, health, metrics) = (free(1), free(2), free(3), free(4));
    let taken = TcpListener::bind(SocketAddr::from(([127, 0, 77, 5], 0))).unwrap();
    let block = |at: SocketAddr, bind: &str, last: u8| {
        let port = at.port();
        format!(
            ".:{port} {{\n {bind}\n reload 2s\n health {health}\n prometheus {metrics}\n \
             hosts /nonexistent {{\n 10.0.0.{last} a.org\n }}\n}}\n"
        )
    };
    let bound = |at: SocketAddr, last: u8| block(at, &format!("bind {}", at.ip()), last);
    let stage = Stage::start("places", &bound(first, 1));
    comes_to(move || ask(first, "a.org") == "10.0.0.1");
    comes_to(move || page(health, "/health").starts_with("HTTP/1.1 200"));
    let counted = move |line: &str| page(metrics, "/metrics").contains(line);
    assert!(counted("coredns_reload_failed_total 0\n"));
    assert!(counted(&format!(
        "coredns_plugin_enabled{{name=\"hosts\",server=\"dns://{first}\",view=\"\",zone=\".\"}} 1"
    )));
    let version = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("coredns_reload_version_info{")).unwrap();
        line.to_owned()
    };
    let before = version(&page(metrics, "/metrics"));

    // Somebody else's address: what was there stays, whatever else is new.
    stage.write(&format!("{}{}", bound(second, 2), bound(taken.local_addr().unwrap(), 2)));
    comes_to(move || counted("coredns_reload_failed_total 1\n"));
    assert_eq!(ask(first, "a.org"), "10.0.0.1");
    // It was open until the other one turned out to be taken, and threads take a moment to end.
    comes_to(move || ask(second, "a.org") == "silence");
    assert_eq!(version(&page(metrics, "/metrics")), before);

    // Another address and port; the former one is no server's any more.
    stage.write(&bound(second, 2));
    comes_to(move || ask(second, "a.org") == "10.0.0.2");
    comes_to(move || ask(first, "a.org") == "silence");
    assert!(version(&page(metrics, "/metrics")) != before);
    comes_to(move || counted("coredns_health_request_duration_seconds_count "));

    // Every address of the machine, which the present one is among.
    stage.write(&block(second, "", 3));
    let anywhere = SocketAddr::from(([127, 0, 77, 9], second.port()));
    comes_to(move || ask(anywhere, "a.org") == "10.0.0.3" && ask(second, "a.org") == "10.0.0.3");
}

#[test]
fn servers_of_several_ports_and_zones_are_one_process() {
    let (first, second, metrics) = (free(11), free(12), free(13));
    let host = |zone: &str, at: SocketAddr, last: u8| {
        format!(
            "{zone}:{} {{\n bind {}\n prometheus {metrics}\n hosts /nonexistent {{\n 10.0.0.{last} a.org a.net a.consul.local\n }}\n}}\n",
            at.port(),
            at.ip()
        )
    };
    let text = [host("org", first, 1), host("consul.local", first, 2), host(".", second, 3)].concat();
    let _stage = Stage::start("ports", &text);
    comes_to(move || ask(first, "a.org") == "10.0.0.1");
    let names = [(first, "a.consul.local"), (first, "a.net"), (second, "a.org"), (second, "a.consul.local")];
    let found = names.map(|(server, name)| ask(server, name));
    assert_eq!(found, ["10.0.0.2", "REFUSED", "10.0.0.3", "10.0.0.3"]);
    // What no server block is for is counted as CoreDNS counts it.
    let dropped = format!("server=\"dns://{first}\",type=\"A\",view=\"\",zone=\"dropped\"}} 1");
    comes_to(move || page(metrics, "/metrics").contains(&dropped));
}
