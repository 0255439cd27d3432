//! `signalbox dns`: the names of a cluster's Services, for pods and nodes.

pub(crate) mod configured;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use ::dns::config::Upstream;
use ::dns::serve::CookieSecret;
use ::dns::wire::Name;
use ::dns::{Policy, Settings, Sockets};
use anyhow::{Context, anyhow};
use clap::{Args as Arguments, ValueEnum};
use model::IpNet;
use telemetry::{Format, Metrics};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use watch::ApiConfig;
use watch::client::Client;

use crate::forwarding::forwarding;

/// Networks that are nobody's in the world.
pub(crate) const PRIVATE: &str = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,::1/128,fc00::/7,fe80::/10";

/// Where the API server is, which names there are, and who may ask.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// How to reach the API server [default: the service account of the pod this runs in]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The URL of the API server, in place of the kubeconfig's
    #[arg(long, value_name = "URL")]
    master: Option<String>,
    /// A Corefile, a ConfigMap with one, or a DNSConfiguration. It says what --zone, --reverse, --fallthrough, --pods, --answer-searches, --ttl,
    /// --listen, --health, --ready, --metrics, --forward and --lameduck say otherwise
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["zone", "reverse", "fallthrough", "pods", "answer_searches", "ttl", "listen", "health", "ready", "metrics", "forward", "lameduck"]
    )]
    config: Option<PathBuf>,
    /// The domain of the cluster
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    zone: String,
    /// Domains of names for addresses
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',', default_value = "in-addr.arpa,ip6.arpa")]
    reverse: Vec<String>,
    /// Domains whose unknown names may be known elsewhere
    #[arg(long, value_name = "DOMAINS", value_delimiter = ',', default_value = "in-addr.arpa,ip6.arpa")]
    fallthrough: Vec<String>,
    /// Whether 10-0-0-1.NAMESPACE.pod.DOMAIN is a name
    #[arg(long, value_enum, default_value_t = Pods::Insecure)]
    pods: Pods,
    /// Which searches through the domains of a resolv.conf have the answer of their last query at the first one
    #[arg(long, value_enum, default_value_t = Searches::Never)]
    answer_searches: Searches,
    /// How many seconds an answer may be kept
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    ttl: u32,
    /// Where to answer, over UDP and TCP
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',', default_value = "[::]:53")]
    listen: Vec<SocketAddr>,
    /// The addresses by which clients know this server, for the zone's NS record [default: those of --listen]
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    server_address: Vec<IpAddr>,
    /// How many threads answer over UDP at each address [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Networks whose clients get names from outside of the domain
    #[arg(
        long,
        value_name = "NETWORKS",
        value_delimiter = ',',
        default_value = PRIVATE
    )]
    allow_recursion: Vec<IpNet>,
    /// How many answers a second one client gets over UDP [default: any number]
    #[arg(long, value_name = "NUMBER")]
    rate_limit: Option<u32>,
    /// Whether clients that have cookies (RFC 7873) get the server's half; the rate limit does not apply to those that show it
    /// [default: true; with --config as the file says, false for a Corefile]
    #[arg(long, value_name = "BOOLEAN")]
    cookies: Option<bool>,
    /// The longest message over UDP
    #[arg(long, value_name = "BYTES", default_value_t = 1232, value_parser = clap::value_parser!(u16).range(512..=4096))]
    udp_size: u16,
    /// Where /health is answered; empty for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    health: String,
    /// Where /ready is answered; empty for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8181")]
    ready: String,
    /// Where /metrics is answered; empty for nowhere
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    metrics: String,
    /// Who is asked for other names, in front of a cache: addresses, tls:// addresses, or files as /etc/resolv.conf [default: nobody; such
    /// queries are refused]
    #[arg(long, value_name = "SERVERS", value_delimiter = ',')]
    forward: Vec<Upstream>,
    /// How many seconds to go on after the signal to stop, while /health and /ready say so
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    lameduck: u64,
    /// How much to log: 0 to 4
    #[arg(short, long, default_value_t = 2)]
    v: u8,
}

/// As `pods` of CoreDNS.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Pods {
    /// No
    Disabled,
    /// Any address
    Insecure,
    /// Where a Pod has it
    Verified,
}

/// As `autopath` of CoreDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Searches {
    /// None
    Never,
    /// Those of a pod that begin in its own namespace; with --pods verified
    Pods,
    /// Those that begin in any namespace
    Any,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    telemetry::start_log(Format::Text, args.v, None);
    // UDP has threads of its own; the rest is waiting.
    let runtime = Builder::new_current_thread().enable_all().build().context("failed to start")?;
    match &args.config {
        Some(file) => runtime.block_on(configured::serve(args, file)),
        None => runtime.block_on(serve(args)),
    }
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let (settings, addresses) = settings(args)?;
    let config = ApiConfig::new(args.kubeconfig.clone(), args.master.clone(), "");
    let client = Client::connect(&config).await.map_err(|error| anyhow!("failed to start: {error}"))?;
    info!(server = client.server().await, zone = %settings.zone.zone, ?addresses, "answering");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let mut running = std::pin::pin!(::dns::run(client, settings, stopping));
    tokio::select! {
        result = &mut running => return result.map_err(|error| anyhow!("failed to {error}")),
        result = stopped() => result?,
    }
    stop.send_replace(true);
    running.await.map_err(|error| anyhow!("failed to {error}"))
}

/// Waits for a signal to end.
async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to wait for signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}

fn threads(args: &Args) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    args.threads.unwrap_or_else(processors).max(1)
}

fn policy(args: &Args, has_cookies: bool) -> Policy {
    Policy {
        recursion: args.allow_recursion.clone(),
        udp_size: args.udp_size,
        rate: args.rate_limit,
        cookies: args.cookies.unwrap_or(has_cookies).then(CookieSecret::random),
    }
}

/// What the flags mean, with open sockets and where they are.
fn settings(args: &Args) -> anyhow::Result<(Settings, Vec<SocketAddr>)> {
    let mut zone = ::dns::zone::Settings::new(name("--zone", &args.zone)?);
    zone.reverse = names("--reverse", &args.reverse)?;
    zone.fallthrough = names("--fallthrough", &args.fallthrough)?;
    zone.ttl = args.ttl;
    zone.pods = match args.pods {
        Pods::Disabled => ::dns::zone::Pods::Disabled,
        Pods::Insecure => ::dns::zone::Pods::Insecure,
        Pods::Verified => ::dns::zone::Pods::Verified,
    };
    zone.searches = match args.answer_searches {
        Searches::Never => ::dns::zone::Searches::Never,
        Searches::Pods => ::dns::zone::Searches::OfPods,
        Searches::Any => ::dns::zone::Searches::Any,
    };
    if args.answer_searches == Searches::Pods && zone.pods != ::dns::zone::Pods::Verified {
        return Err(anyhow!(
            "--answer-searches pods: pods are known by their addresses with --pods verified only"
        ));
    }
    let mut sockets = Sockets::default();
    let mut addresses = Vec::new();
    for address in &args.listen {
        let opened = sockets.open(*address, threads(args)).map_err(|error| anyhow!("failed to {error}"))?;
        addresses.push(opened);
    }
    let own = addresses.iter().map(SocketAddr::ip).filter(|address| !address.is_unspecified());
    zone.servers = if args.server_address.is_empty() { own.collect() } else { args.server_address.clone() };
    let counted = page("--metrics", &args.metrics)?.map(|listener| (vec![listener], Metrics::default()));
    let metrics = counted.as_ref().map(|(_, metrics)| metrics);
    let (elsewhere, blocks) = match metrics {
        None if args.forward.is_empty() => (None, ::dns::serve::no_blocks()),
        metrics => forwarding(&args.forward, metrics).map_err(|error| anyhow!("--forward: {error:#}"))?,
    };
    let settings = Settings {
        zone,
        sockets,
        policy: policy(args, true),
        health: page("--health", &args.health)?,
        ready: page("--ready", &args.ready)?,
        metrics: counted,
        lameduck: Duration::from_secs(args.lameduck),
        elsewhere: elsewhere.filter(|_| !args.forward.is_empty()),
        blocks,
    };
    Ok((settings, addresses))
}

fn names(flag: &str, texts: &[String]) -> anyhow::Result<Vec<Name>> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| name(flag, text)).collect()
}

fn name(flag: &str, text: &str) -> anyhow::Result<Name> {
    text.parse().map_err(|error| anyhow!("{flag}: {text:?} {error}"))
}

fn page(flag: &str, text: &str) -> anyhow::Result<Option<TcpListener>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr =
        text.parse().with_context(|| format!("{flag}: {text:?} is no address and port"))?;
    let listener = TcpListener::bind(address).with_context(|| format!("failed to listen on {address}"))?;
    Ok(Some(listener))
}
