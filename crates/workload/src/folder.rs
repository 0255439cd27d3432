//! What is kept on disk: which pods there are, and each run of each container.
//!
//! ```text
//! pods/<uid>/pod.json                      addresses, the network namespace, the link: all that the kernel has of it
//! pods/<uid>/resolv.conf, hosts, network-made
//! pods/<uid>/<container>/<attempt>/        launch.json, started.json, exit.json, log, stdin, stdin-ended,
//!                                          termination-log
//! volumes/<uid>/<volume>/                  those that are not places of the host; some are mounts
//! ```
//!
//! It is written before the kernel is asked for anything: whatever there may be of a pod can be found from here.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The directory of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Folder {
    path: PathBuf,
}

/// What the kernel may have of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The pod's identity.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its own addresses; none when it shares the node's network.
    pub addresses: Vec<IpAddr>,
    /// Whether it shares the node's network.
    pub host_network: bool,
}

/// A container's process, as its keeper told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Started {
    /// The number of the keeper.
    pub keeper: u32,
    /// When the keeper was started, in the kernel's ticks.
    pub keeper_ticks: u64,
    /// The number of the process.
    pub process: u32,
    /// When the process was started, in the kernel's ticks.
    pub process_ticks: u64,
    /// When that was.
    pub at: Time,
    /// The device of its terminal, when it has one.
    pub terminal: Option<PathBuf>,
}

/// The end of a container's process, as its keeper told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exit {
    /// 128 and the signal's number when one ended it.
    pub code: i32,
    /// The reason in one word.
    pub reason: String,
    /// The reason in many.
    pub message: String,
    /// When.
    pub at: Time,
}

impl Kept {
    /// The name of its network namespace.
    pub(crate) fn network(&self) -> String {
        format!("sb-{}", self.uid)
    }

    /// The name of the node's end of its link. The kernel takes no more than 15 letters.
    pub(crate) fn link(&self) -> String {
        let digits = self.uid.chars().filter(char::is_ascii_alphanumeric).take(12);
        format!("sbp{}", digits.collect::<String>())
    }

    /// The name of its control group.
    pub(crate) fn group(&self) -> String {
        format!("signalbox/{}", self.uid)
    }

    /// The setting that all its processes have in their environment, by which strays are found.
    pub(crate) fn mark(&self) -> String {
        format!("{MARK}={}", self.uid)
    }
}

/// The pipe of a run that is opened when nobody will talk to the program any more.
pub(crate) const STDIN_ENDED: &str = "stdin-ended";

/// The name of the setting that says to which pod a process belongs.
pub(crate) const MARK: &str = "SIGNALBOX_POD_UID";

impl Folder {
    /// The directory at a path.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Answers its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers every pod that is kept, by identity.
    pub(crate) fn pods(&self) -> Vec<Kept> {
        let entries = fs::read_dir(self.path.join("pods")).into_iter().flatten().flatten();
        let mut pods: Vec<Kept> = entries.filter_map(|entry| read(&entry.path().join("pod.json"))).collect();
        pods.sort_by(|a, b| a.uid.cmp(&b.uid));
        pods
    }

    /// Removes what was left of pods that were being forgotten: the kernel has nothing of them any more.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(self.path.join("pods")).into_iter().flatten().flatten() {
            if !entry.path().join("pod.json").exists() {
                // The next start tries again.
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        for entry in fs::read_dir(self.path.join("volumes")).into_iter().flatten().flatten() {
            let uid = entry.file_name().to_string_lossy().into_owned();
            if !self.pod(&uid).exists() {
                drop(self.remove_volumes(&uid));
            }
        }
    }

    /// Answers where what belongs to a pod is.
    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.path.join("pods").join(uid)
    }

    /// Answers where the volumes of a pod are.
    pub(crate) fn volumes(&self, uid: &str) -> PathBuf {
        self.path.join("volumes").join(uid)
    }

    /// Answers where what belongs to a run is.
    pub(crate) fn run(&self, uid: &str, container: &str, attempt: u32) -> PathBuf {
        self.pod(uid).join(container).join(attempt.to_string())
    }

    /// Answers the runs of a container that are kept, oldest first.
    pub(crate) fn attempts(&self, uid: &str, container: &str) -> Vec<u32> {
        let entries = fs::read_dir(self.pod(uid).join(container)).into_iter().flatten().flatten();
        let mut attempts: Vec<u32> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        attempts.sort_unstable();
        attempts
    }

    /// Answers the folders of all runs of a pod's containers.
    pub(crate) fn runs(&self, uid: &str) -> Vec<PathBuf> {
        let folders = |path: PathBuf| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        folders(self.pod(uid)).into_iter().flat_map(folders).collect()
    }

    /// Writes what is kept of a pod.
    pub(crate) fn keep(&self, kept: &Kept) -> io::Result<()> {
        for folder in ["pods", "volumes"] {
            // Environments and Secrets are nobody else's business.
            let path = self.path.join(folder);
            fs::create_dir_all(&path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        }
        fs::create_dir_all(self.pod(&kept.uid))?;
        write(&self.pod(&kept.uid).join("pod.json"), kept)
    }

    /// Writes what is kept of a pod, unless that was done.
    pub(crate) fn keep_new(&self, kept: &Kept) -> io::Result<()> {
        if self.pod(&kept.uid).join("pod.json").exists() { Ok(()) } else { self.keep(kept) }
    }

    /// Unmounts what of a pod's volumes is a mount. Its files in memory are lost.
    pub(crate) fn unmount_volumes(&self, uid: &str) {
        sys::mount::unmount_below(&self.volumes(uid));
    }

    /// Removes the volumes of a pod.
    pub(crate) fn remove_volumes(&self, uid: &str) -> io::Result<()> {
        self.unmount_volumes(uid);
        remove_folder(&self.volumes(uid))
    }

    /// Removes everything about a pod.
    pub(crate) fn forget(&self, uid: &str) -> io::Result<()> {
        self.remove_volumes(uid)?;
        remove_folder(&self.pod(uid))
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Reads a file; `None` where it is not there or makes no sense.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a file so that it is there wholly or not at all.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec(value)?)?;
    fs::rename(&beside, path)
}
