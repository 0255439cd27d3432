//! One `signalbox up` for a directory, and a way to find it.

use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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
        let mut file = loop {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(data);
            made.with_context(|| format!("failed to make the directory {} (--data)", data.display()))?;
            check_owner(data)?;
            let file = open(data)?;
            match file.try_lock() {
                // `signalbox down` may have removed it meanwhile, and then it keeps nobody out.
                Ok(()) if is_there(&file, data) => break file,
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let who =
                        holder(data).map(|(number, _)| format!(" (process {number})")).unwrap_or_default();
                    bail!("`signalbox up` runs in {} already{who}; `signalbox down` ends it", data.display())
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("failed to lock {}", path(data).display()));
                }
            }
        };
        let number = std::process::id();
        let ticks = sys::process::start_time(number).unwrap_or(0);
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{number} {ticks}"))?;
        Ok(Self { _file: file })
    }

    /// Ends whoever has a directory, and takes it. The directory is there. Answers whether there was somebody.
    pub(super) fn take_over(data: &Path, patience: Duration) -> anyhow::Result<(Self, bool)> {
        check_owner(data)?;
        let file = open(data)?;
        if file.try_lock().is_ok() {
            return Ok((Self { _file: file }, false));
        }
        let begin = Instant::now();
        let mut asked = None;
        while begin.elapsed() < patience {
            // Who has only just taken it says who they are a moment later; what is there until then is about somebody before.
            let holder = holder(data);
            if holder != asked
                && let Some((number, ticks)) = holder
                && let Some(process) = Handle::open(number, ticks)
            {
                process.terminate();
                asked = holder;
            }
            if file.try_lock().is_ok() {
                return Ok((Self { _file: file }, true));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Some((number, _)) = asked else {
            bail!("somebody uses {}, and does not say who", data.display())
        };
        bail!("`signalbox up` (process {number}) did not end within {} s", patience.as_secs())
    }
}

/// Refuses a directory in which somebody else may put files: what is in it is believed, and keys are kept there.
fn check_owner(data: &Path) -> anyhow::Result<()> {
    const OTHERS_WRITE: u32 = 0o002;
    let about = std::fs::metadata(data).with_context(|| format!("failed to look at {}", data.display()))?;
    if about.uid() != 0 {
        bail!("{} belongs to another user (number {}), not to root (--data)", data.display(), about.uid());
    }
    if about.mode() & OTHERS_WRITE != 0 {
        bail!("everybody may write into {} (--data)", data.display());
    }
    Ok(())
}

/// Whether a directory's file is still this one.
fn is_there(file: &File, data: &Path) -> bool {
    let same = |here: Metadata, there: Metadata| (here.dev(), here.ino()) == (there.dev(), there.ino());
    file.metadata().is_ok_and(|here| std::fs::metadata(path(data)).is_ok_and(|there| same(here, there)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("signalbox-lock-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        use std::os::unix::fs::{PermissionsExt, chown};
        if !sys::process::is_root() {
            println!("SKIPPED (needs root): whose a directory is");
            return;
        }
        let data = folder("owner");
        let said = || Lock::take(&data).err().map_or("taken".to_owned(), |error| error.to_string());
        assert_eq!(said(), "taken");
        chown(&data, Some(1000), None).unwrap();
        assert!(said().contains("belongs to another user (number 1000)"), "{}", said());
        chown(&data, Some(0), None).unwrap();
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(said().contains("everybody may write"), "{}", said());
        std::fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_removed_file_keeps_nobody_out() {
        if !sys::process::is_root() {
            println!("SKIPPED (needs root): locks");
            return;
        }
        let data = folder("removed");
        let before = open(&data).unwrap();
        assert!(is_there(&before, &data));
        std::fs::remove_file(path(&data)).unwrap();
        assert!(!is_there(&before, &data));
        let _lock = Lock::take(&data).unwrap();
        assert!(!is_there(&before, &data), "it is another one");
        std::fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn who_does_not_say_yet_who_they_are_is_waited_for() {
        if !sys::process::is_root() {
            println!("SKIPPED (needs root): locks");
            return;
        }
        let data = folder("late");
        // What a killed one has left, and the lock of another one who was not yet able to write.
        std::fs::write(path(&data), "1 0\n").unwrap();
        let held = open(&data).unwrap();
        held.try_lock().unwrap();
        let said = Lock::take_over(&data, Duration::from_millis(50)).err().unwrap().to_string();
        assert!(said.contains("does not say who"), "{said}");
        let mut child = std::process::Command::new("sleep").arg("86397").spawn().unwrap();
        let waiting = std::thread::spawn({
            let data = data.clone();
            move || Lock::take_over(&data, Duration::from_secs(20)).map(|(_, ran)| ran)
        });
        std::thread::sleep(Duration::from_millis(100));
        let ticks = sys::process::start_time(child.id()).unwrap();
        std::fs::write(path(&data), format!("{} {ticks}\n", child.id())).unwrap();
        // It is asked to end; its lock goes with it.
        child.wait().unwrap();
        drop(held);
        assert!(waiting.join().unwrap().unwrap());
        std::fs::remove_dir_all(data).unwrap();
    }
}
