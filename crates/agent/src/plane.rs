//! One address family: its driver, its pace, and what it says in the log.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime};

use backend::{Backend, Driver, Owner};
use desired::UdpFrontends;
use health::FamilyHealth;
use model::{Family, NodeView, ServiceKey, ServiceView};
use tracing::{debug, info, warn};

use crate::FlowSweeper;
use crate::metrics::{NoLocal, PlaneMetrics, Reach};
use crate::pacing::Pace;

/// One family's way to the kernel. Independent of the other family's: each fails and recovers alone.
pub(crate) struct Plane<B: Backend> {
    family: Family,
    driver: Driver<B>,
    pace: Pace,
    is_complete: bool,
    /// What the kernel refused, and was logged.
    refused: BTreeMap<Owner, String>,
    /// When to try again what the kernel refused, and how long that is after the last time.
    retry_refused: Option<(Instant, Duration)>,
    /// When it was last said that somebody else holds a lock.
    said_busy: Option<Instant>,
    udp: UdpFrontends,
    health: FamilyHealth,
    metrics: PlaneMetrics,
    /// Services with ports that are dropped here, and their sum.
    no_local: BTreeMap<ServiceKey, NoLocal>,
    /// When the changes happened that the next write carries out, in milliseconds since 1970.
    changed_at: Vec<NonZeroU64>,
    /// `None`: flows are left alone.
    sweeper: Option<FlowSweeper>,
}

/// The kernel may have had no room for an item for a moment.
const RETRY_REFUSED: Duration = Duration::from_secs(10);
/// What is refused each time is tried again after twice as long, at most this.
const LONGEST_RETRY_REFUSED: Duration = Duration::from_secs(160);
/// How often it is said that somebody else holds a lock.
const SAY_BUSY: Duration = Duration::from_secs(10);

impl<B: Backend> Plane<B> {
    pub(crate) fn new(
        (family, driver): (Family, Driver<B>),
        sweeper: Option<FlowSweeper>,
        metrics: PlaneMetrics,
        longest_rest: Duration,
    ) -> Self {
        Self {
            family,
            driver,
            pace: Pace::new(longest_rest),
            metrics,
            no_local: BTreeMap::new(),
            changed_at: Vec::new(),
            is_complete: false,
            refused: BTreeMap::new(),
            retry_refused: None,
            said_busy: None,
            udp: UdpFrontends::default(),
            health: FamilyHealth::default(),
            sweeper,
        }
    }

    pub(crate) fn set_longest_rest(&mut self, longest_rest: Duration) {
        self.pace.set_longest_rest(longest_rest);
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn set_node(&mut self, view: &NodeView) {
        self.udp.set_node_addresses(&view.addresses);
        self.driver.set_node(view);
    }

    pub(crate) fn set_service(&mut self, key: &ServiceKey, view: Option<&ServiceView>) {
        self.udp.set_service(key, view);
        self.driver.set_service(key, view);
        match view.map(NoLocal::of).filter(|ports| !ports.is_none()) {
            Some(ports) => self.no_local.insert(key.clone(), ports),
            None => self.no_local.remove(key),
        };
    }

    /// A change that is to be written waits since then, unless another has waited for longer.
    pub(crate) fn note_waiting(&mut self, since: Instant) {
        if self.driver.is_pending() {
            self.health.waiting_since.get_or_insert(since);
            self.metrics.queued(SystemTime::now());
        }
    }

    /// The next write carries out changes that happened then. Changes that need none are done.
    pub(crate) fn note_changes(&mut self, changed_at: impl Iterator<Item = NonZeroU64>) {
        /// A kernel that takes no writes must not cost memory.
        const MOST: usize = 65_536;
        if self.driver.is_pending() {
            let room = MOST.saturating_sub(self.changed_at.len());
            self.changed_at.extend(changed_at.take(room));
        }
    }

    /// Answers whether changes wait to be written, other than those that the kernel refused.
    pub(crate) fn is_pending(&self) -> bool {
        self.driver.is_pending()
    }

    pub(crate) fn kernel_changed(&mut self) {
        info!(family = %self.family, "somebody else changed our table; reading it back");
        self.driver.forget_installed();
        self.note_waiting(Instant::now());
    }

    /// Answers how long the next write must wait; `None`: nothing is to be written.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        if self.driver.is_pending() {
            return Some(self.pace.wait(now));
        }
        self.retry_refused.map(|(at, _)| at.saturating_duration_since(now).max(self.pace.wait(now)))
    }

    /// Answers how its kernel is doing.
    pub(crate) fn health(&self) -> FamilyHealth {
        self.health
    }

    /// Answers whether everything was written at least once, or cannot be: a kernel may lack one of the families.
    pub(crate) fn had_its_chance(&self) -> bool {
        self.is_complete || self.pace.is_failing()
    }

    /// Answers whether everything was written at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Answers how long a change that arrived now would have to wait.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        self.pace.wait(now)
    }

    /// Writes what is pending.
    pub(crate) fn write(&mut self) {
        let started = Instant::now();
        let is_retry = self.retry_refused.is_some_and(|(at, _)| at <= started);
        if is_retry {
            self.driver.retry_refused();
        }
        let reach = if self.driver.is_kernel_known() { Reach::Partial } else { Reach::Full };
        let result = self.driver.sync();
        let ended = Instant::now();
        match result {
            Ok(synced) => {
                let recovered = self.pace.is_failing();
                self.count((ended - started, reach), ended);
                self.health = FamilyHealth { waiting_since: None, last_synced: Some(SystemTime::now()) };
                self.pace.succeeded(started, ended);
                self.log_success(&synced, ended - started, recovered);
                self.plan_retry(is_retry, ended);
                self.sweep_flows();
            }
            Err(error) => {
                self.log_failure(&error, (started, ended), reach);
            }
        }
    }

    fn count(&mut self, (took, reach): (Duration, Reach), ended: Instant) {
        let (metrics, now) = (&self.metrics, SystemTime::now());
        metrics.synced(took, reach, now);
        let rules = self.driver.backend().rules();
        metrics.holds(self.driver.installed(), self.driver.refused().count(), &rules);
        if let Some(since) = self.health.waiting_since {
            metrics.delayed(ended.saturating_duration_since(since));
        }
        for changed_at in self.changed_at.drain(..) {
            metrics.programmed(changed_at.get(), now);
        }
        let mut all = NoLocal::default();
        for ports in self.no_local.values() {
            all.internal += ports.internal;
            all.external += ports.external;
        }
        metrics.no_local(all);
    }

    /// After the rules: a flow that ends before them comes back as it was.
    fn sweep_flows(&mut self) {
        if let (Some(sweeper), Some(check)) = (&self.sweeper, self.udp.take_check()) {
            sweeper.sweep(self.family, check);
        }
    }

    fn log_success(&mut self, synced: &backend::Synced, took: Duration, recovered: bool) {
        let news =
            synced.refused.iter().filter(|refusal| self.refused.get(&refusal.owner) != Some(&refusal.reason));
        for refusal in news {
            warn!(family = %self.family, owner = %refusal.owner, reason = %refusal.reason, "the kernel refused an item; the rest is in force");
        }
        let refused: BTreeMap<Owner, String> =
            self.driver.refused().map(|(owner, reason)| (owner.clone(), reason.to_owned())).collect();
        if refused != self.refused {
            self.retry_refused = None;
            self.refused = refused;
        }
        let (added, removed, replaced) = (synced.added, synced.removed, synced.replaced);
        if !self.is_complete || recovered {
            self.is_complete = true;
            let refused = self.refused.len();
            info!(family = %self.family, added, removed, replaced, refused, ?took, "the kernel is in step");
        } else {
            debug!(family = %self.family, added, removed, replaced, ?took, "wrote a change");
        }
    }

    /// Tries again sooner what is refused for the first time.
    fn plan_retry(&mut self, was_retry: bool, now: Instant) {
        let wait = match self.retry_refused {
            Some((_, wait)) if was_retry => wait.saturating_mul(2).min(LONGEST_RETRY_REFUSED),
            Some(_) => return,
            None => RETRY_REFUSED,
        };
        self.retry_refused = (!self.refused.is_empty()).then(|| (now + wait, wait));
    }

    fn log_failure(&mut self, error: &backend::Error, (started, ended): (Instant, Instant), reach: Reach) {
        if error.is_partly() {
            self.pace.succeeded_partly(started, ended);
            self.metrics.failed(reach);
            warn!(family = %self.family, %error, "a part was written, or somebody else wrote meanwhile; reading back what is there, then the rest follows");
            return;
        }
        if !is_busy(error) {
            self.pace.failed(ended);
            self.metrics.failed(reach);
            let again_in = self.pace.wait(ended);
            warn!(family = %self.family, %error, ?again_in, "the kernel was not written; its rules stay as they were");
            return;
        }
        self.pace.met_a_lock(ended);
        if self.said_busy.is_none_or(|said| ended.saturating_duration_since(said) >= SAY_BUSY) {
            self.said_busy = Some(ended);
            self.metrics.failed(reach);
            warn!(family = %self.family, %error, "the kernel was not written; trying again until the lock is free");
        }
    }
}

/// Somebody else holds a lock, for a moment or for long.
fn is_busy(error: &backend::Error) -> bool {
    matches!(error.0.downcast_ref(), Some(sys::Error::Busy { .. }))
}
