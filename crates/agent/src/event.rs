//! Everything that can happen to a node agent.

use model::Family;

/// What the agent's loop takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A source tells something about its objects.
    Objects(objects::Event),
    /// Somebody else changed (or may have changed) our table of this family.
    KernelChanged(Family),
    /// The process was asked to end. The rules stay in the kernel.
    Shutdown,
}
