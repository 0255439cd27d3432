//! One address family: its driver, its pace, and what it says in the log.

use std::time::{Duration, Instant, SystemTime};

use backend::{Backend, Driver};
use desired::UdpFrontends;
use health::FamilyHealth;
use model::{Family, NodeView, ServiceKey, ServiceView};
use tracing::{debug, info, warn};

use crate::FlowSweeper;
use crate::pacing::Pace;

/// One family's way to the kernel. Independent of the other family's: each fails and recovers alone.
pub(crate) struct Plane<B: Backend> {
    family: Family,
    driver: Driver<B>,
    pace: Pace,
    is_complete: bool,
    /// When to try again what the kernel refused.
    retry_refused: Option<Instant>,
    udp: UdpFrontends,
    health: FamilyHealth,
    /// `None`: flows are left alone.
    sweeper: Option<FlowSweeper>,
}

/// The kernel may have had no room for an item for a moment.
const RETRY_REFUSED: Duration = Duration::from_secs(10);

impl<B: Backend> Plane<B> {
    pub(crate) fn new(family: Family, driver: Driver<B>, sweeper: Option<FlowSweeper>) -> Self {
        Self {
            family,
            driver,
            pace: Pace::new(),
            is_complete: false,
            retry_refused: None,
            udp: UdpFrontends::default(),
            health: FamilyHealth::default(),
            sweeper,
        }
    }

    pub(crate) fn family(&self) -> Family {
        self.family
    }

    pub(crate) fn set_node(&mut self, view: &NodeView) {
        self.udp.set_node_addresses(&view.addresses);
        self.driver.set_node(view);
        self.note_waiting();
    }

    pub(crate) fn set_service(&mut self, key: &ServiceKey, view: Option<&ServiceView>) {
        self.udp.set_service(key, view);
        self.driver.set_service(key, view);
        self.note_waiting();
    }

    /// A change that is to be written waits from now on, unless another does already.
    fn note_waiting(&mut self) {
        if self.driver.is_pending() {
            self.health.waiting_since.get_or_insert_with(Instant::now);
        }
    }

    pub(crate) fn kernel_changed(&mut self) {
        info!(family = %self.family, "somebody else changed our table; reading it back");
        self.driver.forget_installed();
        self.note_waiting();
    }

    /// Answers how long the next write must wait; `None`: nothing is to be written.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        if self.driver.is_pending() {
            return Some(self.pace.wait(now));
        }
        self.retry_refused.map(|at| at.saturating_duration_since(now).max(self.pace.wait(now)))
    }

    /// Answers how its kernel is doing.
    pub(crate) fn health(&self) -> FamilyHealth {
        self.health
    }

    /// Answers whether everything was written at least once, or cannot be: a kernel may lack one of the families.
    pub(crate) fn had_its_chance(&self) -> bool {
        self.is_complete || self.pace.is_failing()
    }

    /// Answers how long a change that arrived now would have to wait.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        self.pace.wait(now)
    }

    /// Writes what is pending.
    pub(crate) fn write(&mut self) {
        let started = Instant::now();
        if self.retry_refused.is_some_and(|at| at <= started) {
            self.driver.retry_refused();
        }
        let result = self.driver.sync();
        let ended = Instant::now();
        match result {
            Ok(synced) => {
                let recovered = self.pace.is_failing();
                self.health = FamilyHealth { waiting_since: None, last_synced: Some(SystemTime::now()) };
                self.pace.succeeded(started, ended);
                self.log_success(&synced, ended - started, recovered);
                self.sweep_flows();
            }
            Err(error) => {
                self.pace.failed(ended);
                let again_in = self.pace.wait(ended);
                warn!(family = %self.family, %error, ?again_in, "the kernel was not written; its rules stay as they were");
            }
        }
    }

    /// After the rules: a flow that ends before them comes back as it was.
    fn sweep_flows(&mut self) {
        if let (Some(sweeper), Some(check)) = (&self.sweeper, self.udp.take_check()) {
            sweeper.sweep(self.family, check);
        }
    }

    fn log_success(&mut self, synced: &backend::Synced, took: Duration, recovered: bool) {
        for refusal in &synced.refused {
            warn!(family = %self.family, owner = %refusal.owner, reason = %refusal.reason, "the kernel refused an item; the rest is in force");
        }
        let is_refusing = self.driver.refused().next().is_some();
        self.retry_refused = is_refusing.then(|| Instant::now() + RETRY_REFUSED);
        let (added, removed, replaced) = (synced.added, synced.removed, synced.replaced);
        if !self.is_complete || recovered {
            self.is_complete = true;
            info!(family = %self.family, added, removed, replaced, ?took, "the kernel is in step");
        } else {
            debug!(family = %self.family, added, removed, replaced, ?took, "wrote a change");
        }
    }
}
