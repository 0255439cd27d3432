//! Notices changes of a directory: inotify, in names of files. Does *not* read files.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the directory must be quiet before its changes are looked at, since tools write in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// How long changes wait at most while the directory is never quiet.
const AT_MOST: Duration = Duration::from_millis(500);
/// How often the path is compared with the directory that is watched: renamed parents make no event.
const CHECK: Duration = Duration::from_secs(2);

/// A directory that is being watched.
pub(super) struct Directory {
    path: PathBuf,
    /// The inotify descriptor. tokio's type for pipes waits for any descriptor that is read as a stream.
    notifications: Receiver,
    identity: (u64, u64),
    next_check: Instant,
    /// Whether it is gone; said after the last changes inside it.
    gone: bool,
}

/// What happened to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happened {
    /// These files may have changed, or may be gone.
    Files(BTreeSet<String>),
    /// Anything may have changed: links were switched, or there were too many events.
    Anything,
    /// It is gone, or another one is in its place.
    Gone,
}

impl Directory {
    /// Begins to watch. What happens after this is noticed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&descriptor, path, flags)?;
        Ok(Self {
            identity: identity(path)?,
            path: path.to_owned(),
            notifications: Receiver::from_owned_fd_unchecked(descriptor)?,
            next_check: Instant::now() + CHECK,
            gone: false,
        })
    }

    /// Waits until something happened, and then until nothing happens any more.
    pub(super) async fn changed(&mut self) -> io::Result<Happened> {
        let mut seen = Seen::default();
        while seen.is_empty() && !self.gone {
            let next_check = self.next_check;
            tokio::select! {
                read = self.read() => seen.add(&self.path, read?),
                () = sleep_until(next_check) => {
                    self.next_check = Instant::now() + CHECK;
                    if identity(&self.path).ok() != Some(self.identity) {
                        return Ok(Happened::Gone);
                    }
                }
            }
        }
        let end = Instant::now() + AT_MOST;
        while let Ok(read) =
            timeout(QUIET.min(end.saturating_duration_since(Instant::now())), self.read()).await
        {
            seen.add(&self.path, read?);
        }
        self.gone |= seen.gone;
        Ok(match (seen.files.is_empty(), seen.anything) {
            (true, false) => Happened::Gone,
            (false, false) => Happened::Files(seen.files),
            (_, true) if self.gone => Happened::Gone,
            (_, true) => Happened::Anything,
        })
    }

    async fn read(&self) -> io::Result<Vec<Noticed>> {
        loop {
            self.notifications.readable().await?;
            let mut buffer = [0; 8192];
            match self.notifications.try_read(&mut buffer) {
                Ok(length) => return Ok(events(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// One event of the kernel.
#[derive(Debug, PartialEq, Eq)]
struct Noticed {
    flags: ReadFlags,
    name: String,
}

/// Takes `struct inotify_event`s apart: watch, mask, cookie, length of the name; then the name, padded with zeros. The
/// kernel never cuts one.
fn events(mut bytes: &[u8]) -> Vec<Noticed> {
    const HEADER: usize = 16;
    let mut events = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER) {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = usize::try_from(word(12)).unwrap_or(usize::MAX);
        let Some((name, rest)) = rest.split_at_checked(length) else { break };
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = OsStr::from_bytes(name).to_string_lossy().into_owned();
        events.push(Noticed { flags: ReadFlags::from_bits_retain(word(4)), name });
        bytes = rest;
    }
    events
}

/// What was noticed so far.
#[derive(Debug, Default)]
struct Seen {
    files: BTreeSet<String>,
    anything: bool,
    gone: bool,
}

impl Seen {
    fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.anything && !self.gone
    }

    fn add(&mut self, directory: &Path, events: Vec<Noticed>) {
        for event in events {
            let self_is_gone =
                ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED | ReadFlags::UNMOUNT;
            if event.flags.intersects(self_is_gone) {
                self.gone = true;
            } else if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) || event.name.starts_with("..") {
                // A mounted ConfigMap switches all its files at once by the link `..data`.
                self.anything = true;
            } else if !event.flags.contains(ReadFlags::CREATE) || is_complete(&directory.join(&event.name)) {
                self.files.insert(event.name);
            }
        }
    }
}

/// A file that was just created is complete when it is a link, symbolic or hard; otherwise somebody still writes it and
/// will close it.
fn is_complete(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}
