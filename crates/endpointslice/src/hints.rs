//! Hints: for whom an endpoint is best. Pure.
//!
//! Near hints (`trafficDistribution`) follow from the endpoint alone. Proportional ones (the annotation `topology-mode`)
//! give each zone as many endpoints as it has processors, moving few; where a zone would get more than a fifth too few,
//! nobody gets hints.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::nodes::Shares;
use crate::object::{Hints, Preference, Text};
use crate::packing::{Draft, Fate};

/// How many endpoints are hinted to each zone.
pub(crate) type Spread = BTreeMap<Text, usize>;

/// How much more traffic than its share an endpoint may get.
const OVERLOAD: f64 = 0.2;

/// Gives the endpoints of all slices of a family their hints. Slices that have wrong ones become updated. Answers how
/// proportional hints are spread.
pub(crate) fn give(preference: Preference, shares: Option<&Shares>, drafts: &mut [Draft]) -> Option<Spread> {
    match preference {
        Preference::Anywhere => remove(drafts),
        Preference::SameZone => near(drafts, false),
        Preference::SameNode => near(drafts, true),
        Preference::Proportional => {
            let before: Vec<(Fate, bool)> =
                drafts.iter().map(|draft| (draft.fate, has_hints(draft))).collect();
            let spread = shares.and_then(|shares| proportional(shares, drafts));
            if spread.is_none() {
                for (draft, (fate, had_hints)) in drafts.iter_mut().zip(before) {
                    let is_wrong = fate == Fate::Unchanged && had_hints;
                    draft.fate = if is_wrong { Fate::Updated } else { fate };
                    draft.endpoints.iter_mut().for_each(|endpoint| endpoint.hints = None);
                }
            }
            return spread;
        }
    }
    None
}

fn is_written(fate: Fate) -> bool {
    match fate {
        Fate::Updated | Fate::Created | Fate::Replaced => true,
        Fate::Unchanged | Fate::Deleted => false,
    }
}

fn has_hints(draft: &Draft) -> bool {
    draft.endpoints.iter().any(|endpoint| endpoint.hints.is_some())
}

fn remove(drafts: &mut [Draft]) {
    for draft in drafts {
        if draft.fate == Fate::Unchanged && has_hints(draft) {
            draft.fate = Fate::Updated;
        }
        draft.endpoints.iter_mut().for_each(|endpoint| endpoint.hints = None);
    }
}

fn near(drafts: &mut [Draft], with_node: bool) {
    for draft in drafts {
        let is_wrong = |endpoint: &Endpoint| endpoint.ready && endpoint.hints != own(endpoint, with_node);
        if draft.fate == Fate::Unchanged && draft.endpoints.iter().any(is_wrong) {
            draft.fate = Fate::Updated;
        }
        if is_written(draft.fate) {
            for endpoint in &mut draft.endpoints {
                endpoint.hints = if endpoint.ready { own(endpoint, with_node) } else { None };
            }
        }
    }
}

fn own(endpoint: &Endpoint, with_node: bool) -> Option<Arc<Hints>> {
    let zones: Vec<Text> = endpoint.zone.iter().cloned().collect();
    let nodes: Vec<Text> = endpoint.node.iter().filter(|_| with_node).cloned().collect();
    (!zones.is_empty() || !nodes.is_empty()).then(|| Arc::new(Hints { zones, nodes }))
}

/// What a zone is to get.
#[derive(Debug, Clone, Copy)]
struct Quota {
    most: usize,
    desired: f64,
}

/// Answers `None` where there can be no hints.
fn proportional(shares: &Shares, drafts: &mut [Draft]) -> Option<Spread> {
    let is_there = |draft: &&Draft| draft.fate != Fate::Deleted;
    let ready = drafts.iter().filter(is_there).flat_map(|draft| &draft.endpoints);
    let quotas = quotas(shares, ready.filter(|endpoint| endpoint.ready).count())?;
    let mut spread = kept_hints(&quotas, drafts);
    let written = || [Fate::Created, Fate::Updated].into_iter();
    for fate in written() {
        for draft in drafts.iter_mut().filter(|draft| draft.fate == fate) {
            for endpoint in &mut draft.endpoints {
                if !endpoint.ready {
                    endpoint.hints = None;
                    continue;
                }
                let zone = endpoint.zone.clone()?;
                endpoint.hints = Some(for_zone(&zone));
                *spread.entry(zone).or_default() += 1;
            }
        }
    }
    let (mut giving, mut receiving) = transfers(&quotas, &spread);
    for fate in written() {
        for draft in drafts.iter_mut().filter(|draft| draft.fate == fate) {
            move_hints(&mut draft.endpoints, (&mut giving, &mut receiving), &mut spread);
        }
    }
    (!spread.is_empty()).then_some(spread)
}

fn for_zone(zone: &Text) -> Arc<Hints> {
    Arc::new(Hints { zones: vec![zone.clone()], nodes: Vec::new() })
}

/// Answers what each zone is to get; `None` when there are too few endpoints to give each zone what it needs at least.
fn quotas(shares: &Shares, endpoints: usize) -> Option<BTreeMap<Text, Quota>> {
    if shares.len() > endpoints {
        return None;
    }
    let least = |share: f64| (share * endpoints as f64 * (1.0 / (1.0 + OVERLOAD))).ceil() as usize;
    let spare = endpoints.checked_sub(shares.values().map(|share| least(*share)).sum())?;
    let quota = |(zone, share): (&Text, &f64)| {
        let least = least(*share);
        let desired = (share * endpoints as f64).max(least as f64);
        (zone.clone(), Quota { most: least + spare, desired })
    };
    Some(shares.iter().map(quota).collect())
}

/// Counts the hints of slices that stay as they are. Those with hints that cannot stay become updated.
fn kept_hints(quotas: &BTreeMap<Text, Quota>, drafts: &mut [Draft]) -> Spread {
    let mut spread = Spread::new();
    for draft in drafts.iter_mut().filter(|draft| draft.fate == Fate::Unchanged) {
        match hints_of(&draft.endpoints, quotas, &spread) {
            Some(hints) => {
                hints.into_iter().for_each(|(zone, count)| *spread.entry(zone).or_default() += count)
            }
            None => draft.fate = Fate::Updated,
        }
    }
    spread
}

fn hints_of(
    endpoints: &[Endpoint],
    quotas: &BTreeMap<Text, Quota>,
    spread: &Spread,
) -> Option<BTreeMap<Text, usize>> {
    let mut counts = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.ready) {
        let hints = endpoint.hints.as_ref().filter(|hints| !hints.zones.is_empty())?;
        for zone in &hints.zones {
            quotas.get(zone)?;
            *counts.entry(zone.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&Text, &usize)| {
        let already = spread.get(zone).copied().unwrap_or_default();
        quotas.get(zone).is_some_and(|quota| already + count <= quota.most)
    };
    counts.iter().all(fits).then_some(counts)
}

/// Answers how many endpoints each zone gives to others and gets from others, in whole endpoints.
fn transfers(quotas: &BTreeMap<Text, Quota>, spread: &Spread) -> (Spread, Spread) {
    let (mut too_many, mut too_few) = (BTreeMap::new(), BTreeMap::new());
    for (zone, quota) in quotas {
        let surplus = spread.get(zone).copied().unwrap_or_default() as f64 - quota.desired;
        if surplus > 0.0 {
            too_many.insert(zone.clone(), surplus);
        } else if surplus < 0.0 {
            too_few.insert(zone.clone(), -surplus);
        }
    }
    let (mut giving, mut receiving) = (Spread::new(), Spread::new());
    while let (Some((from, give)), Some((to, take))) = (most(&too_many), most(&too_few)) {
        if (give < 1.0 && take < 1.0) || give < 0.5 || take < 0.5 {
            break;
        }
        *too_many.entry(from.clone()).or_default() -= 1.0;
        *too_few.entry(to.clone()).or_default() -= 1.0;
        *giving.entry(from).or_default() += 1;
        *receiving.entry(to).or_default() += 1;
    }
    (giving, receiving)
}

fn most(zones: &BTreeMap<Text, f64>) -> Option<(Text, f64)> {
    let positive = zones.iter().filter(|(_, number)| **number > 0.0);
    // The first of equals, so that the outcome does not depend on chance.
    positive.rev().max_by(|a, b| a.1.total_cmp(b.1)).map(|(zone, number)| (zone.clone(), *number))
}

fn move_hints(
    endpoints: &mut [Endpoint],
    (giving, receiving): (&mut Spread, &mut Spread),
    spread: &mut Spread,
) {
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.ready) {
        let Some(from) = endpoint.zone.clone() else { continue };
        let Some(give) = giving.get_mut(&from).filter(|give| **give > 0) else { continue };
        let Some((to, take)) = receiving.iter_mut().find(|(_, take)| **take > 0) else { return };
        endpoint.hints = Some(for_zone(to));
        *give -= 1;
        *take -= 1;
        *spread.entry(to.clone()).or_default() += 1;
        *spread.entry(from).or_default() -= 1;
    }
}

/// Answers whether a spread gives a zone more than a fifth too few endpoints, now that the processors are these.
pub(crate) fn is_overloaded(spread: &Spread, shares: Option<&Shares>) -> bool {
    let Some(shares) = shares else { return !spread.is_empty() };
    let total: usize = spread.values().sum();
    shares.iter().any(|(zone, share)| {
        let least = (total as f64 * share * (1.0 / (1.0 + OVERLOAD))).ceil() as usize;
        spread.get(zone).is_none_or(|count| *count < least)
    })
}
