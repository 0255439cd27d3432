//! The lock that all users of the legacy flavour share.
//!
//! It is asked for before a program is started that would wait for it: nothing else would happen meanwhile. It is not held: the
//! program takes it.

use std::fs::{File, TryLockError};
use std::time::Duration;

use crate::Error;

/// How often to ask, and how long to wait in between.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(10);

/// Waits a moment until nobody has it.
pub(super) fn wait() -> Result<(), Error> {
    // Where it cannot be opened the program says why.
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path());
    let Ok(file) = file else { return Ok(()) };
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(WAIT),
        }
    }
    Err(busy())
}

pub(super) fn busy() -> Error {
    Error::Busy { what: path() }
}

/// As the programs decide.
fn path() -> String {
    std::env::var("XTABLES_LOCKFILE").unwrap_or_else(|_| "/run/xtables.lock".to_owned())
}
