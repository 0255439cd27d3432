//! `signalbox up` as a user starts it: waited for, killed or interrupted, started again, and removed when this is dropped.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sys::netns::Namespace;
use sys::process::heed_terminal;

/// How long a start may take, on the slowest machine.
const LIMIT: Duration = Duration::from_secs(60);
/// What it says when everything is there.
const READY: &str = "Ctrl-C stops it";

/// A cluster on this machine.
pub struct Up {
    program: PathBuf,
    data: PathBuf,
    words: Vec<String>,
    place: Option<Namespace>,
    child: Option<Child>,
}

impl Up {
    /// Prepares one in a directory that is its own. `place`: the network that it takes for the machine's.
    pub fn new(program: &Path, data: &Path, words: &[&str], place: Option<Namespace>) -> Self {
        let words = words.iter().map(ToString::to_string).collect();
        Self { program: program.to_owned(), data: data.to_owned(), words, place, child: None }
    }

    /// Starts it, and waits until it is ready. Answers how long that took.
    pub fn start(&mut self) -> io::Result<Duration> {
        let begin = Instant::now();
        self.begin()?;
        while !self.said().contains(READY) {
            let ended = self.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || begin.elapsed() > LIMIT {
                return Err(io::Error::other(format!(
                    "`signalbox up` did not get ready:\n{}{}",
                    self.said(),
                    self.log()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(begin.elapsed())
    }

    /// Starts it, and does not wait.
    pub fn begin(&mut self) -> io::Result<()> {
        let said = File::create(self.said_file())?;
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.command("up");
        command.args(&self.words).stdin(Stdio::null()).stdout(said).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// Its directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// How kubectl finds it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("kubeconfig")
    }

    /// What it said on standard output since it was started last.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.said_file()).unwrap_or_default()
    }

    /// What it logged since it was made.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Changes what it is started with next time.
    pub fn set_words(&mut self, words: &[&str]) {
        self.words = words.iter().map(ToString::to_string).collect();
    }

    /// The network between the nodes.
    pub fn lan(&self) -> Option<Namespace> {
        let said = self.said();
        let (_, node) = said.split_once("network namespace ")?;
        let name = node.split_whitespace().next()?.strip_suffix("node-1")?;
        Some(Namespace::named(&format!("{name}lan")))
    }

    /// The network of a node, as it says itself.
    pub fn node(&self, name: &str) -> Option<Namespace> {
        let said = self.said();
        let line = said.lines().find(|line| line.split_whitespace().take(2).eq(["node", name]))?;
        let (_, namespace) = line.split_once("network namespace ")?;
        Some(Namespace::named(namespace.trim()))
    }

    /// The number of its process.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it without a chance to do anything about it.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::INT)
    }

    /// Ends it as a terminal does that is closed.
    pub fn hang_up(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::HUP)
    }

    fn signal(&mut self, signal: Signal) -> io::Result<ExitStatus> {
        let mut child = self.child.take().ok_or_else(|| io::Error::other("it does not run"))?;
        let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(number.ok_or_else(|| io::Error::other("no process"))?, signal)?;
        let begin = Instant::now();
        while begin.elapsed() < LIMIT {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        child.wait()?;
        Err(io::Error::other(format!("it did not end after {signal:?}")))
    }

    /// Removes every trace, as `signalbox down` does. Answers what that said.
    pub fn down(&mut self) -> io::Result<String> {
        let output = self.command("down").output()?;
        if let Some(mut child) = self.child.take() {
            child.wait()?;
        }
        let text =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        if output.status.success() { Ok(text) } else { Err(io::Error::other(text)) }
    }

    fn command(&self, action: &str) -> Command {
        let mut command = match &self.place {
            Some(place) => place.command(&self.program),
            None => Command::new(&self.program),
        };
        command.arg(action).arg("--data").arg(&self.data);
        heed_terminal(&mut command);
        command
    }

    fn said_file(&self) -> PathBuf {
        self.data.with_extension("said")
    }

    fn log_file(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Err(error) = self.down() {
            eprintln!("`signalbox down` failed: {error}");
        }
        for file in [self.said_file(), self.log_file()] {
            drop(std::fs::remove_file(file));
        }
    }
}
