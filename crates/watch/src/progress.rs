//! How far each kind is, for metrics and for readiness. Counters only; the objects themselves go through the sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

use objects::Kind;

/// A shared view of the progress of all kinds. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<[Counters; Kind::ALL.len()]>);

#[derive(Debug, Default)]
struct Counters {
    synced: AtomicBool,
    missing: AtomicBool,
    last_event_millis: AtomicU64,
    events: AtomicU64,
    lists: AtomicU64,
    errors: AtomicU64,
}

/// The progress of one kind at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindProgress {
    /// The kind.
    pub kind: Kind,
    /// Whether a complete list has been delivered.
    pub synced: bool,
    /// Whether the server does not have the kind, which counts as synced and empty.
    pub missing: bool,
    /// When something was last heard of the kind, bookmarks included, in milliseconds since 1970; 0 for never.
    pub last_event_millis: u64,
    /// Objects applied and deleted so far, those of lists included.
    pub events: u64,
    /// Complete lists so far; those after the first were asked for by the server or followed a lost history.
    pub lists: u64,
    /// Failures so far.
    pub errors: u64,
}

impl Progress {
    /// Answers the progress of every kind, in the order of [`Kind::ALL`].
    pub fn snapshot(&self) -> Vec<KindProgress> {
        let read = |(kind, counters): (Kind, &Counters)| KindProgress {
            kind,
            synced: counters.synced.load(Relaxed),
            missing: counters.missing.load(Relaxed),
            last_event_millis: counters.last_event_millis.load(Relaxed),
            events: counters.events.load(Relaxed),
            lists: counters.lists.load(Relaxed),
            errors: counters.errors.load(Relaxed),
        };
        Kind::ALL.into_iter().zip(self.0.iter()).map(read).collect()
    }

    fn of(&self, kind: Kind) -> &Counters {
        let place = match kind {
            Kind::Service => 0,
            Kind::EndpointSlice => 1,
            Kind::Node => 2,
            Kind::ServiceCidr => 3,
        };
        &self.0[place]
    }

    pub(crate) fn heard(&self, kind: Kind) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        self.of(kind).last_event_millis.store(u64::try_from(now).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn delivered(&self, kind: Kind) {
        self.of(kind).events.fetch_add(1, Relaxed);
    }

    pub(crate) fn listed(&self, kind: Kind, missing: bool) {
        let counters = self.of(kind);
        counters.lists.fetch_add(1, Relaxed);
        counters.missing.store(missing, Relaxed);
        counters.synced.store(true, Relaxed);
        self.heard(kind);
    }

    pub(crate) fn failed(&self, kind: Kind) {
        self.of(kind).errors.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_apart() {
        let progress = Progress::default();
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            for _ in 0..=place {
                progress.delivered(kind);
            }
        }
        progress.listed(Kind::ServiceCidr, true);
        let snapshot = progress.clone().snapshot();
        assert_eq!(snapshot.iter().map(|kind| kind.events).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(snapshot.iter().map(|kind| kind.kind).collect::<Vec<_>>(), Kind::ALL);
        assert!(snapshot[3].synced && snapshot[3].missing && !snapshot[0].synced);
    }
}
