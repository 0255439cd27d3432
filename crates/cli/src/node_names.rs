//! `signalbox proxy --dns`: the names of the cluster on this node, out of the proxy's own watch.
//!
//! It has a thread of its own. The rules are told first, and wait for it only while it is [`EVENTS`] events behind.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::{self, JoinHandle};

use ::dns::blocks::attend;
use ::dns::config::{Settings as Written, follow, read};
use ::dns::metrics::DnsMetrics;
use ::dns::node::{self, Node, Parts};
use ::dns::object::Key;
use ::dns::plan::Plan;
use ::dns::{Policy, Settings, Sockets};
use ::watch::ApiConfig;
use anyhow::{Context, anyhow, bail};
use config::{Flags, NameSettings};
use telemetry::Metrics;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

use crate::dns::configured::{listen, listeners, make, plan, take_over, variable};

/// kubeadm's, without pages of its own: this process has them.
const USUAL: &str = ".:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . /etc/resolv.conf {
        max_concurrent 1000
    }
    cache 30
    loop
    loadbalance
}
";
/// How many events of the watch wait for names before the watch waits for them.
const EVENTS: usize = 1024;
/// As many queries wait to be handed on.
const BACKLOG: usize = 1024;
/// How many bytes are taken and sent over UDP (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
/// A node's own pods ask; one thread answers some hundred thousand queries a second.
const THREADS: usize = 1;

/// Names to be answered on this node, as they were configured.
pub(crate) struct NodeNames {
    told: NameSettings,
    written: Written,
    plan: Plan,
}

/// The server that runs.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl NodeNames {
    /// Reads flags and the file they name; `None`: names are not answered here.
    pub(crate) fn read(flags: &Flags) -> anyhow::Result<Option<Self>> {
        let Some(told) = flags.names()? else { return Ok(None) };
        let (name, written) = match &told.config {
            Some(file) => (file.display().to_string(), read(file, variable)),
            None => ("the usual DNS configuration".to_owned(), Written::parse(USUAL, &|_| None)),
        };
        let mut written = written.map_err(|mistakes| anyhow!("{name}:\n{mistakes}"))?;
        if told.config.is_none() {
            // The proxy's own page shows it.
            written.servers.iter_mut().for_each(|server| server.is_counted = true);
        }
        let plan = plan(&written).map_err(|mistakes| anyhow!("{name}:\n{mistakes}"))?;
        let [cluster] = plan.clusters.as_slice() else {
            let count = plan.clusters.len();
            bail!("{name}: has the names of {count} clusters, `kubernetes`; beside the proxy there is one");
        };
        if cluster.zones.len() > 1 {
            bail!("{name}: has several zones for the cluster's names; beside the proxy there is one");
        }
        if cluster.api.is_some() {
            bail!("{name}: names an API server; beside the proxy its own is used");
        }
        if cluster.zones.iter().any(|zone| !zone.labels.is_empty()) {
            bail!("{name}: has `labels`; beside the proxy, whose watch it shares, all Services have names");
        }
        if written.servers.iter().any(|server| server.port != node::PORT || !server.addresses.is_empty()) {
            bail!(
                "{name}: has addresses or another port; beside the proxy --dns-listen and --dns-service say where it answers"
            );
        }
        Ok(Some(Self { told, written, plan }))
    }

    /// Starts to answer, in the network namespace of the calling thread.
    pub(crate) fn start(
        self,
        config: &mut ApiConfig,
        (own, find_own): (Vec<IpAddr>, fn() -> Vec<IpAddr>),
        (writes, metrics): (Arc<AtomicU32>, &Metrics),
    ) -> anyhow::Result<Running> {
        let pages = Pages::open(&self.written)?;
        let (tell, objects) = mpsc::channel(EVENTS);
        config.naming = Some(tell);
        let api = ApiConfig { naming: None, ..config.clone() };
        let (stop, stopping) = watch::channel(false);
        let (namespace, name) = &self.told.service;
        let service = Key::new(namespace, name);
        let addresses = self.told.addresses.clone();
        let node = Node { service, addresses, own, find_own, threads: THREADS, writes };
        let metrics = metrics.clone();
        let work = move || {
            if let Err(error) = self.serve((node, pages), (api, objects, metrics), stopping) {
                error!(
                    error = format!("{error:#}"),
                    "names are not answered on this node; the cluster's DNS does it"
                );
            }
        };
        let thread = thread::Builder::new().name("names".to_owned()).spawn(work);
        Ok(Running { stop, thread: thread.context("failed to start the thread for names")? })
    }

    fn serve(
        self,
        (node, pages): (Node, Pages),
        (api, objects, metrics): (ApiConfig, mpsc::Receiver<objects::naming::Event>, Metrics),
        stopping: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build().context("failed to start")?;
        runtime.block_on(async {
            let counted = DnsMetrics::register(&metrics, env!("CARGO_PKG_VERSION"));
            let settings = self.settings(pages, &counted, &metrics)?;
            let parts = Parts { api, objects, metrics, counted };
            node::run(node, settings, parts, stopping).await.map_err(|error| anyhow!("failed to {error}"))
        })
    }

    /// What the file says. Runs inside the runtime.
    fn settings(self, pages: Pages, counted: &DnsMetrics, metrics: &Metrics) -> anyhow::Result<Settings> {
        let Self { told, written, plan } = self;
        let blocks = Arc::new(make(&written, counted)?);
        let (tell, blocks) = watch::channel(blocks);
        let (asked, questions) = mpsc::channel(BACKLOG);
        tokio::spawn(attend(questions, blocks.clone()));
        let health = written.health.as_ref();
        let zone = plan.clusters.first().and_then(|cluster| cluster.zones.first());
        let settings = Settings {
            zone: zone.cloned().context("no names of the cluster")?,
            sockets: Sockets::default(),
            policy: policy(),
            health: pages.health,
            ready: pages.ready,
            metrics: Some((pages.metrics, metrics.clone())),
            lameduck: health.map(|health| health.lameduck).unwrap_or_default(),
            elsewhere: Some(asked),
            blocks,
        };
        let (write, changes) = watch::channel(written);
        tokio::spawn(take_over(changes, (plan, counted.clone()), tell));
        match told.config {
            Some(file) => drop(tokio::spawn(follow_file(file, write, counted.clone()))),
            None => drop(write),
        }
        Ok(settings)
    }
}

async fn follow_file(file: impl AsRef<Path>, write: watch::Sender<Written>, counted: DnsMetrics) {
    follow(file.as_ref(), variable, write, counted.reloads_failed.clone()).await;
}

/// Whoever gets through to addresses that only this node has is one that it serves, whatever its own address is: pods with
/// global ones, and the node itself.
fn policy() -> Policy {
    let networks = ["0.0.0.0/0", "::/0"].map(|text| text.parse().expect("they are networks"));
    Policy { recursion: networks.into(), udp_size: UDP_SIZE, rate: None, cookies: None }
}

/// What a file says of pages, opened: another process there is a mistake that should be seen at once.
struct Pages {
    health: Option<TcpListener>,
    ready: Option<TcpListener>,
    metrics: Vec<TcpListener>,
}

impl Pages {
    fn open(written: &Written) -> anyhow::Result<Self> {
        Ok(Self {
            health: written.health.as_ref().map(|health| listen(health.address)).transpose()?,
            ready: written.ready.map(listen).transpose()?,
            metrics: listeners(&written.metrics)?,
        })
    }
}

impl Running {
    /// Ends it; names are the cluster's DNS' again.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            warn!("the thread for names did not end well");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gets_through_may_ask_for_names_of_the_world() {
        for client in ["10.244.0.5", "203.0.113.9", "fd00::5", "2001:db8::5"] {
            let client: IpAddr = client.parse().unwrap();
            assert!(policy().recursion.iter().any(|network| network.contains(&client)), "{client}");
        }
    }
}
