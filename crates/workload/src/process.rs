//! More programs in a running container: for probes, hooks and people.

use std::io;
use std::path::Path;
use std::process::Stdio;

use sys::process::{Places, start_in};

use crate::folder::{Started, read};
use crate::keeper::Launch;

/// Answers a command that will run as the container's own program does: its namespaces, environment, folder and user.
pub(crate) fn command_in(run: &Path, words: &[String]) -> io::Result<std::process::Command> {
    let gone = || io::Error::new(io::ErrorKind::NotFound, "the container does not run");
    let launch: Launch = read(&run.join("launch.json")).ok_or_else(gone)?;
    let started: Started = read(&run.join("started.json")).ok_or_else(gone)?;
    if sys::process::start_time(started.process) != Some(started.process_ticks) {
        return Err(gone());
    }
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no command"))?;
    let mut command = std::process::Command::new(program);
    let identity = launch.identity();
    command.args(arguments).env_clear().envs(launch.environment);
    let folder = launch.folder.as_deref().unwrap_or("/");
    start_in(&mut command, Places::of(started.process, folder, identity)?);
    Ok(command)
}

/// Runs a command to its end. `Err` says how it failed, with the beginning of what it said.
pub(crate) async fn run_in(run: &Path, words: &[String]) -> Result<(), String> {
    const SHOWN: usize = 1024;
    let failed = |error: io::Error| format!("failed to run {words:?}: {error}");
    let mut command = tokio::process::Command::from(command_in(run, words).map_err(failed)?);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said[..said.len().min(SHOWN)]).trim().to_owned();
    Err(format!("command {words:?} exited with {}: {said}", output.status.code().unwrap_or(-1)))
}
