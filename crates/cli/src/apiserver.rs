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
use ::apiserver::connect::{Kubelets, Outward};
use ::apiserver::range::Range;
use ::apiserver::rest::{Clock, Rest};
use ::apiserver::serve::{Access, Door, Server, listen};
use ::apiserver::start;
use anyhow::{Context, anyhow, bail};
use clap::Args as Arguments;
use store::{Store, Window};
use telemetry::{Format, Metrics, watch_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

/// How often the server looks whether its certificate nears its end.
const RENEWAL: Duration = Duration::from_secs(6 * 3600);

/// Where things are, and who may reach them.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of everything that is kept: objects, certificates, the administrator's kubeconfig
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0: any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// More names and addresses under which clients reach it, for its certificate
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    tls_san: Vec<String>,
    /// From where Services get their addresses: a range, or one of each family, the usual one first
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', default_value = "10.96.0.0/12,fd00:10:96::/112", value_parser = range)]
    service_cluster_ip_range: Vec<Range>,
    /// Which ports of the nodes Services can have
    #[arg(long, value_name = "FIRST-LAST", default_value = "30000-32767", value_parser = node_ports)]
    service_node_port_range: NodePorts,
    /// Where Pods find the server [default: the address of --listen]
    #[arg(long, value_name = "ADDRESS")]
    advertise_address: Vec<IpAddr>,
    /// The domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// Tokens that are always good: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// A role for somebody: user:NAME=ROLE, group:NAME=ROLE or serviceaccount:NAMESPACE/NAME=ROLE
    #[arg(long, value_name = "WHO=ROLE")]
    grant: Vec<String>,
    /// Whose certificates kubelets have [default: they are not checked]
    #[arg(long, value_name = "FILE")]
    kubelet_certificate_authority: Option<PathBuf>,
    /// At which of their addresses nodes are reached, the best first
    #[arg(
        long,
        value_name = "TYPES",
        value_delimiter = ',',
        default_value = "InternalIP,ExternalIP,Hostname",
        value_parser = ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"]
    )]
    kubelet_preferred_address_types: Vec<String>,
    /// Leave everything as clients make it: nothing goes with its owner or its namespace
    #[arg(long)]
    disable_controllers: bool,
    /// How long Events stay after they happened last
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    event_ttl: u64,
    /// How much to log: 0 to 4
    #[arg(short, long, default_value_t = 0)]
    v: u8,
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

fn range(text: &str) -> Result<Range, String> {
    Range::parse(text).map(Range::masked).ok_or_else(|| format!("{text:?} is no range of addresses"))
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
    check_ranges(&args.service_cluster_ip_range)?;
    // What is in it is nobody else's business.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.data)
        .with_context(|| format!("failed to make the directory {} (--data)", args.data.display()))?;
    // Whoever has the store open has the directory.
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
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start threads")?;
    let ended = runtime.block_on(serve(args, store, &authority));
    // A profile or a body that is being read keeps nobody waiting.
    runtime.shutdown_background();
    ended
}

async fn serve(args: &Args, store: Store, authority: &Authority) -> anyhow::Result<()> {
    let metrics = Metrics::default();
    watch_process(&metrics);
    let access = access(args, authority)?;
    let outward =
        Outward::from_here(&kubelets(args, authority)?).map_err(|error| anyhow!("failed to {error}"))?;
    let rest = Rest { store, clock: Clock { now, seed: ::apiserver::chance::seed } };
    let listener = listen(args.listen)
        .await
        .with_context(|| format!("failed to listen at {} (--listen)", args.listen))?;
    let address = listener.local_addr().context("failed to learn where it listens")?;
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
    let file = args.data.join("kubeconfig");
    kubeconfig::write(&file, &authority.admin_kubeconfig(&format!("https://{}", reached(address))))
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
    info!(%address, kubeconfig = %file.display(), "serving");
    let mut serving = tokio::spawn(server.run(listener));
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = tokio::signal::ctrl_c() => None,
        () = renew(authority) => None,
        ended = &mut serving => Some(ended),
    };
    info!("stopping");
    stop.send_replace(true);
    match ended {
        Some(ended) => ended.context("failed to serve"),
        None => serving.await.context("failed to stop"),
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
