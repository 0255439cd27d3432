//! `signalbox apiserver`: Kubernetes' API from this machine.

use std::fs::DirBuilder;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::apiserver::access::{Authority, Names, Policy, StaticTokens, Tokens, kubeconfig};
use ::apiserver::allocate::{Cluster, NodePorts};
use ::apiserver::body::time::Instant;
use ::apiserver::collect;
use ::apiserver::connect::{Dial, Kubelets, Outward, from_here};
use ::apiserver::range::Range;
use ::apiserver::rest::{Clock, Rest};
use ::apiserver::serve::{Access, Door, Server, listen};
use ::apiserver::start;
use anyhow::{Context, anyhow, bail};
use clap::Args as Arguments;
use store::{Store, Window};
use telemetry::{Format, Metrics, watch_process};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// How often the server looks whether its certificate nears its end.
const RENEWAL: Duration = Duration::from_secs(6 * 3600);

/// Where things are, and who may reach them.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of everything that is kept: objects, certificates, the administrator's kubeconfig
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where to listen; port 0: any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    pub(crate) listen: SocketAddr,
    /// More names and addresses under which clients reach it, for its certificate
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) tls_san: Vec<String>,
    /// From where Services get their addresses: a range, or one of each family, the usual one first
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', default_value = "10.96.0.0/12,fd00:10:96::/112", value_parser = range)]
    pub(crate) service_cluster_ip_range: Vec<Range>,
    /// Which ports of the nodes Services can have
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767", value_parser = node_ports)]
    pub(crate) service_node_port_range: NodePorts,
    /// Where Pods find the server [default: the address of --listen]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) advertise_address: Vec<IpAddr>,
    /// The domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    /// Tokens that are always good: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// A role for somebody: user:NAME=ROLE, group:NAME=ROLE or serviceaccount:NAMESPACE/NAME=ROLE
    #[arg(long, value_name = "WHO=ROLE")]
    pub(crate) grant: Vec<String>,
    /// Whose certificates kubelets have [default: they are not checked]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_certificate_authority: Option<PathBuf>,
    /// At which of their addresses nodes are reached, the best first
    #[arg(
        long,
        value_name = "TYPES",
        value_delimiter = ',',
        default_value = "InternalIP,ExternalIP,Hostname",
        value_parser = ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"]
    )]
    pub(crate) kubelet_preferred_address_types: Vec<String>,
    /// Leave everything as clients make it: nothing goes with its owner or its namespace
    #[arg(long)]
    pub(crate) disable_controllers: bool,
    /// How long Events stay after they happened last
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) event_ttl: u64,
    /// How much to log: 0 to 4
    #[arg(short, long, default_value_t = 0)]
    pub(crate) v: u8,
}

impl Args {
    fn server(&self) -> Vec<IpAddr> {
        if self.advertise_address.is_empty() {
            vec![self.listen.ip()]
        } else {
            self.advertise_address.clone()
        }
    }
}

pub(crate) fn range(text: &str) -> Result<Range, String> {
    Range::parse(text).map(Range::masked).ok_or_else(|| format!("{text:?} is no range of addresses"))
}

/// What Kubernetes has.
pub(crate) fn usual_node_ports() -> NodePorts {
    NodePorts { first: 30000, last: 32767 }
}

fn node_ports(text: &str) -> Result<NodePorts, String> {
    let wrong = || format!("{text:?} is no range of ports such as 30000-32767");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let ports = NodePorts {
        first: first.trim().parse().map_err(|_| wrong())?,
        last: last.trim().parse().map_err(|_| wrong())?,
    };
    if ports.first == 0 || ports.first > ports.last { Err(wrong()) } else { Ok(ports) }
}

/// Refuses ranges that do not go together.
fn check_ranges(ranges: &[Range]) -> anyhow::Result<()> {
    /// One is the server's own, the rest is for Services.
    const FEWEST: u128 = 8;
    if let Some(small) = ranges.iter().find(|range| range.size() < FEWEST) {
        bail!("--service-cluster-ip-range: {small} has fewer than {FEWEST} addresses");
    }
    let is_pair = |one: &Range, other: &Range| one.first().is_ipv4() != other.first().is_ipv4();
    match ranges {
        [_] => Ok(()),
        [one, other] if is_pair(one, other) => Ok(()),
        [one, other] => bail!("--service-cluster-ip-range: {one} and {other} are of one family"),
        [] | [_, _, ..] => {
            bail!(
                "--service-cluster-ip-range: one range, or one of each family is wanted, not {}",
                ranges.len()
            )
        }
    }
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    telemetry::start_log(Format::Text, args.v, None);
    let kept = Kept::open(args)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start threads")?;
    let ended = runtime.block_on(async {
        let listener = listen(args.listen)
            .await
            .with_context(|| format!("failed to listen at {} (--listen)", args.listen))?;
        let mut running = start(args, kept, vec![listener], from_here()).await?;
        let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            ended = running.ended() => return ended,
        }
        running.stop().await
    });
    // A profile or a body that is being read keeps nobody waiting.
    runtime.shutdown_background();
    ended
}

/// What the server keeps in its directory, opened. Whoever has the store open has the directory.
pub(crate) struct Kept {
    store: Store,
    authority: Authority,
}

impl Kept {
    /// Opens it, and makes what is missing.
    pub(crate) fn open(args: &Args) -> anyhow::Result<Self> {
        check_ranges(&args.service_cluster_ip_range)?;
        // What is in it is nobody else's business.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&args.data)
            .with_context(|| format!("failed to make the directory {} (--data)", args.data.display()))?;
        let file = args.data.join("objects.redb");
        let store = Store::open(&file, Window::default()).map_err(|error| anyhow!("failed to {error}"))?;
        let names = Names {
            hostname: crate::proxy::host_name(),
            domain: args.cluster_domain.clone(),
            addresses: args.service_cluster_ip_range.iter().map(|range| range.first()).collect(),
            extra: args.tls_san.iter().cloned().chain(args.server().iter().map(IpAddr::to_string)).collect(),
        };
        let authority =
            Authority::open(&args.data, &names, now()).map_err(|error| anyhow!("failed to {error}"))?;
        Ok(Self { store, authority })
    }
}

/// A server that serves.
pub(crate) struct Running {
    /// Where it listens first.
    pub(crate) address: SocketAddr,
    /// Where clients of this machine find it.
    pub(crate) url: String,
    /// The kubeconfig of who may do everything.
    pub(crate) kubeconfig: PathBuf,
    /// Its keys.
    pub(crate) authority: Arc<Authority>,
    stop: watch::Sender<bool>,
    serving: JoinSet<()>,
}

/// Starts to serve at the listeners, of which clients of this machine use the first. `dial` reaches nodes and Pods.
pub(crate) async fn start(
    args: &Args,
    kept: Kept,
    listeners: Vec<TcpListener>,
    dial: Dial,
) -> anyhow::Result<Running> {
    let Kept { store, authority } = kept;
    let metrics = Metrics::default();
    watch_process(&metrics);
    let access = access(args, &authority)?;
    let outward =
        Outward::by(dial, &kubelets(args, &authority)?).map_err(|error| anyhow!("failed to {error}"))?;
    let rest = Rest { store, clock: Clock { now, seed: ::apiserver::chance::seed } };
    let address = listeners.first().context("there is nowhere to listen")?.local_addr();
    let address = address.context("failed to learn where it listens")?;
    let cluster = Cluster {
        service_ranges: args.service_cluster_ip_range.clone(),
        node_ports: args.service_node_port_range,
        server: args.server(),
        server_port: address.port(),
    };
    let wrong = start::prepare(&rest, cluster).await;
    for wrong in wrong.map_err(|status| anyhow!("failed to prepare: {}", status.message))? {
        warn!(what = %wrong, "repaired");
    }
    let tls = Arc::new(authority.server_config().map_err(|error| anyhow!("failed to {error}"))?);
    let url = format!("https://{}", reached(address));
    let kubeconfig = args.data.join("kubeconfig");
    kubeconfig::write(&kubeconfig, &authority.admin_kubeconfig(&url))
        .map_err(|error| anyhow!("failed to {error}"))?;
    let (stop, stopping) = watch::channel(false);
    if !args.disable_controllers {
        // It may end anywhere: the next one begins with what there is then.
        drop(tokio::spawn(collect::run(rest.clone(), stopping.clone())));
        drop(tokio::spawn(collect::hold_addresses(rest.clone(), stopping.clone())));
        let age = Duration::from_secs(args.event_ttl);
        drop(tokio::spawn(collect::expire_events(rest.clone(), age, stopping.clone())));
    }
    let server = Arc::new(Server::new(rest, metrics, Door { address, tls, access, outward }, stopping));
    info!(%address, kubeconfig = %kubeconfig.display(), "serving");
    let mut serving = JoinSet::new();
    for listener in listeners {
        serving.spawn(server.clone().run(listener));
    }
    Ok(Running { address, url, kubeconfig, authority: Arc::new(authority), stop, serving })
}

impl Running {
    /// Keeps it going, for ever unless something of it fails.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            () = renew(&self.authority) => Ok(()),
            ended = self.serving.join_next() => match ended {
                Some(ended) => ended.context("failed to serve"),
                None => Ok(()),
            },
        }
    }

    /// Ends the requests that are open, and the server.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        info!("stopping");
        self.stop.send_replace(true);
        while let Some(ended) = self.serving.join_next().await {
            ended.context("failed to stop")?;
        }
        Ok(())
    }
}

fn access(args: &Args, authority: &Authority) -> anyhow::Result<Access> {
    let fixed = match &args.token_auth_file {
        Some(file) => StaticTokens::open(file).map_err(|error| anyhow!("failed to {error}"))?,
        None => StaticTokens::default(),
    };
    let mut policy = Policy::default();
    for grant in &args.grant {
        policy.grant(grant).map_err(|error| anyhow!("failed to {error}"))?;
    }
    let issuer = format!("https://kubernetes.default.svc.{}", args.cluster_domain);
    Ok(Access { tokens: Tokens { fixed, key: authority.token_key(), issuer }, policy })
}

fn kubelets(args: &Args, authority: &Authority) -> anyhow::Result<Kubelets> {
    let read = |file: &PathBuf| {
        let what = || format!("failed to read {} (--kubelet-certificate-authority)", file.display());
        std::fs::read_to_string(file).with_context(what)
    };
    Ok(Kubelets {
        key: Some(authority.kubelet_client()),
        authority: args.kubelet_certificate_authority.as_ref().map(read).transpose()?,
        address_types: args.kubelet_preferred_address_types.clone(),
    })
}

/// Where a client on this machine reaches a server that listens there.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Has a new certificate made before the old one ends, for ever.
async fn renew(authority: &Authority) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        match authority.renew_if_needed(now()) {
            Ok(true) => info!("the certificate was renewed"),
            Ok(false) => {}
            Err(error) => warn!("failed to {error}"),
        }
    }
}

pub(crate) fn now() -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}
