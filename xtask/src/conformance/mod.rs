//! `cargo xtask conformance`: what was recorded from the real kube-proxy, against the proxy under test, with real
//! packets. The cases and their meaning: `conformance/README.md`. With `--api` and `--slices`: what was recorded from the real API server
//! and its controllers.

mod api;
mod better;
mod edit;
mod expected;
mod lab;
mod outcome;
mod proxy;
mod report;
mod run;
mod tool;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use testkit::cases::{self, Case, ProxyConfig};

use crate::sweep::{self, Sweep};

use expected::ExpectedFailures;
use lab::{Lab, Setup};
use proxy::Template;
use report::Report;
use run::{Manner, Runner};

/// After so many cases in a row without a working proxy there is no point in going on.
const GIVE_UP_AFTER: u32 = 3;

/// Where the image has the product.
const IN_IMAGE: &str = "/usr/local/bin/signalbox";

/// What `cargo xtask conformance` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which recorded outcomes to compare with
    #[arg(long, default_value = "nftables", value_parser = ["nftables", "iptables"])]
    mode: String,
    /// Which flavour of iptables the proxies find; kube-proxy was recorded with legacy
    #[arg(long, default_value = "legacy", value_parser = ["legacy", "nft"])]
    flavour: String,
    /// Only cases of this topic (may be repeated)
    #[arg(long, value_name = "TOPIC")]
    topic: Vec<String>,
    /// Only cases whose names match (may be repeated); `*` stands for anything
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// The proxy under test [default: this project's, built here]; filled in: {flags} {config} {node} {kubeconfig}
    /// {mode} {workdir} {netns} {node_ip}
    #[arg(long, value_name = "COMMAND")]
    sut: Option<String>,
    /// Run the proxy under test in this root directory, as a container runtime would; made by `cargo xtask image`
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Before each case stop the proxies and wipe the nodes: the first synchronisation does the work
    #[arg(long)]
    fresh: bool,
    /// Run everything so many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeat: u32,
    /// Write all outcomes as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Keep the folder with the logs of all processes
    #[arg(long)]
    keep: bool,
    /// List the selected cases, run nothing
    #[arg(long)]
    list: bool,
    /// Show what came of every probe
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    api: api::ApiArgs,
}

pub(crate) use proxy::build as build_product;

/// Runs the selected cases; fails unless each passes or is known to fail.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the project's folder")?;
    if args.api.api || args.api.slices {
        return api::run(root, args);
    }
    let mut all = cases::load(&root.join("conformance/dataplane"))?;
    better::replace_quirks(&mut all, &args.mode, &list(root, "better", &args.mode)?)?;
    let known = expected_failures(root, &args.mode, &all)?;
    let selected = selected(all, args);
    if selected.is_empty() {
        bail!("no case selected");
    }
    if args.list {
        for case in &selected {
            println!("{:<18} {:<42} {}", case.topic, case.name, case.why);
        }
        println!("{} cases", selected.len());
        return Ok(());
    }
    if let Some(folder) = args.root.as_ref().filter(|folder| !folder.is_dir()) {
        bail!("--root {}: no such folder; `cargo xtask image` makes it", folder.display());
    }
    crate::tools::require_tools()?;
    let template = match (&args.sut, &args.root) {
        (Some(command), _) => Template::parse(command)?,
        (None, Some(_)) => Template::product(Path::new(IN_IMAGE)),
        (None, None) => Template::product(&proxy::build(root)?),
    };
    let begin = Instant::now();
    let sweep = Sweep::begin("conformance", args.keep)?;
    let folder = sweep.folder().to_owned();
    let path = flavour_path(&folder, &args.flavour)?;
    let setup = Setup { folder, mode: args.mode.clone(), template, root: args.root.clone(), path };
    let world = testkit::world::conformance(&format!("{}-", sweep.run()))
        .map_err(|error| anyhow::anyhow!("building the network: failed to {error}"))?;
    let lab = Lab::start(setup, world.path_prefix().display().to_string())?;
    println!(
        "lab {} up in {:.1} s, logs in {}",
        sweep.run(),
        begin.elapsed().as_secs_f64(),
        sweep.folder().display()
    );
    let manner = Manner { fresh: args.fresh, verbose: args.verbose };
    let mut report = Report::new(&args.mode, known);
    let finished = run_all(&mut Runner::new(lab, manner), &selected, args.repeat, &mut report);
    report.print_totals(begin.elapsed());
    if let Some(path) = &args.report {
        std::fs::write(path, report.json()).with_context(|| path.display().to_string())?;
    }
    finished?;
    if !report.is_good() {
        bail!("some cases did not go as expected");
    }
    Ok(())
}

/// Answers whether the programs of one flavour of iptables are installed.
pub(crate) fn has_flavour(flavour: &str) -> bool {
    flavour_programs(flavour).iter().all(|(_, program)| program.exists())
}

/// The programs of one flavour with their names in every flavour.
fn flavour_programs(flavour: &str) -> Vec<(String, PathBuf)> {
    let of = |base: &'static str| {
        ["", "-save", "-restore"].map(|action| {
            let program = format!("/usr/sbin/{base}-{flavour}{action}");
            (format!("{base}{action}"), PathBuf::from(program))
        })
    };
    ["iptables", "ip6tables"].into_iter().flat_map(of).collect()
}

/// Makes a folder in which `iptables-restore` and its like are programs of one flavour, and answers a PATH that begins there.
fn flavour_path(folder: &Path, flavour: &str) -> Result<OsString> {
    let links = folder.join("bin");
    std::fs::create_dir_all(&links).with_context(|| links.display().to_string())?;
    for (name, program) in flavour_programs(flavour) {
        let link = links.join(name);
        std::os::unix::fs::symlink(&program, &link).with_context(|| link.display().to_string())?;
    }
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(std::iter::once(links).chain(std::env::split_paths(&rest))).context("PATH")
}

fn run_all(runner: &mut Runner, cases: &[Case], repeat: u32, report: &mut Report) -> Result<()> {
    let mut stuck = 0;
    for round in 1..=repeat {
        for case in cases {
            let begin = Instant::now();
            let result = runner.run(case);
            sweep::wait_if_stopped();
            let has_no_proxy = result.as_ref().is_err_and(|error| {
                let text = format!("{error:#}");
                text.contains("sentinel") || text.contains("the proxy of")
            });
            stuck = if has_no_proxy { stuck + 1 } else { 0 };
            report.add(case, (round, begin.elapsed()), result);
            if stuck >= GIVE_UP_AFTER {
                bail!("{GIVE_UP_AFTER} cases in a row without a working proxy: given up");
            }
        }
    }
    Ok(())
}

fn expected_failures(root: &Path, mode: &str, cases: &[Case]) -> Result<ExpectedFailures> {
    ExpectedFailures::parse(&list(root, "expected-failures", mode)?, cases)
}

/// One of the lists beside the cases; a mode without one has an empty one.
fn list(root: &Path, name: &str, mode: &str) -> Result<String> {
    let path = root.join(format!("conformance/{name}-{mode}.txt"));
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        other => other.with_context(|| path.display().to_string()),
    }
}

/// Selects cases, those with the same configuration next to each other: fewer restarts.
fn selected(cases: Vec<Case>, args: &Args) -> Vec<Case> {
    let is_wanted = |case: &Case| {
        (args.topic.is_empty() || args.topic.contains(&case.topic))
            && (args.only.is_empty() || args.only.iter().any(|glob| matches(glob, &case.name)))
    };
    let mut configs = vec![ProxyConfig::default()];
    let mut list = Vec::new();
    for case in cases.into_iter().filter(is_wanted) {
        let at = configs.iter().position(|config| *config == case.config).unwrap_or_else(|| {
            configs.push(case.config.clone());
            configs.len() - 1
        });
        list.push((at, case));
    }
    list.sort_by_key(|(at, _)| *at);
    list.into_iter().map(|(_, case)| case).collect()
}

/// Whether a name matches a pattern in which `*` stands for anything.
fn matches(glob: &str, name: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else { return glob == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn globs() {
        for (glob, name, expected) in [
            ("term-*", "term-fallback", true),
            ("*fall*", "term-fallback", true),
            ("*", "x", true),
            ("term", "term-fallback", false),
            ("*back-*", "term-fallback", false),
        ] {
            assert_eq!(matches(glob, name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn selects_and_sorts_by_configuration() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let all = cases::load(&root.join("conformance/dataplane")).unwrap();
        let select = |words: &str| {
            let words = std::iter::once("x").chain(words.split_whitespace());
            selected(all.clone(), &Line::parse_from(words).args)
        };
        assert_eq!(select("").len(), all.len());
        let names: Vec<_> = select("--topic masquerade").into_iter().map(|case| case.name).collect();
        assert_eq!(
            names,
            ["hairpin-clusterip", "masq-by-client", "masq-all", "masq-no-detector", "masq-one-family-cidr"]
        );
        assert_eq!(select("--topic edges --only edge-un*").len(), 2);
    }

    #[test]
    fn the_lists_of_expected_failures_are_in_order() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let all = cases::load(&root.join("conformance/dataplane")).unwrap();
        for mode in ["nftables", "iptables"] {
            expected_failures(root, mode, &all).unwrap();
        }
    }
}
