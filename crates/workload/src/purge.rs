//! Removes every trace of a node's pods: processes, networks, groups, files.

use crate::folder::Folder;
use crate::hands::remove_from_kernel;
use crate::settings::Settings;

/// Removes them, and answers how many pods there were. Goes on whatever fails; the runtime must not run meanwhile.
pub fn purge(settings: &Settings) -> std::io::Result<usize> {
    let folder = Folder::new(&settings.state_dir);
    let node = settings.netns.as_deref().map(sys::netns::Namespace::named);
    let pods = folder.pods();
    for kept in &pods {
        remove_from_kernel(&node, kept);
    }
    if let Some(group) = sys::cgroup::Group::named("signalbox") {
        group.remove_if_empty();
    }
    match std::fs::remove_dir_all(folder.path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(pods.len()),
    }
}
