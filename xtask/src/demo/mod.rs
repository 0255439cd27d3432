//! `cargo xtask demo`: the whole story on this machine, with `signalbox up` and real packets.
//!
//! Needs root and Rust, no other program. Everything lives inside network namespaces and is removed at the end, on errors
//! and on Ctrl-C.

mod meter;
mod names;
pub(crate) mod stage;
mod story;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use testkit::up::Up;

use crate::sweep::Sweep;
use story::Story;

/// What cluster the story is played in.
const WORDS: [&str; 4] = ["--isolated", "--nodes=2", "--zones=a,b", "--listen=127.0.0.1:0"];

/// Runs the demo.
pub(crate) fn run(root: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "the demo builds network namespaces and sets kernel rules inside them, which needs root: run \
             `sudo -E env PATH=$PATH cargo xtask demo`"
        );
    }
    let binary = build(root)?;
    let sweep = Sweep::begin("demo", false)?;
    let data = sweep.folder().join("data");
    sweep.take_down(&binary, &data);
    println!("$ signalbox up {}\n", WORDS[..3].join(" "));
    let mut up = Up::new(&binary, &data, &WORDS, None);
    let took = up.start().context("starting a cluster")?;
    println!(
        "API server, controllers, two nodes and their proxies were ready after {} ms:\n",
        took.as_millis()
    );
    up.said().lines().filter(|line| line.starts_with("  node")).for_each(|line| println!("  {line}"));
    let told = Story::new(&up, root).and_then(|story| story.tell());
    told.with_context(|| format!("the cluster said:\n{}", up.log()))?;
    println!("\n$ signalbox down");
    up.down().context("removing the cluster")?;
    println!("\nDone. Namespaces, rules and processes of this demo are removed; the machine is as it was.");
    Ok(())
}

/// The program as a debug build: its work is done by the kernel.
fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "-p", "cli"]).current_dir(root);
    if !command.status().context("running cargo")?.success() {
        bail!("signalbox could not be built");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join("debug/signalbox"))
}
