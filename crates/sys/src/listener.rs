//! TCP listeners whose addresses meet: one on every address of the machine, and one on a single address with the same port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// How many connections wait to be accepted, as the standard library has it.
const BACKLOG: i32 = 128;

/// Has a socket share its address with others of this user that are shared too, or not from now on. What is there stays.
pub fn set_shared(socket: &impl AsFd, is_shared: bool) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseport(socket, is_shared)?)
}

/// Listens at an address that a shared listener's address may be one with.
pub fn listen_shared(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    set_shared(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_meet_where_both_are_shared() {
        let all = TcpListener::bind("[::]:0").unwrap();
        let one = SocketAddr::from(([127, 0, 0, 1], all.local_addr().unwrap().port()));
        assert!(listen_shared(one).is_err());
        set_shared(&all, true).unwrap();
        let listener = listen_shared(one).unwrap();
        set_shared(&all, false).unwrap();
        drop(all);
        // Connections come to the one that is left.
        let client = std::net::TcpStream::connect(one).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }
}
