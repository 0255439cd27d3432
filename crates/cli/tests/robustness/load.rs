//! Traffic that must not suffer: flows that send all the time, new connections one after the other, and witnesses that
//! see what a patient client would not.
//!
//! Time-outs are long, because a slow machine is no failure. A packet that found no rule is not slow but lost: it
//! leaves the cluster, where a counter waits for it, or its sender has to repeat it, which the kernel counts.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sys::netns::Namespace;
use testkit::traffic::{Answered, Flow, Probing, Target, probe};

use crate::cluster::{STEADY, STEADY_NODE_PORT};
use crate::node::{Node, PATIENCE};

/// How long one answer may take.
const ONE_ANSWER: Duration = Duration::from_secs(15);

/// Clients in threads of their own. They end when this is dropped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<(String, JoinHandle<Tally>)>,
    outside: Namespace,
    senders: Vec<(Namespace, u64)>,
    /// A pod that asks another one straight: what it has to repeat is the machine's fault.
    control: (Namespace, u64),
    follower: Arc<Mutex<String>>,
}

/// What a client saw.
#[derive(Default)]
struct Tally {
    answers: usize,
    failures: Vec<String>,
}

impl Load {
    /// Flows and new connections to `steady`: from a pod, from outside, from the node itself, in both families.
    pub(crate) fn on_steady(node: &Node) -> Self {
        let mut load = Self::empty(node);
        let [four, six] = STEADY;
        let port = STEADY_NODE_PORT;
        for (from, target) in [
            ("client", format!("tcp/{four}:80")),
            ("client", format!("tcp/[{six}]:80")),
            ("client", format!("udp/{four}:80")),
            ("outside", format!("tcp/192.168.77.11:{port}")),
            ("outside", format!("tcp/[fd77::11]:{port}")),
            ("node", format!("tcp/{four}:80")),
        ] {
            load.flow(node, from, &target);
            load.connections(node, from, &target);
        }
        load
    }

    /// Nobody yet, but the witnesses.
    pub(crate) fn empty(node: &Node) -> Self {
        let namespace = |name| node.world.world().namespace(name);
        let outside = namespace("outside");
        let rules = format!(
            "add table inet witness; add counter inet witness strays; \
             add chain inet witness in {{ type filter hook prerouting priority -300; }}; \
             add rule inet witness in ip daddr {} counter name strays; \
             add rule inet witness in ip6 daddr {} counter name strays",
            STEADY[0], STEADY[1]
        );
        nft(&outside, &rules);
        let senders = ["client", "outside", "node"].map(namespace);
        let senders = senders.into_iter().map(|namespace| (namespace.clone(), repeated(&namespace)));
        let control = namespace("pod3");
        let mut load = Self {
            stop: Arc::default(),
            clients: Vec::new(),
            senders: senders.collect(),
            control: (control.clone(), repeated(&control)),
            outside,
            follower: Arc::default(),
        };
        load.connections(node, "pod3", "tcp/10.244.1.11:8080");
        load
    }

    /// A flow that sends all the time and never moves to another pod.
    pub(crate) fn flow(&mut self, node: &Node, from: &str, target: &str) {
        let goal: Target = target.parse().unwrap();
        self.client(node, (from, &format!("flow {target}")), move |stop, opened| {
            let (flow, first) = Flow::open(goal, None, ONE_ANSWER);
            opened.send(first.clone()).unwrap();
            let mut tally = Tally::default();
            let Some(mut flow) = flow else { return tally };
            let begin = Instant::now();
            while !stop.load(Ordering::Relaxed) && tally.failures.is_empty() {
                let answered = flow.ping(ONE_ANSWER);
                tally.count(begin, &answered);
                if answered.is_ok() && answered.name != first.name {
                    tally.failures.push(format!("moved from {} to {}", first.name, answered.name));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            tally
        });
    }

    /// One new connection (or datagram from a new port) after the other.
    pub(crate) fn connections(&mut self, node: &Node, from: &str, target: &str) {
        let goal: Target = target.parse().unwrap();
        self.client(node, (from, &format!("connections {target}")), move |stop, opened| {
            let (mut tally, begin) = (Tally::default(), Instant::now());
            let probing = Probing {
                timeout: ONE_ANSWER,
                parallel: 2,
                interval: Duration::from_millis(8),
                ..Probing::new(goal, 10)
            };
            opened.send(probe(&Probing { count: 1, ..probing.clone() }).remove(0)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                probe(&probing).iter().for_each(|answered| tally.count(begin, answered));
            }
            tally
        });
    }

    /// A UDP flow whose endpoint may leave: it must follow the Service. See [`Self::await_follower`].
    pub(crate) fn follower(&mut self, node: &Node, target: &str) {
        let (goal, last): (Target, _) = (target.parse().unwrap(), self.follower.clone());
        self.client(node, ("client", &format!("follower {target}")), move |stop, opened| {
            let (flow, first) = Flow::open(goal, None, ONE_ANSWER);
            opened.send(first).unwrap();
            let mut tally = Tally::default();
            let Some(mut flow) = flow else { return tally };
            while !stop.load(Ordering::Relaxed) {
                let answered = flow.ping(Duration::from_millis(200));
                tally.answers += usize::from(answered.is_ok());
                *last.lock().unwrap() = if answered.is_ok() { answered.name } else { answered.verdict };
                std::thread::sleep(Duration::from_millis(10));
            }
            tally
        });
    }

    /// Waits until the follower is answered by this pod.
    #[track_caller]
    pub(crate) fn await_follower(&self, pod: &str) {
        let begin = Instant::now();
        while *self.follower.lock().unwrap() != pod {
            let last = self.follower.lock().unwrap().clone();
            assert!(begin.elapsed() < PATIENCE, "the UDP flow has {last}, not {pod}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn client(
        &mut self,
        node: &Node,
        (from, what): (&str, &str),
        run: impl FnOnce(&AtomicBool, Sender<Answered>) -> Tally + Send + 'static,
    ) {
        let (namespace, stop) = (node.world.world().namespace(from), self.stop.clone());
        let (opened, first) = channel();
        let client = std::thread::spawn(move || namespace.run(|| run(&stop, opened)).unwrap());
        let what = format!("{from}: {what}");
        let first = first.recv().expect("a client says how it began");
        assert!(first.is_ok(), "{what} could not begin: {first:?}");
        self.clients.push((what, client));
    }

    /// Ends all of it. Nothing may have failed, and everybody must have been answered this often.
    #[track_caller]
    pub(crate) fn end(mut self, least: usize) {
        self.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for (what, client) in std::mem::take(&mut self.clients) {
            let tally = client.join().unwrap();
            eprintln!("{what}: {} answers, {} failures", tally.answers, tally.failures.len());
            if !tally.failures.is_empty() || tally.answers < least {
                wrong.push(format!("{what}: {} answers, {:?}", tally.answers, tally.failures));
            }
        }
        let (control, before) = &self.control;
        let noise = repeated(control) - before;
        for (namespace, before) in &self.senders {
            let count = repeated(namespace) - before;
            if count > 0 && noise > 0 {
                eprintln!(
                    "{count} handshakes were repeated in {}, and {noise} without any Service: a busy machine",
                    namespace.path().display()
                );
            } else if count > 0 {
                wrong.push(format!("{count} handshakes were repeated in {}", namespace.path().display()));
            }
        }
        let strays = nft(&self.outside, "list counter inet witness strays");
        if !strays.contains("packets 0 ") {
            wrong.push(format!("packets to ClusterIPs left the cluster: {strays}"));
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tally {
    fn count(&mut self, begin: Instant, answered: &Answered) {
        if answered.is_ok() {
            self.answers += 1;
        } else {
            self.failures.push(format!("{} after {:?}", answered.verdict, begin.elapsed()));
        }
    }
}

/// How many first packets of TCP connections were sent again from a namespace.
fn repeated(namespace: &Namespace) -> u64 {
    let text = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap()).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    pairs.find(|(name, _)| *name == "TCPSynRetrans").unwrap().1.parse().unwrap()
}

/// Runs `nft` there; it must succeed.
pub(crate) fn nft(namespace: &Namespace, words: &str) -> String {
    let output: Output = namespace.command("nft".as_ref()).arg(words).output().unwrap();
    assert!(output.status.success(), "nft {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What `/healthz` of the node answers to a machine outside.
pub(crate) fn healthz(node: &Node) -> testkit::traffic::HttpAnswer {
    let to: SocketAddr = "192.168.77.11:10256".parse().unwrap();
    let ask = || testkit::traffic::get(to, "/healthz", Duration::from_secs(10));
    node.world.world().namespace("outside").run(ask).unwrap()
}

/// Waits until something is so, twice as long as usual.
#[track_caller]
pub(crate) fn await_that(what: &str, mut is_so: impl FnMut() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(reason) = is_so() {
        assert!(begin.elapsed() < 2 * PATIENCE, "never: {what}: {reason}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
