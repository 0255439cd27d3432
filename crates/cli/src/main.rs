//! The binary `signalbox`: flags and wiring only.

#![allow(clippy::disallowed_methods, reason = "a shell: it reads the environment")]

mod duration;
mod flags;
mod proxy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    let result = match Cli::parse().command {
        Command::Proxy(flags) => proxy::run(&flags),
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
