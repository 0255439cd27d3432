//! What the rules cost the traffic: connections and requests through a ClusterIP against straight to the pod, in a
//! cluster of many Services.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use backend::Backend;
use backend_nftables::NftablesBackend;
use desired::Options;
use model::{Family, ServiceKey};
use objects::{EndpointSlice, Event, Object};
use sys::nftables::NftSocket;
use testkit::world::{OneNode, one_node};

use super::Size;
use super::cluster::{Agent, Cluster, options};
use super::figures::median;
use crate::sweep::Sweep;

/// How long each measurement takes.
const SLICE: Duration = Duration::from_millis(500);
/// How often straight and through are measured in turn.
pub(super) const ROUNDS: usize = 9;
/// Clients at a time.
const CLIENTS: usize = 2;

const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 244, 1, 11));
pub(super) const CONNECTIONS: u16 = 8080;
const REQUESTS: u16 = 8081;

/// Runs the benchmark.
pub(super) fn run(size: Size) -> Result<()> {
    crate::tools::require_tools()?;
    let sweep = Sweep::begin("bench", false)?;
    let node = node(&format!("{}-", sweep.run()))?;
    println!(
        "{} Services x {} endpoints, one node, {CLIENTS} clients, medians of {ROUNDS}",
        size.services, size.endpoints
    );
    let connect: fn(SocketAddr) -> Result<u64> = |to| connections(to);
    let ask: fn(SocketAddr) -> Result<u64> = |to| requests(to);
    for (name, port, measure) in
        [("requests on open connections", REQUESTS, ask), ("new connections", CONNECTIONS, connect)]
    {
        program(&node, size, port, (nftables, options()))?;
        compare(&node, (service(size), name, port), measure)?;
    }
    Ok(())
}

/// Builds a node with two pods: a client, and one that serves.
pub(super) fn node(prefix: &str) -> Result<OneNode> {
    let mut node = one_node(prefix).map_err(|error| anyhow!("failed to {error}"))?;
    for (name, address) in [("client", [10, 244, 1, 10].into()), ("pod", POD)] {
        node.add_pod(name, &[address]).map_err(|error| anyhow!("failed to {error}"))?;
    }
    serve(&node)?;
    Ok(node)
}

pub(super) fn nftables() -> Result<NftablesBackend<NftSocket>> {
    let nft = NftSocket::open().map_err(|error| anyhow!("failed to {error}"))?;
    Ok(NftablesBackend::new(Family::V4, nft))
}

/// The Service whose only endpoint is made the pod. A tree of chains is searched from its beginning, so it is no early one.
fn middle(size: Size) -> u32 {
    size.services / 2
}

fn service(size: Size) -> SocketAddr {
    SocketAddr::new(Cluster::new(size).cluster_ip(middle(size)), 80)
}

/// Sets the rules of a whole cluster on the node; one Service leads to this port of the pod.
pub(super) fn program<B: Backend>(
    node: &OneNode,
    size: Size,
    port: u16,
    (backend, options): (impl FnOnce() -> Result<B> + Send, Options),
) -> Result<()> {
    let write = move || {
        let mut agent = Agent::new(backend()?, options);
        let key = ServiceKey::new("load", &format!("s{}", middle(size)));
        let touched = agent.apply(Cluster::new(size).events().map(|event| to_pod(event, &key, port)));
        agent.decide(&touched);
        agent.sync()
    };
    node.world().namespace("node").run(write).map_err(|error| anyhow!("failed to {error}"))?
}

/// How many new connections a second the client makes, straight to the pod and through the Service. Which comes first should
/// change from round to round: what else happens on the machine may have a rhythm.
pub(super) fn new_connections(node: &OneNode, size: Size, straight_first: bool) -> Result<(f64, f64)> {
    let straight = || per_second(node, SocketAddr::new(POD, CONNECTIONS), connections);
    let through = || per_second(node, service(size), connections);
    if straight_first {
        return Ok((straight()?, through()?));
    }
    let through = through()?;
    Ok((straight()?, through))
}

fn to_pod(event: Event, service: &ServiceKey, port: u16) -> Event {
    let Event::Applied(Object::EndpointSlice(slice)) = &event else { return event };
    if slice.service.as_ref() != Some(service) {
        return event;
    }
    let mut slice: EndpointSlice = slice.clone();
    let endpoint = slice.endpoints.first().cloned();
    slice.endpoints = endpoint
        .into_iter()
        .map(|mut endpoint| {
            endpoint.address = POD;
            endpoint
        })
        .collect();
    slice.ports[0].port = port;
    Event::Applied(Object::EndpointSlice(slice))
}

/// Closes connections to one port, echoes on the other.
fn serve(node: &OneNode) -> Result<()> {
    let listen = |port| -> Result<TcpListener> {
        let opened = node.world().namespace("pod").run(move || TcpListener::bind((POD, port)));
        opened.map_err(|error| anyhow!("failed to {error}"))?.context("listening in the pod")
    };
    let (connections, requests) = (listen(CONNECTIONS)?, listen(REQUESTS)?);
    std::thread::spawn(move || {
        for stream in connections.incoming().flatten() {
            // A reset leaves no state behind that would use the ports up.
            let reset = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
            assert!(reset.is_ok(), "a connection that was just accepted has a socket");
        }
    });
    std::thread::spawn(move || {
        for mut stream in requests.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                drop(stream.set_nodelay(true));
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(())
}

fn compare(
    node: &OneNode,
    (service, name, port): (SocketAddr, &str, u16),
    measure: fn(SocketAddr) -> Result<u64>,
) -> Result<()> {
    let straight_to = SocketAddr::new(POD, port);
    let per_second = |to| per_second(node, to, measure);
    per_second(straight_to)?;
    per_second(service)?;
    let (mut straight, mut through, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (a, b) = (per_second(straight_to)?, per_second(service)?);
        straight.push(a);
        through.push(b);
        ratios.push(b / a);
    }
    println!(
        "  {name:<30} straight {:>8.0}/s   through {:>8.0}/s   ratio {:.3}",
        median(&mut straight),
        median(&mut through),
        median(&mut ratios)
    );
    Ok(())
}

fn per_second(node: &OneNode, to: SocketAddr, measure: fn(SocketAddr) -> Result<u64>) -> Result<f64> {
    forget_connections(node)?;
    let counted = node.world().namespace("client").run(move || measure(to));
    let count = counted.map_err(|error| anyhow!("failed to {error}"))??;
    Ok(count as f64 / SLICE.as_secs_f64())
}

/// Makes the node forget what was measured before: connections whose ports an old one still has cost more than others.
fn forget_connections(node: &OneNode) -> Result<()> {
    let forget = || Command::new("conntrack").arg("-F").stderr(Stdio::null()).status();
    let status = node.world().namespace("node").run(forget).map_err(|error| anyhow!("failed to {error}"))?;
    anyhow::ensure!(status.context("running conntrack")?.success(), "conntrack -F failed");
    Ok(())
}

fn connections(to: SocketAddr) -> Result<u64> {
    clients(|stop, count| {
        while !stop.load(Ordering::Relaxed) {
            match TcpStream::connect(to) {
                // The end or a reset: the server has taken the connection and closed it.
                Ok(mut stream) => while matches!(stream.read(&mut [0]), Ok(1..)) {},
                // So quickly that the connect itself sees it.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error).with_context(|| format!("connecting to {to}")),
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

fn requests(to: SocketAddr) -> Result<u64> {
    clients(|stop, count| {
        let mut stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true).context("a socket option")?;
        let mut buffer = [7; 32];
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&buffer).context("asking")?;
            stream.read_exact(&mut buffer).context("an answer")?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        drop(stream.shutdown(Shutdown::Both));
        Ok(())
    })
}

/// Runs clients for a while, in the network namespace of the calling thread; answers how much they did in all.
fn clients(work: impl Fn(&AtomicBool, &AtomicU64) -> Result<()> + Sync) -> Result<u64> {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| work(&stop, &count))).collect();
        let begin = Instant::now();
        while begin.elapsed() < SLICE && running.iter().all(|thread| !thread.is_finished()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Relaxed);
        running
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))))
    })?;
    Ok(count.load(Ordering::Relaxed))
}
