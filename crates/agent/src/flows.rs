//! Ends stale UDP flows, in a thread of its own: a table of a million flows takes seconds to look through, and rules
//! must not wait for that.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use desired::FlowCheck;
use model::Family;
use sys::Error;
use sys::conntrack::Conntrack;
use telemetry::{CounterVec, HistogramVec, Metrics, exponential_bounds};
use tracing::{debug, info, warn};

/// How often and how long it looks for them.
struct FlowMetrics {
    duration: HistogramVec,
    deleted: CounterVec,
}

impl FlowMetrics {
    fn register(metrics: &Metrics) -> Self {
        let (duration, deleted) = (
            (
                "kubeproxy_conntrack_reconciler_sync_duration_seconds",
                "How long it took to look for stale UDP flows and end them, in seconds.",
            ),
            (
                "kubeproxy_conntrack_reconciler_deleted_entries_total",
                "Entries of the connection tracking table that were deleted, because their UDP flows were stale.",
            ),
        );
        let made = Self {
            duration: metrics.histogram(duration, &["ip_family"], exponential_bounds(0.001, 2.0, 15)),
            deleted: metrics.counter(deleted.0, deleted.1, &["ip_family"]),
        };
        for family in Family::BOTH {
            made.duration.with_label_values(&[&family.to_string()]);
            made.deleted.with_label_values(&[&family.to_string()]);
        }
        made
    }

    fn swept(&self, family: Family, took: Duration, ended: usize) {
        let family = family.to_string();
        self.duration.with_label_values(&[&family]).observe(took.as_secs_f64());
        self.deleted.with_label_values(&[&family]).inc_by(ended as f64);
    }
}

/// The way to the thread that looks for stale flows.
#[derive(Debug, Clone)]
pub struct FlowSweeper(Sender<(Family, FlowCheck)>);

impl FlowSweeper {
    /// Starts the thread, for the network namespace of the calling thread. It ends with the last sweeper.
    pub fn start(metrics: &Metrics) -> Self {
        let metrics = FlowMetrics::register(metrics);
        let (sender, checks) = channel();
        let run = move || sweep(&checks, &metrics);
        if let Err(error) = std::thread::Builder::new().name("flows".to_owned()).spawn(run) {
            warn!(%error, "stale UDP flows will not be ended");
        }
        Self(sender)
    }

    /// Looks for stale flows soon.
    pub(crate) fn sweep(&self, family: Family, check: FlowCheck) {
        // Without the thread there is nobody to look; that was said when it could not start.
        drop(self.0.send((family, check)));
    }
}

fn sweep(checks: &Receiver<(Family, FlowCheck)>, metrics: &FlowMetrics) {
    while let Ok((family, check)) = checks.recv() {
        let mut all = [(Family::V4, None), (Family::V6, None)];
        add(&mut all, family, check);
        // What came while the last one was at work is looked for at once.
        while let Ok((family, check)) = checks.try_recv() {
            add(&mut all, family, check);
        }
        for (family, check) in all {
            let Some(check) = check else { continue };
            let begin = Instant::now();
            let result = persistently(|| end_stale_flows(family, &check));
            if let Ok(ended) = &result {
                metrics.swept(family, begin.elapsed(), *ended);
            }
            match result {
                Ok(0) => debug!(%family, took = ?begin.elapsed(), "no stale UDP flows"),
                Ok(ended) => info!(%family, ended, took = ?begin.elapsed(), "ended stale UDP flows"),
                Err(error) => {
                    warn!(%family, %error, "stale UDP flows were not ended; they last until they are silent")
                }
            }
        }
    }
}

fn add(all: &mut [(Family, Option<FlowCheck>); 2], family: Family, check: FlowCheck) {
    for (_, waiting) in all.iter_mut().filter(|(known, _)| *known == family) {
        match waiting {
            Some(waiting) => waiting.merge(check.clone()),
            None => *waiting = Some(check.clone()),
        }
    }
}

/// A check that fails would be lost: nothing else looks for the same flows again.
fn persistently(sweep: impl Fn() -> Result<usize, Error>) -> Result<usize, Error> {
    const ATTEMPTS: u32 = 5;
    let mut attempt = 1;
    loop {
        match sweep() {
            Err(Error::Lost | Error::Refused { .. } | Error::Call { .. }) if attempt < ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(100) * 2_u32.pow(attempt));
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn end_stale_flows(family: Family, check: &FlowCheck) -> Result<usize, Error> {
    let mut conntrack = Conntrack::open()?;
    let stale = conntrack.udp_flows(family, |flow| check.is_stale(flow))?;
    conntrack.delete(&stale)
}
