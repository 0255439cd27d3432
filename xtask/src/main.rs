//! The automation of the project.

#![allow(clippy::disallowed_methods, reason = "automation needs the clock and the environment")]

mod conformance;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the conformance cases, recorded from the real kube-proxy, with real packets
    Conformance(conformance::Args),
}

fn main() -> ExitCode {
    let result = match Line::parse().command {
        Command::Conformance(args) => conformance::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
