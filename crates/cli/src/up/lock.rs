//! One `signalbox up` for a directory, and a way to find it.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sys::process::Handle;

/// Held while the directory is used. The file stays, since another one may wait for it; the kernel unlocks it whatever
/// happens.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes a directory, and makes it.
    pub(super) fn take(data: &Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
        made.with_context(|| format!("failed to make the directory {} (--data)", data.display()))?;
        let mut file = open(data)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let who = holder(data).map(|(number, _)| format!(" (process {number})")).unwrap_or_default();
                bail!("`signalbox up` runs in {} already{who}; `signalbox down` ends it", data.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", path(data).display()));
            }
        }
        let number = std::process::id();
        let ticks = sys::process::start_time(number).unwrap_or(0);
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{number} {ticks}"))?;
        Ok(Self { _file: file })
    }

    /// Ends whoever has a directory, and takes it. The directory is there. Answers whether there was somebody.
    pub(super) fn take_over(data: &Path, patience: Duration) -> anyhow::Result<(Self, bool)> {
        let file = open(data)?;
        if file.try_lock().is_ok() {
            return Ok((Self { _file: file }, false));
        }
        let Some((number, ticks)) = holder(data) else {
            bail!("somebody uses {}, and does not say who", data.display())
        };
        if let Some(process) = Handle::open(number, ticks) {
            process.terminate();
        }
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if file.try_lock().is_ok() {
                return Ok((Self { _file: file }, true));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("`signalbox up` (process {number}) did not end within {} s", patience.as_secs())
    }
}

/// The file of a directory.
pub(super) fn path(data: &Path) -> PathBuf {
    data.join("up.lock")
}

fn open(data: &Path) -> anyhow::Result<File> {
    let path = path(data);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    file.with_context(|| format!("failed to open {}", path.display()))
}

/// The number of the process that has the directory, and when it was started.
fn holder(data: &Path) -> Option<(u32, u64)> {
    let mut text = String::new();
    File::open(path(data)).ok()?.read_to_string(&mut text).ok()?;
    let (number, ticks) = text.trim().split_once(' ')?;
    Some((number.parse().ok()?, ticks.parse().ok()?))
}
