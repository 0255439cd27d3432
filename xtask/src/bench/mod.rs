//! `cargo xtask bench`: speed and memory, each against its floor in the same run. Report ratios and medians: the
//! machine may be busy with other things.

mod agent;
mod apiserver;
mod cluster;
mod controller;
mod dns;
mod figures;
mod flows;
mod iptables;
mod path;
mod recorder;
mod store;
mod sync;
mod up;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

/// What `cargo xtask bench` takes.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Writing Services to the kernel: everything, and one change at a time
    Sync(Size),
    /// The whole process against an API server: start, memory, and how fast a change reaches the traffic
    Agent(Size),
    /// Looking for stale UDP flows in a table of a million
    Flows(flows::Table),
    /// The API server: durable writes, lists, watches, memory, start, against floors and etcd
    Apiserver(apiserver::Api),
    /// The API server's store: durable writes, and opening a large one
    Store(store::Objects),
    /// The EndpointSlice controller: start, memory, what rest costs, and how fast a changed pod is in its slice
    Controller(Size),
    /// Cluster DNS: queries a second, latency and processor time, against a UDP echo, unbound and knot
    Dns(dns::Size),
    /// `signalbox up`: until there is a cluster, until a Service balances, until a deleted pod is replaced
    Up(up::Rounds),
    /// iptables mode, both flavours: writing Services, and connections against nftables mode
    Iptables(iptables::Rules),
    /// Connections and requests through a ClusterIP against straight to the pod
    Path(Size),
}

/// How large the cluster is.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Size {
    /// Services
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Endpoints of each Service
    #[arg(long, default_value_t = 10)]
    endpoints: u32,
    /// Single changes, or rounds
    #[arg(long, default_value_t = 1_000)]
    changes: u32,
}

/// Runs a benchmark.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let needs_root =
        !matches!(bench, Bench::Store(_) | Bench::Apiserver(_) | Bench::Controller(_) | Bench::Dns(_));
    if needs_root && !rustix::process::geteuid().is_root() {
        bail!(
            "benchmarks write to the kernel in network namespaces of their own, which needs root: use `sudo -E`"
        );
    }
    if cfg!(debug_assertions) {
        return again_as_release();
    }
    match bench {
        Bench::Sync(size) => sync::run(*size),
        Bench::Agent(size) => agent::run(*size),
        Bench::Flows(table) => flows::run(*table),
        Bench::Apiserver(api) => apiserver::run(api),
        Bench::Store(objects) => store::run(objects),
        Bench::Controller(size) => controller::run(*size),
        Bench::Dns(names) => dns::run(names),
        Bench::Iptables(rules) => iptables::run(rules),
        Bench::Path(size) => path::run(*size),
        Bench::Up(rounds) => up::run(*rounds),
    }
}

/// Figures of a debug build mean nothing: runs the same command with an optimised build.
fn again_as_release() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["run", "--quiet", "--release", "-p", "xtask", "--"]).args(std::env::args_os().skip(1));
    let status = command.current_dir(crate::root()?).status().context("running cargo")?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}
