//! The names, shared between the one who changes them and those who read an earlier state: a change copies the one shelf
//! that it touches, however many names there are.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHasher};

use super::entry::Entry;
use crate::wire::Name;

/// How many shelves there are. To publish a state costs as many counters; to change a name, a shelf's share of all names.
const SHELVES: usize = 1024;

type Shelf = FxHashMap<Arc<[u8]>, Arc<Entry>>;

#[derive(Debug, Clone)]
pub(super) struct Shelves {
    shelves: Arc<[Arc<Shelf>]>,
    len: usize,
}

impl Shelves {
    pub(super) fn new() -> Self {
        Self { shelves: (0..SHELVES).map(|_| Arc::default()).collect(), len: 0 }
    }

    pub(super) fn get(&self, wire: &[u8]) -> Option<&Entry> {
        self.shelves[place(wire)].get(wire).map(|entry| &**entry)
    }

    pub(super) fn put(&mut self, name: &Name, entry: Entry) {
        let shelf = self.shelf(name);
        if shelf.insert(name.as_wire().into(), Arc::new(entry)).is_none() {
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, name: &Name) {
        if self.shelf(name).remove(name.as_wire()).is_some() {
            self.len -= 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.shelves.iter().flat_map(|shelf| shelf.iter()).map(|(name, entry)| (&**name, &**entry))
    }

    fn shelf(&mut self, name: &Name) -> &mut Shelf {
        Arc::make_mut(&mut Arc::make_mut(&mut self.shelves)[place(name.as_wire())])
    }
}

/// The map on a shelf looks at the other bits of the same hash.
fn place(wire: &[u8]) -> usize {
    let hash = BuildHasherDefault::<FxHasher>::default().hash_one(wire);
    (hash >> 24) as usize % SHELVES
}
