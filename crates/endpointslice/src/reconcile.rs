//! From a Service and its pods to the slices it is to have, and the fewest writes that make them. Pure.

use std::collections::BTreeMap;

use rustc_hash::FxHashSet;
use serde_json::Value;

use crate::body;
use crate::endpoint::{Endpoint, is_candidate, ports};
use crate::hints::{self, Spread};
use crate::nodes::Nodes;
use crate::object::{AddressType, Family, Pod, Port, Ports, Service, Slice, Text};
use crate::packing::{Draft, Fate, MAX, pack};

/// Everything that decides about the slices of a Service.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The Service, which has a selector.
    pub service: &'a Service,
    /// The pods that it selects, sorted by name.
    pub pods: &'a [&'a Pod],
    /// All nodes.
    pub nodes: &'a Nodes,
    /// The slices that exist: those that say they belong to the Service and are managed by this controller, sorted by name.
    pub slices: &'a [&'a Slice],
    /// When what changed happened, in seconds since 1970; `None` for unknown.
    pub trigger: Option<i64>,
}

/// A write.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Creates a slice.
    Create(Value),
    /// Applies a merge patch to a slice, unless it was changed meanwhile.
    Patch {
        /// Its name.
        name: Text,
        /// The patch.
        patch: Value,
    },
    /// Deletes a slice.
    Delete {
        /// Its name.
        name: Text,
    },
}

/// What is to be done, and what could not be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// The writes, in their order.
    pub actions: Vec<Action>,
    /// Nodes of pods that are not there; their pods are left out until they come.
    pub missing: Vec<Text>,
    /// How many endpoints are hinted to each zone, for each family that has proportional hints.
    pub spreads: Vec<BTreeMap<Text, usize>>,
    /// How much there is.
    pub counts: Counts,
}

/// How much a Service has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Its endpoints.
    pub endpoints: usize,
    /// Its slices.
    pub slices: usize,
    /// The slices that it would have if all were full.
    pub desired: usize,
    /// The endpoints that are new.
    pub added: usize,
    /// The endpoints that are gone.
    pub removed: usize,
}

/// Decides which slices are written so that the Service has the right ones.
pub fn reconcile(situation: &Situation) -> Verdict {
    let service = situation.service;
    let mut verdict = Verdict::default();
    let mut families = service.families.clone();
    families.sort_unstable();
    families.dedup();
    for family in &families {
        let of_family = AddressType::Ip(*family);
        let slices: Vec<&Slice> =
            situation.slices.iter().copied().filter(|slice| slice.address_type == of_family).collect();
        let (mut drafts, spread) = drafts(situation, (*family, &slices), &mut verdict.missing);
        verdict.counts.add(&drafts);
        recycle(&mut drafts, service);
        write(situation, &drafts, &mut verdict.actions);
        verdict.spreads.extend(spread);
    }
    let is_strange = |slice: &&&Slice| match slice.address_type {
        AddressType::Ip(family) => !families.contains(&family),
        AddressType::Other => true,
    };
    let strange = situation.slices.iter().filter(is_strange);
    verdict.actions.extend(strange.map(|slice| Action::Delete { name: slice.name.clone() }));
    verdict.missing.sort();
    verdict.missing.dedup();
    verdict
}

fn drafts<'a>(
    situation: &Situation<'a>,
    (family, slices): (Family, &[&'a Slice]),
    missing: &mut Vec<Text>,
) -> (Vec<Draft<'a>>, Option<Spread>) {
    let service = situation.service;
    let (owned, foreign): (Vec<&Slice>, Vec<&Slice>) =
        slices.iter().partition(|slice| is_owned(slice, service));
    let mut drafts: Vec<Draft> = foreign.into_iter().map(|slice| gone(slice, family)).collect();
    let mut groups = groups(situation, family, missing);
    for slice in &owned {
        if !groups.contains_key(&slice.ports) {
            drafts.push(gone(slice, family));
        }
    }
    let labels = body::labels(service);
    while let Some((ports, endpoints)) = groups.pop_first() {
        let same: Vec<&Slice> = owned.iter().copied().filter(|slice| slice.ports == ports).collect();
        drafts.extend(pack((family, ports), endpoints, &same, |slice| body::has_labels(slice, &labels)));
    }
    if drafts.iter().all(|draft| draft.fate == Fate::Deleted) {
        place_holder(service, family, &mut drafts);
    }
    let spread = hints::give(service.preference, situation.nodes.shares(), &mut drafts);
    (drafts, spread)
}

impl Counts {
    fn add(&mut self, drafts: &[Draft]) {
        let mut by_ports: BTreeMap<&Ports, usize> = BTreeMap::new();
        let (mut before, mut after) = (FxHashSet::default(), FxHashSet::default());
        for draft in drafts {
            if draft.fate != Fate::Deleted {
                self.slices += 1;
                self.endpoints += draft.endpoints.len();
                *by_ports.entry(&draft.ports).or_default() += draft.endpoints.len();
            }
            if draft.fate != Fate::Unchanged {
                after.extend(draft.endpoints.iter().map(Endpoint::key));
                let known = draft.existing.map_or(&[][..], |slice| &slice.endpoints);
                before.extend(known.iter().map(|known| known.key));
            }
        }
        self.desired += by_ports.values().map(|endpoints| endpoints.div_ceil(MAX).max(1)).sum::<usize>();
        self.added += after.difference(&before).count();
        self.removed += before.difference(&after).count();
    }
}

fn is_owned(slice: &Slice, service: &Service) -> bool {
    slice.owners.contains(&service.uid)
}

fn gone(slice: &Slice, family: Family) -> Draft<'_> {
    let ports = slice.ports.clone();
    Draft { existing: Some(slice), family, ports, endpoints: Vec::new(), fate: Fate::Deleted }
}

/// The endpoints, by the ports at which they are reached. Pods whose ports are not found have endpoints without ports.
fn groups(situation: &Situation, family: Family, missing: &mut Vec<Text>) -> BTreeMap<Ports, Vec<Endpoint>> {
    let service = situation.service;
    let mut groups: BTreeMap<Ports, Vec<Endpoint>> = BTreeMap::new();
    // Most pods have the ports of the pod before.
    let mut last: (Vec<Port>, Ports) = (Vec::new(), Ports::from([]));
    for pod in situation.pods.iter().filter(|pod| is_candidate(pod)) {
        let mut found = ports(service, pod);
        found.sort();
        if found != last.0 {
            last = (found.clone(), found.into());
        }
        let group = groups.entry(last.1.clone()).or_default();
        let node = situation.nodes.get(&pod.node);
        if node.is_none() && !service.publish_not_ready {
            missing.push(pod.node.clone());
            continue;
        }
        group.extend(Endpoint::of(service, pod, (node, family)));
    }
    groups
}

/// A Service without endpoints has one empty slice, so that everybody can tell that there are none.
fn place_holder<'a>(service: &Service, family: Family, drafts: &mut Vec<Draft<'a>>) {
    let labels = body::labels(service);
    if let [draft] = drafts.as_mut_slice()
        && let Some(slice) = draft.existing
        && slice.ports.is_empty()
        && slice.endpoints.is_empty()
        && is_owned(slice, service)
        && body::has_all_labels(slice, &labels)
    {
        draft.fate = Fate::Unchanged;
        return;
    }
    let ports = Ports::from([]);
    drafts.push(Draft { existing: None, family, ports, endpoints: Vec::new(), fate: Fate::Created });
}

/// A slice that goes makes room for one that comes. One of an older Service of the same name does not: it is about to be
/// collected.
fn recycle(drafts: &mut Vec<Draft>, service: &Service) {
    let is_usable = |draft: &Draft| {
        draft.fate == Fate::Deleted && draft.existing.is_some_and(|slice| is_owned(slice, service))
    };
    while let Some(old) = drafts.iter().position(is_usable)
        && let Some(new) = drafts.iter().rposition(|draft| draft.fate == Fate::Created)
    {
        drafts[new].existing = drafts[old].existing;
        drafts[new].fate = Fate::Replaced;
        drafts.remove(old);
    }
}

fn write(situation: &Situation, drafts: &[Draft], actions: &mut Vec<Action>) {
    let (service, trigger) = (situation.service, situation.trigger);
    let of = |fate: Fate| drafts.iter().filter(move |draft| draft.fate == fate);
    // A Service that is being deleted gets no more slices: they would come back while they are being collected.
    if !service.deleting {
        actions.extend(of(Fate::Created).map(|draft| Action::Create(body::created(service, draft, trigger))));
    }
    for draft in of(Fate::Updated).chain(of(Fate::Replaced)) {
        if let Some(slice) = draft.existing {
            let patch = body::patch(service, (draft, slice), trigger);
            actions.push(Action::Patch { name: slice.name.clone(), patch });
        }
    }
    for slice in of(Fate::Deleted).filter_map(|draft| draft.existing) {
        actions.push(Action::Delete { name: slice.name.clone() });
    }
}
