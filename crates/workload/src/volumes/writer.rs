//! Writes the files of a volume so that who reads them finds all of one time or all of another, as a kubelet does.
//!
//! ```text
//! key -> ..data/key        ..data -> ..2026_11_25_14_30_00.000000000        the directory with the files
//! ```
//!
//! The only thing that changes hands is the link `..data`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path};

use super::files::{File, Files};
use crate::time::{Time, exact};

const LINK: &str = "..data";
const NEXT_LINK: &str = "..data_tmp";
/// What the group of a pod may do with a file that it cannot change, and with a directory, which hands the group on.
const GROUP_READS: u32 = 0o440;
const GROUP_ENTERS: u32 = 0o2550;

/// Makes the files of a volume these; answers whether anything had to be written. `group`: whose group may read them.
pub(super) fn write(folder: &Path, files: &Files, (group, now): (Option<u32>, Time)) -> io::Result<bool> {
    check(files)?;
    let old = fs::read_link(folder.join(LINK)).ok();
    if old.as_ref().is_some_and(|old| is_same(&folder.join(old), files, group)) {
        return Ok(false);
    }
    let name = format!("..{}", exact(now).trim_end_matches('Z').replace(['-', 'T', ':'], "_"));
    let next = folder.join(&name);
    make_folder(&next, group)?;
    for (path, file) in files {
        write_file(&next, (path, file), group)?;
    }
    // One that a killed program left.
    drop(fs::remove_file(folder.join(NEXT_LINK)));
    symlink(&name, folder.join(NEXT_LINK))?;
    fs::rename(folder.join(NEXT_LINK), folder.join(LINK))?;
    let tops: BTreeSet<&str> = files.keys().map(|path| path.split('/').next().unwrap_or(path)).collect();
    for top in &tops {
        if !folder.join(top).is_symlink() {
            symlink(Path::new(LINK).join(top), folder.join(top))?;
        }
    }
    remove_old(folder, &name, &tops)?;
    Ok(true)
}

/// Paths lead into the volume, and names that begin with two dots are the writer's own.
fn check(files: &Files) -> io::Result<()> {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    let is_good = |path: &&String| {
        !path.is_empty() && !path.starts_with("..") && Path::new(path).components().all(is_plain)
    };
    match files.keys().find(|path| !is_good(path)) {
        Some(path) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path: {path:?}"))),
        None => Ok(()),
    }
}

fn mode_of(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() { file.mode | GROUP_READS } else { file.mode }
}

fn is_same(folder: &Path, files: &Files, group: Option<u32>) -> bool {
    let same = |(path, file): (&String, &File)| {
        let found = folder.join(path);
        let mode = fs::metadata(&found).map(|about| about.mode() & 0o7777).ok();
        mode == Some(mode_of(file, group)) && fs::read(found).is_ok_and(|bytes| bytes == file.bytes)
    };
    files.iter().all(same) && count(folder) == files.len()
}

/// How many files there are below a directory.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

fn make_folder(path: &Path, group: Option<u32>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o755).create(path)?;
    chown(path, None, group)?;
    let more = if group.is_some() { GROUP_ENTERS } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode(0o755 | more))
}

fn write_file(folder: &Path, (path, file): (&str, &File), group: Option<u32>) -> io::Result<()> {
    let mut at = folder.to_owned();
    let mut parts = path.split('/').peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        if parts.peek().is_some() && !at.is_dir() {
            make_folder(&at, group)?;
        }
    }
    let mut written = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at)?;
    written.write_all(&file.bytes)?;
    chown(&at, file.owner, group)?;
    // Not at its opening, of which the program's mask takes something away.
    fs::set_permissions(&at, fs::Permissions::from_mode(mode_of(file, group)))
}

fn remove_old(folder: &Path, newest: &str, tops: &BTreeSet<&str>) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name == newest || name == LINK || tops.contains(name) {
            continue;
        }
        // Directories without those dots are places at which other volumes are mounted.
        if entry.path().is_symlink() {
            fs::remove_file(entry.path())?;
        } else if name.starts_with("..") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn files(text: &str) -> Files {
        let one = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let mode = u32::from_str_radix(words[1], 8).unwrap();
            (words[0].to_owned(), File { bytes: words[2].into(), mode, owner: None })
        };
        text.split("; ").filter(|line| !line.is_empty()).map(one).collect()
    }

    /// Links with what they lead to, and files with permissions and text.
    fn shown(folder: &Path, prefix: &str, out: &mut Vec<String>) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), format!("{prefix}{}", entry.file_name().to_str().unwrap()));
            if path.is_symlink() {
                out.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if path.is_dir() {
                shown(&path, &format!("{name}/"), out);
            } else {
                let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
                out.push(format!("{name} {mode:o} {}", fs::read_to_string(&path).unwrap()));
            }
        }
    }

    #[test]
    fn a_volume_changes_at_once() {
        let folder = std::env::temp_dir().join(format!("signalbox-writer-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut second = 0;
        for (text, is_written, expected) in [
            (
                "a 644 1; d/b 400 2",
                true,
                "..1970_01_01_00_00_01.000000000/a 644 1; ..1970_01_01_00_00_01.000000000/d/b 400 2; \
              ..data -> ..1970_01_01_00_00_01.000000000; a -> ..data/a; d -> ..data/d",
            ),
            ("a 644 1; d/b 400 2", false, ""),
            (
                "a 600 1; d/c 400 2",
                true,
                "..1970_01_01_00_00_03.000000000/a 600 1; ..1970_01_01_00_00_03.000000000/d/c 400 2; \
              ..data -> ..1970_01_01_00_00_03.000000000; a -> ..data/a; d -> ..data/d",
            ),
            (
                "e 644 3",
                true,
                "..1970_01_01_00_00_04.000000000/e 644 3; ..data -> ..1970_01_01_00_00_04.000000000; e -> ..data/e",
            ),
            ("", true, "..data -> ..1970_01_01_00_00_05.000000000"),
        ] {
            second += 1;
            let written = write(&folder, &files(text), (None, Duration::from_secs(second))).unwrap();
            assert_eq!(written, is_written, "{text}");
            if is_written {
                let mut found = Vec::new();
                shown(&folder, "", &mut found);
                assert_eq!(found.join("; "), expected, "{text}");
            }
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_a_killed_writer_left_does_no_harm() {
        let folder = std::env::temp_dir().join(format!("signalbox-writer-killed-{}", std::process::id()));
        fs::create_dir_all(folder.join("..1970_01_01_00_00_00.000000000")).unwrap();
        fs::create_dir_all(folder.join("place")).unwrap();
        symlink("..nowhere", folder.join(NEXT_LINK)).unwrap();
        write(&folder, &files("a 644 1"), (None, Duration::from_secs(1))).unwrap();
        let mut found = Vec::new();
        shown(&folder, "", &mut found);
        assert_eq!(
            found.join("; "),
            "..1970_01_01_00_00_01.000000000/a 644 1; ..data -> ..1970_01_01_00_00_01.000000000; a -> ..data/a"
        );
        assert!(folder.join("place").is_dir());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn paths_stay_in_the_volume() {
        for path in ["../x", "/x", "", "..x", "a/../../b"] {
            let files =
                Files::from([(path.to_owned(), File { bytes: Vec::new(), mode: 0o644, owner: None })]);
            let error = write(Path::new("/nowhere"), &files, (None, Duration::ZERO)).unwrap_err();
            assert!(error.to_string().contains("invalid path"), "{path}: {error}");
        }
    }
}
