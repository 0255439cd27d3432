//! Whether questions come back: a server that is asked, or one that it asks, asks this one. Then every question would go
//! round until all sockets wait.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::random;
use crate::wire::{Name, Query, Type, flag, write_query};

/// CoreDNS' choice: a type that hardly anybody asks for.
const HINFO: Type = Type(13);
/// How long the question may take to come back.
const WAIT: Duration = Duration::from_secs(6);
/// The one that was sent, and one that came back.
const ENOUGH: usize = 2;

/// A question that nobody else asks, and how often it came.
#[derive(Debug)]
pub struct Loops {
    name: Name,
    seen: AtomicUsize,
    found: Notify,
}

impl Loops {
    /// Makes one for the names that are asked elsewhere, below `zone`.
    pub fn new(zone: &Name) -> Self {
        let mut labels = [String::new(), String::new()];
        for (at, byte) in random::<[u8; 16]>().iter().enumerate() {
            write!(labels[at / 8], "{byte:02x}").expect("a text takes everything");
        }
        let name = Name::of_labels(labels.iter().map(String::as_bytes), zone);
        Self { name: name.unwrap_or_else(|| zone.clone()), seen: AtomicUsize::new(0), found: Notify::new() }
    }

    /// Answers whether a query is the question that nobody else asks.
    pub fn is_own(&self, query: &Query<'_>) -> bool {
        query.kind == HINFO && query.name.as_wire() == self.name.as_wire()
    }

    /// Takes note of a query; answers whether it came back and must not be asked once more.
    pub fn is_back(&self, query: &Query<'_>) -> bool {
        if !self.is_own(query) {
            return false;
        }
        let is_back = self.seen.fetch_add(1, Ordering::Relaxed) + 1 >= ENOUGH;
        if is_back {
            self.found.notify_one();
        }
        is_back
    }

    /// Asks the server at `own`, which is this one; answers whether the question came back to it.
    pub async fn probe(&self, own: SocketAddr) -> bool {
        // One that was found before and went round more than once may have left a notice.
        std::pin::pin!(self.found.notified()).enable();
        self.seen.store(0, Ordering::Relaxed);
        let asked = async {
            if let Err(error) = self.ask(own).await {
                tracing::debug!(%error, "cannot look for loops of DNS servers");
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.found.notified() => true,
            () = asked => false,
            () = tokio::time::sleep(WAIT) => false,
        }
    }

    /// Writes the question under this number; answers its length.
    pub(crate) fn write(&self, out: &mut [u8], id: u16) -> Option<usize> {
        write_query(out, (id, flag::RECURSION_DESIRED), (self.name.as_wire(), HINFO), None)
    }

    async fn ask(&self, own: SocketAddr) -> std::io::Result<()> {
        let from: SocketAddr = if own.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(from).await?;
        socket.connect(own).await?;
        let mut query = [0; 300];
        let len = self.write(&mut query, u16::from_ne_bytes(random()));
        socket.send(&query[..len.unwrap_or(0)]).await?;
        // Whatever comes; the socket is open meanwhile, so that the answer is nobody's surprise.
        drop(timeout(WAIT, socket.recv(&mut query)).await);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HEADER;

    #[tokio::test]
    async fn a_question_that_comes_back_is_noticed() {
        for (times, wanted) in [(1, false), (2, true)] {
            let loops = Loops::new(&Name::root());
            let server = UdpSocket::bind("127.0.0.1:0").await.expect("there is a port");
            let own = server.local_addr().expect("it is bound");
            let serving = async {
                let mut room = [0; 512];
                let len = server.recv(&mut room).await.expect("it is asked");
                let query = Query::read(&room[..len]).expect("it is a query");
                assert!(query.name.labels().count() == 2 && len > HEADER);
                for _ in 0..times {
                    assert!(!loops.is_back(&query));
                    if times > 1 {
                        assert!(loops.is_back(&query));
                        break;
                    }
                }
                std::future::pending::<()>().await;
            };
            let found = tokio::select! {
                found = loops.probe(own) => found,
                () = serving => unreachable!(),
                () = tokio::time::sleep(Duration::from_millis(300)) => false,
            };
            assert_eq!(found, wanted);
        }
        let others = Loops::new(&Name::root());
        let mut bytes = [0; 300];
        let len = write_query(&mut bytes, (1, 0), (b"\x01a\x00", HINFO), None).expect("it fits");
        let query = Query::read(&bytes[..len]).expect("it is a query");
        assert!(!others.is_back(&query) && !others.is_back(&query));
    }
}
