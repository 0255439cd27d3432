//! The automation of the project.

#![allow(clippy::disallowed_methods, reason = "automation needs the clock and the environment")]

mod bench;
mod conformance;
mod contain;
mod demo;
mod image;
mod rules;
mod sweep;
mod test;
mod tidy;
mod tools;
mod traffic;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell the whole story with real packets, in network namespaces
    Demo,
    /// Measure speed and memory, each against its floor in the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run the conformance cases, recorded from the real kube-proxy, with real packets
    Conformance(conformance::Args),
    /// Build the static binary and the root directory of the image, as deploy/Dockerfile does
    Image(image::Args),
    /// Run a program in the root directory of the image, as a container runtime does
    Contain(contain::Args),
    /// Send and serve test traffic in a network namespace
    #[command(subcommand)]
    Traffic(traffic::Action),
    /// Check what the compiler does not: layers, lengths, links
    Tidy,
    /// Run everything that CI runs
    Test,
}

fn main() -> ExitCode {
    let result = match Line::parse().command {
        Command::Demo => root().and_then(demo::run),
        Command::Bench(bench) => bench::run(&bench),
        Command::Conformance(args) => conformance::run(&args),
        Command::Image(args) => root().and_then(|root| image::run(root, &args)),
        Command::Contain(args) => contain::run(&args),
        Command::Traffic(action) => match traffic::run(action) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Command::Tidy => root().and_then(tidy::run),
        Command::Test => root().and_then(test::run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The project's folder.
pub(crate) fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the project's folder")
}
