//! Equal values once in memory: a hundred thousand Pods have a few thousand kinds.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::trimmed::{Owner, Pairs, Pod, Wants};

/// How many values there are at least before those that nobody has any more are looked for.
const FIRST_SWEEP: usize = 1000;

/// What Pods have in common.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pairs: Pool<Pairs>,
    wants: Pool<Wants>,
    owners: Pool<Vec<Owner>>,
}

impl Pools {
    /// Has a Pod share what others have as well.
    pub(crate) fn share(&mut self, pod: &mut Pod) {
        let meta = &mut pod.metadata;
        self.pairs.share(&mut meta.labels);
        self.pairs.share(&mut meta.annotations);
        self.owners.share(&mut meta.owner_references);
        self.wants.share(&mut pod.spec.wants);
    }
}

#[derive(Debug)]
struct Pool<T> {
    values: HashSet<Arc<T>>,
    next_sweep: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), next_sweep: FIRST_SWEEP }
    }
}

impl<T: Hash + Eq> Pool<T> {
    fn share(&mut self, value: &mut Arc<T>) {
        if let Some(known) = self.values.get(&**value) {
            *value = known.clone();
            return;
        }
        if self.values.len() >= self.next_sweep {
            self.values.retain(|one| Arc::strong_count(one) > 1);
            self.next_sweep = FIRST_SWEEP.max(2 * self.values.len());
        }
        self.values.insert(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_old_ones_are_forgotten() {
        let mut pool = Pool::default();
        let (mut one, mut two) = (Arc::new(7), Arc::new(7));
        pool.share(&mut one);
        pool.share(&mut two);
        assert!(Arc::ptr_eq(&one, &two));
        for number in 0..10_000 {
            pool.share(&mut Arc::new(number));
        }
        assert!(pool.values.len() <= FIRST_SWEEP && pool.values.contains(&7), "{}", pool.values.len());
    }
}
