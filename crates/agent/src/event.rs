//! Everything that can happen to a node agent.

use std::time::Duration;

use desired::Options;
use model::Family;

/// What the agent's loop takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A source tells something about its objects.
    Objects(objects::Event),
    /// Somebody else changed (or may have changed) our table of this family.
    KernelChanged(Family),
    /// The operator wants something else.
    Settings(Box<Settings>),
    /// The process was asked to end. The rules stay in the kernel.
    Shutdown,
}

/// What the operator decides about the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What decides about traffic.
    pub options: Options,
    /// A change that waits twice as long for the kernel is ill health.
    pub sync_period: Duration,
    /// No change waits longer than this for the pace of writing alone.
    pub min_sync_period: Duration,
}

impl Settings {
    /// Has kube-proxy's usual periods.
    pub fn new(options: Options) -> Self {
        Self { options, sync_period: Duration::from_secs(30), min_sync_period: Duration::from_secs(1) }
    }
}
