//! How many TCP connections there are, and how many of them one client has: nobody gets all of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limit::network;

/// How many connections there may be.
const MOST: usize = 1024;
/// How many one client may have. A cache that asks for a whole node needs a connection for each query at a time.
const MOST_OF_ONE: usize = MOST / 4;

/// The connections of a listener.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    all: usize,
    clients: BTreeMap<u64, usize>,
}

/// A connection. It is over when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    connections: Connections,
    client: u64,
}

impl Connections {
    /// Answers another connection of this client, unless there are too many.
    pub(super) fn open(&self, client: IpAddr) -> Option<Connection> {
        let client = network(client);
        let mut held = self.held();
        let count = held.clients.get(&client).copied().unwrap_or(0);
        if held.all >= MOST || count >= MOST_OF_ONE {
            return None;
        }
        held.all += 1;
        held.clients.insert(client, count + 1);
        Some(Connection { connections: self.clone(), client })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut held = self.connections.held();
        held.all -= 1;
        let count = held.clients.remove(&self.client).unwrap_or(0);
        if count > 1 {
            held.clients.insert(self.client, count - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_all() {
        let connections = Connections::default();
        let open = |client: &str, wanted: usize| -> Vec<Connection> {
            let client = client.parse().unwrap();
            (0..wanted).map_while(|_| connections.open(client)).collect()
        };
        let greedy = open("10.0.0.1", MOST);
        assert_eq!(greedy.len(), MOST_OF_ONE);
        let near = [open("fd00::1", MOST), open("fd00::2", MOST)];
        assert_eq!(near.iter().map(Vec::len).sum::<usize>(), MOST_OF_ONE);
        let others: Vec<_> = (0..250).map(|last| open(&format!("10.0.1.{last}"), 3)).collect();
        assert_eq!(others.iter().map(Vec::len).sum::<usize>(), MOST - 2 * MOST_OF_ONE);
        drop(greedy);
        assert_eq!(open("10.0.0.1", MOST).len(), MOST_OF_ONE);
        drop((near, others));
        let held = connections.held();
        assert_eq!((held.all, held.clients.len()), (0, 0));
    }
}
