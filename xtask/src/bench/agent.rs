//! The whole process against an API server: from its start to complete rules, its memory, and how long a changed
//! EndpointSlice takes to reach the traffic.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use testkit::apiserver::{ApiServer, Options};
use testkit::traffic::{Places, Probing, Server, Target, probe};
use testkit::world::{OneNode, one_node};

use super::Size;
use super::figures::{ms, percentile, resident};
use crate::sweep::Sweep;

pub(super) const API_SERVER: &str = "192.168.77.100:6443";
const SERVICE: &str = "tcp/10.96.0.10:80";
pub(super) const PODS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 244, 1, 11), Ipv4Addr::new(10, 244, 1, 12)];
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the benchmark.
pub(super) fn run(size: Size) -> Result<()> {
    let root = crate::root()?;
    let binary = crate::conformance::build_product(root)?;
    let sweep = Sweep::begin("bench", false)?;
    let mut node = one_node(&format!("{}-", sweep.run())).map_err(|error| anyhow!("failed to {error}"))?;
    node.add_pod("client", &[[10, 244, 1, 10].into()]).map_err(|error| anyhow!("failed to {error}"))?;
    for (index, address) in PODS.into_iter().enumerate() {
        start_pod(&mut node, &format!("pod{index}"), address)?;
    }
    let api = ApiServer::start(Options {
        listen: API_SERVER.parse::<SocketAddr>().context("the address of the API server")?,
        netns: Some(node.world().namespace("outside").path().to_owned()),
        ..Options::default()
    })
    .context("starting the API server")?;
    fill(&api, size);
    let kubeconfig = sweep.folder().join("kubeconfig");
    std::fs::write(&kubeconfig, api.kubeconfig()).context("writing the kubeconfig")?;

    println!("{} Services x {} endpoints, nftables, from an API server", size.services, size.endpoints);
    let begin = Instant::now();
    let mut command = node.world().command("node", &binary);
    command.args(["proxy", "--hostname-override=node", "--cluster-cidr=10.244.0.0/16", "--kubeconfig"]);
    command.arg(&kubeconfig).stdin(Stdio::null()).stderr(Stdio::null());
    let proxy = Proxy(command.spawn().context("starting the proxy")?);
    await_pod(&node, "pod0")?;
    println!(
        "process start until the last Service answers (test API server included)  {:>9}",
        ms(begin.elapsed())
    );
    std::thread::sleep(Duration::from_millis(500));
    let (now, most) = resident(&proxy.0.id().to_string());
    println!("resident memory  {now:.1} MiB, at most {most:.1} MiB");

    let mut lags = Vec::new();
    for change in 1..=size.changes.min(300) as usize {
        let pod = change % PODS.len();
        let begin = Instant::now();
        api.apply(slice(pod));
        await_pod(&node, &format!("pod{pod}"))?;
        lags.push(begin.elapsed());
    }
    println!(
        "one endpoint replaced at the API server until traffic reaches it, {} times:  p50 {}   p99 {}",
        lags.len(),
        ms(percentile(&mut lags, 0.5)),
        ms(percentile(&mut lags, 0.99))
    );
    sustained(&api, &proxy, size)
}

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A hundred changes a second: how much of a core they take.
fn sustained(api: &ApiServer, proxy: &Proxy, size: Size) -> Result<()> {
    const TIME: Duration = Duration::from_secs(10);
    let used = || cpu_time(proxy.0.id());
    let (begin, before) = (Instant::now(), used()?);
    let mut change = 0_u32;
    while begin.elapsed() < TIME {
        let service = change % size.services.max(1);
        api.apply(many_slice(service, size.endpoints, 1 + change));
        change += 1;
        std::thread::sleep((Duration::from_millis(10) * change).saturating_sub(begin.elapsed()));
    }
    let (took, spent) = (begin.elapsed(), used()?.saturating_sub(before));
    println!(
        "{:.0} changes a second for {} s: {:.1} % of one core",
        f64::from(change) / took.as_secs_f64(),
        took.as_secs(),
        100.0 * spent.as_secs_f64() / took.as_secs_f64()
    );
    let before = used()?;
    std::thread::sleep(TIME);
    let idle = used()?.saturating_sub(before);
    println!("idle: {:.2} % of one core", 100.0 * idle.as_secs_f64() / TIME.as_secs_f64());
    Ok(())
}

/// User and system time of a process.
fn cpu_time(process: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).context("the proxy has ended")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // Hundredths of a second on every machine that Linux runs on today (USER_HZ).
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}

pub(super) fn start_pod(node: &mut OneNode, name: &str, address: Ipv4Addr) -> Result<()> {
    node.add_pod(name, &[IpAddr::from(address)]).map_err(|error| anyhow!("failed to {error}"))?;
    let places = Places { name: name.to_owned(), tcp: vec![8080], ..Places::default() };
    let opened = node.world().namespace(name).run(|| Server::open(places));
    let server = opened.map_err(|error| anyhow!("failed to {error}"))?.context("starting a pod's server")?;
    std::thread::spawn(move || server.run(|| false));
    Ok(())
}

pub(super) fn await_pod(node: &OneNode, name: &str) -> Result<()> {
    let wait = || {
        let target: Target = SERVICE.parse().map_err(|error: String| anyhow!(error))?;
        let probing = Probing { timeout: Duration::from_millis(100), ..Probing::new(target, 1) };
        let begin = Instant::now();
        while !probe(&probing).iter().any(|answered| answered.name == name) {
            if begin.elapsed() > LIMIT {
                bail!("{SERVICE} never led to {name}");
            }
        }
        Ok(())
    };
    node.world().namespace("client").run(wait).map_err(|error| anyhow!("failed to {error}"))?
}

fn fill(api: &ApiServer, size: Size) {
    api.apply(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                     "status": {"addresses": [{"type": "InternalIP", "address": "192.168.77.11"}]}}));
    for index in 0..size.services {
        let address = Ipv4Addr::from_bits(0x0a60_1000 + index);
        api.apply(service(&format!("s{index}"), address));
        api.apply(many_slice(index, size.endpoints, 0));
    }
    api.apply(service("web", Ipv4Addr::new(10, 96, 0, 10)));
    api.apply(slice(0));
}

pub(super) fn service(name: &str, address: Ipv4Addr) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "load"},
           "spec": {"clusterIP": address.to_string(), "ports": [{"name": "http", "port": 80}]}})
}

pub(super) fn slice(pod: usize) -> Value {
    slice_of("web", vec![json!({"addresses": [PODS[pod].to_string()], "nodeName": "node"})])
}

fn many_slice(service: u32, endpoints: u32, generation: u32) -> Value {
    let endpoint = |index: u32| {
        let moved = if index == 0 { generation * 104_729 } else { 0 };
        let address = Ipv4Addr::from_bits(0x0a80_0000 | ((service * endpoints + index + moved) % (1 << 23)));
        json!({"addresses": [address.to_string()], "nodeName": format!("n{}", index % 200),
               "conditions": {"ready": true, "serving": true, "terminating": false}})
    };
    slice_of(&format!("s{service}"), (0..endpoints).map(endpoint).collect())
}

fn slice_of(service: &str, endpoints: Vec<Value>) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
           "metadata": {"name": service, "namespace": "load", "labels": {"kubernetes.io/service-name": service}},
           "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints})
}
