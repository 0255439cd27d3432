//! The keeper of a container: a process of its own that starts the container's program, writes its log, and writes down
//! how it ended. It outlives the program that started it.
//!
//! What it does *not* do: decide anything, or talk to anybody but through the files of its run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sys::cgroup::{Group, Limits};
use sys::mount::Held;
use sys::process::{self, Identity};
use sys::terminal::{Terminal, make_pipe};

use crate::folder::{Exit, STDIN_ENDED, Started, read, write};
use crate::time::{Time, exact};
use crate::volumes::{Mount, show};

/// Lines that are longer are written in parts.
const LONGEST_LINE: u64 = 16 * 1024;
/// When a log is full, in bytes; as Kubernetes has it.
const FULL: u64 = 10 * 1024 * 1024;
/// The file in which a program says why it ended.
pub(crate) const TERMINATION_LOG: &str = "termination-log";
/// What new files are not, unless somebody says so: writable for others. As in containers.
const USUAL_MASK: u32 = 0o022;
/// How long what is still in the pipes is waited for once the program has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How a container is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub folder: Option<String>,
    /// The network namespace; `None`: the one it is started in.
    pub network: Option<PathBuf>,
    /// What it takes for the machine's name.
    pub hostname: Option<String>,
    /// What it finds in other places.
    pub mounts: Vec<Mount>,
    /// Its control group.
    pub group: String,
    /// Bytes of memory, thousandths of a processor.
    pub limits: (Option<u64>, Option<u64>),
    /// Whom it runs as.
    pub user: (Option<u32>, Option<u32>),
    /// Groups beside the first.
    pub groups: Vec<u32>,
    /// Whether the end of its log says why it failed where it does not say so itself.
    pub explains_by_log: bool,
    /// Whether somebody may talk to it.
    pub stdin: bool,
    /// Whether the first who talks to it is the last.
    #[serde(default)]
    pub stdin_once: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

impl Launch {
    /// Whom it runs as.
    pub(crate) fn identity(&self) -> Identity {
        let (user, group) = self.user;
        Identity { user, group, more: self.groups.clone() }
    }
}

/// Keeps one run, until it has ended. Says `started`, or why not, on standard output.
pub fn keep(path: &Path) -> Result<(), String> {
    let launch: Launch = read(&path.join("launch.json")).ok_or("the launch cannot be read")?;
    // A volume may come to lie over the path.
    let held = Held::open(path).map_err(|error| error.to_string())?;
    let folder = &held.path();
    let group = Group::named(&launch.group);
    // The group is that of earlier runs, too.
    let memory_kills = || group.as_ref().map_or(0, Group::memory_kills);
    let kills_before = memory_kills();
    let begun = begin(&launch, (path, folder));
    let (mut child, pumps, terminal) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let exit = Exit { code: 128, reason: "StartError".to_owned(), message: error.clone(), at: now() };
            write(&folder.join("exit.json"), &exit).map_err(|error| error.to_string())?;
            say(&format!("failed {error}"));
            return Ok(());
        }
    };
    let ticks = |number| process::start_time(number).unwrap_or(0);
    let (keeper, process) = (std::process::id(), child.id());
    let started = Started {
        keeper,
        keeper_ticks: ticks(keeper),
        process,
        process_ticks: ticks(process),
        at: now(),
        terminal,
    };
    write(&folder.join("started.json"), &started).map_err(|error| error.to_string())?;
    say("started");
    let status = child.wait().map_err(|error| error.to_string())?;
    end_family();
    await_pumps(pumps);
    let starved = memory_kills() > kills_before;
    let mut exit = exit(status, starved);
    exit.message = last_words(folder, launch.explains_by_log && exit.code != 0);
    write(&folder.join("exit.json"), &exit).map_err(|error| error.to_string())
}

type Begun = (Child, Vec<JoinHandle<()>>, Option<PathBuf>);

fn begin(launch: &Launch, (path, folder): (&Path, &Path)) -> Result<Begun, String> {
    process::set_mask(USUAL_MASK);
    process::lead_family().map_err(|error| format!("failed to {error}"))?;
    if let Some(group) = Group::named(&launch.group)
        && group.create().is_ok()
    {
        let (memory, cpu) = launch.limits;
        // A machine without a controller has no limits; the container runs all the same.
        group.limit(Limits { memory, cpu });
        drop(group.join());
    }
    if let Some(network) = &launch.network {
        process::enter_network(network).map_err(|error| format!("failed to {error}"))?;
    }
    process::unshare_files_and_name(launch.hostname.as_deref())
        .map_err(|error| format!("failed to {error}"))?;
    show(&launch.mounts, path)?;
    let log = Pages::open(folder).map_err(|error| format!("failed to open the log: {error}"))?;
    let log = Arc::new(Mutex::new(log));
    let mut command = command(launch)?;
    let started = if launch.tty {
        with_terminal(&mut command, (launch, folder), &log)
    } else {
        with_pipes(&mut command, (launch, folder), &log)
    };
    started.map_err(|error| format!("failed to start {:?}: {error}", launch.words[0]))
}

fn command(launch: &Launch) -> Result<Command, String> {
    let Some((program, arguments)) = launch.words.split_first() else {
        return Err("there is no program to start".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.current_dir(launch.folder.as_deref().unwrap_or("/"));
    process::run_as(&mut command, launch.identity());
    process::own_session(&mut command, launch.tty);
    process::die_with_parent(&mut command);
    Ok(command)
}

fn with_pipes(command: &mut Command, (launch, folder): (&Launch, &Path), log: &Log) -> io::Result<Begun> {
    let stdin = match (launch.stdin, launch.stdin_once) {
        (false, _) => Stdio::null(),
        (true, false) => Stdio::from(open_stdin(folder)?),
        (true, true) => Stdio::from(open_stdin_once(folder)?),
    };
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut pumps = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        pumps.push(pump(stdout, ("stdout", false), log));
    }
    if let Some(stderr) = child.stderr.take() {
        pumps.push(pump(stderr, ("stderr", false), log));
    }
    Ok((child, pumps, None))
}

fn with_terminal(command: &mut Command, (launch, folder): (&Launch, &Path), log: &Log) -> io::Result<Begun> {
    let Terminal { master, slave } = Terminal::open()?;
    let device = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&slave)))?;
    let child = command
        .stdin(slave.as_fd().try_clone_to_owned()?)
        .stdout(slave.as_fd().try_clone_to_owned()?)
        .stderr(slave)
        .spawn()?;
    // The command holds the slave's ends as well, and a master ends only when all of them are gone.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if launch.stdin {
        let (mut from, mut to) = (open_stdin(folder)?, File::from(master.try_clone()?));
        std::thread::spawn(move || io::copy(&mut from, &mut to));
    }
    let pumps = vec![pump(File::from(master), ("stdout", true), log)];
    Ok((child, pumps, Some(device)))
}

/// A pipe by name, open for writing as well: it never ends by itself.
fn open_stdin(folder: &Path) -> io::Result<File> {
    let path = folder.join("stdin");
    make_pipe(&path)?;
    OpenOptions::new().read(true).write(true).mode(0o600).open(path)
}

/// The same, but it ends when somebody has opened the other pipe, which says that the first who talked has left.
fn open_stdin_once(folder: &Path) -> io::Result<File> {
    let held = open_stdin(folder)?;
    let end = folder.join(STDIN_ENDED);
    make_pipe(&end)?;
    std::thread::spawn(move || {
        // Opening it takes until somebody writes.
        drop(File::open(end));
        drop(held);
    });
    File::open(folder.join("stdin"))
}

type Log = Arc<Mutex<Pages>>;

/// A log of two files at most: when one is full, it takes the place of the one before.
struct Pages {
    file: File,
    size: u64,
    folder: PathBuf,
}

impl Pages {
    fn open(folder: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(folder.join("log"))?;
        Ok(Self { file, size: 0, folder: folder.to_owned() })
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.size > FULL {
            fs::rename(self.folder.join("log"), self.folder.join("log.before"))?;
            *self = Self::open(&self.folder)?;
        }
        self.size += u64::try_from(text.len()).unwrap_or(0);
        self.file.write_all(text)
    }
}

/// Writes what comes as lines `TIME STREAM F TEXT`; parts of a line that is too long, or not ended, have a `P`. `at_once`:
/// a part is not held back for the rest of its line, which may be what somebody is to type.
fn pump(
    from: impl Read + Send + 'static,
    (stream, at_once): (&'static str, bool),
    log: &Log,
) -> JoinHandle<()> {
    let log = log.clone();
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            // The end of a terminal is an error.
            let mut line = if at_once { piece(&mut from) } else { line(&mut from) }.unwrap_or_default();
            if line.is_empty() {
                return;
            }
            let tag = if line.last() == Some(&b'\n') { 'F' } else { 'P' };
            let mut text = format!("{} {stream} {tag} ", exact(now())).into_bytes();
            text.append(&mut line);
            if tag == 'P' {
                text.push(b'\n');
            }
            let mut log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // A full disk loses lines; it does not stop the program.
            drop(log.write(&text));
        }
    })
}

fn line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// A line, or as much of it as there is.
fn piece(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let there = from.fill_buf()?;
    let end = there.iter().position(|byte| *byte == b'\n').map_or(there.len(), |at| at + 1);
    let piece = there[..end].to_vec();
    from.consume(end);
    Ok(piece)
}

/// Ends what the program left behind.
fn end_family() {
    loop {
        let children = process::children();
        if children.is_empty() {
            return;
        }
        children.into_iter().for_each(process::kill_child);
    }
}

fn await_pumps(pumps: Vec<JoinHandle<()>>) {
    let begin = SystemTime::now();
    while pumps.iter().any(|pump| !pump.is_finished()) && begin.elapsed().is_ok_and(|time| time < LAST_WORDS)
    {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn exit(status: ExitStatus, starved: bool) -> Exit {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    let reason = match code {
        0 => "Completed",
        137 if starved => "OOMKilled",
        _ => "Error",
    };
    Exit { code, reason: reason.to_owned(), message: String::new(), at: now() }
}

/// What the program said about its end, or else the end of its log; as much as Kubernetes takes.
fn last_words(folder: &Path, by_log: bool) -> String {
    const MOST: u64 = 4096;
    const MOST_OF_LOG: usize = 2048;
    const MOST_LINES: usize = 80;
    let mut said = Vec::new();
    if let Ok(file) = File::open(folder.join(TERMINATION_LOG)) {
        // What cannot be read says nothing.
        drop(file.take(MOST).read_to_end(&mut said));
    }
    if !said.is_empty() || !by_log {
        return String::from_utf8_lossy(&said).into_owned();
    }
    let log = fs::read(folder.join("log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    let last = &lines[lines.len().saturating_sub(MOST_LINES)..];
    // Each has a time, a stream and a mark before its text.
    let text = last.iter().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default());
    let text: String = text.flat_map(|line| [line, "\n"]).collect();
    let mut from = text.len().saturating_sub(MOST_OF_LOG);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].to_owned()
}

/// Whoever waited may be gone.
fn say(line: &str) {
    let mut out = io::stdout();
    drop(writeln!(out, "{}", line.replace('\n', " ")));
    drop(out.flush());
}

fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
