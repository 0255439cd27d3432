//! Keeps one family of one kernel in step with what is wanted.
//!
//! The only bookkeeping of what the kernel holds. Any failure makes it unknown, and the next pass reads the kernel and
//! continues from there; a start takes the same path. A Service that the kernel refuses keeps what it has, unless the
//! others could not be written then, and does not keep the others from theirs.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeView, ServiceKey, ServiceView};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::items::{Items, Owner};
use crate::plan::{Change, Delta, compare};
use crate::shared::{Shared, SharedChange};
use crate::{ApplyError, Backend, Error, RefusedChange};

/// How many items of new owners one transaction takes at most when there are several. Some four megabytes.
const ITEMS_PER_TRANSACTION: usize = 32_768;

/// A [`Backend`] with what is wanted of it.
pub struct Driver<B: Backend> {
    backend: B,
    node: Option<NodeView>,
    entries: FxHashMap<Owner, Entry<B>>,
    shared: Shared<B::Key, B::Value>,
    /// Owners whose wanted items differ from the installed ones, without the refused ones.
    dirty: BTreeSet<Owner>,
    refused: BTreeMap<Owner, String>,
    is_kernel_known: bool,
    /// Whether the last pass failed although the refused were set aside.
    is_stuck: bool,
    /// Whether values of shared items may be others than those installed.
    recheck_shared: bool,
    /// How many items the kernel holds.
    installed: usize,
}

struct Entry<B: Backend> {
    installed: Items<B::Key, B::Value>,
    /// `None`: the same.
    wanted: Option<Box<Items<B::Key, B::Value>>>,
}

/// What a pass did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synced {
    /// Whether it compared everything with what the kernel holds; else it wrote what had changed.
    pub read_back: bool,
    /// How many items appeared.
    pub added: usize,
    /// How many items disappeared.
    pub removed: usize,
    /// How many items got another value.
    pub replaced: usize,
    /// What the kernel refused in this pass. Those owners keep what they had; the rest is in force.
    pub refused: Vec<Refusal>,
}

/// An owner whose items the kernel did not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose.
    pub owner: Owner,
    /// Which item, and the kernel's reason.
    pub reason: String,
}

impl<B: Backend> Entry<B> {
    fn wanted(&self) -> &Items<B::Key, B::Value> {
        self.wanted.as_deref().unwrap_or(&self.installed)
    }
}

impl<B: Backend> Default for Entry<B> {
    fn default() -> Self {
        Self { installed: Items::default(), wanted: None }
    }
}

impl<B: Backend> Driver<B> {
    /// Wants nothing and knows nothing about the kernel yet.
    pub fn new(backend: B) -> Self {
        Self {
            backend,
            node: None,
            entries: FxHashMap::default(),
            shared: Shared::default(),
            dirty: BTreeSet::new(),
            refused: BTreeMap::new(),
            is_kernel_known: false,
            is_stuck: false,
            recheck_shared: false,
            installed: 0,
        }
    }

    /// Answers the back end.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Answers the back end, to be talked to.
    pub fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Wants this of the node. Nothing is written before the node is known.
    pub fn set_node(&mut self, node: &NodeView) {
        if self.node.as_ref() == Some(node) {
            return;
        }
        let items = self.backend.node_items(node);
        let (entrances, rest) = items.into_iter().partition(|(key, _)| self.backend.is_entrance(key));
        self.node = Some(node.clone());
        self.recheck_shared = true;
        self.want(Owner::Node, Items::new(rest, Vec::new()));
        self.want(Owner::Entrances, Items::new(entrances, Vec::new()));
    }

    /// Wants this of a Service; `None`: nothing.
    pub fn set_service(&mut self, key: &ServiceKey, view: Option<&ServiceView>) {
        let items = view.map_or_else(Items::default, |view| self.backend.service_items(view));
        self.want(Owner::Service(key.clone()), items);
    }

    /// Answers whether [`sync`](Self::sync) would do something.
    pub fn is_pending(&self) -> bool {
        self.node.is_some() && (!self.is_kernel_known || !self.dirty.is_empty() || self.recheck_shared)
    }

    /// Answers whether the next pass goes on from what the last one knew, without reading the kernel back.
    pub fn is_kernel_known(&self) -> bool {
        self.is_kernel_known
    }

    /// Answers how many items the kernel holds, by the last pass.
    pub fn installed(&self) -> usize {
        self.installed
    }

    /// The next pass reads the kernel, because somebody else changed it.
    pub fn forget_installed(&mut self) {
        self.is_kernel_known = false;
    }

    /// Answers what the kernel refuses at present.
    pub fn refused(&self) -> impl Iterator<Item = (&Owner, &str)> {
        self.refused.iter().map(|(owner, reason)| (owner, reason.as_str()))
    }

    /// The next pass tries again what the kernel refused.
    pub fn retry_refused(&mut self) {
        self.dirty.extend(std::mem::take(&mut self.refused).into_keys());
    }

    /// Answers everything that is wanted, sorted by key.
    pub fn wanted(&self) -> Vec<(B::Key, B::Value)> {
        let Some(node) = &self.node else { return Vec::new() };
        let wanted = || self.entries.values().map(Entry::wanted);
        let shared: BTreeSet<&B::Key> = wanted().flat_map(|items| items.shared()).collect();
        let shared = shared.into_iter().map(|key| (key.clone(), self.backend.shared_value(key, node)));
        let mut all: Vec<_> = wanted().flat_map(|items| items.own()).cloned().chain(shared).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Brings the kernel in step. On an error nothing is lost: the next pass reads what the kernel holds and goes on.
    pub fn sync(&mut self) -> Result<Synced, Error> {
        let mut synced = Synced::default();
        if !self.is_pending() {
            return Ok(synced);
        }
        if !self.is_kernel_known {
            self.read_back()?;
            synced.read_back = true;
        }
        loop {
            match self.write(&mut synced) {
                Ok(()) => break,
                Err(ApplyError::Refused(_)) => {}
                Err(ApplyError::Failed(error)) => {
                    self.is_kernel_known = false;
                    self.is_stuck = !synced.refused.is_empty();
                    return Err(error);
                }
            }
        }
        self.is_stuck = false;
        Ok(synced)
    }

    fn want(&mut self, owner: Owner, mut items: Items<B::Key, B::Value>) {
        let entry = self.entries.entry(owner.clone()).or_default();
        self.refused.remove(&owner);
        let installed = &entry.installed;
        if !installed.is_empty() {
            self.backend.align(items.own_mut(), &|key| installed.get(key).cloned());
        }
        if *installed == items {
            entry.wanted = None;
            self.dirty.remove(&owner);
            if self.entries.get(&owner).is_some_and(|entry| entry.installed.is_empty()) {
                self.entries.remove(&owner);
            }
        } else {
            entry.wanted = Some(Box::new(items));
            self.dirty.insert(owner);
        }
    }

    /// Finds out what of each owner's items the kernel holds.
    fn read_back(&mut self) -> Result<(), Error> {
        let mut found: FxHashMap<B::Key, B::Value> = self.backend.read()?.into_iter().collect();
        self.installed = found.len();
        self.entries.remove(&Owner::Nobody);
        self.dirty.remove(&Owner::Nobody);
        self.retry_refused();
        self.recheck_shared = true;
        self.is_kernel_known = true;
        if found.is_empty() {
            self.nothing_is_installed();
            return Ok(());
        }
        self.dirty.clear();
        let mut counts: FxHashMap<B::Key, u32> = FxHashMap::default();
        for (owner, entry) in &mut self.entries {
            let mut wanted =
                entry.wanted.take().map_or_else(|| std::mem::take(&mut entry.installed), |wanted| *wanted);
            self.backend.align(wanted.own_mut(), &|key| found.get(key).cloned());
            let own = wanted.own().iter().filter_map(|(key, _)| found.remove_entry(key)).collect();
            let shared: Vec<_> =
                wanted.shared().iter().filter(|key| found.contains_key(*key)).cloned().collect();
            for key in &shared {
                *counts.entry(key.clone()).or_default() += 1;
            }
            entry.installed = Items::new(own, shared);
            if entry.installed != wanted {
                entry.wanted = Some(Box::new(wanted));
                self.dirty.insert(owner.clone());
            }
        }
        let shared = counts
            .into_iter()
            .filter_map(|(key, count)| found.remove_entry(&key).map(|(k, v)| (k, v, count)));
        self.shared.reset(shared.collect::<Vec<_>>());
        if !found.is_empty() {
            let installed = Items::new(found.into_iter().collect(), Vec::new());
            self.entries.insert(Owner::Nobody, Entry { installed, wanted: Some(Box::default()) });
            self.dirty.insert(Owner::Nobody);
        }
        Ok(())
    }

    fn nothing_is_installed(&mut self) {
        self.shared.reset([]);
        for (owner, entry) in &mut self.entries {
            let installed = std::mem::take(&mut entry.installed);
            if entry.wanted.is_none() {
                entry.wanted = Some(Box::new(installed));
                self.dirty.insert(owner.clone());
            }
        }
    }

    /// Carries out everything that is dirty. After a refusal the refused owners are not dirty any more.
    fn write(&mut self, synced: &mut Synced) -> Result<(), ApplyError> {
        let mut parts = self.parts();
        while let Some(owners) = parts.pop_front() {
            self.write_part(&owners, parts.is_empty(), synced)?;
        }
        Ok(())
    }

    /// Which owners go into which transaction. One for all of them if possible; else new Services go first, some at a
    /// time, and everything that changes or disappears goes into the last.
    fn parts(&self) -> std::collections::VecDeque<Vec<Owner>> {
        let weight = |owner: &Owner| self.entries.get(owner).map_or(0, |entry| entry.wanted().own().len());
        let fits = self.dirty.iter().map(weight).sum::<usize>() <= ITEMS_PER_TRANSACTION;
        if fits || self.backend.replaces_everything() {
            return [self.dirty.iter().cloned().collect()].into();
        }
        let given_up = self.keys_given_up();
        let (mut parts, mut part, mut items, mut last) = (Vec::new(), Vec::new(), 0, Vec::new());
        for owner in &self.dirty {
            let Some(entry) = self.entries.get(owner) else { continue };
            let takes_over = || entry.wanted().own().iter().any(|(key, _)| given_up.contains(key));
            if *owner == Owner::Entrances || !entry.installed.is_empty() || takes_over() {
                last.push(owner.clone());
                continue;
            }
            part.push(owner.clone());
            items += weight(owner);
            if items >= ITEMS_PER_TRANSACTION {
                parts.push(std::mem::take(&mut part));
                items = 0;
            }
        }
        part.append(&mut last);
        parts.push(part);
        parts.into()
    }

    /// Keys that some owner loses: who gets them must do so in the same transaction.
    fn keys_given_up(&self) -> FxHashSet<&B::Key> {
        let mut lost = FxHashSet::default();
        for entry in self.dirty.iter().filter_map(|owner| self.entries.get(owner)) {
            let is_lost = |key: &B::Key| entry.wanted().get(key).is_none();
            lost.extend(entry.installed.own().iter().map(|(key, _)| key).filter(|key| is_lost(key)));
        }
        lost
    }

    fn write_part(&mut self, owners: &[Owner], is_last: bool, synced: &mut Synced) -> Result<(), ApplyError> {
        let Self { backend, node, entries, shared, recheck_shared, installed, .. } = self;
        let Some(node) = node else { return Ok(()) };
        let pairs = || {
            owners
                .iter()
                .filter_map(|owner| entries.get(owner))
                .map(|entry| (&entry.installed, entry.wanted()))
        };
        // An earlier part only adds; values that may be others wait for the last.
        let recheck = *recheck_shared && is_last;
        let shared_changes = shared.changes(pairs(), |key| backend.shared_value(key, node), recheck);
        let mut delta = Delta { changes: Vec::new(), is_last };
        for change in shared_changes.iter().filter(|change| change.before != change.after) {
            let (before, after) = (change.before.as_ref(), change.after.as_ref());
            delta.changes.push(Change { key: &change.key, before, after });
        }
        // The changes up to these indices belong to the owner.
        let mut ends = vec![(delta.changes.len(), None)];
        for owner in owners {
            let Some(entry) = entries.get(owner) else { continue };
            compare(&entry.installed, entry.wanted(), &mut delta.changes);
            ends.push((delta.changes.len(), Some(owner)));
        }
        match backend.apply(&delta) {
            Ok(()) => {
                let (added, removed) = (synced.added, synced.removed);
                count(&delta, synced);
                *installed += synced.added - added;
                *installed = installed.saturating_sub(synced.removed - removed);
                self.done(owners, is_last, shared_changes);
                Ok(())
            }
            Err(ApplyError::Refused(refused)) => {
                let blamed = blame(&refused, &delta, &ends);
                self.refuse(blamed, owners, synced)
            }
            Err(ApplyError::Failed(error)) => Err(ApplyError::Failed(error)),
        }
    }

    fn done(&mut self, owners: &[Owner], is_last: bool, shared_changes: Vec<SharedChange<B::Key, B::Value>>) {
        self.shared.done(shared_changes);
        self.recheck_shared &= !is_last;
        for owner in owners {
            self.dirty.remove(owner);
            let Some(entry) = self.entries.get_mut(owner) else { continue };
            if let Some(wanted) = entry.wanted.take() {
                entry.installed = *wanted;
            }
            if entry.installed.is_empty() {
                self.entries.remove(owner);
            }
        }
    }

    /// Sets the blamed owners aside. What belongs to the node cannot be set aside: then the pass fails.
    fn refuse(
        &mut self,
        blamed: Vec<Blame<B::Key>>,
        owners: &[Owner],
        synced: &mut Synced,
    ) -> Result<(), ApplyError> {
        let mut reasons: BTreeMap<Owner, String> = BTreeMap::new();
        for blame in blamed {
            let guilty: Vec<Owner> = match blame.owner {
                Some(owner) => vec![owner],
                None => {
                    { owners.iter().filter(|owner| self.newly_wants(owner, &blame.key)) }.cloned().collect()
                }
            };
            let all_services = guilty.iter().all(|owner| matches!(owner, Owner::Service(_)));
            if guilty.is_empty() || !all_services {
                return Err(ApplyError::Failed(Error::new(blame.reason)));
            }
            for owner in guilty {
                reasons.entry(owner).or_insert_with(|| blame.reason.clone());
            }
        }
        if reasons.is_empty() {
            return Err(ApplyError::Failed(Error::new(
                "write: the kernel refused something without saying what",
            )));
        }
        for (owner, reason) in &reasons {
            self.dirty.remove(owner);
            if self.is_stuck {
                self.give_up(owner);
            }
            self.refused.insert(owner.clone(), reason.clone());
            synced.refused.push(Refusal { owner: owner.clone(), reason: reason.clone() });
        }
        Err(ApplyError::Refused(Vec::new()))
    }

    /// Leaves what the kernel has in an owner's name to nobody. Found there by its keys, it may be older than the owner and
    /// lead to what nobody wants, which then could not go.
    fn give_up(&mut self, owner: &Owner) {
        let Some(entry) = self.entries.get_mut(owner) else { return };
        let given_up = std::mem::take(&mut entry.installed);
        let mut items = given_up.own().to_vec();
        for key in given_up.shared() {
            items.extend(self.shared.release(key).map(|installed| (key.clone(), installed)));
        }
        let nobody = self.entries.entry(Owner::Nobody).or_default();
        items.extend_from_slice(nobody.installed.own());
        nobody.installed = Items::new(items, Vec::new());
        nobody.wanted.get_or_insert_default();
        self.dirty.insert(Owner::Nobody);
    }

    fn newly_wants(&self, owner: &Owner, key: &B::Key) -> bool {
        let wants = |items: &Items<B::Key, B::Value>| items.shared().binary_search(key).is_ok();
        let newly = |entry: &Entry<B>| wants(entry.wanted()) && !wants(&entry.installed);
        !self.shared.is_installed(key) && self.entries.get(owner).is_some_and(newly)
    }
}

/// Who is to blame for a refused change; `owner` is `None` when the item is shared.
struct Blame<K> {
    owner: Option<Owner>,
    key: K,
    reason: String,
}

fn blame<K: Clone + std::fmt::Display, V>(
    refused: &[RefusedChange],
    delta: &Delta<'_, K, V>,
    ends: &[(usize, Option<&Owner>)],
) -> Vec<Blame<K>> {
    let blame = |refused: &RefusedChange| {
        let change = delta.changes.get(refused.change)?;
        let at = ends.partition_point(|(end, _)| *end <= refused.change);
        let owner = ends.get(at).and_then(|(_, owner)| owner.cloned());
        let reason = format!("{}: {}", change.key, refused.reason);
        Some(Blame { owner, key: change.key.clone(), reason })
    };
    refused.iter().filter_map(blame).collect()
}

fn count<K, V>(delta: &Delta<'_, K, V>, synced: &mut Synced) {
    for change in &delta.changes {
        match (change.before, change.after) {
            (None, _) => synced.added += 1,
            (_, None) => synced.removed += 1,
            (Some(_), Some(_)) => synced.replaced += 1,
        }
    }
}
