//! Queries and their answers, counted by each core for itself: a count is a load and a store of memory that nobody else
//! writes. The sums are made when somebody scrapes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry::{CounterVec, Counts, Metrics};

use super::time_bounds;
use crate::wire::{Rcode, Type};

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// In a packet.
    Udp,
    /// Over a connection.
    Tcp,
}

const PROTOCOLS: [&str; 2] = ["udp", "tcp"];
/// CoreDNS' names of the families.
const FAMILIES: [&str; 2] = ["1", "2"];
/// The types that CoreDNS tells apart; all others are `other`.
const TYPES: [&str; 16] = [
    "A", "AAAA", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NS", "NSEC", "NSEC3", "PTR", "RRSIG", "SOA", "SRV",
    "SVCB", "TXT",
];
const KINDS: usize = TYPES.len() + 1;
/// NOERROR to DSOTYPENI, and all others.
const RCODES: usize = 13;
const TIMES: usize = 17;
/// CoreDNS' bounds for sizes.
const SIZE_BOUNDS: [f64; 14] =
    [0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3];
const SIZES: usize = SIZE_BOUNDS.len() + 1;

/// A zone of a server, as metrics call them.
type Label = (String, String);

/// The counts of all cores.
pub struct Queries {
    /// Locked for a scrape and when the configuration changes.
    cells: Mutex<BTreeMap<(Label, usize), Arc<Cells>>>,
}

/// The counts of one core; written by one thread only.
#[derive(Clone)]
pub struct CoreCounts {
    zones: Vec<Arc<Cells>>,
}

/// The counts of one core for one zone. The memory of two cores is not in one line of a cache.
#[repr(align(128))]
struct Cells {
    requests: [[[AtomicU64; KINDS]; 2]; 2],
    /// Those that want signatures.
    signed: AtomicU64,
    responses: [AtomicU64; RCODES],
    times: [AtomicU64; TIMES],
    /// In nanoseconds.
    time: AtomicU64,
    request_sizes: [[AtomicU64; SIZES]; 2],
    request_bytes: [AtomicU64; 2],
    response_sizes: [[AtomicU64; SIZES]; 2],
    response_bytes: [AtomicU64; 2],
}

impl std::fmt::Debug for Queries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queries").finish_non_exhaustive()
    }
}

impl Cells {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let sizes = || std::array::from_fn(|_| std::array::from_fn(|_| zero()));
        Self {
            requests: std::array::from_fn(|_| std::array::from_fn(|_| std::array::from_fn(|_| zero()))),
            signed: zero(),
            responses: std::array::from_fn(|_| zero()),
            times: std::array::from_fn(|_| zero()),
            time: zero(),
            request_sizes: sizes(),
            request_bytes: [zero(), zero()],
            response_sizes: sizes(),
            response_bytes: [zero(), zero()],
        }
    }
}

impl CoreCounts {
    /// Counts a query to the zone of this number.
    pub fn request(&self, zone: usize, (protocol, client): (Protocol, IpAddr), (kind, size): (Type, usize)) {
        let Some(cells) = self.zones.get(zone) else { return };
        let protocol = protocol as usize;
        add(&cells.requests[protocol][usize::from(client.is_ipv6())][kind_at(kind)], 1);
        add(&cells.request_sizes[protocol][size_at(size)], 1);
        add(&cells.request_bytes[protocol], size as u64);
    }

    /// Counts that a query to the zone of this number wants signatures.
    pub fn signed(&self, zone: usize) {
        self.zones.get(zone).inspect(|cells| add(&cells.signed, 1));
    }

    /// Counts an answer by the zone of this number.
    pub fn response(
        &self,
        zone: usize,
        (protocol, time): (Protocol, Duration),
        (rcode, size): (Rcode, usize),
    ) {
        let Some(cells) = self.zones.get(zone) else { return };
        let protocol = protocol as usize;
        add(&cells.responses[usize::from(rcode.0).min(RCODES - 1)], 1);
        add(&cells.response_sizes[protocol][size_at(size)], 1);
        add(&cells.response_bytes[protocol], size as u64);
        add(&cells.times[time_at(time)], 1);
        add(&cells.time, time.as_nanos() as u64);
    }
}

/// One thread writes; that is what makes it cheap.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

fn kind_at(kind: Type) -> usize {
    match kind {
        Type::A => 0,
        Type::AAAA => 1,
        kind => kind.name().and_then(|name| TYPES.binary_search(&name).ok()).unwrap_or(TYPES.len()),
    }
}

fn size_at(size: usize) -> usize {
    SIZE_BOUNDS.iter().position(|bound| size as f64 <= *bound).unwrap_or(SIZE_BOUNDS.len())
}

/// The bounds double from 250 µs on.
fn time_at(time: Duration) -> usize {
    let quarters = time.as_nanos().div_ceil(250_000).max(1);
    let doublings = (quarters - 1).checked_ilog2().map_or(0, |power| power as usize + 1);
    doublings.min(TIMES - 1)
}

impl Queries {
    pub(super) fn register(metrics: &Metrics) -> Arc<Self> {
        let queries = Arc::new(Self { cells: Mutex::default() });
        let zone = ["server", "zone", "view"];
        let with_protocol = ["server", "zone", "view", "proto"];
        let requests = metrics.counter(
            "coredns_dns_requests_total",
            "Queries.",
            &["server", "zone", "view", "proto", "family", "type"],
        );
        let responses = metrics.counter(
            "coredns_dns_responses_total",
            "Answers.",
            &["server", "zone", "view", "rcode", "plugin"],
        );
        let signed = metrics.counter("coredns_dns_do_requests_total", "Queries that want signatures.", &zone);
        let all = queries.clone();
        metrics.before_scrape(move || all.count((&requests, &signed), &responses));
        let all = queries.clone();
        let name = ("coredns_dns_request_duration_seconds", "From a query to its answer, in seconds.");
        metrics.counted_histogram(name, (&zone, time_bounds()), move || all.times());
        type Sizes = fn(&Cells, usize) -> (&[AtomicU64; SIZES], &AtomicU64);
        let sizes: [((&str, &str), Sizes); 2] = [
            (("coredns_dns_request_size_bytes", "Queries, in bytes."), |cells, protocol| {
                (&cells.request_sizes[protocol], &cells.request_bytes[protocol])
            }),
            (("coredns_dns_response_size_bytes", "Answers, in bytes."), |cells, protocol| {
                (&cells.response_sizes[protocol], &cells.response_bytes[protocol])
            }),
        ];
        for (name, read) in sizes {
            let all = queries.clone();
            let bounds = SIZE_BOUNDS.to_vec();
            metrics.counted_histogram(name, (&with_protocol, bounds), move || {
                (0..2)
                    .flat_map(|protocol| {
                        all.histogram(PROTOCOLS[protocol], |cells| read(cells, protocol), 1.0)
                    })
                    .collect()
            });
        }
        queries
    }

    /// Answers where a core counts. `zones` are those of the configuration, each with its server, such as `dns://:53`;
    /// a core that comes again after a change of the configuration goes on counting where it was.
    pub fn core(&self, core: usize, zones: &[(String, String)]) -> CoreCounts {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let zone = |label: &Label| {
            cells.entry((label.clone(), core)).or_insert_with(|| Arc::new(Cells::new())).clone()
        };
        CoreCounts { zones: zones.iter().map(zone).collect() }
    }

    /// All cells of each zone.
    fn zones(&self) -> BTreeMap<Label, Vec<Arc<Cells>>> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let mut zones: BTreeMap<Label, Vec<Arc<Cells>>> = BTreeMap::new();
        for ((label, _), cells) in cells.iter() {
            zones.entry(label.clone()).or_default().push(cells.clone());
        }
        zones
    }

    fn count(&self, (requests, signed): (&CounterVec, &CounterVec), responses: &CounterVec) {
        for ((server, zone), cells) in self.zones() {
            let sum = |read: &dyn Fn(&Cells) -> &AtomicU64| total(&cells, read);
            for (protocol, protocol_name) in PROTOCOLS.into_iter().enumerate() {
                for (family, family_name) in FAMILIES.into_iter().enumerate() {
                    for kind in 0..KINDS {
                        let value = sum(&|cells| &cells.requests[protocol][family][kind]);
                        let kind = TYPES.get(kind).copied().unwrap_or("other");
                        let labels = [&server, &zone, "", protocol_name, family_name, kind];
                        raise(requests, &labels, value);
                    }
                }
            }
            raise(signed, &[&server, &zone, ""], sum(&|cells| &cells.signed));
            for code in 0..RCODES {
                let value = sum(&|cells| &cells.responses[code]);
                let name = Rcode(code as u16).name().filter(|_| code + 1 < RCODES).unwrap_or("other");
                raise(responses, &[&server, &zone, "", name, ""], value);
            }
        }
    }

    fn times(&self) -> Vec<Counts> {
        self.histogram("", |cells| (&cells.times, &cells.time), 1e-9)
    }

    fn histogram<const N: usize>(
        &self,
        protocol: &str,
        read: impl Fn(&Cells) -> (&[AtomicU64; N], &AtomicU64),
        unit: f64,
    ) -> Vec<Counts> {
        let zones = self.zones().into_iter();
        let counts = zones.map(|((server, zone), cells)| {
            let mut labels = vec![server, zone, String::new()];
            if !protocol.is_empty() {
                labels.push(protocol.to_owned());
            }
            let buckets = (0..N).map(|at| total(&cells, &|cells| &read(cells).0[at])).collect();
            Counts { labels, buckets, sum: total(&cells, &|cells| read(cells).1) as f64 * unit }
        });
        counts.filter(|counts| counts.buckets.iter().any(|count| *count > 0)).collect()
    }
}

fn total(cells: &[Arc<Cells>], read: &dyn Fn(&Cells) -> &AtomicU64) -> u64 {
    cells.iter().map(|cells| read(cells).load(Ordering::Relaxed)).sum()
}

/// What never happened has no series.
fn raise(counters: &CounterVec, labels: &[&str], value: u64) {
    if value > 0 {
        let counter = counters.with_label_values(labels);
        counter.inc_by((value as f64 - counter.get()).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_bounds() {
        assert!(TYPES.is_sorted());
        for (bound, at) in time_bounds().into_iter().zip(0..) {
            let bound = Duration::from_secs_f64(bound);
            assert_eq!((time_at(bound), time_at(bound + Duration::from_nanos(1))), (at, at + 1), "{bound:?}");
        }
        assert_eq!((time_at(Duration::ZERO), time_at(Duration::from_secs(100))), (0, TIMES - 1));
        assert_eq!((size_at(0), size_at(1), size_at(100), size_at(512), size_at(65535)), (0, 1, 1, 6, 14));
        for (kind, name) in [(Type::A, "A"), (Type::AAAA, "AAAA"), (Type::SRV, "SRV"), (Type::TXT, "TXT")] {
            assert_eq!(TYPES[kind_at(kind)], name);
        }
        assert_eq!(kind_at(Type(9999)), TYPES.len());
    }
}
