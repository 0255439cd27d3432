//! From EndpointSlices to the endpoints of one Service port, each with its fate in both scopes.
//!
//! What is *not* decided here: which scope a frontend uses, and what happens when a scope is empty (`service`).

use model::{Endpoint, EndpointView, Family, Fate, Scope};
use objects::{EndpointRecord, EndpointSlice, ServicePort};

use crate::conditions::{Usability, usability};
use crate::topology::{Here, Preference, preference};

/// Which scopes the frontends of a port need. In a scope that nobody needs every endpoint is [`Fate::ScopeUnused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes {
    /// The endpoints of the whole cluster.
    pub cluster: bool,
    /// Those on this node.
    pub local: bool,
}

/// The endpoints of one Service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// All of them, sorted by endpoint.
    pub endpoints: Vec<EndpointView>,
    /// Whether any of them, on whatever node, could take a connection.
    pub any_usable: bool,
}

impl Selection {
    /// The endpoints that a scope uses, sorted.
    pub fn used(&self, scope: Scope) -> Vec<Endpoint> {
        let fate = |view: &EndpointView| match scope {
            Scope::Cluster => view.cluster,
            Scope::Local => view.in_local,
        };
        self.endpoints.iter().filter(|view| fate(view).is_used()).map(|view| view.endpoint).collect()
    }
}

/// Selects among the endpoints that the slices of a Service list for one of its ports.
pub fn selection(candidates: &[Candidate<'_>], scopes: Scopes, here: &Here) -> Selection {
    let usable = |wanted| candidates.iter().filter(move |c| usability(c.record.conditions) == wanted);
    let ready: Vec<&EndpointRecord> = usable(Usability::Ready).map(|c| c.record).collect();
    let decision = Decision {
        scopes,
        preference: if scopes.cluster { preference(&ready, here) } else { Preference::None },
        any_ready: !ready.is_empty(),
        any_ready_here: ready.iter().any(|record| is_local(record, here)),
    };
    Selection {
        endpoints: candidates.iter().map(|candidate| decision.view(candidate, here)).collect(),
        any_usable: decision.any_ready || usable(Usability::LastResort).next().is_some(),
    }
}

/// An endpoint as the slices describe it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Address and port.
    pub endpoint: Endpoint,
    /// What the slice says about the address.
    pub record: &'a EndpointRecord,
}

/// The union of what all slices say about a port, sorted by endpoint, each endpoint once.
///
/// A slice's port belongs to the Service's port of the same name *and* protocol; the numbers have nothing to do with
/// each other. Slices of the other family are passed over.
pub fn candidates<'a>(
    port: &ServicePort,
    slices: &[&'a EndpointSlice],
    family: Family,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.iter().filter(|slice| slice.family == Some(family)) {
        for number in slice.ports.iter().filter(|p| p.protocol == port.protocol && p.name == port.name) {
            let records = slice.endpoints.iter().filter(|record| Family::of(record.address) == family);
            found.extend(records.map(|record| Candidate {
                endpoint: Endpoint { address: record.address, port: number.port },
                record,
            }));
        }
    }
    found.sort_unstable_by(|a, b| a.endpoint.cmp(&b.endpoint).then_with(|| precedence(a.record, b.record)));
    found.dedup_by_key(|candidate| candidate.endpoint);
    found
}

/// Which of two records about the same endpoint counts: one that does not terminate, because the address of a pod that
/// does may have been given to a new pod already (kubernetes#135593). The rest only makes the choice independent of
/// the order of slices.
fn precedence(a: &EndpointRecord, b: &EndpointRecord) -> std::cmp::Ordering {
    let rank = |record: &EndpointRecord| {
        let conditions = record.conditions;
        (conditions.terminating, !conditions.ready, !conditions.serving, record.node.is_none())
    };
    rank(a).cmp(&rank(b)).then_with(|| (&a.node, &a.hints).cmp(&(&b.node, &b.hints)))
}

/// What has to be known about all endpoints to decide about one.
struct Decision<'h> {
    scopes: Scopes,
    preference: Preference<'h>,
    any_ready: bool,
    any_ready_here: bool,
}

impl Decision<'_> {
    fn view(&self, candidate: &Candidate<'_>, here: &Here) -> EndpointView {
        let record = candidate.record;
        let local = is_local(record, here);
        EndpointView {
            endpoint: candidate.endpoint,
            node: record.node.clone(),
            local,
            serving: record.conditions.ready || record.conditions.serving,
            cluster: if self.scopes.cluster { self.in_cluster(record) } else { Fate::ScopeUnused },
            in_local: if self.scopes.local { self.in_local(record, local) } else { Fate::ScopeUnused },
        }
    }

    fn in_cluster(&self, record: &EndpointRecord) -> Fate {
        match usability(record.conditions) {
            Usability::Ready if self.preference.allows(record) => Fate::Used,
            Usability::Ready => match self.preference {
                Preference::None => Fate::Used,
                Preference::Node(_) => Fate::OtherNode,
                Preference::Zone(_) => Fate::OtherZone,
            },
            Usability::LastResort if self.any_ready => Fate::Terminating,
            Usability::LastResort => Fate::Fallback,
            Usability::No => Fate::NotReady,
        }
    }

    /// Hints mean nothing here, and what is ready elsewhere does not keep the node from its own last resort.
    fn in_local(&self, record: &EndpointRecord, local: bool) -> Fate {
        match usability(record.conditions) {
            Usability::Ready if local => Fate::Used,
            Usability::LastResort if self.any_ready_here => Fate::Terminating,
            Usability::LastResort if local => Fate::Fallback,
            Usability::Ready | Usability::LastResort => Fate::NotLocal,
            Usability::No => Fate::NotReady,
        }
    }
}

fn is_local(record: &EndpointRecord, here: &Here) -> bool {
    record.node.as_ref() == Some(&here.node)
}
