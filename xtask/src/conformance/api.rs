//! `cargo xtask conformance --api` and `--slices`: what was recorded from the real API server and its endpoint controllers,
//! against those under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use testkit::answers::{self, Access, Compact, Lists, OwnController, OwnServer, Setup, Tell};

use super::Args;

/// What is only for the API server's cases.
#[derive(Debug, clap::Args)]
pub(super) struct ApiArgs {
    /// Play the recorded answers of an API server instead [default: against this project's, built and started here]
    #[arg(long, group = "recorded")]
    pub(super) api: bool,
    /// Play the recorded histories of EndpointSlices instead, with this project's controller [default: against this
    /// project's API server]
    #[arg(long, group = "recorded")]
    pub(super) slices: bool,
    /// Another server, which must hold nothing else: the cases remove what they find
    #[arg(long, value_name = "URL", requires = "api", conflicts_with_all = ["kubeconfig", "slices"])]
    server: Option<String>,
    /// The bearer token of its administrator
    #[arg(long, value_name = "TOKEN", requires = "server", default_value = "")]
    token: String,
    /// Another server and token, from the current context of this file
    #[arg(long, value_name = "FILE", requires = "api", conflicts_with = "slices")]
    kubeconfig: Option<PathBuf>,
    /// Only API cases or histories whose names contain this
    #[arg(long, value_name = "TEXT", requires = "recorded", default_value = "")]
    filter: String,
    /// A command that makes the server forget its history before {rv} [default: restart this project's; skip such cases]
    #[arg(long, value_name = "COMMAND", requires = "api")]
    compact: Option<String>,
}

/// Plays the selected cases; fails unless each passes or deviates as its list says.
pub(super) fn run(root: &Path, args: &Args) -> Result<()> {
    let (folder, cases) = match args.api.slices {
        true => (root.join("conformance/slices"), root.join("conformance/slices")),
        false => (root.join("conformance/api"), root.join("conformance/api/cases")),
    };
    let mut cases = answers::load(&cases)?;
    let list = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let lists = Lists::parse(&list("better.txt"), &list("expected-failures.txt"), &cases);
    let lists = lists.map_err(anyhow::Error::msg)?;
    cases.retain(|case| case.name.contains(&args.api.filter));
    if cases.is_empty() {
        bail!("no case selected");
    }
    if args.list {
        cases.iter().for_each(|case| println!("{:<48} {}", case.name, case.why));
        println!("{} cases", cases.len());
        return Ok(());
    }
    let home = std::env::temp_dir().join(format!("signalbox-api-{}", std::process::id()));
    let result = play(root, args, (&cases, &lists), &home);
    if args.keep {
        println!("kept {}", home.display());
    } else {
        // A leftover folder in /tmp harms nobody.
        drop(std::fs::remove_dir_all(&home));
    }
    result
}

fn play(root: &Path, args: &Args, (cases, lists): (&[answers::Case], &Lists), home: &Path) -> Result<()> {
    let begin = Instant::now();
    let (access, server) = match (&args.api.server, &args.api.kubeconfig) {
        (Some(url), _) => (Access::new(url, &args.api.token), None),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            (Access::of_kubeconfig(&text).map_err(anyhow::Error::msg)?, None)
        }
        (None, None) => {
            let started = OwnServer::for_recorded(&build(root)?, &home.join("data"));
            let server = started.map_err(anyhow::Error::msg)?;
            (server.access().clone(), Some(server))
        }
    };
    // The nodes of these histories say nothing, and are not to be missed.
    let flags = ["--controllers=*,-node-lifecycle-controller"];
    let controller =
        server.as_ref().filter(|_| args.api.slices).map(|server| OwnController::start(server, &flags));
    let _controller = controller.transpose().map_err(anyhow::Error::msg)?;
    println!("playing {} cases against {}", cases.len(), access.url);
    let kubectl = answers::installed_kubectl();
    let server = server.map(Mutex::new);
    let by_command =
        |before: &str| answers::compact_by(args.api.compact.as_deref().unwrap_or_default(), before);
    let by_restart = |_: &str| match &server {
        Some(server) => server.lock().unwrap_or_else(PoisonError::into_inner).restart(),
        None => Err("not our server".into()),
    };
    let compact: Option<Compact<'_>> = match (&args.api.compact, &server) {
        (Some(_), _) => Some(&by_command),
        (None, Some(_)) => Some(&by_restart),
        (None, None) => None,
    };
    let setup = Setup { access, kubectl, compact, home: home.join("home") };
    let mut tell = Tell { to: &mut |line| println!("{line}"), verbose: args.verbose };
    let summary = answers::run(cases, &setup, lists, &mut tell).map_err(anyhow::Error::msg)?;
    println!("{:.1} s", begin.elapsed().as_secs_f64());
    if !summary.failures.is_empty() {
        println!("not as expected: {}", summary.failures.join(" "));
    }
    println!("{summary}");
    if summary.failed > 0 {
        bail!("some cases did not go as expected");
    }
    Ok(())
}

/// Builds the product as tests do and answers where its binary is.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["build", "--quiet", "-p", "cli"];
    let status = Command::new(cargo).args(words).current_dir(root).status().context("running cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", words.join(" "));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join("debug/signalbox"))
}
