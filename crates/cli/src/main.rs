//! The binary `signalbox`: flags and wiring only.

#![allow(clippy::disallowed_methods, reason = "a shell: it reads the environment")]

mod config;
mod duration;
mod flags;
mod proxy;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::flags::ProxyFlags;

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
    Proxy(Box<ProxyFlags>),
    /// Remove everything of signalbox from this node's kernel, and nothing else
    Cleanup,
}

fn main() -> ExitCode {
    let matches = Cli::command().get_matches_from(words(std::env::args_os().collect()));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match cli.command {
        Command::Proxy(flags) => proxy::run(*flags, &given(&matches)),
        Command::Cleanup => cleanup(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signalbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Called as `kube-proxy`, by a link or in an image of that name, it is `signalbox proxy`.
fn words(mut words: Vec<OsString>) -> Vec<OsString> {
    let name = words.first().and_then(|path| Path::new(path).file_name());
    if name.is_some_and(|name| name == "kube-proxy") {
        words.insert(1, "proxy".into());
    }
    words
}

/// The flags of the command that stand on the command line.
fn given(matches: &ArgMatches) -> Vec<String> {
    let Some((_, matches)) = matches.subcommand() else { return Vec::new() };
    let is_given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    matches.ids().filter(is_given).map(|id| id.as_str().replace('_', "-")).collect()
}

fn cleanup() -> anyhow::Result<()> {
    let removed = agent::cleanup().map_err(|error| anyhow::anyhow!("failed to {error}"))?;
    for family in &removed {
        println!("removed the nftables table `signalbox` of {family}");
    }
    if removed.is_empty() {
        println!("nothing of signalbox was here");
    }
    Ok(())
}
