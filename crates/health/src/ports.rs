//! The health-check node ports of Services: opened, closed and moved as the Services are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use model::{Family, IpNet, ServiceKey};
use sys::Error;
use sys::link::Links;
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::answer;
use crate::server::{Scope, listen, serve};
use crate::snapshot::{HealthPort, Snapshot};

/// How often ports that could not be bound, and addresses that came or went, are looked at while there are any ports.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Is told when a Service's port cannot be served, once for each reason.
pub type PortFailed = dyn Fn(&ServiceKey, &str) + Send + Sync;

/// Serves them, until nobody publishes snapshots any more.
pub async fn serve_health_ports(mut snapshots: Receiver<Snapshot>, failed: &PortFailed) {
    let mut servers: BTreeMap<SocketAddr, Server> = BTreeMap::new();
    let mut refused: BTreeMap<SocketAddr, String> = BTreeMap::new();
    loop {
        let looked = wanted(&snapshots.borrow_and_update());
        let is_quiet = looked.as_ref().is_ok_and(BTreeMap::is_empty);
        match looked {
            Ok(wanted) => {
                servers.retain(|address, server| wanted.contains_key(address) && !server.task.is_finished());
                refused.retain(|address, _| wanted.contains_key(address));
                for (address, port) in &wanted {
                    if servers.contains_key(address) {
                        continue;
                    }
                    match start(*address, snapshots.clone()) {
                        Ok(task) => {
                            debug!(service = %port.service, %address, "serving a health-check node port");
                            refused.remove(address);
                            servers.insert(*address, Server { task });
                        }
                        Err(error) => complain(&mut refused, (*address, port), &error, failed),
                    }
                }
            }
            Err(error) => {
                warn!(%error, "this node's addresses cannot be read; health-check node ports stay as they are");
            }
        }
        let changed = if is_quiet {
            snapshots.changed().await
        } else {
            tokio::time::timeout(LOOK_AGAIN, snapshots.changed()).await.unwrap_or(Ok(()))
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Says so once, until the reason is another one.
fn complain(
    refused: &mut BTreeMap<SocketAddr, String>,
    (address, port): (SocketAddr, &HealthPort),
    error: &std::io::Error,
    failed: &PortFailed,
) {
    let reason = format!("serve the health-check node port at {address}: {error}");
    if refused.get(&address) == Some(&reason) {
        return;
    }
    failed(&port.service, &reason);
    warn!(service = %port.service, %address, %error, "a health-check node port cannot be served yet");
    refused.insert(address, reason);
}

struct Server {
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every address to listen on, with what is served there.
fn wanted(snapshot: &Snapshot) -> Result<BTreeMap<SocketAddr, HealthPort>, Error> {
    let mut wanted = BTreeMap::new();
    for family in Family::BOTH {
        let ports = || snapshot.ports.iter().filter(|((of, _), _)| *of == family);
        if ports().next().is_none() {
            continue;
        }
        let ranges = snapshot.node_port_addresses.get(&family).map_or(&[][..], Vec::as_slice);
        for address in addresses(family, ranges)? {
            wanted
                .extend(ports().map(|((_, port), served)| (SocketAddr::new(address, *port), served.clone())));
        }
    }
    Ok(wanted)
}

/// This node's addresses inside ranges, never loopback; with a range that has all, the one that stands for all.
fn addresses(family: Family, ranges: &[IpNet]) -> Result<Vec<IpAddr>, Error> {
    if ranges.iter().any(|range| range.prefix_len() == 0) {
        return Ok(vec![match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }]);
    }
    let known = Links::open()?.addresses()?;
    let is_wanted =
        |address: &IpAddr| !address.is_loopback() && ranges.iter().any(|range| range.contains(address));
    Ok(known.iter().map(IpNet::addr).filter(is_wanted).collect())
}

fn start(address: SocketAddr, snapshots: Receiver<Snapshot>) -> std::io::Result<JoinHandle<()>> {
    // An IPv6 socket for all addresses must leave those of IPv4 to the other one.
    let listener = listen(address, Scope::OneFamily)?;
    let key = (Family::of(address.ip()), address.port());
    let answer = move |_: Request<Incoming>| {
        let snapshot = snapshots.borrow();
        std::future::ready(match snapshot.ports.get(&key) {
            Some(port) => answer::port(port, snapshot.is_healthy(Instant::now())),
            None => answer::not_found(),
        })
    };
    Ok(tokio::spawn(serve(listener, answer)))
}
