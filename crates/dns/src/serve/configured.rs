//! A server as a file says, which may say something else while it runs: other zones, addresses, ports, pages.
//!
//! A configuration that cannot be used changes nothing: what it needs is made first, then it takes the place of the one before.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry::Metrics;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};
use watch_api::ApiConfig;

use ::watch as watch_api;

use super::clusters::Clusters;
use super::pages::{self, Page, Pages};
use super::places::{Places, Wanted};
use super::{CookieSecret, Front, LOOK, Policy, no_blocks};
use crate::blocks::{Blocks, Made};
use crate::config::{Environment, Mistakes, Settings, follow, read};
use crate::metrics::DnsMetrics;
use crate::plan::Plan;
use crate::upstream::UpstreamError;
use crate::wire::Name;
use crate::zone::{Builder, Zone};

/// How often `/health` is asked for by the server itself, as in CoreDNS.
const SELF_CHECK: Duration = Duration::from_secs(1);
/// How long after a place was opened it is asked for names that would come back.
const BEFORE_LOOPS: Duration = Duration::from_millis(500);

/// What a server is told besides its file.
pub struct Configured {
    /// The file.
    pub file: PathBuf,
    /// Variables of the environment, for `{$NAME}`.
    pub environment: Environment,
    /// The API server of clusters that name none.
    pub api: ApiConfig,
    /// The addresses by which clients know this server; none: those of the file.
    pub own: Vec<IpAddr>,
    /// How clients are treated.
    pub policy: Policy,
    /// Whether clients get cookies; `None`: as the file says.
    pub has_cookies: Option<bool>,
    /// How many threads answer over UDP at each address.
    pub threads: usize,
    /// What metrics call this program.
    pub version: &'static str,
}

/// Why a server ended. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file is wrong.
    #[error("read {file}:\n{mistakes}")]
    File {
        /// Which.
        file: String,
        /// What about it.
        mistakes: Mistakes,
    },
    /// Somewhere it cannot answer.
    #[error(transparent)]
    Place(#[from] super::Error),
    /// Somebody cannot be asked.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// A cluster cannot be followed.
    #[error("follow a cluster: {0}")]
    Cluster(#[from] watch_api::Error),
    /// Servers ask each other in a circle.
    #[error("find an end: queries for {0} come back: a server that is asked asks this one")]
    Loop(Name),
}

/// Serves until told to stop, or until queries turn out to come back.
pub async fn run_configured(
    configured: Configured,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let written = read_file(&configured)?;
    let (mut scene, mut loops) = Scene::new(configured, &written, stopping.clone());
    scene.change(&written).await?;
    let (write, mut changes) = watch::channel(written);
    let (file, environment) = (scene.configured.file.clone(), scene.configured.environment);
    let failed = scene.counted.reloads_failed.clone();
    scene.tasks.spawn(async move {
        follow(&file, environment, write.clone(), failed).await;
        // A file that is not looked at any more says what it said.
        write.closed().await;
    });
    loop {
        tokio::select! {
            () = stops(&mut stopping) => break,
            Some(zone) = loops.recv() => return Err(Failure::Loop(zone)),
            () = tokio::time::sleep(LOOK) => scene.places.check()?,
            Ok(()) = changes.changed() => {
                let written = changes.borrow_and_update().clone();
                if let Err(error) = scene.change(&written).await {
                    scene.counted.reloads_failed.inc();
                    error!(%error, "the changed DNS configuration cannot be used; the one before stays");
                }
            }
        }
    }
    info!(lameduck = ?scene.lameduck, "stopping");
    tokio::time::sleep(scene.lameduck).await;
    scene.places.close().await;
    Ok(())
}

/// Nobody who could tell it to stop is as good as being told.
async fn stops(stopping: &mut watch::Receiver<bool>) {
    drop(stopping.wait_for(|stops| *stops).await);
}

fn read_file(configured: &Configured) -> Result<Settings, Failure> {
    read(&configured.file, configured.environment).map_err(|mistakes| failure(&configured.file, mistakes))
}

fn failure(file: &Path, mistakes: Mistakes) -> Failure {
    Failure::File { file: file.display().to_string(), mistakes }
}

/// What runs.
struct Scene {
    configured: Configured,
    metrics: Metrics,
    counted: DnsMetrics,
    places: Places,
    clusters: Clusters,
    plan: Option<Plan>,
    lameduck: Duration,
    /// What `/ready` looks at.
    zones: watch::Sender<Vec<watch::Receiver<Zone>>>,
    stopping: watch::Receiver<bool>,
    /// Where a loop is told.
    looped: mpsc::Sender<Name>,
    /// What goes on beside this configuration.
    followers: JoinSet<()>,
    /// What goes on whatever the configuration is.
    tasks: JoinSet<()>,
}

impl Scene {
    fn new(
        configured: Configured,
        written: &Settings,
        stopping: watch::Receiver<bool>,
    ) -> (Self, mpsc::Receiver<Name>) {
        let metrics = Metrics::default();
        telemetry::watch_process(&metrics);
        let counted = DnsMetrics::register(&metrics, configured.version);
        let has_cookies = configured.has_cookies.unwrap_or(written.has_cookies);
        let policy = Policy { cookies: has_cookies.then(CookieSecret::random), ..configured.policy.clone() };
        let front = Front::new(policy, watch::channel(nothing()).1, (None, no_blocks()));
        let (looped, loops) = mpsc::channel(1);
        let scene = Self {
            places: Places::new(front, configured.threads),
            configured,
            metrics,
            counted,
            clusters: Clusters::default(),
            plan: None,
            lameduck: Duration::ZERO,
            zones: watch::channel(Vec::new()).0,
            stopping,
            looped,
            followers: JoinSet::new(),
            tasks: JoinSet::new(),
        };
        (scene, loops)
    }

    /// Takes over a configuration, or says why not and is what it was.
    async fn change(&mut self, written: &Settings) -> Result<(), Failure> {
        let read = |path: &Path| std::fs::read_to_string(path);
        let plan = Plan::new(written, &self.configured.own, &read)
            .map_err(|mistakes| failure(&self.configured.file, mistakes))?;
        let made = Made::new(&written.servers, &self.counted)?;
        let clusters = self.clusters.with(&plan.clusters, (&self.configured.api, &self.counted)).await?;
        if self.plan.is_some() {
            // Who was answered before is not told that nothing is known.
            tokio::select! {
                () = clusters.synced() => {}
                () = stops(&mut self.stopping) => {}
            }
        }
        let blocks = blocks_of(&plan, (&made, &clusters));
        let wanted = Wanted { blocks: blocks.clone(), pages: self.pages(written) };
        if let Err(error) = self.places.change(wanted) {
            let before = self.plan.as_ref().map_or(&[][..], |plan| plan.clusters.as_slice());
            self.clusters.take_back(clusters, before);
            return Err(error.into());
        }
        info!(addresses = ?plan.places.keys().collect::<Vec<_>>(), "answering");
        self.zones.send_replace(clusters.zones());
        self.clusters = clusters;
        self.lameduck = written.health.as_ref().map(|health| health.lameduck).unwrap_or_default();
        self.plan = Some(plan);
        self.counted.taken_over(&format!("{written:?}"));
        blocks.values().for_each(|blocks| blocks.note(&self.counted));
        self.follow(made, (blocks, written));
        Ok(())
    }

    fn pages(&self, written: &Settings) -> BTreeMap<SocketAddr, Pages> {
        let told = self.stopping.clone();
        let health: Page = Arc::new(move || pages::health(*told.borrow()));
        let (told, zones) = (self.stopping.clone(), self.zones.subscribe());
        let ready: Page = Arc::new(move || {
            let is_synced = zones.borrow().iter().all(|zone| zone.borrow().is_synced());
            pages::ready(is_synced, *told.borrow())
        });
        let metrics = self.metrics.clone();
        let metrics: Page = Arc::new(move || (200, metrics.text().into()));
        let mut all = BTreeMap::<SocketAddr, Pages>::new();
        let health_at = written.health.iter().map(|written| (written.address, ("/health", health.clone())));
        let ready_at = written.ready.iter().map(|at| (*at, ("/ready", ready.clone())));
        let metrics_at = written.metrics.iter().map(|at| (*at, ("/metrics", metrics.clone())));
        for (address, page) in health_at.chain(ready_at).chain(metrics_at) {
            all.entry(address).or_default().push(page);
        }
        all
    }

    /// What goes on beside the configuration until there is another one.
    fn follow(&mut self, made: Made, (blocks, written): (BTreeMap<SocketAddr, Arc<Blocks>>, &Settings)) {
        self.followers = JoinSet::new();
        self.followers.spawn(async move { made.follow().await });
        for (address, blocks) in blocks {
            let looped = self.looped.clone();
            self.followers.spawn(async move {
                // Somebody must be there to be asked.
                tokio::time::sleep(BEFORE_LOOPS).await;
                let zone = blocks.look_for_loops(reachable(address)).await;
                drop(looped.send(zone).await);
            });
        }
        if let Some(health) = &written.health {
            let (address, counted) = (reachable(health.address), self.counted.clone());
            self.followers.spawn(async move { check_itself(address, &counted).await });
        }
    }
}

/// What each place has.
fn blocks_of(plan: &Plan, (made, clusters): (&Made, &Clusters)) -> BTreeMap<SocketAddr, Arc<Blocks>> {
    let shown = |server: &usize| {
        let zones = plan.shown[*server].iter().map(|zone| clusters.zone(*zone));
        (*server, zones.collect())
    };
    let places = plan.places.iter().map(|(address, servers)| {
        let servers: Vec<_> = servers.iter().map(shown).collect();
        (*address, Arc::new(made.at(&label(*address), &servers)))
    });
    places.collect()
}

/// What metrics call a place, as CoreDNS does.
fn label(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("dns://:{}", address.port())
    } else {
        format!("dns://{address}")
    }
}

/// Where this server can be asked by itself.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        // A machine without IPv6 has `::` all the same.
        ip if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

/// A zone for names that no cluster has: one that nobody asks for (RFC 6761).
fn nothing() -> Zone {
    let mut settings = crate::zone::Settings::new("cluster.invalid".parse().expect("two short labels"));
    settings.reverse.clear();
    let mut builder = Builder::new(settings, 0);
    use crate::object::{Change, Kind};
    for kind in [Kind::Service, Kind::Slice, Kind::Namespace] {
        builder.apply(Change::Synced(kind), 0);
    }
    builder.zone()
}

/// Asks for `/health` like others do, for ever: a machine that is too busy to answer is seen by how long it takes.
async fn check_itself(address: SocketAddr, counted: &DnsMetrics) {
    let mut failed = false;
    loop {
        tokio::time::sleep(SELF_CHECK).await;
        let begun = Instant::now();
        let is_well = pages::asks(address, "/health").await;
        counted.checked_itself(begun.elapsed(), is_well);
        if !is_well && !failed {
            warn!(%address, "this server does not answer its own /health");
        }
        failed = !is_well;
    }
}

#[cfg(test)]
mod tests;
