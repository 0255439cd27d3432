//! The binary `signalbox`: flags and wiring only.

#![allow(clippy::disallowed_methods, reason = "a shell: it reads the environment")]

mod apiserver;
mod controller;
mod dns;
mod events;
mod follow;
mod forwarding;
mod health_ports;
mod kubeconfig;
mod node_names;
mod proxy;
mod up;
mod whoami;
mod workload;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use config::Flags;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The release of Kubernetes whose kube-proxy it stands for.
const KUBERNETES: &str = "v1.36.2";

/// Maps Kubernetes Service IPs to Pods in the kernel.
#[derive(Debug, Parser)]
#[command(name = "signalbox", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep this node's kernel in step with the Services, in place of kube-proxy
    #[command(args_override_self = true)]
    Proxy(Box<Flags>),
    /// Serve Kubernetes' API from this machine, with everything kept in one directory
    Apiserver(Box<apiserver::Args>),
    /// Print a kubeconfig for a client of such a server, which may be running
    Kubeconfig(kubeconfig::Args),
    /// Do in any API server what Kubernetes' controllers and scheduler do: EndpointSlices, Deployments, nodes for Pods
    Controller(controller::Args),
    /// Answer for the names of Services, in place of CoreDNS
    Dns(Box<dns::Args>),
    /// Run the pods of this node as processes of this machine
    Workload(Box<workload::Args>),
    /// Run a whole cluster on this machine: API server, controllers, nodes, pods
    Up(Box<up::Args>),
    /// End what `signalbox up` runs, and remove every trace of it
    Down(up::down::Args),
    #[command(args_override_self = true)]
    /// Answer requests with who answers: the program of the image signalbox/whoami
    Whoami(whoami::Args),
    /// Keep one container of a pod
    #[command(hide = true)]
    Keep(workload::Keep),
    /// Remove everything of signalbox from this node's kernel, and nothing else
    Cleanup,
}

/// The same program under the name that it stands for.
#[derive(Debug, Parser)]
#[command(
    name = "kube-proxy",
    about = "Keeps this node's kernel in step with the Services: signalbox in place of kube-proxy"
)]
#[command(args_override_self = true)]
struct KubeProxy {
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    let command = command(words(std::env::args_os().collect()));
    let result = match command {
        Command::Proxy(flags) => proxy::run(&flags),
        Command::Apiserver(args) => apiserver::run(&args),
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Controller(args) => controller::run(&args),
        Command::Dns(args) => dns::run(&args),
        Command::Workload(args) => workload::run(&args),
        Command::Up(args) => up::run(&args),
        Command::Down(args) => up::down::run(&args),
        Command::Whoami(args) => whoami::run(&args),
        Command::Keep(args) => workload::keep(&args),
        Command::Cleanup => cleanup(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("signalbox: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Called as `kube-proxy`, by a link or in an image of that name, it is `signalbox proxy`.
fn command(words: Vec<OsString>) -> Command {
    if is_kube_proxy(&words) {
        return Command::Proxy(Box::new(KubeProxy::parse_from(words).flags));
    }
    Cli::parse_from(words).command
}

fn is_kube_proxy(words: &[OsString]) -> bool {
    let name = words.first().and_then(|path| Path::new(path).file_name());
    name.is_some_and(|name| name == "kube-proxy")
}

/// The words of a command line, flags with dashes.
fn words(mut words: Vec<OsString>) -> Vec<OsString> {
    if is_kube_proxy(&words) || words.get(1).is_some_and(|command| command == "proxy") {
        words.iter_mut().skip(1).for_each(|word| *word = with_dashes(word));
    }
    words
}

/// Kubernetes' programs take `--bind_address` for `--bind-address`.
fn with_dashes(word: &OsStr) -> OsString {
    let Some(flag) = word.to_str().filter(|word| word.starts_with("--")) else { return word.to_owned() };
    match flag.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")).into(),
        None => flag.replace('_', "-").into(),
    }
}

fn cleanup() -> anyhow::Result<()> {
    let removed = agent::cleanup().map_err(|error| anyhow::anyhow!("failed to {error}"))?;
    for family in &removed {
        println!("removed the nftables table `signalbox` of {family}");
    }
    let (mut has_chains, mut failures) = (false, Vec::new());
    for result in agent::remove_own_chains() {
        has_chains = true;
        match result {
            Ok((program, chains)) => println!("removed {chains} chains of signalbox that {program} listed"),
            Err(error) => failures.push(format!("failed to {error}")),
        }
    }
    if has_chains && let Err(error) = agent::cleanup_ipsets() {
        failures.push(format!("failed to {error}"));
    }
    let of_names = match ::dns::node::cleanup() {
        Ok(count) => count,
        Err(error) => {
            failures.push(format!("failed to {error}"));
            0
        }
    };
    if of_names > 0 {
        println!("removed {of_names} tables and routes of this node's DNS");
    }
    if !failures.is_empty() {
        anyhow::bail!("{}", failures.join("\n"));
    }
    if removed.is_empty() && !has_chains && of_names == 0 {
        println!("nothing of signalbox was here");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, wanted: &str) {
        let split = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(super::words(split(line)), split(wanted));
    }

    #[test]
    fn called_as_kube_proxy_it_is_one() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(matches!(command(words("/bin/kube-proxy -v 2")), Command::Proxy(_)));
        assert!(
            matches!(command(words("signalbox proxy --cleanup")), Command::Proxy(flags) if flags.cleanup)
        );

        check(
            "/usr/local/bin/kube-proxy --kube_api_qps=1_0 --config /a_b",
            "/usr/local/bin/kube-proxy --kube-api-qps=1_0 --config /a_b",
        );
        check(
            "signalbox proxy --bind_address=x_y --proxy_mode z_z",
            "signalbox proxy --bind-address=x_y --proxy-mode z_z",
        );
        check("signalbox cleanup", "signalbox cleanup");
    }
}
