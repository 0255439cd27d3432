//! What must not be left behind: the namespaces and the folder of a run, removed at the end, on errors and on signals.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use sys::netns::{self, Namespace};
use tokio::signal::unix::{SignalKind, signal};

/// Removes a run's traces when dropped, or when a signal ends this program.
pub(crate) struct Sweep(Traces);

#[derive(Clone)]
struct Traces {
    run: String,
    folder: PathBuf,
    keep: bool,
    /// The program and the directory of a cluster.
    cluster: Arc<Mutex<Option<(PathBuf, PathBuf)>>>,
}

impl Sweep {
    /// Invents a run, makes its folder, and watches for signals from now on. Removes what runs left that were killed
    /// before they could do it themselves.
    pub(crate) fn begin(what: &str, keep: bool) -> Result<Self> {
        let is_leftover =
            |name: &String| is_leftover(name, |process| Path::new("/proc").join(process).exists());
        remove_namespaces(&netns::names(RUN).into_iter().filter(is_leftover).collect::<Vec<_>>());
        let run = format!("{RUN}{}", std::process::id());
        let folder = std::env::temp_dir().join(format!("signalbox-{what}-{run}"));
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let traces = Traces { run, folder, keep, cluster: Arc::default() };
        watch_signals(traces.clone())?;
        Ok(Self(traces))
    }

    /// From now on, `PROGRAM down --data DIR` is part of the removal.
    pub(crate) fn take_down(&self, program: &Path, data: &Path) {
        let cluster = Some((program.to_owned(), data.to_owned()));
        *self.0.cluster.lock().unwrap_or_else(PoisonError::into_inner) = cluster;
    }

    pub(crate) fn run(&self) -> &str {
        &self.0.run
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }
}

/// Waits for the end of the program once a signal has come: what happens after that says nothing about a proxy.
pub(crate) fn wait_if_stopped() {
    while STOPPED.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

/// Set by the first signal.
static STOPPED: AtomicBool = AtomicBool::new(false);

impl Drop for Sweep {
    fn drop(&mut self) {
        wait_if_stopped();
        self.0.remove();
    }
}

impl Traces {
    fn remove(&self) {
        let cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((program, data)) = cluster.filter(|(_, data)| data.exists()) {
            let mut command = Command::new(program);
            command.arg("down").arg("--data").arg(data).stdout(Stdio::null());
            // It says itself what went wrong.
            drop(command.status());
        }
        remove_namespaces(&netns::names(&format!("{}-", self.run)));
        if !self.keep {
            // Somebody may have opened a log meanwhile; a leftover folder in /tmp harms nobody.
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }
}

fn remove_namespaces(names: &[String]) {
    let all: Vec<_> = names.iter().map(|name| Namespace::named(name)).collect();
    netns::kill_processes(&all);
    all.iter().for_each(Namespace::remove);
}

/// What the names of all runs begin with; the number of their process follows.
const RUN: &str = "sbrun";

/// Whether a namespace is one of a run whose process is no more.
fn is_leftover(name: &str, exists: impl Fn(&str) -> bool) -> bool {
    let run = name.strip_prefix(RUN).and_then(|rest| rest.split_once('-'));
    run.is_some_and(|(process, _)| process.parse::<u32>().is_ok() && !exists(process))
}

/// Starts a thread that ends this program on SIGINT, SIGTERM or SIGHUP, and with it, by their parent-death signal,
/// everything that it started.
fn watch_signals(traces: Traces) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    std::thread::spawn(move || {
        let code = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => 129,
            }
        });
        STOPPED.store(true, Ordering::Relaxed);
        eprintln!("stopped; removing network namespaces {}-*", traces.run);
        traces.remove();
        // The main thread may just have been creating some.
        std::thread::sleep(Duration::from_millis(300));
        traces.remove();
        std::process::exit(code);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_runs_without_a_process_are_leftovers() {
        for (name, expected) in [
            ("sbrun31-node", true),
            ("sbrun32-node", false),
            ("sbrun31", false),
            ("sbrun-node", false),
            ("sb31-node", false),
        ] {
            assert_eq!(is_leftover(name, |process| process == "32"), expected, "{name}");
        }
    }
}
