//! Topology hints: which endpoints a node shall prefer (KEP-2433, KEP-3015).
//!
//! Only ready endpoints are asked, and either all of them follow the hints or none: one endpoint without a hint means
//! that whoever wrote the hints did not know all endpoints, and following them could overload the few it knew.

use objects::{EndpointRecord, Name};

/// Where this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Its name; an endpoint is local when its `nodeName` equals it.
    pub node: Name,
    /// Its zone, as far as known.
    pub zone: Option<Name>,
}

/// Which ready endpoints this node uses for the policy Cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preference<'a> {
    /// All of them.
    None,
    /// Those with a node hint for this node.
    Node(&'a str),
    /// Those with a zone hint for this zone.
    Zone(&'a str),
}

impl Preference<'_> {
    /// Answers whether a ready endpoint is used.
    pub(crate) fn allows(self, record: &EndpointRecord) -> bool {
        match self {
            Self::None => true,
            Self::Node(node) => names(record.node_hints(), node),
            Self::Zone(zone) => names(record.zone_hints(), zone),
        }
    }
}

/// The preference that the hints of the ready endpoints add up to. Node hints count before zone hints, and a kind of
/// hint counts only when every endpoint has one and at least one names this node or zone.
pub(crate) fn preference<'h>(ready: &[&EndpointRecord], here: &'h Here) -> Preference<'h> {
    if followed(ready, |record| record.node_hints(), &here.node) {
        return Preference::Node(&here.node);
    }
    match here.zone.as_deref() {
        Some(zone) if followed(ready, |record| record.zone_hints(), zone) => Preference::Zone(zone),
        Some(_) | None => Preference::None,
    }
}

fn followed(ready: &[&EndpointRecord], hints: fn(&EndpointRecord) -> Option<&[Name]>, wanted: &str) -> bool {
    ready.iter().all(|record| hints(record).is_some_and(|names| !names.is_empty()))
        && ready.iter().any(|record| names(hints(record), wanted))
}

fn names(hints: Option<&[Name]>, wanted: &str) -> bool {
    hints.is_some_and(|names| names.iter().any(|name| &**name == wanted))
}
