//! Control groups, version 2: made, limited, emptied, removed.
//!
//! What it does *not* do: insist. A machine without them, or without one of the controllers, has no limits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the groups of version 2 may be: alone, or beside those of version 1.
const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A group, such as `signalbox/<pod>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    root: PathBuf,
    path: PathBuf,
}

/// What a group may use; `None`: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Thousandths of a processor.
    pub cpu: Option<u64>,
}

impl Group {
    /// Answers the group of this path below the root; `None` where the machine has none.
    pub fn named(name: &str) -> Option<Self> {
        let root = ROOTS.iter().map(Path::new).find(|root| root.join("cgroup.controllers").exists())?;
        Some(Self::below(root, name))
    }

    fn below(root: &Path, name: &str) -> Self {
        Self { root: root.to_owned(), path: root.join(name) }
    }

    /// Makes it with its parents; each hands on the controllers that it has.
    pub fn create(&self) -> std::io::Result<()> {
        let mut above: Vec<&Path> = self.path.ancestors().skip(1).collect();
        above.reverse();
        for folder in above.into_iter().filter(|folder| folder.starts_with(&self.root)) {
            fs::create_dir_all(folder)?;
            for controller in ["+memory", "+cpu"] {
                // Whether the machine has the controller is nobody's fault.
                drop(fs::write(folder.join("cgroup.subtree_control"), controller));
            }
        }
        fs::create_dir_all(&self.path)
    }

    /// Sets limits; answers which were not possible.
    pub fn limit(&self, limits: Limits) -> Vec<&'static str> {
        const PERIOD: u64 = 100_000;
        let memory = limits.memory.map(|bytes| ("memory.max", bytes.to_string()));
        // The kernel takes no quota below a millisecond.
        let quota = |thousandths: u64| (thousandths.saturating_mul(PERIOD) / 1000).max(1000);
        let cpu = limits.cpu.map(|thousandths| ("cpu.max", format!("{} {PERIOD}", quota(thousandths))));
        let wanted = memory.into_iter().chain(cpu);
        wanted
            .filter(|(file, text)| fs::write(self.path.join(file), text).is_err())
            .map(|(file, _)| file)
            .collect()
    }

    /// Puts the calling process into it; what it starts is there, too.
    pub fn join(&self) -> std::io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), "0")
    }

    /// Answers how many processes in it the kernel has killed for want of memory since it was made.
    pub fn memory_kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Kills everything in it and below, and removes it. Succeeds when there is none.
    pub fn remove(&self) {
        const ATTEMPTS: u32 = 100;
        if !self.path.exists() {
            return;
        }
        drop(fs::write(self.path.join("cgroup.kill"), "1"));
        for _ in 0..ATTEMPTS {
            remove_below(&self.path);
            if !self.path.exists() {
                return;
            }
            // The dead leave a group only some moments later.
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Removes it if nothing is in it.
    pub fn remove_if_empty(&self) {
        drop(fs::remove_dir(&self.path));
    }
}

fn remove_below(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    drop(fs::remove_dir(path));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_into_the_files_of_groups() {
        let root = std::env::temp_dir().join(format!("signalbox-cgroup-{}", std::process::id()));
        let group = Group::below(&root, "signalbox/pod/main");
        group.create().unwrap();
        let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
        // The last of both: the kernel adds each to what is there.
        for above in ["", "signalbox/", "signalbox/pod/"] {
            assert_eq!(read(&format!("{above}cgroup.subtree_control")), "+cpu");
        }
        assert!(!root.join("signalbox/pod/main/cgroup.subtree_control").exists(), "processes are in it");
        for (limits, memory, cpu) in [
            (Limits { memory: Some(1 << 20), cpu: Some(250) }, "1048576", "25000 100000"),
            (Limits { memory: Some(7), cpu: Some(1) }, "7", "1000 100000"),
            (Limits { memory: None, cpu: Some(2500) }, "7", "250000 100000"),
        ] {
            assert_eq!(group.limit(limits), Vec::<&str>::new());
            let files = ["memory.max", "cpu.max"].map(|file| read(&format!("signalbox/pod/main/{file}")));
            assert_eq!(files, [memory, cpu], "{limits:?}");
        }
        group.join().unwrap();
        assert_eq!(read("signalbox/pod/main/cgroup.procs"), "0");
        for (events, expected) in [("", 0), ("oom 1\noom_kill 0\n", 0), ("oom 1\noom_kill 2\n", 2)] {
            fs::write(root.join("signalbox/pod/main/memory.events"), events).unwrap();
            assert_eq!(group.memory_kills(), expected, "{events}");
        }
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(group.limit(Limits { memory: Some(1), cpu: Some(1) }), ["memory.max", "cpu.max"]);
    }
}
