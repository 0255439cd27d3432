//! The objects of a directory of manifests, as events, and its changes as they happen.
//!
//! A file that is broken keeps saying what it said before; one that was broken from the start says nothing.

mod catalog;
mod directory;
mod parse;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use objects::{Event, Kind};
use tokio::sync::mpsc;

use crate::Error;
use crate::decode::ManifestDecoder;
use catalog::{Catalog, Change, FileName};
use directory::{Directory, Happened};

/// How often a directory that does not exist is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Reads all `*.yaml`, `*.yml` and `*.json` files of a directory and follows their changes, until the other end of
/// `sink` is dropped. Hidden files and subdirectories are left out.
///
/// A link to a file elsewhere is read, but only a change of the link itself is noticed, as in a mounted ConfigMap.
/// Where an object is defined twice, the first file in name order wins. A missing directory is reported and waited
/// for; until it exists nothing is sent, not even an empty list.
pub async fn run_manifests(directory: PathBuf, sink: mpsc::Sender<Event>) -> Result<(), Error> {
    let closed = sink.clone();
    let source = Source {
        path: directory,
        sink,
        listed: false,
        catalog: Catalog::default(),
        stamps: BTreeMap::new(),
        complaints: BTreeMap::new(),
        decoder: ManifestDecoder::default(),
    };
    tokio::select! {
        () = closed.closed() => Ok(()),
        result = source.follow() => result,
    }
}

struct Source {
    path: PathBuf,
    sink: mpsc::Sender<Event>,
    /// Whether the first list was sent.
    listed: bool,
    catalog: Catalog,
    stamps: BTreeMap<FileName, Stamp>,
    /// What was said about each file, so that it is not said again.
    complaints: BTreeMap<FileName, BTreeSet<String>>,
    decoder: ManifestDecoder,
}

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The other end is gone.
struct SinkClosed;

impl Source {
    async fn follow(mut self) -> Result<(), Error> {
        loop {
            let mut directory = self.wait_for_directory().await?;
            if self.read_all().await.is_err() {
                return Ok(());
            }
            loop {
                let happened = directory.changed().await.map_err(Error::Inotify)?;
                let result = match happened {
                    Happened::Files(names) => self.read_named(&names).await,
                    Happened::Anything => self.read_all().await,
                    Happened::Gone => break,
                };
                if result.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn wait_for_directory(&self) -> Result<Directory, Error> {
        let mut reported = None;
        loop {
            let error = match Directory::open(&self.path) {
                Ok(directory) => {
                    if reported.is_some() {
                        tracing::info!(directory = %self.path.display(), "the directory of manifests is there now");
                    }
                    return Ok(directory);
                }
                Err(error) => error,
            };
            // Too many watches, or no memory: waiting for a directory would hide it.
            if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOSPC | libc::ENOMEM))
            {
                return Err(Error::Inotify(error));
            }
            let text = error.to_string();
            if reported.as_ref() != Some(&text) {
                let meanwhile =
                    if self.listed { "its objects stay in force" } else { "nothing is programmed" };
                tracing::error!(directory = %self.path.display(), error = text, meanwhile, "waiting for the directory of manifests");
                reported = Some(text);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads what is new or different by its stamp, and forgets what is gone.
    async fn read_all(&mut self) -> Result<(), SinkClosed> {
        let names = match manifest_names(&self.path) {
            Ok(names) => names,
            Err(error) => {
                tracing::error!(directory = %self.path.display(), %error, "the directory of manifests cannot be read");
                return Ok(());
            }
        };
        let known: Vec<FileName> = self.catalog.files().chain(self.stamps.keys()).cloned().collect();
        let mut changed: BTreeSet<FileName> = known.into_iter().chain(names).collect();
        changed.retain(|name| {
            let known = self.stamps.get(name);
            known.is_none() || stamp(&self.path.join(&**name)).ok().as_ref() != known
        });
        let events = self.read_files(changed);
        if self.listed {
            return self.send(events).await;
        }
        self.listed = true;
        let started = Kind::ALL.map(Event::ListStarted);
        let objects: Vec<Event> = self.catalog.objects().cloned().map(Event::Applied).collect();
        let finished = Kind::ALL.map(Event::ListFinished);
        tracing::info!(directory = %self.path.display(), objects = objects.len(), "read the directory of manifests");
        self.send(started.into_iter().chain(objects).chain(finished)).await
    }

    async fn read_named(&mut self, names: &BTreeSet<String>) -> Result<(), SinkClosed> {
        let names = names.iter().filter(|name| is_manifest(name)).map(|name| name.as_str().into()).collect();
        let events = self.read_files(names);
        self.send(events).await
    }

    /// Reads files that changed together. Those that are gone come first, so that a renamed file defines nothing twice,
    /// and what is defined elsewhere now is not deleted in between.
    fn read_files(&mut self, names: BTreeSet<FileName>) -> Vec<Event> {
        let (there, gone): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| self.path.join(&**name).exists());
        let mut changes = BTreeMap::new();
        for name in gone.into_iter().chain(there) {
            changes.extend(self.read_file(&name).into_iter().map(|change| (change.key(), change)));
        }
        let event = |change| match change {
            Change::Applied(object) => Event::Applied(object),
            Change::Deleted(key) => Event::Deleted(key),
        };
        changes.into_values().map(event).collect()
    }

    /// Reads one file; answers what it changes.
    fn read_file(&mut self, name: &FileName) -> Vec<Change> {
        let path = self.path.join(&**name);
        let content = stamp(&path).and_then(|stamp| Ok((stamp, std::fs::read(&path)?)));
        let (stamp, content) = match content {
            Ok(read) => read,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {
                self.stamps.remove(name);
                self.complaints.remove(name);
                return self.replace(name, Vec::new());
            }
            Err(error) => {
                self.complain(
                    name,
                    BTreeSet::from([format!("cannot be read, its objects stay as they were: {error}")]),
                );
                return Vec::new();
            }
        };
        self.stamps.insert(name.clone(), stamp);
        match parse::read(name, &content, &mut self.decoder) {
            Ok(manifest) => {
                for what in manifest.ignored {
                    tracing::debug!(file = %path.display(), what, "not for a Service proxy, ignored");
                }
                let complaint = |(document, problem)| format!("document {document}: {problem}");
                self.complain(name, manifest.problems.into_iter().map(complaint).collect());
                self.replace(name, manifest.objects)
            }
            Err(broken) => {
                self.complain(
                    name,
                    BTreeSet::from([format!("is broken, its objects stay as they were: {broken}")]),
                );
                Vec::new()
            }
        }
    }

    fn replace(
        &mut self,
        name: &FileName,
        objects: Vec<(objects::ObjectKey, objects::Object)>,
    ) -> Vec<Change> {
        let (changes, duplicates) = self.catalog.replace(name, objects);
        for duplicate in duplicates {
            let (kind, object) = (duplicate.key.kind, &duplicate.key.name);
            let (kept, ignored) = (&duplicate.kept, &duplicate.ignored);
            tracing::warn!(?kind, name = %object, %kept, %ignored, "an object is defined twice, the first file in name order counts");
        }
        changes
    }

    /// Says what is wrong with a file, unless that was said already.
    fn complain(&mut self, name: &FileName, complaints: BTreeSet<String>) {
        let before = self.complaints.insert(name.clone(), complaints.clone()).unwrap_or_default();
        for complaint in complaints.difference(&before) {
            tracing::warn!(file = %self.path.join(&**name).display(), complaint, "a manifest has a mistake");
        }
        if complaints.is_empty() && !before.is_empty() {
            tracing::info!(file = %self.path.join(&**name).display(), "the manifest is fine now");
        }
    }

    async fn send(&self, events: impl IntoIterator<Item = Event>) -> Result<(), SinkClosed> {
        for event in events {
            self.sink.send(event).await.map_err(|_| SinkClosed)?;
        }
        Ok(())
    }
}

fn manifest_names(directory: &Path) -> io::Result<Vec<FileName>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if let Some(name) = name.to_str().filter(|name| is_manifest(name)) {
            names.push(name.into());
        }
    }
    Ok(names)
}

/// Hidden names are those of editors and of the kubelet.
fn is_manifest(name: &str) -> bool {
    let is_known = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
    is_known && !name.starts_with('.')
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(Stamp {
        inode: (metadata.dev(), metadata.ino()),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}
