//! Network namespaces: made under a name, entered by a thread, emptied of processes, removed.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Error;

/// Where named network namespaces are, for `ip netns` as well.
pub const FOLDER: &str = "/run/netns";

/// A named network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    path: PathBuf,
}

impl Namespace {
    /// Answers the namespace of this name, whether or not it exists.
    pub fn named(name: &str) -> Self {
        Self { path: Path::new(FOLDER).join(name) }
    }

    /// Makes it. It lives until [`remove`](Self::remove), also without processes.
    pub fn create(name: &str) -> Result<Self, Error> {
        let made = Self::named(name);
        std::fs::create_dir_all(FOLDER).map_err(|source| Error::Call { call: "make /run/netns", source })?;
        File::create_new(&made.path)
            .map_err(|source| Error::Call { call: "make a network namespace", source })?;
        let path = made.path.clone();
        let mounted = std::thread::spawn(move || new_namespace_at(&path)).join();
        let result = mounted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if result.is_err() {
            made.remove();
        }
        result.map(|()| made)
    }

    /// Answers the file that stands for it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, for links to be put into it.
    pub fn open(&self) -> Result<OwnedFd, Error> {
        let file = File::open(&self.path)
            .map_err(|source| Error::Call { call: "open a network namespace", source })?;
        Ok(file.into())
    }

    /// Runs a function in a thread of its own that has entered the namespace.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let namespace = self.open()?;
        std::thread::scope(|scope| {
            let ran = scope.spawn(|| enter(&namespace).map(|()| function()));
            ran.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Lets a command run in it, no longer than the thread that starts it.
    pub fn command(&self, program: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(program);
        let path = self.path.clone();
        let enter_before = move || {
            let file = File::open(&path)?;
            // SAFETY: plain system call without pointers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
            set_namespace(&file.into())
        };
        // SAFETY: between fork and exec the closure opens a file and makes system calls; the path was allocated before.
        unsafe { command.pre_exec(enter_before) };
        command
    }

    /// Removes it, with every link in it. Succeeds when there is none.
    pub fn remove(&self) {
        let Ok(path) = CString::new(self.path.as_os_str().as_encoded_bytes()) else { return };
        // SAFETY: `path` is a string with its closing zero.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        // A file that is still mounted elsewhere, or is gone: nothing to do about either.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Answers the names of all named namespaces that begin so, sorted.
pub fn names(prefix: &str) -> Vec<String> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Kills the processes whose main thread is in one of these namespaces, and waits until they are gone.
///
/// Spares this process, and everything in a namespace that is also its own or that of the machine's first process:
/// somebody may have given one of them a name.
pub fn kill_processes(namespaces: &[Namespace]) {
    const LIMIT: Duration = Duration::from_secs(2);
    let spared = ["self", "1"].map(|process| identity(&network_of(process)));
    let found = namespaces.iter().filter_map(|namespace| identity(namespace.path()));
    let wanted: Vec<Identity> = found.filter(|found| !spared.contains(&Some(*found))).collect();
    let begin = Instant::now();
    // Again, because a process may have started another one meanwhile.
    while !wanted.is_empty() && kill_once(&wanted) > 0 && begin.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The device and the number of the file that stands for a namespace.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn network_of(process: &str) -> PathBuf {
    Path::new("/proc").join(process).join("ns/net")
}

/// Answers how many processes it found; dead ones are in no namespace any more.
fn kill_once(wanted: &[Identity]) -> usize {
    let is_member =
        |process: &str| identity(&network_of(process)).is_some_and(|place| wanted.contains(&place));
    let mut count = 0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().filter(|name| is_member(name)) else { continue };
        let Some(pid) = process.parse().ok().and_then(Pid::from_raw) else { continue };
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // The number may have got to another process before the descriptor was open.
        if is_member(process) {
            count += 1;
            // Who is gone meanwhile needs no signal.
            let _ = pidfd_send_signal(&descriptor, Signal::KILL);
        }
    }
    count
}

/// Moves the calling thread into a namespace, for ever: what it opens and starts is there from now on.
pub fn enter(namespace: &OwnedFd) -> Result<(), Error> {
    set_namespace(namespace).map_err(|source| Error::Call { call: "enter a network namespace", source })
}

fn set_namespace(namespace: &OwnedFd) -> std::io::Result<()> {
    // SAFETY: plain system call on a descriptor that is open; only the calling thread is concerned.
    let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts a new namespace of the calling thread at a path.
fn new_namespace_at(path: &Path) -> Result<(), Error> {
    // SAFETY: only the namespace of this thread changes; no memory is involved.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
        return Err(Error::last("make a network namespace"));
    }
    let strings =
        (CString::new("/proc/thread-self/ns/net"), CString::new(path.as_os_str().as_encoded_bytes()));
    let (Ok(from), Ok(to)) = strings else {
        return Err(Error::Malformed { what: "a name with a zero in it" });
    };
    let none = std::ptr::null();
    // SAFETY: both are strings with their closing zero; a bind mount needs no type and no data.
    let done = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND, none.cast()) };
    if done < 0 { Err(Error::last("keep a network namespace under a name")) } else { Ok(()) }
}
