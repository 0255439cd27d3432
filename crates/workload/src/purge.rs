//! Ends the pods of a node from outside: for a while, or with every trace of them.

use std::time::Duration;

use sys::process::Handle;

use crate::folder::{Folder, Kept, Started, read};
use crate::hands::{NETWORK_MADE, remove_from_kernel};
use crate::settings::Settings;

/// Removes them, and answers how many pods there were. Goes on whatever fails; the runtime must not run meanwhile.
pub fn purge(settings: &Settings) -> std::io::Result<usize> {
    let folder = Folder::new(&settings.state_dir);
    let node = settings.netns.as_deref().map(sys::netns::Namespace::named);
    let pods = folder.pods();
    for kept in &pods {
        remove_from_kernel(&node, kept);
    }
    // Also of pods of which nothing else is left: what is below would be removed through a mount.
    sys::mount::unmount_below(&folder.path().join("volumes"));
    if let Some(group) = sys::cgroup::Group::named("signalbox") {
        group.remove_if_empty();
    }
    match std::fs::remove_dir_all(folder.path()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(pods.len()),
    }
}

/// Ends the processes of every pod and removes their networks; the next start runs them again. They are asked first, and
/// have so long to go by themselves. The runtime must not run meanwhile.
pub fn stop_all(settings: &Settings, grace: Duration) {
    const LOOK: Duration = Duration::from_millis(20);
    let folder = Folder::new(&settings.state_dir);
    let node = settings.netns.as_deref().map(sys::netns::Namespace::named);
    let pods = folder.pods();
    pods.iter().flat_map(|kept| processes(&folder, kept)).for_each(|process| process.terminate());
    let mut left = grace;
    while !left.is_zero() && pods.iter().any(|kept| !processes(&folder, kept).is_empty()) {
        std::thread::sleep(LOOK);
        left = left.saturating_sub(LOOK);
    }
    for kept in &pods {
        remove_from_kernel(&node, kept);
        // By this the next start sees that it was not the containers who ended, also where they share the node's network.
        drop(std::fs::remove_file(folder.pod(&kept.uid).join(NETWORK_MADE)));
        folder.unmount_volumes(&kept.uid);
    }
}

/// The programs of a pod's containers that run.
fn processes(folder: &Folder, kept: &Kept) -> Vec<Handle> {
    let started = |file: std::path::PathBuf| read::<Started>(&file.join("started.json"));
    let runs = folder.runs(&kept.uid).into_iter().filter_map(started);
    runs.filter_map(|started| Handle::open(started.process, started.process_ticks)).collect()
}
