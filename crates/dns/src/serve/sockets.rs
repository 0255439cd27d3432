//! The sockets of a server. They belong to the network namespace in which they are opened, wherever they are used.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use sys::{anywhere, datagram, listener};

/// Why a server cannot start. Reads after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Error {
    /// What was tried, with the address.
    pub what: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Open sockets, of one or more addresses.
#[derive(Debug, Default)]
pub struct Sockets {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Opens an address for both protocols, in the network namespace of the calling thread. The kernel spreads clients over
    /// as many UDP sockets as are wanted, each of which gets a thread.
    ///
    /// With port 0 all get the same free one.
    pub fn open(&mut self, address: SocketAddr, count: usize) -> Result<SocketAddr, Error> {
        let failed = |what: &str| {
            let what = format!("{what} {address}");
            move |source| Error { what, source }
        };
        // Another program's TCP listener may be on the port that was free for UDP.
        let mut attempts = if address.port() == 0 { 20 } else { 1 };
        let (first, listener, address) = loop {
            let first = datagram::open(address).map_err(failed("listen on UDP"))?;
            let bound = first.local_addr().map_err(failed("listen on UDP"))?;
            attempts -= 1;
            match TcpListener::bind(bound) {
                Ok(listener) => break (first, listener, bound),
                Err(_) if attempts > 0 => {}
                Err(error) => return Err(failed("listen on TCP")(error)),
            }
        };
        self.udp.push(first);
        self.tcp.push(listener);
        for _ in 1..count {
            self.udp.push(datagram::open(address).map_err(failed("listen on UDP"))?);
        }
        Ok(address)
    }

    /// The same for an address that others of these listeners meet: theirs is all of the machine's, or the new one is.
    pub(super) fn open_beside(
        &mut self,
        address: SocketAddr,
        (count, others): (usize, &[&TcpListener]),
    ) -> Result<(), Error> {
        let what = format!("listen on UDP {address}");
        self.tcp.push(listen_beside(address, others)?);
        let udp: io::Result<Vec<UdpSocket>> = (0..count).map(|_| datagram::open(address)).collect();
        self.udp.extend(udp.map_err(|source| Error { what, source })?);
        Ok(())
    }

    /// Opens an address that this machine need not have yet.
    pub fn open_anywhere(&mut self, address: SocketAddr, count: usize) -> Result<(), Error> {
        let failed = |what: &str| {
            let what = format!("{what} {address}");
            move |source| Error { what, source }
        };
        // It is shared with nobody, so it fails where another server is.
        let listener = anywhere::tcp(address).map_err(failed("listen on TCP"))?;
        let udp: io::Result<Vec<UdpSocket>> = (0..count).map(|_| anywhere::udp(address)).collect();
        self.udp.extend(udp.map_err(failed("listen on UDP"))?);
        self.tcp.push(listener);
        Ok(())
    }

    pub(super) fn into_parts(self) -> (Vec<UdpSocket>, Vec<TcpListener>) {
        (self.udp, self.tcp)
    }
}

/// Listens at an address that those of others meet. Only while it does so are they open to it.
pub(super) fn listen_beside(address: SocketAddr, others: &[&TcpListener]) -> Result<TcpListener, Error> {
    let failed = |source| Error { what: format!("listen on TCP {address}"), source };
    if others.is_empty() {
        return TcpListener::bind(address).map_err(failed);
    }
    others.iter().try_for_each(|other| listener::set_shared(other, true)).map_err(failed)?;
    let opened = listener::listen_shared(address);
    others
        .iter()
        .chain(opened.as_ref().ok().iter())
        .for_each(|socket| drop(listener::set_shared(*socket, false)));
    opened.map_err(failed)
}

/// Makes a listener one of the runtime.
pub(super) fn listener(listener: TcpListener) -> Result<tokio::net::TcpListener, Error> {
    listener.set_nonblocking(true).map_err(unusable)?;
    tokio::net::TcpListener::from_std(listener).map_err(unusable)
}

pub(super) fn unusable(source: io::Error) -> Error {
    Error { what: "use a TCP socket".to_owned(), source }
}
