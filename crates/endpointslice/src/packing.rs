//! Puts endpoints into slices so that as few as possible are written: who has a place keeps it, slices that are written
//! anyway are filled first, then one that has room for all the rest, then new ones. Pure.

use rustc_hash::FxHashMap;

use crate::endpoint::Endpoint;
use crate::object::{Family, Ports, Slice};

/// How many endpoints a slice may have.
pub(crate) const MAX: usize = 100;

/// A slice as it is to be.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// The slice that it is now.
    pub(crate) existing: Option<&'a Slice>,
    pub(crate) family: Family,
    pub(crate) ports: Ports,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) fate: Fate,
}

/// What happens to a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is right.
    Unchanged,
    /// Its endpoints or labels change.
    Updated,
    /// It becomes another slice under its name.
    Replaced,
    /// It is new.
    Created,
    /// It goes.
    Deleted,
}

/// Packs the endpoints of one set of ports. `labelled` tells whether a slice has the labels that it is to have.
pub(crate) fn pack<'a>(
    (family, ports): (Family, Ports),
    wanted: Vec<Endpoint>,
    existing: &[&'a Slice],
    labelled: impl Fn(&Slice) -> bool,
) -> Vec<Draft<'a>> {
    let mut wanted = Wanted::new(wanted);
    let mut drafts: Vec<Draft<'a>> = existing
        .iter()
        .map(|slice| {
            let (endpoints, same) = wanted.keep(slice);
            let fate = match (same, endpoints.is_empty()) {
                (false, true) => Fate::Deleted,
                (false, false) => Fate::Updated,
                (true, _) if labelled(slice) => Fate::Unchanged,
                (true, _) => Fate::Updated,
            };
            Draft { existing: Some(slice), family, ports: ports.clone(), endpoints, fate }
        })
        .collect();
    fill_updated(&mut drafts, &mut wanted);
    while wanted.left > 0 {
        let room = slice_to_fill(&mut drafts, wanted.left);
        if let Some(draft) = room {
            wanted.fill(&mut draft.endpoints);
            draft.fate = Fate::Updated;
            continue;
        }
        let mut endpoints = Vec::with_capacity(wanted.left.min(MAX));
        wanted.fill(&mut endpoints);
        drafts.push(Draft { existing: None, family, ports: ports.clone(), endpoints, fate: Fate::Created });
    }
    drafts
}

/// The fullest first, so that the others may become empty one day.
fn fill_updated(drafts: &mut [Draft], wanted: &mut Wanted) {
    let mut order: Vec<usize> = (0..drafts.len()).filter(|at| drafts[*at].fate == Fate::Updated).collect();
    order.sort_by_key(|at| std::cmp::Reverse(drafts[*at].endpoints.len()));
    for at in order {
        wanted.fill(&mut drafts[at].endpoints);
    }
}

/// The slice that is the fullest when all that is left goes into it.
fn slice_to_fill<'b, 'a>(drafts: &'b mut [Draft<'a>], left: usize) -> Option<&'b mut Draft<'a>> {
    let fits = |draft: &&mut Draft<'a>| {
        left < MAX && draft.fate == Fate::Unchanged && draft.endpoints.len() + left <= MAX
    };
    drafts.iter_mut().filter(fits).max_by_key(|draft| draft.endpoints.len())
}

/// The endpoints that have no place yet.
struct Wanted {
    all: Vec<Option<Endpoint>>,
    places: FxHashMap<u64, usize>,
    left: usize,
    /// Before this all have a place.
    next: usize,
}

impl Wanted {
    fn new(endpoints: Vec<Endpoint>) -> Self {
        let mut places = FxHashMap::default();
        let mut all: Vec<Option<Endpoint>> = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            // The last of those that are the same wins.
            match places.entry(endpoint.key()) {
                std::collections::hash_map::Entry::Occupied(at) => all[*at.get()] = Some(endpoint),
                std::collections::hash_map::Entry::Vacant(place) => {
                    place.insert(all.len());
                    all.push(Some(endpoint));
                }
            }
        }
        Self { left: all.len(), all, places, next: 0 }
    }

    /// Takes the endpoints that a slice has already, as they are to be; and whether the slice has them so.
    fn keep(&mut self, slice: &Slice) -> (Vec<Endpoint>, bool) {
        let mut kept = Vec::with_capacity(slice.endpoints.len());
        let mut same = true;
        for known in &slice.endpoints {
            let found = self.places.get(&known.key).and_then(|at| self.all[*at].take());
            let Some(mut endpoint) = found else { continue };
            self.left -= 1;
            same &= endpoint.state() == known.state;
            endpoint.hints = known.hints.clone();
            kept.push(endpoint);
        }
        let same = same && kept.len() == slice.endpoints.len();
        (kept, same)
    }

    fn fill(&mut self, endpoints: &mut Vec<Endpoint>) {
        while self.left > 0 && endpoints.len() < MAX {
            if let Some(endpoint) = self.all[self.next].take() {
                endpoints.push(endpoint);
                self.left -= 1;
            }
            self.next += 1;
        }
    }
}
