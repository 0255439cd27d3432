//! `cargo xtask contain`: runs a program as a container runtime would run the image on a node: in the root directory of
//! the image and with nothing but what a runtime adds to it, with the privileges that `deploy/daemonset.yaml` grants.
//!
//! It is *not* a runtime: namespaces other than that of mounts are those of the caller (the pod uses the network of its
//! node anyway), and there is no cgroup and no seccomp filter.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::ffi::CStr;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};
use rustix::thread::{
    CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set, set_no_new_privs,
};

/// What the manifest's `securityContext` grants; a test compares both.
pub(crate) const CAPABILITIES: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_RESOURCE);

/// Where the new root is put together. Every Linux system has the folder, and nobody needs what is in it until then.
const STAGE: &str = "/sys";

/// Devices that every container has.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// What is read-only for a container that is not privileged.
const PROTECTED: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

/// What `cargo xtask contain` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The root directory of the image; it is not changed
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// Show a file or folder of this machine inside, read-only (may be repeated)
    #[arg(long, value_name = "FROM:TO", value_parser = parse_mount)]
    mount: Vec<Mount>,
    /// Grant everything, as `privileged: true` does
    #[arg(long)]
    privileged: bool,
    /// The namespace of mounts is there already
    #[arg(long, hide = true)]
    inside: bool,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    words: Vec<OsString>,
}

/// A file or folder of the machine and where the container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
}

/// The words to put before a command line so that it runs in the root directory of an image.
pub(crate) fn words(root: &Path, mounts: &[Mount]) -> Result<Vec<String>> {
    let program = std::env::current_exe().context("finding this program")?;
    let text = |path: &Path| path.to_str().map(str::to_owned).with_context(|| path.display().to_string());
    let mut words = vec![text(&program)?, "contain".to_owned(), "--root".to_owned(), text(root)?];
    for Mount { from, to } in mounts {
        words.extend(["--mount".to_owned(), format!("{}:{}", text(from)?, text(to)?)]);
    }
    words.push("--".to_owned());
    Ok(words)
}

/// Becomes the program; answers only if it cannot.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.inside {
        return enter();
    }
    // What is mounted from here on is seen by nobody else, and gone with the process.
    let root = build(args).context("putting the container's root together")?;
    change_root(&root).context("changing the root")?;
    if !args.privileged {
        drop_privileges().context("dropping privileges")?;
    }
    let [program, words @ ..] = args.words.as_slice() else { bail!("no program") };
    let mut command = Command::new(program);
    command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    Err(command.exec()).with_context(|| format!("running {} in the container", program.display()))
}

/// Starts again in a namespace of mounts of its own.
fn enter() -> Result<()> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(program);
    command.args(["contain", "--inside"]).args(std::env::args_os().skip(2));
    Err(command.exec()).context("running unshare (of util-linux)")
}

fn build(args: &Args) -> Result<PathBuf> {
    let image = fs::canonicalize(&args.root).with_context(|| args.root.display().to_string())?;
    // Opened before anything is covered by the stage.
    let mounts: Vec<_> = args
        .mount
        .iter()
        .map(|Mount { from, to }| Ok((File::open(from).with_context(|| from.display().to_string())?, to)))
        .collect::<Result<_>>()?;
    let stage = Path::new(STAGE);
    mount("tmpfs", stage, "tmpfs", MountFlags::empty(), None::<&CStr>).context("mounting tmpfs")?;
    let root = stage.join("root");
    overlay(&image, stage, &root)?;
    let hardened = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    special(&root, ("proc", "proc"), hardened)?;
    special(&root, ("sysfs", "sys"), hardened | read_only(args))?;
    devices(&root)?;
    if !args.privileged {
        PROTECTED
            .iter()
            .filter(|path| root.join(path).exists())
            .try_for_each(|path| protect(&root.join(path)))?;
    }
    for (from, to) in mounts {
        show(&from, &root.join(to.strip_prefix("/").unwrap_or(to)))?;
    }
    // `readOnlyRootFilesystem: true`.
    mount_remount(&root, MountFlags::RDONLY, c"").context("making the root read-only")?;
    Ok(root)
}

fn read_only(args: &Args) -> MountFlags {
    if args.privileged { MountFlags::empty() } else { MountFlags::RDONLY }
}

/// The image with a layer above it that takes the mount points, as a runtime makes it.
fn overlay(image: &Path, stage: &Path, root: &Path) -> Result<()> {
    let image = image.to_str().filter(|path| !path.contains([':', ',', '\\']));
    let image =
        image.context("the path of the root directory has characters that overlayfs takes for its own")?;
    let [upper, work] = ["upper", "work"].map(|name| stage.join(name));
    for folder in [&upper, &work, &root.to_owned()] {
        fs::create_dir(folder).with_context(|| folder.display().to_string())?;
    }
    let options = format!("lowerdir={image},upperdir={},workdir={}", upper.display(), work.display());
    let options = std::ffi::CString::new(options).context("a path with a zero in it")?;
    mount("overlay", root, "overlay", MountFlags::empty(), options.as_c_str()).context("mounting overlayfs")
}

fn special(root: &Path, (kind, at): (&str, &str), flags: MountFlags) -> Result<()> {
    let at = root.join(at);
    fs::create_dir_all(&at).with_context(|| at.display().to_string())?;
    mount(kind, &at, kind, flags, None::<&CStr>).with_context(|| format!("mounting {kind}"))
}

fn devices(root: &Path) -> Result<()> {
    special(root, ("tmpfs", "dev"), MountFlags::NOSUID)?;
    for name in DEVICES {
        let device = File::open(Path::new("/dev").join(name)).with_context(|| format!("/dev/{name}"))?;
        bind(&device, &root.join("dev").join(name))?;
    }
    Ok(())
}

/// Shows something of the machine, read-only.
fn show(from: &File, to: &Path) -> Result<()> {
    bind(from, to)?;
    make_read_only(to)
}

fn bind(from: &File, to: &Path) -> Result<()> {
    use std::os::fd::AsRawFd;
    let said = || to.display().to_string();
    if from.metadata().with_context(said)?.is_dir() {
        fs::create_dir_all(to).with_context(said)?;
    } else {
        fs::create_dir_all(to.parent().unwrap_or(to)).with_context(said)?;
        File::create(to).with_context(said)?;
    }
    mount_bind(format!("/proc/self/fd/{}", from.as_raw_fd()), to).with_context(said)
}

/// Makes a part of a file system read-only that is otherwise not.
fn protect(path: &Path) -> Result<()> {
    mount_bind(path, path).with_context(|| path.display().to_string())?;
    make_read_only(path)
}

fn make_read_only(path: &Path) -> Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(path, flags, c"").with_context(|| format!("making {} read-only", path.display()))
}

fn change_root(root: &Path) -> Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    chdir(root)?;
    // The old root ends up under the new one, at the same place, and is taken away from there: pivot_root(2).
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    Ok(chdir("/")?)
}

/// A root user has, after `exec`, what the bounding set leaves.
fn drop_privileges() -> Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // The kernel refuses the question for numbers that it does not know.
        let is_there = capability_is_in_bounding_set(capability).unwrap_or(false);
        if is_there && !CAPABILITIES.contains(capability) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    // `allowPrivilegeEscalation: false`.
    Ok(set_no_new_privs(true)?)
}

fn parse_mount(text: &str) -> Result<Mount, String> {
    match text.split_once(':') {
        Some((from, to)) if to.starts_with('/') => Ok(Mount { from: from.into(), to: to.into() }),
        Some(_) | None => Err(format!("`{text}` is not FROM:/TO")),
    }
}
