//! What people do to running containers: read their logs, run more programs in them, talk to them, connect to them.
//!
//! It knows what the files of the runs say and shares nothing with the loop: anybody on this machine may have one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use sys::netns::Namespace;
use sys::process::own_session;
use sys::terminal::{Terminal, resize};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::ask;
use crate::folder::{Folder, Kept, STDIN_ENDED, Started, read};
use crate::log::{self, LogOptions, Piece};
use crate::process::command_in;
use crate::settings::Settings;

/// The containers of a node, for people. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runtime {
    folder: Folder,
    netns: Option<String>,
}

/// How a program is run in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Whether somebody talks to it.
    pub stdin: bool,
    /// Whether it has a terminal; its standard error is the terminal then, too.
    pub tty: bool,
}

/// What is written to a program.
pub type Input = Pin<Box<dyn AsyncWrite + Send>>;
/// What a program writes.
pub type Output = Pin<Box<dyn AsyncRead + Send>>;

/// A program that runs in a container. It is killed when this is dropped.
pub struct Process {
    /// Where to talk to it; dropping it is the end of what it reads.
    pub stdin: Option<Input>,
    /// What it says.
    pub stdout: Option<Output>,
    /// What it says on standard error; `None` where it has a terminal.
    pub stderr: Option<Output>,
    terminal: Option<OwnedFd>,
    child: Child,
}

/// The program of a container itself.
pub struct Attached {
    /// Where to talk to it; `None` where nobody may.
    pub stdin: Option<Input>,
    /// What it says from now on.
    pub output: mpsc::Receiver<Piece>,
    terminal: Option<PathBuf>,
}

impl Runtime {
    /// The containers that [`run`](crate::run) with these settings keeps.
    pub fn new(settings: &Settings) -> Self {
        Self { folder: Folder::new(&settings.state_dir), netns: settings.netns.clone() }
    }

    /// Answers what a container said, piece by piece; `uid` is the pod's.
    pub async fn logs(
        &self,
        uid: &str,
        container: &str,
        options: LogOptions,
    ) -> io::Result<mpsc::Receiver<Piece>> {
        let run = self.run(uid, container, usize::from(options.previous))?;
        log::tell(&run, options).await
    }

    /// Starts a program in a container, which runs as the container's own does.
    pub fn exec(
        &self,
        (uid, container): (&str, &str),
        words: &[String],
        options: ExecOptions,
    ) -> io::Result<Process> {
        let run = self.run(uid, container, 0)?;
        let mut command = command_in(&run, words)?;
        own_session(&mut command, options.tty);
        if options.tty { with_terminal(command, options) } else { with_pipes(command, options) }
    }

    /// Joins the conversation with a container's own program.
    pub async fn attach(&self, uid: &str, container: &str) -> io::Result<Attached> {
        let run = self.run(uid, container, 0)?;
        let started: Started =
            read(&run.join("started.json")).ok_or_else(|| missing("a program that runs"))?;
        let output = log::tell_from_now(&run).await?;
        let stdin = open_stdin(&run)?;
        Ok(Attached { stdin, output, terminal: started.terminal })
    }

    /// Connects to a port of a pod, as from within it.
    pub async fn dial(&self, uid: &str, port: u16) -> io::Result<TcpStream> {
        checked(uid)?;
        let kept: Kept = read(&self.folder.pod(uid).join("pod.json")).ok_or_else(|| missing("such a pod"))?;
        let network = match (kept.host_network, &self.netns) {
            (true, None) => None,
            (true, Some(node)) => Some(Namespace::named(node)),
            (false, _) => Some(Namespace::named(&kept.network())),
        };
        let here = |address: IpAddr| SocketAddr::new(address, port);
        match ask::dial(&network, here(Ipv4Addr::LOCALHOST.into())).await {
            Ok(stream) => Ok(stream),
            // Some listen on IPv6 only; what is told is the first error.
            Err(error) => ask::dial(&network, here(Ipv6Addr::LOCALHOST.into())).await.map_err(|_| error),
        }
    }

    /// The folder of a run, `back` from the newest.
    fn run(&self, uid: &str, container: &str, back: usize) -> io::Result<PathBuf> {
        checked(uid)?;
        checked(container)?;
        let attempts = self.folder.attempts(uid, container);
        let attempt =
            attempts.iter().rev().nth(back).ok_or_else(|| missing("such a run of the container"))?;
        Ok(self.folder.run(uid, container, *attempt))
    }
}

/// Names become parts of paths.
fn checked(name: &str) -> io::Result<()> {
    let is_good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_good { Ok(()) } else { Err(missing("such a name")) }
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is not {what}"))
}

fn with_pipes(command: std::process::Command, options: ExecOptions) -> io::Result<Process> {
    let mut command = tokio::process::Command::from(command);
    let stdin = if options.stdin { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    Ok(Process {
        stdin: child.stdin.take().map(|stdin| Box::pin(stdin) as Input),
        stdout: child.stdout.take().map(|stdout| Box::pin(stdout) as Output),
        stderr: child.stderr.take().map(|stderr| Box::pin(stderr) as Output),
        terminal: None,
        child,
    })
}

fn with_terminal(mut command: std::process::Command, options: ExecOptions) -> io::Result<Process> {
    let Terminal { master, slave } = Terminal::open()?;
    command.env("TERM", "xterm");
    let mut command = tokio::process::Command::from(command);
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave).kill_on_drop(true);
    let child = command.spawn()?;
    let end = |master: &OwnedFd| master.try_clone().map(|end| File::from_std(std::fs::File::from(end)));
    Ok(Process {
        stdin: if options.stdin { Some(Box::pin(end(&master)?)) } else { None },
        stdout: Some(Box::pin(end(&master)?)),
        stderr: None,
        terminal: Some(master),
        child,
    })
}

/// Opens what a program reads; `None` where nobody may talk to it, or it does not listen any more.
fn open_stdin(run: &Path) -> io::Result<Option<Input>> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    // Without a reader the kernel would wait for one.
    options.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(run.join("stdin")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    fcntl_setfl(&file, OFlags::empty())?;
    let file = File::from_std(file);
    let end = run.join(STDIN_ENDED);
    Ok(Some(if end.exists() { Box::pin(Once { file, end }) } else { Box::pin(file) }))
}

/// What the first who talks to a program writes to: it reads no more when this is dropped.
struct Once {
    file: File,
    end: PathBuf,
}

impl AsyncWrite for Once {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.file).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(context)
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = std::fs::File::options();
        options.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        // Its keeper waits for this once; later there is nobody to be told.
        drop(options.open(&self.end));
    }
}

impl Process {
    /// Tells the program how large its terminal is.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        self.terminal.as_ref().map_or(Ok(()), |terminal| resize(terminal.as_fd(), columns, rows))
    }

    /// Waits for the end, and answers the exit code: 128 and the signal's number when one ended it.
    pub async fn wait(&mut self) -> io::Result<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await?;
        Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255))
    }
}

impl Attached {
    /// Tells the program how large its terminal is.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        resize(open_terminal(terminal)?.as_fd(), columns, rows)
    }
}

/// The device of a terminal, which must not become this program's own.
fn open_terminal(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    /// `O_NOCTTY`.
    const NOT_OURS: i32 = 0o400;
    std::fs::File::options().read(true).write(true).custom_flags(NOT_OURS).open(path)
}
