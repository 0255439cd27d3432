//! `signalbox up`: a whole cluster on this machine in one process: API server, controllers, nodes with their pods and proxies.
//!
//! The network is `site`'s, each part is the one that also stands alone; here they are started in order, watched, and ended.

mod before;
mod cluster;
pub(crate) mod down;
mod lock;
mod names;
mod nodes;
mod say;
mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use ::apiserver::range::Range;
use anyhow::{Context, anyhow, bail};
use clap::Args as Arguments;
use model::IpNet;
use site::{Record, Site, Wish};
use telemetry::Format;
use tokio::runtime::Builder;
use workload::Images;

use cluster::Cluster;
use lock::Lock;
use signals::Signals;

/// Where everything is kept unless it is said otherwise.
const DATA: &str = "/var/lib/signalbox";

/// What cluster there is to be.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of everything that is kept: objects, certificates, kubeconfig, pods
    #[arg(long, value_name = "DIR", env = "SIGNALBOX_DATA", default_value = DATA)]
    data: PathBuf,
    /// Where kubectl on this machine finds the API server; port 0: any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// How many nodes. One is this machine itself; several, or isolated ones, are network namespaces on it
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=250))]
    nodes: u16,
    /// The zones of the nodes in turn, as their label topology.kubernetes.io/zone
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    zones: Vec<String>,
    /// Keep everything inside network namespaces: the network of this machine is left alone, its programs do not reach Services
    #[arg(long)]
    isolated: bool,
    /// Give pods and Services IPv6 addresses as well
    #[arg(long)]
    dual_stack: bool,
    /// The ranges of all pods' addresses [default: 10.244.0.0/16, with --dual-stack also fd00:10:244::/48]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// The ranges of the nodes' addresses [default: 10.243.0.0/24, with --dual-stack also fd00:10:243::/112]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    node_cidr: Vec<IpNet>,
    /// The ranges of the Services' addresses [default: 10.96.0.0/12, with --dual-stack also fd00:10:96::/112]
    #[arg(long, value_name = "CIDRS", value_delimiter = ',', value_parser = crate::apiserver::range)]
    service_cluster_ip_range: Vec<Range>,
    /// A program of this machine that stands for an image's entrypoint
    #[arg(long, value_name = "NAME[:TAG]=PROGRAM ARGS..")]
    image: Vec<String>,
    /// A file of such lines
    #[arg(long, value_name = "FILE")]
    images: Option<PathBuf>,
    /// How much to log: 0 (warnings) to 4
    #[arg(short, long, default_value_t = 0)]
    v: u8,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let begin = Instant::now();
    need_root("signalbox up")?;
    // What it says at the start is for people; the log tells them of trouble only, unless they want more.
    telemetry::start_log(Format::Text, args.v, (args.v == 0).then_some("warn"));
    let data = std::path::absolute(&args.data).context("failed to find the directory (--data)")?;
    let images = images(args)?;
    let wish = wish(args, &data)?;
    let site = Site::new(&wish).map_err(|error| {
        anyhow!("--cluster-cidr, --node-cidr, --service-cluster-ip-range, --nodes: {error}")
    })?;
    let lock = Lock::take(&data)?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("failed to start threads")?;
    // Before anything is made: a signal that comes from now on finds everything removed at the end.
    let signals = runtime.block_on(async { Signals::open() }).context("failed to wait for signals")?;
    let old_nodes = before::prepare(&site, &data)?;
    let result = runtime.block_on(async {
        let mut signals = signals;
        let mut cluster = Cluster::start(args, (&site, &data), images).await?;
        let ended = tokio::select! {
            () = signals.any() => Ok(()),
            result = async {
                cluster.forget_nodes(&old_nodes).await;
                cluster.ready(&site).await?;
                say::ready(args, (&site, &data), (&cluster, begin.elapsed()));
                cluster.failed().await
            } => result,
        };
        say::stopping();
        tokio::select! {
            () = cluster.stop() => {}
            () = signals.any() => say::hurrying(),
        }
        ended
    });
    runtime.shutdown_background();
    before::tidy(&site, &data);
    drop(lock);
    result
}

pub(crate) fn need_root(what: &str) -> anyhow::Result<()> {
    if !sys::process::is_root() {
        bail!("`{what}` sets up networks and the kernel's rules, which needs root: run it with sudo");
    }
    Ok(())
}

fn images(args: &Args) -> anyhow::Result<Images> {
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut images = Images::default();
    for (tag, version) in [("", "v1"), (":v1", "v1"), (":v2", "v2")] {
        let line = format!("signalbox/whoami{tag}=\"{}\" whoami --greeting {version}", program.display());
        images.add(&line).map_err(|error| anyhow!("{error}"))?;
    }
    crate::workload::add_images(&mut images, args.images.as_deref(), &args.image)?;
    Ok(images)
}

fn wish(args: &Args, data: &std::path::Path) -> anyhow::Result<Wish> {
    let nodes = match (args.nodes, args.isolated) {
        (1, false) => vec![node_name()],
        (count, _) => (1..=count).map(|number| format!("node-{number}")).collect(),
    };
    let services = service_ranges(args);
    let services = services.iter().map(|range| range.to_string().parse()).collect::<Result<_, _>>();
    Ok(Wish {
        is_isolated: args.isolated,
        nodes,
        tag: tag(data),
        pods: ranges(&args.cluster_cidr, args.dual_stack, ["10.244.0.0/16", "fd00:10:244::/48"]),
        hosts: ranges(&args.node_cidr, args.dual_stack, ["10.243.0.0/24", "fd00:10:243::/112"]),
        services: services.map_err(|error| anyhow!("--service-cluster-ip-range: {error}"))?,
    })
}

fn ranges(told: &[IpNet], is_dual: bool, usual: [&str; 2]) -> Vec<IpNet> {
    if !told.is_empty() {
        return told.iter().map(IpNet::trunc).collect();
    }
    let usual = usual.iter().take(if is_dual { 2 } else { 1 });
    usual.map(|range| range.parse().expect("it is a range")).collect()
}

pub(crate) fn service_ranges(args: &Args) -> Vec<Range> {
    if !args.service_cluster_ip_range.is_empty() {
        return args.service_cluster_ip_range.clone();
    }
    let usual = ["10.96.0.0/12", "fd00:10:96::/112"].iter().take(if args.dual_stack { 2 } else { 1 });
    usual.filter_map(|range| Range::parse(range)).collect()
}

/// The name of the machine where it can be a node's, else another one.
fn node_name() -> String {
    let name = crate::proxy::host_name().to_lowercase();
    let is_good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = [name.bytes().next(), name.bytes().last()];
    let has_good_ends = ends.iter().all(|byte| byte.is_some_and(|byte| byte.is_ascii_alphanumeric()));
    if has_good_ends && name.len() <= 63 && name.bytes().all(is_good) { name } else { "node-1".to_owned() }
}

/// Tells the networks of several directories from each other; that of the usual directory needs no letters.
fn tag(data: &std::path::Path) -> String {
    if data == std::path::Path::new(DATA) {
        return String::new();
    }
    // FNV-1a: the same for the same directory, whatever the program's version.
    let hash = data
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{:06x}", hash & 0x00ff_ffff)
}

/// The file that says what there may be of the network.
fn record(data: &std::path::Path) -> PathBuf {
    data.join("up.json")
}

fn read_record(data: &std::path::Path) -> anyhow::Result<Option<Record>> {
    let file = record(data);
    Record::read(&file).with_context(|| format!("failed to read {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_has_its_own_letters() {
        assert_eq!(tag(std::path::Path::new(DATA)), "");
        let [one, other] = ["/tmp/a", "/tmp/b"].map(|path| tag(std::path::Path::new(path)));
        assert!(one.len() == 6 && other.len() == 6 && one != other, "{one} {other}");
    }

    #[test]
    fn ranges_follow_the_families() {
        let usual = ["10.244.0.0/16", "fd00:10:244::/48"];
        let text = |ranges: Vec<IpNet>| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(ranges(&[], false, usual)), ["10.244.0.0/16"]);
        assert_eq!(text(ranges(&[], true, usual)), usual);
        assert_eq!(text(ranges(&["10.1.2.3/16".parse().unwrap()], true, usual)), ["10.1.0.0/16"]);
    }
}
