//! The traffic tool as a child process: this program's own `traffic` command, inside a network namespace.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use testkit::cases::{Probe, Target};

use super::outcome::{HttpAnswer, Try};

/// Where the tool is, and where the namespaces are.
#[derive(Debug, Clone)]
pub(super) struct Tool {
    program: PathBuf,
    /// Such as `/run/netns/sb12-`; a name follows.
    netns_prefix: String,
}

impl Tool {
    pub(super) fn new(netns_prefix: String) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        Ok(Self { program, netns_prefix })
    }

    /// A command of the tool in the namespace of this name.
    pub(super) fn command(&self, action: &str, place: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["traffic", action, "--netns", &format!("{}{place}", self.netns_prefix)]);
        command.stdin(Stdio::null());
        command
    }

    pub(super) fn netns(&self, place: &str) -> PathBuf {
        PathBuf::from(format!("{}{place}", self.netns_prefix))
    }

    /// Starts a probe of so many tries.
    pub(super) fn start_probe(&self, probe: &Probe, tries: u32) -> Result<Probing> {
        let mut command = self.command("probe", &probe.from);
        command.args(words(probe, tries)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().context("starting a probe")?;
        Ok(Probing(child))
    }

    pub(super) fn http(&self, from: &str, address: &str, path: &str) -> Result<HttpAnswer> {
        let mut command = self.command("http", from);
        answer(command.args(["--to", address, "--path", path]).output().context("starting a request")?)
    }
}

/// A probe that is under way.
pub(super) struct Probing(Child);

impl Probing {
    pub(super) fn finish(self) -> Result<Vec<Try>> {
        #[derive(Deserialize)]
        struct Results {
            tries: Vec<Try>,
        }
        let results: Results = answer(self.0.wait_with_output().context("waiting for a probe")?)?;
        Ok(results.tries)
    }
}

fn answer<T: DeserializeOwned>(output: std::process::Output) -> Result<T> {
    if !output.status.success() {
        bail!(
            "the traffic tool ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("the answer of the traffic tool")
}

fn words(probe: &Probe, tries: u32) -> Vec<String> {
    let mut words = Vec::new();
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    let Target::Packets(targets) = &probe.target else { return words };
    for target in targets {
        option("to", target.clone());
    }
    option("count", tries.to_string());
    option("timeout-ms", probe.timeout.as_millis().to_string());
    option("parallel", probe.parallel.to_string());
    if let Some(interval) = probe.interval {
        option("interval-ms", interval.as_millis().to_string());
    }
    for address in probe.bind.iter().chain(&probe.sources) {
        option("bind", address.clone());
    }
    if let Some(size) = probe.size {
        option("size", size.to_string());
    }
    words.extend(probe.keepalive.then(|| "--keepalive".into()));
    words.extend(probe.connect_only.then(|| "--connect-only".into()));
    words
}

/// A flow that stays open until it is dropped.
pub(super) struct Hold {
    /// Who opened it and where to.
    pub(super) probe: Probe,
    /// What became of opening it.
    pub(super) first: Try,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Hold {
    pub(super) fn open(tool: &Tool, probe: &Probe) -> Result<Self> {
        #[derive(Deserialize)]
        struct Opened {
            open: Try,
        }
        let Target::Packets(targets) = &probe.target else { bail!("a flow of HTTP requests") };
        let mut command = tool.command("hold", &probe.from);
        command.args(["--with-parent", "--to", targets.first().context("a flow without a target")?]);
        if let Some(bind) = &probe.bind {
            command.args(["--bind", bind]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("opening a flow")?;
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().context("the output of a flow")?);
        let opened: Opened = read_line(&mut output)?;
        Ok(Self { probe: probe.clone(), first: opened.open, child, input, output })
    }

    /// Sends something and waits for the echo.
    pub(super) fn ping(&mut self, timeout: Duration) -> Result<Try> {
        let input = self.input.as_mut().context("the input of a flow")?;
        writeln!(input, "ping {}", timeout.as_millis()).context("writing to a flow")?;
        read_line(&mut self.output)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The tool ends with its input.
        drop(self.input.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_line<T: DeserializeOwned>(output: &mut BufReader<ChildStdout>) -> Result<T> {
    let mut line = String::new();
    output.read_line(&mut line).context("reading from a flow")?;
    if line.is_empty() {
        bail!("a flow ended without a word");
    }
    serde_json::from_str(&line).with_context(|| format!("a flow's answer {line:?}"))
}

/// Runs a shell script in a network namespace and answers its output; a failing last command is a failure.
pub(super) fn script(netns: &Path, script: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).args(["sh", "-c", script]).stdin(Stdio::null());
    command
}
