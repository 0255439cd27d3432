//! Makes the directories of volumes, and looks at the places of the host that are some.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;

use super::Source;

/// Anybody may write into an empty volume.
const EVERYBODY: u32 = 0o777;
/// What is made in a directory gets its group.
const SAME_GROUP: u32 = 0o2000;

/// Makes what a volume is before anything is in it, or sees that it is there. `group`: whose group may write into it.
pub(super) fn set_up(folder: &Path, source: &Source, group: Option<u32>) -> Result<(), String> {
    match source {
        Source::Empty { memory, size } => {
            empty(folder, memory.then_some(*size), group).map_err(|error| error.to_string())
        }
        Source::Host { path, kind } => host(Path::new(path), kind),
        Source::Files { .. } => fs::create_dir_all(folder).map_err(|error| error.to_string()),
        Source::Impossible(why) => Err(why.clone()),
    }
}

fn empty(folder: &Path, memory: Option<Option<u64>>, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    if let Some(size) = memory
        && !sys::mount::is_mount(folder)
    {
        sys::mount::mount_memory(folder, (EVERYBODY, size))?;
    }
    chown(folder, None, group)?;
    let mode = EVERYBODY | group.map_or(0, |_| SAME_GROUP);
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

/// The kinds are Kubernetes'; none: a directory that is made where nothing is, as container runtimes do.
fn host(path: &Path, kind: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let exists = path.exists();
    match kind {
        "" | "DirectoryOrCreate" if !exists => fs::create_dir_all(path).map_err(failed)?,
        "FileOrCreate" if !exists => drop(fs::File::create(path).map_err(failed)?),
        _ => {}
    }
    let found = fs::metadata(path).map(|about| about.file_type()).ok();
    let (is_so, what) = match kind {
        "Directory" | "DirectoryOrCreate" => (found.is_some_and(|kind| kind.is_dir()), "a directory"),
        "File" | "FileOrCreate" => (found.is_some_and(|kind| kind.is_file()), "a file"),
        "Socket" => (found.is_some_and(|kind| kind.is_socket()), "a socket file"),
        "CharDevice" => (found.is_some_and(|kind| kind.is_char_device()), "a character device"),
        "BlockDevice" => (found.is_some_and(|kind| kind.is_block_device()), "a block device"),
        _ => (found.is_some(), "there"),
    };
    if is_so { Ok(()) } else { Err(format!("hostPath type check failed: {} is not {what}", path.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_host_are_what_they_should_be() {
        let folder = std::env::temp_dir().join(format!("signalbox-host-path-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        for (name, kind, expected) in [
            ("", "", "ok"),
            ("", "Directory", "ok"),
            ("", "File", "is not a file"),
            ("file", "File", "ok"),
            ("file", "Directory", "is not a directory"),
            ("file", "DirectoryOrCreate", "is not a directory"),
            ("none", "Directory", "is not a directory"),
            ("none", "File", "is not a file"),
            ("new/folder", "DirectoryOrCreate", "ok"),
            ("new-file", "FileOrCreate", "ok"),
            ("new-any", "", "ok"),
            ("file", "Socket", "is not a socket file"),
            ("file", "CharDevice", "is not a character device"),
            ("file", "BlockDevice", "is not a block device"),
        ] {
            let found = host(&folder.join(name), kind).map_or_else(|error| error, |()| "ok".to_owned());
            assert!(found.ends_with(expected), "{name} {kind}: {found}");
        }
        assert!(host(Path::new("/dev/null"), "CharDevice").is_ok());
        assert!(folder.join("new-file").is_file() && folder.join("new-any").is_dir());
        fs::remove_dir_all(folder).unwrap();
    }
}
