//! More programs in a running container: for probes, hooks and people.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sys::process::{Places, start_in};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::folder::{Started, read};
use crate::keeper::Launch;

/// How much of what a command says is kept.
const SHOWN: usize = 1024;

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
    let failed = |error: io::Error| format!("failed to run {words:?}: {error}");
    let mut command = Command::from(command_in(run, words).map_err(failed)?);
    let (status, said) = outcome(&mut command).await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(format!("command {words:?} exited with {}: {said}", status.code().unwrap_or(-1)))
}

/// Runs a command to its end, and answers how it ended and the beginning of what it said.
async fn outcome(command: &mut Command) -> io::Result<(ExitStatus, Vec<u8>)> {
    /// What is still in the pipes is there at once; who holds them longer was left behind by the command.
    const LAST_WORDS: Duration = Duration::from_millis(100);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command.process_group(0);
    let mut child = command.spawn()?;
    let mut family = Family::of(&child);
    let (mut out, mut error) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let listening = async {
        tokio::join!(listen(stdout, &mut out), listen(stderr, &mut error));
    };
    let status = {
        let waiting = child.wait();
        tokio::pin!(waiting, listening);
        tokio::select! {
            () = &mut listening => waiting.await?,
            status = &mut waiting => {
                drop(tokio::time::timeout(LAST_WORDS, listening).await);
                status?
            }
        }
    };
    // What it leaves in the container on purpose stays there.
    family.0 = None;
    out.append(&mut error);
    out.truncate(SHOWN);
    Ok((status, out))
}

/// A command and what it started, killed when this is dropped: a probe that takes too long would leave its children each
/// time it is asked, until the pod goes.
struct Family(Option<Pid>);

impl Family {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|number| Pid::from_raw(i32::try_from(number).ok()?)))
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Its leader was not waited for, so that the number is still theirs.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Keeps the beginning of what comes, and takes the rest, so that nobody has to wait.
async fn listen(from: Option<impl AsyncRead + Unpin>, begin: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 8 * SHOWN];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        begin.extend_from_slice(&buffer[..count.min(SHOWN - begin.len())]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[tokio::test]
    async fn a_command_may_say_more_than_anybody_wants_to_know() {
        let run = async |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let (status, said) = outcome(&mut command).await.unwrap();
            (status.code(), String::from_utf8(said).unwrap())
        };
        assert_eq!(run("echo out; echo error >&2; exit 3").await, (Some(3), "out\nerror\n".to_owned()));
        let (code, said) = run("head -c 3000000 /dev/zero | tr '\\0' x; exit 4").await;
        assert_eq!((code, said), (Some(4), "x".repeat(SHOWN)));
        // What it leaves behind holds nobody.
        let begin = Instant::now();
        assert_eq!(run("sleep 30 & echo done").await, (Some(0), "done\n".to_owned()));
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_ends_with_what_it_started() {
        let sleepers = || {
            let all = std::fs::read_dir("/proc").unwrap().flatten();
            let line = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
            all.filter_map(line).filter(|line| line == b"sleep\x0086391\0").count()
        };
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 86391; true"]);
        let begin = Instant::now();
        {
            let running = outcome(&mut command);
            tokio::pin!(running);
            while sleepers() == 0 {
                assert!(begin.elapsed() < Duration::from_secs(20));
                let step = tokio::time::timeout(Duration::from_millis(5), &mut running).await;
                assert!(step.is_err(), "it ended");
            }
        }
        while sleepers() > 0 {
            assert!(begin.elapsed() < Duration::from_secs(20), "it was left behind");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
