//! Pseudo terminals: a pair of ends, and their size.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Both ends of a pseudo terminal.
#[derive(Debug)]
pub struct Terminal {
    /// The end of who types and reads.
    pub master: OwnedFd,
    /// The end of the program.
    pub slave: OwnedFd,
}

impl Terminal {
    /// Makes a pair. Neither end is handed on to programs by itself.
    pub fn open() -> io::Result<Self> {
        let (mut master, mut slave) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: the first two point to numbers that outlive the call; name, settings and size may be missing.
        let done = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both were just opened and belong to nobody else.
        let pair =
            unsafe { Self { master: OwnedFd::from_raw_fd(master), slave: OwnedFd::from_raw_fd(slave) } };
        for end in [master, slave] {
            // SAFETY: plain system call on a descriptor that is open.
            unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(pair)
    }
}

/// Sets the size of a terminal, through either end; the program in it is told.
pub fn resize(end: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the pointer leads to `size`, which outlives the call.
    let done = unsafe { libc::ioctl(end.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes a named pipe, which everybody who may can open.
pub fn make_pipe(path: &std::path::Path) -> io::Result<()> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the path is a string with its closing zero.
    let done = unsafe { libc::mkfifo(path.as_ptr(), 0o600) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
