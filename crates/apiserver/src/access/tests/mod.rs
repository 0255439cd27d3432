//! What the parts of `access` are together: directories, handshakes, credentials, answers.

mod credentials;
mod directory;
mod handshake;
mod reviews;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Authority, Names};
use crate::body::time::Instant;

/// Some second in 2027.
const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn at(seconds: i64) -> Instant {
    Instant { seconds, nanos: 0 }
}

fn names() -> Names {
    Names {
        hostname: "box".into(),
        domain: "cluster.local".into(),
        addresses: vec!["10.96.0.1".parse().unwrap(), "fd00:10:96::1".parse().unwrap()],
        extra: vec!["API.example.org".into(), "192.0.2.7".into(), "0:0:0:0:0:0:0:2".into()],
    }
}

fn open(folder: &Path) -> Authority {
    Authority::open(folder, &names(), at(NOW)).unwrap()
}

/// A directory that goes when the test does.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("signalbox-access-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl std::ops::Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}
