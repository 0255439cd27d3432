//! A server with a folder of its own, and the programs that ask it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use testkit::answers::OwnServer;

/// The program under test.
pub(crate) const SIGNALBOX: &str = env!("CARGO_BIN_EXE_signalbox");
/// The project's folder.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A folder that goes when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("signalbox-api-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A leftover folder in /tmp harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A running server and its folder.
pub(crate) struct Machine {
    // Dropped first: it writes into the folder.
    pub(crate) server: OwnServer,
    pub(crate) folder: Folder,
}

impl Machine {
    /// Starts a server as a user would.
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let server = OwnServer::start(Path::new(SIGNALBOX), &folder.path().join("data"), &[]).unwrap();
        Self { server, folder }
    }
}

/// A program that `cargo xtask test` brings; `None`, loudly, where it did not. In CI it has to be there.
pub(crate) fn brought(found: Option<PathBuf>, what: &str) -> Option<PathBuf> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{what} is missing: `cargo xtask test` brings it");
        println!("SKIPPED: {what} is missing; `cargo xtask test` brings it.");
    }
    found
}
