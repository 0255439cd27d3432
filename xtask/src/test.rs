//! `cargo xtask test`: the whole check, in the order in which mistakes are cheapest to find.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs everything; the first failure ends it.
pub(crate) fn run(root: &Path) -> Result<()> {
    let is_root = runs_as_root();
    if is_root {
        crate::tools::require_tools()?;
    } else {
        println!("NOT ROOT: tests that need network namespaces and the conformance cases are left out.");
        println!("          Run `sudo -E cargo xtask test` for all of them.");
    }
    crate::tools::bring_api_tools(root)?;
    step("formatting", cargo(root, &["fmt", "--all", "--check"]))?;
    step("invariants", crate::tidy::run(root))?;
    step(
        "lints",
        cargo(root, &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]),
    )?;
    step("tests", cargo(root, &["test", "--workspace"]))?;
    if is_root {
        step("conformance, nftables mode", cargo(root, &["xtask", "conformance"]))?;
        for flavour in ["legacy", "nft"] {
            let name = format!("conformance, iptables mode, {flavour} flavour");
            if !crate::conformance::has_flavour(flavour) {
                println!(
                    "== {name}: SKIPPED (needs iptables-{flavour}-restore and ip6tables-{flavour}-restore)"
                );
                continue;
            }
            step(&name, cargo(root, &["xtask", "conformance", "--mode", "iptables", "--flavour", flavour]))?;
        }
        step("demo", cargo(root, &["xtask", "demo"]))?;
        println!("\nEverything passed.");
    } else {
        println!("\nPassed what needs no root. LEFT OUT: packet tests, conformance cases, demo.");
    }
    Ok(())
}

fn step(name: &str, result: Result<()>) -> Result<()> {
    println!("== {name}: {}", if result.is_ok() { "ok" } else { "FAILED" });
    result.with_context(|| name.to_owned())
}

fn cargo(root: &Path, words: &[&str]) -> Result<()> {
    let status = Command::new("cargo").args(words).current_dir(root).status().context("running cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", words.join(" "));
    }
    Ok(())
}

fn runs_as_root() -> bool {
    rustix::process::geteuid().is_root()
}
