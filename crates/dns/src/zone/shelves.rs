//! The names, shared between the one who changes them and those who read an earlier state: a change copies the one shelf
//! that it touches, however many names there are.
//!
//! A shelf is a table of its own making (open addressing, linear probing), because [`Shelves::touch`] has to take the steps
//! of many searches side by side.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::hint::black_box;
use std::sync::Arc;

use rustc_hash::FxHasher;

use super::entry::Entry;
use crate::wire::Name;

/// How many shelves there are. To publish a state costs as many counters; to change a name, a shelf's share of all names.
const SHELVES: usize = 1024;
/// How many places a shelf has when it has any.
const FEWEST: usize = 8;

#[derive(Debug, Clone)]
pub(super) struct Shelves {
    shelves: Arc<[Arc<Shelf>]>,
    len: usize,
}

/// As many tags as places for entries, a power of two. At least a fifth of them is free.
#[derive(Debug, Clone, Default)]
struct Shelf {
    /// A part of the hash of each entry's name; 0 where a place is free.
    tags: Box<[u32]>,
    entries: Box<[Option<Entry>]>,
    len: usize,
}

impl Shelves {
    pub(super) fn new() -> Self {
        Self { shelves: (0..SHELVES).map(|_| Arc::default()).collect(), len: 0 }
    }

    pub(super) fn get(&self, wire: &[u8]) -> Option<&Entry> {
        let hash = hash(wire);
        let shelf = &self.shelves[shelf_of(hash)];
        shelf.entries[shelf.find(hash, wire)?].as_ref()
    }

    /// Has the processor fetch what searches for names of these hashes will read. What is not in its caches takes long to
    /// come, but steps that do not depend on each other come together.
    pub(super) fn touch(&self, hashes: &[u64]) {
        let each = || hashes.iter().map(|hash| (*hash, &self.shelves[shelf_of(*hash)]));
        black_box(each().fold(0, |sum, (_, shelf)| sum ^ shelf.tags.len()));
        black_box(each().fold(0, |sum, (hash, shelf)| sum ^ shelf.first_tag(hash)));
        let likely = || each().filter_map(|(hash, shelf)| shelf.likely(hash));
        black_box(likely().fold(0, |sum, entry| sum ^ entry.address()));
        black_box(likely().fold(0, |sum, entry| sum ^ entry.touch()));
    }

    pub(super) fn put(&mut self, entry: Entry) {
        if self.shelf(hash(entry.name())).put(entry) {
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        let hash = hash(name.as_wire());
        if self.shelf(hash).remove(hash, name.as_wire()) {
            self.len -= 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.shelves.iter().flat_map(|shelf| shelf.entries.iter().flatten())
    }

    fn shelf(&mut self, hash: u64) -> &mut Shelf {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shelves)[shelf_of(hash)])
    }
}

impl Shelf {
    fn find(&self, hash: u64, wire: &[u8]) -> Option<usize> {
        self.tagged(hash).find(|at| self.entries[*at].as_ref().is_some_and(|entry| entry.name() == wire))
    }

    /// The entry with the hash's tag, which is nearly always the one that is looked for.
    fn likely(&self, hash: u64) -> Option<&Entry> {
        self.entries[self.tagged(hash).next()?].as_ref()
    }

    fn first_tag(&self, hash: u64) -> u32 {
        self.tags.get(self.home(hash)).copied().unwrap_or_default()
    }

    /// The places that have the hash's tag, up to the first free one.
    fn tagged(&self, hash: u64) -> impl Iterator<Item = usize> {
        let used = self.places(hash).take_while(|at| self.tags[*at] != 0);
        used.filter(move |at| self.tags[*at] == tag(hash))
    }

    /// All places, the hash's own first.
    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (home, mask) = (self.home(hash), self.tags.len().wrapping_sub(1));
        (0..self.tags.len()).map(move |step| (home + step) & mask)
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & self.tags.len().wrapping_sub(1)
    }

    /// Answers whether the name is a new one.
    fn put(&mut self, entry: Entry) -> bool {
        let hash = hash(entry.name());
        if let Some(at) = self.find(hash, entry.name()) {
            self.entries[at] = Some(entry);
            return false;
        }
        if (self.len + 1) * 5 > self.tags.len() * 4 {
            self.grow();
        }
        self.add(hash, entry);
        true
    }

    fn add(&mut self, hash: u64, entry: Entry) {
        let free = self.places(hash).find(|at| self.tags[*at] == 0).expect("a fifth is free");
        self.tags[free] = tag(hash);
        self.entries[free] = Some(entry);
        self.len += 1;
    }

    fn grow(&mut self) {
        let count = (self.tags.len() * 2).max(FEWEST);
        let larger = Self { tags: vec![0; count].into(), entries: vec![None; count].into(), len: 0 };
        let former = std::mem::replace(self, larger);
        former.entries.into_iter().flatten().for_each(|entry| self.add(hash(entry.name()), entry));
    }

    /// Answers whether there was such a name.
    fn remove(&mut self, hash: u64, wire: &[u8]) -> bool {
        let Some(mut hole) = self.find(hash, wire) else { return false };
        self.entries[hole] = None;
        let after: Vec<usize> = self.places(hole as u64).skip(1).collect();
        // A search ends at a free place, so who was turned away from this one comes nearer.
        for at in after {
            let Some(entry) = &self.entries[at] else { break };
            let home = self.home(self::hash(entry.name()));
            let mask = self.tags.len() - 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.tags[hole] = self.tags[at];
                self.entries[hole] = self.entries[at].take();
                hole = at;
            }
        }
        self.tags[hole] = 0;
        self.len -= 1;
        true
    }
}

/// Answers the number by which a name is looked for.
pub(super) fn hash(wire: &[u8]) -> u64 {
    BuildHasherDefault::<FxHasher>::default().hash_one(wire)
}

/// Where a name is on a shelf, which shelf it is, and its tag are different bits of the same hash.
fn shelf_of(hash: u64) -> usize {
    (hash >> 24) as usize % SHELVES
}

fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_and_go() {
        let names: Vec<Name> = (0..40_000).map(|number| format!("n{number}.a").parse().unwrap()).collect();
        let mut shelves = Shelves::new();
        let check = |shelves: &Shelves, is_there: &dyn Fn(usize) -> bool| {
            for (number, name) in names.iter().enumerate() {
                let found = shelves.get(name.as_wire()).map(Entry::name);
                assert_eq!(found, is_there(number).then_some(name.as_wire()), "{name}");
            }
            assert_eq!(shelves.len(), (0..names.len()).filter(|number| is_there(*number)).count());
            assert_eq!(shelves.iter().count(), shelves.len());
        };
        names.iter().for_each(|name| shelves.put(Entry::empty(name)));
        let all = shelves.clone();
        for name in names.iter().step_by(3).chain(names.iter().step_by(3)) {
            shelves.remove(name);
        }
        check(&shelves, &|number| number % 3 != 0);
        names.iter().step_by(6).for_each(|name| shelves.put(Entry::empty(name)));
        names.iter().step_by(6).for_each(|name| shelves.put(Entry::empty(name)));
        check(&shelves, &|number| number % 3 != 0 || number % 6 == 0);
        check(&all, &|_| true);
        let hashes: Vec<u64> = names.iter().map(|name| hash(name.as_wire())).collect();
        shelves.touch(&hashes);
        Shelves::new().touch(&hashes);
    }
}
