//! `cargo xtask image`: what `docker build` makes of `deploy/Dockerfile`, without docker: the static binary, and the root
//! directory of the image. Made from the lines of that file, so that both are the same.

mod dns;
mod dockerfile;
mod elf;
mod manifests;
mod trial;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use dockerfile::{Copy, Dockerfile};

/// What `cargo xtask image` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to put the root directory; must be empty [default: image/root in the target folder, replaced]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Then try it, as the DaemonSet runs it, against a test API server; needs root
    #[arg(long)]
    check: bool,
}

/// Builds the binary and the root directory of the image, and says where it is.
pub(crate) fn run(project: &Path, args: &Args) -> Result<()> {
    let dockerfile = Dockerfile::read(project)?;
    let target = target(project).join("image");
    let root = match &args.output {
        Some(output) => output.clone(),
        None => replaced(&target.join("root"))?,
    };
    if root.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty", root.display());
    }
    let binary = build(project, &target, &dockerfile)?;
    assemble(project, &dockerfile, (&binary, &root))?;
    println!("{}", root.display());
    if args.check { trial::run(project, &root) } else { Ok(()) }
}

fn target(project: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| project.join("target"), |dir| project.join(dir))
}

fn replaced(root: &Path) -> Result<PathBuf> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| root.display().to_string())
        }
        Ok(()) | Err(_) => Ok(root.to_owned()),
    }
}

/// Builds the static binary with the Dockerfile's variables, and makes sure that it is one.
fn build(project: &Path, target: &Path, dockerfile: &Dockerfile) -> Result<PathBuf> {
    let host = host()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(BUILD).args(["--target", &host]).current_dir(project);
    command.env("CARGO_TARGET_DIR", target).envs(&dockerfile.variables);
    // It would count instead of RUSTFLAGS.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS");
    let status = command.status().context("running cargo")?;
    if !status.success() {
        bail!("cargo {} ended with {status}", BUILD.join(" "));
    }
    let binary = target.join(host).join("release/signalbox");
    let file = fs::read(&binary).with_context(|| binary.display().to_string())?;
    if let Err(reason) = elf::check_static(&file) {
        bail!("{} is not static: it {reason}", binary.display());
    }
    Ok(binary)
}

/// The command of the Dockerfile, but for the target.
const BUILD: [&str; 5] = ["build", "--release", "--locked", "--package", "cli"];

/// The target that this compiler makes programs for by default. Only with a target that is named do flags for the
/// binary not count for macros and build scripts, which cannot be static.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("running rustc")?;
    let text = String::from_utf8(output.stdout).context("the answer of rustc")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}

/// Puts the root directory together as the last stage does.
fn assemble(project: &Path, dockerfile: &Dockerfile, (binary, root): (&Path, &Path)) -> Result<()> {
    fs::create_dir_all(root).with_context(|| root.display().to_string())?;
    for copy in &dockerfile.copies {
        match copy {
            Copy::Folder { from, to } => copy_folder(&project.join(from), &inside(root, to))?,
            Copy::Built { from, to } if from.file_name() == Some(OsStr::new("signalbox")) => {
                copy_file(binary, &inside(root, to))?;
            }
            Copy::Built { from, .. } => bail!("deploy/Dockerfile: {} is not built here", from.display()),
        }
    }
    let program = dockerfile.entry_point.first().context("deploy/Dockerfile: no ENTRYPOINT")?;
    let path = inside(root, Path::new(program));
    if !path.is_file() {
        bail!("deploy/Dockerfile: the ENTRYPOINT {program} is not in the image");
    }
    Ok(())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Copies what is in a folder; links stay links.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_folder(&from, &to)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)
                .with_context(|| to.display().to_string())?;
        } else {
            copy_file(&from, &to)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to.parent().unwrap_or(to)).with_context(|| to.display().to_string())?;
    fs::copy(from, to).with_context(|| to.display().to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> &'static Path {
        crate::root().unwrap()
    }

    #[test]
    fn the_dockerfile_runs_the_same_command() {
        let dockerfile = Dockerfile::read(project()).unwrap();
        let wanted = format!("cargo {} --target ", BUILD.join(" "));
        assert!(dockerfile.commands.iter().any(|command| command.starts_with(&wanted)), "{dockerfile:?}");
        assert!(dockerfile.variables["RUSTFLAGS"].contains("+crt-static"), "{dockerfile:?}");
    }

    #[test]
    fn the_image_holds_one_program_under_both_names_and_nothing_else() {
        let dockerfile = Dockerfile::read(project()).unwrap();
        let folder = std::env::temp_dir().join(format!("signalbox-image-{}", std::process::id()));
        let binary = folder.join("built");
        fs::create_dir_all(&folder).unwrap();
        fs::write(&binary, "the binary").unwrap();
        let assembled = assemble(project(), &dockerfile, (&binary, &folder.join("root")));
        let bin = folder.join("root/usr/local/bin");
        let link = fs::read_link(bin.join("kube-proxy"));
        let through = fs::read_to_string(bin.join("kube-proxy"));
        let mut files = Vec::new();
        list(&folder.join("root"), &mut files);
        fs::remove_dir_all(&folder).unwrap();
        assembled.unwrap();
        assert_eq!(files, ["kube-proxy", "signalbox"]);
        assert_eq!(link.unwrap(), Path::new("signalbox"));
        assert_eq!(through.unwrap(), "the binary");
    }

    fn list(folder: &Path, files: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                list(&entry.path(), files);
            } else {
                files.push(entry.file_name().into_string().unwrap());
            }
        }
        files.sort();
    }
}
