//! Mounts: places of the file system shown elsewhere, memory as a directory, and directories that get entries of which the
//! machine knows nothing.
//!
//! What it does *not* do: leave its own namespace of mounts, or decide what goes where.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

/// A place of the file system with everything that is mounted below it, held so that it can be shown elsewhere whatever
/// happens to its path.
#[derive(Debug)]
pub struct Tree(OwnedFd);

impl Tree {
    /// Takes hold of what is at a path.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::mount::open_tree(CWD, path, clone_flags())?))
    }

    /// Takes hold of what is below a directory. No link leads out of it; what is missing is made, with the directory's
    /// permissions.
    pub fn below(path: &Path, inside: &Path) -> io::Result<Self> {
        let spot = open_below(path, inside)?;
        let flags = clone_flags() | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(Self(rustix::mount::open_tree(spot, "", flags)?))
    }

    /// Shows it at a path, which must be there: a directory over a directory, a file over a file.
    pub fn show(&self, at: &Path) -> io::Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(rustix::mount::move_mount(&self.0, "", CWD, at, flags)?)
    }
}

fn clone_flags() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE
}

/// Opens what is below a directory, as [`Tree::below`] does.
fn open_below(path: &Path, inside: &Path) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&root)?.st_mode & 0o7777);
    let open = |path: &Path| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    let mut known = PathBuf::from(".");
    let mut spot = open(&known)?;
    for part in inside.components() {
        let part = match part {
            Component::Normal(part) => part,
            Component::CurDir => continue,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        let next = known.join(part);
        spot = match open(&next) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&spot, part, mode)?;
                let made = open(&next)?;
                // The mode that was asked for lost what the program's mask forbids.
                fs::set_permissions(by_number(&made), fs::Permissions::from_mode(mode.bits()))?;
                made
            }
            found => found?,
        };
        known = next;
    }
    Ok(spot)
}

fn by_number(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// Makes what is shown at a path read-only there; what is mounted below it stays as it is.
pub fn make_read_only(at: &Path) -> io::Result<()> {
    // A mount may not lose what forbids something.
    let has = rustix::fs::statvfs(at)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (told, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if has.contains(told) {
            flags |= flag;
        }
    }
    Ok(rustix::mount::mount_remount(at, flags, "")?)
}

/// Makes a directory of memory; `size` is how many bytes fit into it.
pub fn mount_memory(at: &Path, (mode, size): (u32, Option<u64>)) -> io::Result<()> {
    let size = size.map(|size| format!(",size={size}")).unwrap_or_default();
    mount_tmpfs(at, &format!("mode={mode:o}{size}"))
}

fn mount_tmpfs(at: &Path, options: &str) -> io::Result<()> {
    let options = CString::new(options).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str())?)
}

/// Answers the paths at and below a directory at which something is mounted, the innermost first.
pub fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> =
        text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect();
    found.retain(|mounted| mounted.starts_with(&path));
    // Later mounts may cover earlier ones.
    found.reverse();
    found
}

/// Answers whether something is mounted at a path.
pub fn is_mount(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|path| mounts_below(&path).contains(&path))
}

/// Unmounts everything at and below a directory, also what is in use.
pub fn unmount_below(path: &Path) {
    for mounted in mounts_below(path) {
        // Who is gone need not be unmounted.
        let _ = rustix::mount::unmount(&mounted, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

/// The kernel writes spaces and the like as `\040`.
fn unescaped(text: &str) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Puts a directory of memory over a directory, in which everything that was there is shown again: what is made in it from
/// now on only this namespace of mounts sees.
pub fn mirror(folder: &Path) -> io::Result<()> {
    let original =
        rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let entries = entries(folder)?;
    mount_like(folder, &fs::metadata(folder)?)?;
    show_again(&entries, &original, folder)
}

/// Does the same with the root directory, for the calling process and those that it starts. `staging` is a directory that
/// is used meanwhile.
pub fn mirror_root(staging: &Path) -> io::Result<()> {
    let root = Path::new("/");
    let original = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let entries = entries(root)?;
    mount_like(staging, &fs::metadata(root)?)?;
    // It is below one of the entries, in which it must not be shown.
    rustix::mount::mount_change(staging, MountPropagationFlags::UNBINDABLE)?;
    show_again(&entries, &original, staging)?;
    rustix::process::chdir(staging)?;
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => rustix::mount::unmount(".", UnmountFlags::DETACH)?,
        // The very first root of a machine cannot be replaced, only covered.
        Err(Errno::INVAL) => {
            rustix::mount::mount_move(".", "/")?;
            rustix::process::chroot(".")?;
        }
        Err(error) => return Err(error.into()),
    }
    rustix::process::chdir("/")?;
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE)?)
}

type Entry = (OsString, fs::Metadata);

fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let found = fs::read_dir(folder)?;
    // What vanishes meanwhile is not there.
    Ok(found.flatten().filter_map(|entry| Some((entry.file_name(), entry.metadata().ok()?))).collect())
}

fn mount_like(at: &Path, original: &fs::Metadata) -> io::Result<()> {
    let (mode, user, group) = (original.mode() & 0o7777, original.uid(), original.gid());
    mount_tmpfs(at, &format!("mode={mode:o},uid={user},gid={group}"))
}

fn show_again(entries: &[Entry], original: &OwnedFd, place: &Path) -> io::Result<()> {
    for (name, about) in entries {
        let to = place.join(name);
        let kind = about.file_type();
        if kind.is_symlink() {
            let target = rustix::fs::readlinkat(original, name.as_os_str(), Vec::new())?;
            std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target.as_bytes()), &to)?;
            continue;
        }
        if (kind.is_char_device() || kind.is_block_device()) && make_device(&to, about).is_ok() {
            continue;
        }
        if kind.is_dir() {
            fs::DirBuilder::new().mode(0o755).create(&to)?;
        } else {
            fs::File::create(&to)?;
        }
        let flags = clone_flags() | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        match rustix::mount::open_tree(original, name.as_os_str(), flags) {
            Ok(tree) => Tree(tree).show(&to)?,
            // It vanished, or nobody may show it elsewhere.
            Err(Errno::NOENT | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A device of the same number: the kernel finds the other end of `/dev/ptmx` beside it, which a shown file has not.
fn make_device(at: &Path, about: &fs::Metadata) -> io::Result<()> {
    let kind =
        if about.file_type().is_block_device() { FileType::BlockDevice } else { FileType::CharacterDevice };
    rustix::fs::mknodat(CWD, at, kind, Mode::from_raw_mode(0o600), about.rdev())?;
    std::os::unix::fs::chown(at, Some(about.uid()), Some(about.gid()))?;
    fs::set_permissions(at, fs::Permissions::from_mode(about.mode() & 0o7777))
}

/// A directory that is reached whatever is mounted over its path.
#[derive(Debug)]
pub struct Held(OwnedFd);

impl Held {
    /// Takes hold of a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Answers a path that leads to it, for this process.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_fd().as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_as_the_kernel_writes_them() {
        for (text, expected) in
            [("/a/b", "/a/b"), ("/a\\040b\\134", "/a b\\"), ("/a\\9", "/a\\9"), ("/\\04", "/\\04")]
        {
            assert_eq!(unescaped(text), Path::new(expected), "{text}");
        }
    }

    #[test]
    fn nothing_leads_out_of_a_directory() {
        let folder = std::env::temp_dir().join(format!("signalbox-below-{}", std::process::id()));
        fs::create_dir_all(folder.join("in")).unwrap();
        fs::set_permissions(folder.join("in"), fs::Permissions::from_mode(0o770)).unwrap();
        std::os::unix::fs::symlink("../..", folder.join("in/up")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("in/away")).unwrap();
        std::os::unix::fs::symlink("made", folder.join("in/link")).unwrap();
        for (inside, expected) in [
            ("made/deep", true),
            ("link/deep", true),
            ("up", false),
            ("up/x", false),
            ("away/passwd", false),
            ("../x", false),
            ("/etc", false),
        ] {
            assert_eq!(open_below(&folder.join("in"), Path::new(inside)).is_ok(), expected, "{inside}");
        }
        assert_eq!(fs::metadata(folder.join("in/made")).unwrap().mode() & 0o7777, 0o770);
        fs::remove_dir_all(folder).unwrap();
    }
}
