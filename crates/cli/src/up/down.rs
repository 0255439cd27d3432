//! `signalbox down`: ends what `signalbox up` runs in a directory, and removes every trace of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args as Arguments;
use telemetry::Format;

use super::lock::{self, Lock};
use super::{before, need_root, read_record, record};

/// How long a cluster may take to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the API server and `up` keep in the directory.
const FILES: [&str; 5] = ["objects.redb", "kubeconfig", "lan.kubeconfig", "dns.kubeconfig", "up.json"];
const FOLDERS: [&str; 2] = ["pki", "nodes"];

/// Whose traces.
#[derive(Debug, Arguments)]
pub(crate) struct Args {
    /// The directory of `signalbox up`
    #[arg(long, value_name = "DIR", env = "SIGNALBOX_DATA", default_value = super::DATA)]
    data: PathBuf,
    /// Leave the objects and the pods' logs for another `signalbox up`
    #[arg(long)]
    keep_data: bool,
}

/// Ends it and removes it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    need_root("signalbox down")?;
    telemetry::start_log(Format::Text, 0, Some("warn"));
    let data = std::path::absolute(&args.data).context("failed to find the directory (--data)")?;
    // A directory that is somebody else's is left alone.
    if !lock::path(&data).exists() && !record(&data).exists() {
        println!("nothing of `signalbox up` is in {}", data.display());
        return Ok(());
    }
    let (_lock, ran) = Lock::take_over(&data, PATIENCE)?;
    if ran {
        println!("stopped the cluster");
    }
    let pods = remove_network(&data, args.keep_data)?;
    if pods > 0 {
        println!("removed {pods} pods");
    }
    if args.keep_data {
        println!("kept what is in {}", data.display());
        return Ok(());
    }
    remove_data(&data)?;
    println!("removed {}", data.display());
    Ok(())
}

fn remove_network(data: &Path, keep_data: bool) -> anyhow::Result<usize> {
    let Some(record) = read_record(data)? else { return Ok(0) };
    let mut pods = 0;
    for node in &record.nodes {
        let settings = before::of_node(data, node);
        if keep_data {
            workload::stop_all(&settings, Duration::ZERO);
        } else {
            pods += workload::purge(&settings).context("failed to remove the pods")?;
        }
    }
    // A killed `up` has left its rules; one that was stopped has not, and then this finds none.
    before::remove_rules(record.has_rules);
    site::remove(&record, true);
    Ok(pods)
}

/// Removes what is ours in the directory, and the directory if nothing else is in it.
fn remove_data(data: &Path) -> anyhow::Result<()> {
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    let failed = || format!("failed to remove what is in {}", data.display());
    for name in FOLDERS {
        gone(std::fs::remove_dir_all(data.join(name))).with_context(failed)?;
    }
    for name in FILES.iter().flat_map(|name| with_drafts(name)) {
        gone(std::fs::remove_file(data.join(name))).with_context(failed)?;
    }
    gone(std::fs::remove_file(lock::path(data))).with_context(failed)?;
    // Something else is in it: that is not ours to remove.
    drop(std::fs::remove_dir(data));
    Ok(())
}

/// A file, and what a kill leaves of it while it is written: a draft may hold keys as well.
fn with_drafts(name: &str) -> [String; 4] {
    let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
    [name.to_owned(), format!(".{name}.new"), format!("{name}.new"), format!("{stem}.new")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_ours_goes_and_nothing_else() {
        let data = std::env::temp_dir().join(format!("signalbox-down-{}", std::process::id()));
        let make = |names: &[&str]| {
            std::fs::create_dir_all(data.join("pki")).unwrap();
            names.iter().for_each(|name| std::fs::write(data.join(name), "").unwrap());
        };
        make(&[
            "objects.redb",
            "objects.redb.new",
            ".kubeconfig.new",
            "up.json",
            "up.new",
            "up.lock",
            "pki/ca.key",
        ]);
        remove_data(&data).unwrap();
        assert!(!data.exists());
        make(&["kubeconfig", "mine", "up.lock"]);
        remove_data(&data).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["mine"]);
        std::fs::remove_dir_all(data).unwrap();
    }
}
