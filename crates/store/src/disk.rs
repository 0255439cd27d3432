//! The file: a redb database with one table of values, each with its checksum, and a digest of all of them.
//!
//! Only what is committed with fsync and redb's two-phase commit is ever answered: its notes on releases 4.2 to 4.6 name
//! that as the mode that no crash, nor a second one, can harm.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};

use crate::OpenError;
use crate::state::{Entry, Loaded, State};
use crate::view::Pending;

/// Table and key with a zero between them -> revision, checksum, value.
const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
/// `format`, `revision`, `digest`.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
/// What this program writes.
const FORMAT: u64 = 1;
/// Revision and checksum.
const HEAD: usize = 12;
/// Pages that redb keeps in memory: we keep the values ourselves.
const CACHE: usize = 4 << 20;

/// The file, open.
pub(crate) struct Disk {
    file: PathBuf,
    /// `None`: it could not be opened again after a failure.
    database: Option<Database>,
    /// What is in it.
    facts: Facts,
    /// What became of the last write, if that is not known.
    doubt: Option<Doubt>,
}

/// What the file says of all values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) revision: u64,
    /// The sum of all values' digests.
    pub(crate) digest: u64,
}

/// A write that failed, and may be in the file all the same.
struct Doubt {
    facts: Facts,
    /// What stood where it would have written.
    undo: Pending,
}

impl Disk {
    pub(crate) fn open(file: &Path) -> Result<(Self, Loaded), OpenError> {
        match std::fs::metadata(file) {
            Ok(found) => close_to_others(file, &found)?,
            Err(_) => create(file)?,
        }
        let database = open(file).map_err(|error| open_error(file, error))?;
        let (loaded, facts) = load(&database, file)?;
        Ok((Self { file: file.to_owned(), database: Some(database), facts, doubt: None }, loaded))
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What the digest will be when the pending writes are carried out.
    pub(crate) fn digest_after(&self, state: &State, pending: &Pending) -> u64 {
        let mut digest = self.facts.digest;
        for (table, keys) in pending {
            for (key, after) in keys {
                let name = join(table, key);
                if let Some(before) = state.get(table, key) {
                    digest = digest.wrapping_sub(digest_of(&name, before));
                }
                if let Some(after) = after {
                    digest = digest.wrapping_add(digest_of(&name, after));
                }
            }
        }
        digest
    }

    /// Writes and waits for the disk.
    pub(crate) fn write(&mut self, facts: Facts, pending: &Pending) -> Result<(), String> {
        self.recover()?;
        self.try_write(facts, pending).map_err(|error| error.to_string())?;
        self.facts = facts;
        Ok(())
    }

    /// Notes that a write failed: nothing is written before it is known what became of it.
    pub(crate) fn doubt(&mut self, facts: Facts, undo: Pending) {
        // Of a write that never began there is nothing to know.
        self.doubt.get_or_insert(Doubt { facts, undo });
    }

    /// Opens the file again after a failure, which redb wants, and takes back what was told to have failed.
    fn recover(&mut self) -> Result<(), String> {
        let Some(doubt) = self.doubt.take() else { return Ok(()) };
        self.database = None;
        let recovered = self.reopen(&doubt);
        if recovered.is_err() {
            self.doubt = Some(doubt);
        }
        recovered
    }

    fn reopen(&mut self, doubt: &Doubt) -> Result<(), String> {
        let database = open(&self.file).map_err(|error| error.to_string())?;
        let found = facts(&database).map_err(|error| error.to_string())?;
        self.database = Some(database);
        if found == self.facts {
            return Ok(());
        }
        if found != doubt.facts {
            return Err(format!("{} was written to by somebody else", self.file.display()));
        }
        self.try_write(self.facts, &doubt.undo).map_err(|error| error.to_string())
    }

    fn try_write(&self, facts: Facts, pending: &Pending) -> Result<(), redb::Error> {
        let database = self.database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        {
            let mut table = transaction.open_table(FACTS)?;
            for (name, value) in [("format", FORMAT), ("revision", facts.revision), ("digest", facts.digest)]
            {
                table.insert(name, value)?;
            }
            let mut values = transaction.open_table(VALUES)?;
            for (table, keys) in pending {
                for (key, after) in keys {
                    let key = join(table, key);
                    match after {
                        Some(entry) => values.insert(&*key, &*packed(&key, entry))?,
                        None => values.remove(&*key)?,
                    };
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn open(file: &Path) -> Result<Database, DatabaseError> {
    Database::builder().set_cache_size(CACHE).open(file)
}

fn facts(database: &Database) -> Result<Facts, redb::Error> {
    let table = database.begin_read()?.open_table(FACTS)?;
    let fact = |name: &str| Ok::<_, redb::Error>(table.get(name)?.map_or(0, |value| value.value()));
    Ok(Facts { revision: fact("revision")?, digest: fact("digest")? })
}

/// Reads everything, and compares all checksums.
fn load(database: &Database, file: &Path) -> Result<(Loaded, Facts), OpenError> {
    let damaged = |what: String| OpenError::Damaged { file: file.to_owned(), what };
    let storage = |error: &dyn std::fmt::Display| damaged(error.to_string());
    let transaction = database.begin_read().map_err(|error| storage(&error))?;
    let facts = transaction.open_table(FACTS).map_err(|error| storage(&error))?;
    let fact = |name: &str| -> Result<u64, OpenError> {
        let value = facts.get(name).map_err(|error| storage(&error))?;
        value.map(|value| value.value()).ok_or_else(|| damaged(format!("it has no {name}")))
    };
    let found = fact("format")?;
    if found != FORMAT {
        return Err(OpenError::Format { file: file.to_owned(), found, known: FORMAT });
    }
    let (revision, expected) = (fact("revision")?, fact("digest")?);
    let values = transaction.open_table(VALUES).map_err(|error| storage(&error))?;
    let mut loaded = Loaded { revision, entries: Vec::new() };
    let mut digest = 0_u64;
    for pair in values.iter().map_err(|error| storage(&error))? {
        let (key, value) = pair.map_err(|error| storage(&error))?;
        let (key, value) = (key.value(), value.value());
        let name = || String::from_utf8_lossy(key).replace('\0', " ");
        let (table, of_table) =
            split(key).ok_or_else(|| damaged(format!("a key that is none: {}", name())))?;
        let entry = read(key, value)
            .ok_or_else(|| damaged(format!("the value of {} has another checksum", name())))?;
        if entry.revision > revision {
            return Err(damaged(format!("{} is newer than everything", name())));
        }
        digest = digest.wrapping_add(digest_of(key, &entry));
        loaded.entries.push((table.into(), of_table, entry));
    }
    if digest != expected {
        return Err(damaged("values are missing, or there are some that were deleted".to_owned()));
    }
    Ok((loaded, Facts { revision, digest }))
}

/// Makes an empty store under another name, and gives it its name when it is complete: a crash leaves no half of one.
fn create(file: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::File { file: file.to_owned(), source };
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    // Nobody else may read what is in it, not even while it is made.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    let database = Database::builder().set_cache_size(CACHE).create(&new);
    let database = database.map_err(|error| open_error(file, error))?;
    let facts = Facts { revision: 0, digest: 0 };
    let disk = Disk { file: new.clone(), database: Some(database), facts, doubt: None };
    disk.try_write(facts, &Pending::new()).map_err(|reason| failed(io::Error::other(reason)))?;
    drop(disk);
    std::fs::rename(&new, file).map_err(failed)?;
    // Without this the name may be gone after a power failure.
    let folder = file.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Takes from others the right to read a file that has it.
fn close_to_others(file: &Path, found: &Metadata) -> Result<(), OpenError> {
    let mode = found.permissions().mode();
    if !found.is_file() || mode & 0o077 == 0 {
        return Ok(());
    }
    let closed = std::fs::set_permissions(file, Permissions::from_mode(mode & 0o700));
    closed.map_err(|source| OpenError::File { file: file.to_owned(), source })
}

fn open_error(file: &Path, error: DatabaseError) -> OpenError {
    let file = file.to_owned();
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return OpenError::InUse { file };
    }
    let what = error.to_string();
    if let DatabaseError::Storage(StorageError::Io(source)) = error
        && source.kind() != io::ErrorKind::InvalidData
    {
        return OpenError::File { file, source };
    }
    OpenError::Damaged { file, what }
}

fn join(table: &str, key: &str) -> Vec<u8> {
    [table.as_bytes(), b"\0", key.as_bytes()].concat()
}

fn split(name: &[u8]) -> Option<(&str, Arc<str>)> {
    let (table, key) = std::str::from_utf8(name).ok()?.split_once('\0')?;
    Some((table, key.into()))
}

fn packed(key: &[u8], entry: &Entry) -> Vec<u8> {
    let checksum = checksum(key, entry);
    [&entry.revision.to_le_bytes()[..], &checksum.to_le_bytes(), &entry.value].concat()
}

/// `None`: not what was written.
fn read(key: &[u8], value: &[u8]) -> Option<Entry> {
    let (head, bytes) = value.split_at_checked(HEAD)?;
    let revision = u64::from_le_bytes(*head.first_chunk()?);
    let expected = u32::from_le_bytes(*head.last_chunk()?);
    let entry = Entry { revision, value: bytes.to_vec().into() };
    (checksum(key, &entry) == expected).then_some(entry)
}

fn checksum(key: &[u8], entry: &Entry) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(&entry.revision.to_le_bytes());
    hasher.update(&entry.value);
    hasher.finalize()
}

/// Something that no other value has, as far as a sum of them can tell.
fn digest_of(key: &[u8], entry: &Entry) -> u64 {
    u64::from(checksum(key, entry)) << 32 | (entry.value.len() as u64 ^ entry.revision) & 0xffff_ffff
}
