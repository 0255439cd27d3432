//! What the conditions of an endpoint mean for new connections.

use objects::Conditions;

/// How usable an endpoint is, hints and policies aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usability {
    /// New connections go here. `ready` alone decides: with publishNotReadyAddresses it is true even for endpoints
    /// that terminate or do not serve.
    Ready,
    /// It terminates but still serves: used only where nothing is ready (KEP-1669).
    LastResort,
    /// Nothing goes here.
    No,
}

/// The usability that these conditions mean.
pub(crate) fn usability(conditions: Conditions) -> Usability {
    match conditions {
        Conditions { ready: true, .. } => Usability::Ready,
        Conditions { ready: false, serving: true, terminating: true } => Usability::LastResort,
        Conditions { ready: false, .. } => Usability::No,
    }
}
