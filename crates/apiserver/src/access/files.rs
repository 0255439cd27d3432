//! Files that are whole or not there, and secrets that nobody else ever could read.
//!
//! What it does *not* know: what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::AccessError;

/// The largest file that is read; keys and certificates are far smaller.
const MOST_BYTES: u64 = 1 << 20;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everybody who reaches its directory.
    All,
    /// Its owner.
    Owner,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::All => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// Makes sure of a directory that only its owner enters. One that others may write to is refused: what is in it proves
/// nothing.
pub(super) fn make_directory(directory: &Path) -> Result<(), AccessError> {
    let failed = |doing| move |source| AccessError::File { doing, file: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("make"))?;
    let mode = fs::metadata(directory).map_err(failed("look at"))?.mode();
    if mode & 0o022 != 0 {
        return Err(AccessError::damaged(
            directory,
            format!("others may write to it (mode {:o})", mode & 0o777),
        ));
    }
    Ok(())
}

/// Reads a text; `None`: there is no such file. A secret that others could read is refused.
pub(super) fn read(file: &Path, readers: Readers) -> Result<Option<String>, AccessError> {
    let failed = |source| AccessError::File { doing: "read", file: file.to_owned(), source };
    let mut opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let about = opened.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(AccessError::damaged(file, "it is no file"));
    }
    if readers == Readers::Owner && about.mode() & 0o077 != 0 {
        let why =
            format!("others could read the secret in it (mode {:o} instead of 600)", about.mode() & 0o777);
        return Err(AccessError::damaged(file, why));
    }
    if about.len() > MOST_BYTES {
        return Err(AccessError::damaged(file, "it is too large"));
    }
    let mut text = String::new();
    io::Read::read_to_string(&mut opened, &mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Writes a file so that it is the old one or the new one whatever happens, and stays after a power failure.
pub(super) fn write(file: &Path, text: &str, readers: Readers) -> Result<(), AccessError> {
    let failed = |source| AccessError::File { doing: "write", file: file.to_owned(), source };
    let name = file.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?;
    let new = file.with_file_name(format!(".{}.new", name.to_string_lossy()));
    // One that was left behind may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut opened =
        OpenOptions::new().write(true).create_new(true).mode(readers.mode()).open(&new).map_err(failed)?;
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(failed)?;
    fs::rename(&new, file).map_err(failed)?;
    let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all()).map_err(failed)
}
