//! Items that several owners want: how many do, and what the kernel holds for them.

use std::collections::BTreeMap;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::items::Items;

/// The counted items.
#[derive(Debug)]
pub(crate) struct Shared<K, V> {
    known: FxHashMap<K, Counted<V>>,
}

#[derive(Debug)]
struct Counted<V> {
    /// By how many owners' installed items it is wanted.
    count: u32,
    /// What the kernel holds.
    installed: V,
}

/// What a transaction makes of one shared item.
#[derive(Debug)]
pub(crate) struct SharedChange<K, V> {
    pub(crate) key: K,
    pub(crate) before: Option<V>,
    pub(crate) after: Option<V>,
    count: u32,
}

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self { known: FxHashMap::default() }
    }
}

impl<K: Clone + Ord + Hash, V: Clone + PartialEq> Shared<K, V> {
    /// Forgets everything and takes what was found in the kernel, wanted by so many owners.
    pub(crate) fn reset(&mut self, found: impl IntoIterator<Item = (K, V, u32)>) {
        self.known =
            found.into_iter().map(|(key, installed, count)| (key, Counted { count, installed })).collect();
    }

    /// One owner less has it. Answers what the kernel holds, if nobody has it any more.
    pub(crate) fn release(&mut self, key: &K) -> Option<V> {
        let known = self.known.get_mut(key)?;
        known.count = known.count.saturating_sub(1);
        if known.count > 0 {
            return None;
        }
        self.known.remove(key).map(|known| known.installed)
    }

    /// Answers whether the kernel holds it.
    pub(crate) fn is_installed(&self, key: &K) -> bool {
        self.known.contains_key(key)
    }

    /// Answers what follows from some owners' items becoming others, sorted by key; `recheck`: and from values that
    /// may be others now.
    pub(crate) fn changes<'a>(
        &self,
        owners: impl Iterator<Item = (&'a Items<K, V>, &'a Items<K, V>)>,
        value: impl Fn(&K) -> V,
        recheck: bool,
    ) -> Vec<SharedChange<K, V>>
    where
        K: 'a,
        V: 'a,
    {
        let mut steps: BTreeMap<&K, i64> = BTreeMap::new();
        for (installed, wanted) in owners {
            installed.shared().iter().for_each(|key| *steps.entry(key).or_default() -= 1);
            wanted.shared().iter().for_each(|key| *steps.entry(key).or_default() += 1);
        }
        if recheck {
            for key in self.known.keys() {
                steps.entry(key).or_default();
            }
        }
        let mut changes = Vec::new();
        for (key, step) in steps {
            let known = self.known.get(key);
            let count = known.map_or(0, |known| i64::from(known.count)) + step;
            let count = u32::try_from(count).unwrap_or(0);
            let before = known.map(|known| known.installed.clone());
            let after = (count > 0).then(|| match &before {
                Some(installed) if !recheck => installed.clone(),
                Some(_) | None => value(key),
            });
            let same_count = known.map_or(0, |known| known.count) == count;
            if before != after || !same_count {
                changes.push(SharedChange { key: key.clone(), before, after, count });
            }
        }
        changes
    }

    /// Takes note that changes were carried out.
    pub(crate) fn done(&mut self, changes: Vec<SharedChange<K, V>>) {
        for change in changes {
            match change.after {
                Some(installed) => self.known.insert(change.key, Counted { count: change.count, installed }),
                None => self.known.remove(&change.key),
            };
        }
    }
}
