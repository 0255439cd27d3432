//! Processes: started in the namespaces of others, told apart from later ones of the same number, ended.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::Error;

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug)]
pub struct Handle {
    descriptor: OwnedFd,
}

impl Handle {
    /// Opens the process of this number that was started at this time; `None` when it is gone.
    pub fn open(number: u32, started: u64) -> Option<Self> {
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after the descriptor was opened: what it says is true of that process.
        (start_time(number) == Some(started)).then_some(Self { descriptor })
    }

    /// Asks the process to end. Who is gone needs no signal.
    pub fn terminate(&self) {
        let _ = pidfd_send_signal(&self.descriptor, Signal::TERM);
    }

    /// Ends the process.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.descriptor, Signal::KILL);
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Answers whether the calling process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Answers when a process was started, in ticks since the machine was; `None` when it is gone, or dead and not yet
/// waited for.
pub fn start_time(number: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let dead = matches!(*fields.first()?, "Z" | "X");
    if dead { None } else { fields.get(19)?.parse().ok() }
}

/// Answers the numbers of the children of the calling process.
pub fn children() -> Vec<u32> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    found
}

/// Kills a child or an orphan that the calling process has adopted, and waits for it.
pub fn kill_child(number: u32) {
    let Some(pid) = i32::try_from(number).ok().filter(|pid| *pid > 0) else { return };
    // SAFETY: plain system calls; a child that was not waited for keeps its number.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
}

/// Kills every process whose environment has this setting, such as `NAME=value`; answers how many there were.
pub fn kill_marked(mark: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(handle) = start_time(number).and_then(|started| Handle::open(number, started)) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if number != std::process::id()
            && environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
        {
            handle.kill();
            count += 1;
        }
    }
    count
}

/// Makes the calling process the leader of a session of its own, and the parent of what its descendants orphan.
pub fn lead_family() -> Result<(), Error> {
    // SAFETY: plain system calls without pointers. A leader already is one: that error says nothing.
    let done = unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    };
    if done < 0 { Err(Error::last("adopt orphans")) } else { Ok(()) }
}

/// Sets which permissions files do not get that the calling process makes, and those that it starts.
pub fn set_mask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Gives the calling process mount points and a host name of its own. Only while it has one thread.
pub fn unshare_files_and_name(hostname: Option<&str>) -> Result<(), Error> {
    // SAFETY: plain system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUTS) } < 0 {
        return Err(Error::last("make namespaces of mounts and names"));
    }
    // What the machine mounts later is seen, what is mounted here stays here.
    let (root, none) = (c"/", std::ptr::null());
    // SAFETY: the path is a string with its closing zero; a change of propagation needs neither source nor type.
    let done = unsafe { libc::mount(none, root.as_ptr(), none, libc::MS_SLAVE | libc::MS_REC, none.cast()) };
    if done < 0 {
        return Err(Error::last("keep mounts to oneself"));
    }
    let Some(name) = hostname else { return Ok(()) };
    // SAFETY: pointer and length describe `name`.
    let done = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    if done < 0 { Err(Error::last("set the host name")) } else { Ok(()) }
}

/// Enters a network namespace with the whole calling process. Only while it has one thread.
pub fn enter_network(path: &Path) -> Result<(), Error> {
    let file = File::open(path).map_err(|source| Error::Call { call: "open a network namespace", source })?;
    crate::netns::enter(&file.into())
}

/// The namespaces of a running process.
#[derive(Debug)]
pub struct Places {
    descriptors: Vec<OwnedFd>,
    folder: CString,
    identity: Identity,
}

/// Whom a program runs as; `None`: the one who starts it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Option<u32>,
    /// The user's first group.
    pub group: Option<u32>,
    /// More groups.
    pub more: Vec<u32>,
}

impl Identity {
    /// Changes the calling process; makes system calls only.
    fn take(&self) -> io::Result<()> {
        if self.user.is_none() && self.group.is_none() && self.more.is_empty() {
            return Ok(());
        }
        // SAFETY: plain system calls; the pointer is that of a list of this length.
        let failed = unsafe {
            libc::setgroups(self.more.len(), self.more.as_ptr()) < 0
                || self.group.is_some_and(|group| libc::setgid(group) < 0)
                || self.user.is_some_and(|user| libc::setuid(user) < 0)
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Places {
    /// Opens those of a process for network, names and mounts; `folder` is where work begins in them.
    pub fn of(number: u32, folder: &str, identity: Identity) -> io::Result<Self> {
        let open = |kind: &str| File::open(format!("/proc/{number}/ns/{kind}")).map(OwnedFd::from);
        // Mounts last: the paths of the others are gone then.
        let descriptors = ["net", "uts", "mnt"].into_iter().map(open).collect::<io::Result<_>>()?;
        let folder = CString::new(folder).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self { descriptors, folder, identity })
    }
}

/// Lets a command run in these places.
pub fn start_in(command: &mut Command, places: Places) {
    let enter = move || {
        for descriptor in &places.descriptors {
            // SAFETY: plain system call on a descriptor that is open.
            if unsafe { libc::setns(descriptor.as_raw_fd(), 0) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: the folder is a string with its closing zero.
        if unsafe { libc::chdir(places.folder.as_ptr()) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // Only now: a user other than root may enter nothing.
        places.identity.take()
    };
    // SAFETY: between fork and exec the closure makes system calls only; everything was allocated before.
    unsafe { command.pre_exec(enter) };
}

/// Lets a command run as somebody. Before [`die_with_parent`], which the kernel forgets at a change of users.
pub fn run_as(command: &mut Command, identity: Identity) {
    // SAFETY: between fork and exec the closure makes system calls only; everything was allocated before.
    unsafe { command.pre_exec(move || identity.take()) };
}

/// Has a command killed when the thread that starts it ends.
pub fn die_with_parent(command: &mut Command) {
    let ask = || {
        // SAFETY: plain system call without pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
        Ok(())
    };
    // SAFETY: the closure makes a system call only.
    unsafe { command.pre_exec(ask) };
}

/// Has a command hear that its terminal is closed and that Ctrl-C is pressed, though its parent does not, as under `nohup`.
pub fn heed_terminal(command: &mut Command) {
    let heed = || {
        for signal in [libc::SIGHUP, libc::SIGINT] {
            // SAFETY: plain system call; the default needs no handler.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only.
    unsafe { command.pre_exec(heed) };
}

/// Gives a command a session of its own; `terminal`: its standard input becomes the controlling terminal.
pub fn own_session(command: &mut Command, terminal: bool) {
    let lead = move || {
        // SAFETY: plain system calls on descriptor 0.
        let failed = unsafe { libc::setsid() < 0 || (terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0) };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: between fork and exec the closure makes system calls only.
    unsafe { command.pre_exec(lead) };
}
