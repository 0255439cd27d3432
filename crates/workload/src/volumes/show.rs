//! Carries a plan of mounts out, in the calling process' namespace of mounts.

use std::fs;
use std::io;
use std::path::Path;

use sys::mount::{self, Tree};

use super::Mount;
use super::plan::{Kind, Step, Wanted, plan};

/// Mounts what a container finds in other places, over files and directories of the host that nobody else sees changed.
/// `staging` is a directory that may be covered meanwhile.
pub(crate) fn show(mounts: &[Mount], staging: &Path) -> Result<(), String> {
    let mut trees = Vec::new();
    let mut wanted = Vec::new();
    for mount in mounts {
        let (tree, from) = if mount.sub.is_empty() {
            (Tree::at(&mount.from), mount.from.clone())
        } else {
            (Tree::below(&mount.from, Path::new(&mount.sub)), mount.from.join(&mount.sub))
        };
        let opened = tree.and_then(|tree| Ok((tree, fs::canonicalize(&from)?)));
        let (tree, from) = opened.map_err(|error| {
            format!("failed to open {} for {}: {error}", from.display(), mount.at.display())
        })?;
        let (at, read_only) = (mount.at.clone(), mount.read_only);
        wanted.push(Wanted { at, is_folder: from.is_dir(), from, read_only });
        trees.push(tree);
    }
    let look = |path: &Path| {
        let kind = fs::symlink_metadata(path).ok()?.file_type();
        Some(if kind.is_symlink() {
            Kind::Link(fs::read_link(path).ok()?)
        } else if kind.is_dir() {
            Kind::Folder
        } else {
            Kind::File
        })
    };
    for step in plan(&wanted, &look).map_err(|why| format!("failed to mount volumes: {why}"))? {
        carry_out(&step, &trees, staging).map_err(|error| format!("failed to {step}: {error}"))?;
    }
    Ok(())
}

fn carry_out(step: &Step, trees: &[Tree], staging: &Path) -> io::Result<()> {
    match step {
        Step::MirrorRoot => mount::mirror_root(staging),
        Step::Mirror(path) => mount::mirror(path),
        Step::MakeFolder(path) => fs::create_dir_all(path),
        Step::MakeFile(path) => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::File::create(path).map(drop)
        }
        Step::Show(index, path) => trees.get(*index).map_or(Ok(()), |tree| tree.show(path)),
        Step::ReadOnly(path) => mount::make_read_only(path),
    }
}
