//! New connections to each Service, as the kernel counts them: read for each scrape, never on the way of a change.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use model::Family;
use rustc_hash::FxHashMap;
use sys::Error;
use sys::iptables::Iptables;
use sys::nftables::NftSocket;
use telemetry::{CounterVec, Metrics};
use tracing::warn;

/// Shows them. The kernel must have been opened with [`Counting::Connections`](crate::Counting::Connections), by a
/// thread of the calling thread's network namespace.
pub fn watch_connections(metrics: &Metrics) -> Result<(), Error> {
    let nft = RefCell::new(NftSocket::open()?);
    watch(metrics, move || of_tables(&mut nft.borrow_mut()));
    Ok(())
}

/// Shows those that the chains of these programs count. Scrapes must happen in the network namespace of the rules.
pub fn watch_chain_connections(metrics: &Metrics, programs: Vec<Iptables>) {
    watch(metrics, move || of_chains(&programs));
}

fn watch(metrics: &Metrics, read: impl Fn() -> Result<Seen, Error> + Send + 'static) {
    let shown = metrics.counter(
        "signalbox_service_connections_total",
        "New connections to a port of a Service, as far as the kernel remembers them.",
        &["namespace", "service", "port"],
    );
    let counters = RefCell::new(Counters::default());
    metrics.before_scrape(move || {
        let mut counters = counters.borrow_mut();
        match read() {
            Ok(seen) => counters.take(seen).show(&shown),
            Err(error) => warn!(%error, "the counters of Services cannot be read"),
        }
    });
}

/// A frontend: family, map and key; in iptables mode a chain that balances: family, table and name.
type Frontend = (Family, &'static str, Box<[u8]>);

/// What the kernel says: for each frontend the Service's port, and the packets.
type Seen = FxHashMap<Frontend, (String, u64)>;

fn of_chains(programs: &[Iptables]) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    for program in programs {
        let saved = program.save_counted("nat")?;
        for found in backend_iptables::connections(&saved) {
            let chain = (program.family(), "nat", found.chain.as_bytes().into());
            seen.insert(chain, (found.port.to_owned(), found.connections));
        }
    }
    Ok(seen)
}

fn of_tables(nft: &mut NftSocket) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    for family in Family::BOTH {
        let attempt = backend_nftables::connections(nft, family, &mut |found| {
            seen.insert((family, found.map, found.key.into()), (found.port, found.connections));
        });
        match attempt {
            Ok(()) => {}
            // Not written yet.
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

/// Sums that only grow: the kernel's counter of a frontend begins again when its number of endpoints changes.
#[derive(Default)]
struct Counters {
    last: FxHashMap<Frontend, Last>,
    totals: BTreeMap<String, u64>,
    gone: Vec<String>,
}

/// What a frontend's counter said last.
struct Last {
    port: String,
    packets: u64,
    /// For how many scrapes it was not seen: the kernel may leave an element out of a dump while others come and go.
    unseen: u32,
}

/// A frontend that was not seen so often is gone.
const GONE: u32 = 3;

impl Counters {
    fn take(&mut self, seen: Seen) -> &Self {
        for last in self.last.values_mut() {
            last.unseen += 1;
        }
        for (frontend, (port, packets)) in seen {
            let before = self.last.get(&frontend).map_or(0, |last| last.packets);
            let grown = if packets >= before { packets - before } else { packets };
            *self.totals.entry(port.clone()).or_default() += grown;
            self.last.insert(frontend, Last { port, packets, unseen: 0 });
        }
        self.last.retain(|_, last| last.unseen < GONE);
        let alive: BTreeSet<&str> = self.last.values().map(|last| last.port.as_str()).collect();
        self.gone = self.totals.keys().filter(|port| !alive.contains(port.as_str())).cloned().collect();
        self.totals.retain(|port, _| alive.contains(port.as_str()));
        self
    }

    fn show(&self, shown: &CounterVec) {
        for port in &self.gone {
            // It is not there if it was never shown.
            drop(shown.remove_label_values(&labels(port)));
        }
        for (port, total) in &self.totals {
            let counter = shown.with_label_values(&labels(port));
            counter.inc_by((*total as f64 - counter.get()).max(0.0));
        }
    }
}

/// The parts of `namespace/name:port`.
fn labels(port: &str) -> [&str; 3] {
    let (service, port) = port.split_once(':').unwrap_or((port, ""));
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    [namespace, name, port]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_grow_although_the_kernel_begins_again() {
        let seen = |all: &[(u8, &str, u64)]| -> Seen {
            let one = |(key, port, packets): &(u8, &str, u64)| {
                ((Family::V4, "frontends", Box::from([*key])), ((*port).to_owned(), *packets))
            };
            all.iter().map(one).collect()
        };
        let mut counters = Counters::default();
        let mut check = |all: &[(u8, &str, u64)], wanted: &[(&str, u64)]| {
            counters.take(seen(all));
            let totals: Vec<_> =
                counters.totals.iter().map(|(port, total)| (port.as_str(), *total)).collect();
            assert_eq!(totals, wanted);
        };
        check(&[(1, "a/b:", 5), (2, "a/b:", 7), (3, "a/c:x", 1)], &[("a/b:", 12), ("a/c:x", 1)]);
        check(&[(1, "a/b:", 6), (2, "a/b:", 2), (3, "a/c:x", 1)], &[("a/b:", 15), ("a/c:x", 1)]);
        // Left out of a dump, and back.
        check(&[(3, "a/c:x", 1)], &[("a/b:", 15), ("a/c:x", 1)]);
        check(&[(1, "a/b:", 6), (2, "a/b:", 2), (3, "a/c:x", 1)], &[("a/b:", 15), ("a/c:x", 1)]);
        for _ in 0..2 {
            check(&[(1, "a/b:", 6)], &[("a/b:", 15), ("a/c:x", 1)]);
        }
        check(&[(1, "a/b:", 6)], &[("a/b:", 15)]);
        assert_eq!(counters.gone, ["a/c:x"]);
        assert_eq!(labels("a/b:x"), ["a", "b", "x"]);
    }
}
