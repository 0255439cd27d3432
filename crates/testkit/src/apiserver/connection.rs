//! One accepted TCP connection, with the means to break it off rudely.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::net::TcpStream;

/// A second handle on the socket of a connection. It must be dropped with the connection, or the peer sees no end.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
}

impl Connection {
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self { socket: stream.as_fd().try_clone_to_owned()? })
    }

    /// Lets the kernel answer the peer with a reset when the socket is closed, instead of an orderly end.
    pub(super) fn reset_on_close(&self) {
        // An error means that the socket is gone already, and with it the need.
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
    }
}
