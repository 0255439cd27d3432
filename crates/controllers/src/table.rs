//! The objects of a kind, as far as they are known, with what was written oneself and not seen yet.
//!
//! What a controller has written counts at once: a slow watch makes nobody do a thing twice. Revisions tell which of two
//! states of an object is the newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::moment::Moment;
use crate::trimmed::{Place, Trimmed};

/// How long something that was made may go unseen before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(300);

/// The objects of a kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    objects: BTreeMap<Place, Entry<T>>,
    /// The names of the objects that an owner controls, by namespace and owner's identifier; of those that nothing
    /// controls, the identifier is empty.
    owned: BTreeMap<(String, String), BTreeSet<String>>,
    /// What was made oneself and not seen yet, and since when.
    unseen: BTreeMap<Place, Moment>,
    /// The newest revision that was seen.
    seen: u64,
    is_synced: bool,
}

#[derive(Debug)]
struct Entry<T> {
    object: T,
    /// The identifier, if it was deleted oneself: what is still seen of that object is old.
    doomed: Option<String>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            owned: BTreeMap::new(),
            unseen: BTreeMap::new(),
            seen: 0,
            is_synced: false,
        }
    }
}

impl<T: Trimmed> Table<T> {
    /// Whether everything that was there at some time has been seen.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }

    /// Notes that everything has been seen.
    pub(crate) fn sync(&mut self) {
        self.is_synced = true;
    }

    /// An object.
    pub(crate) fn get(&self, place: &Place) -> Option<&T> {
        self.objects.get(place).map(|entry| &entry.object)
    }

    /// An object, to be changed in a way that its owner does not notice.
    pub(crate) fn get_mut(&mut self, place: &Place) -> Option<&mut T> {
        self.objects.get_mut(place).map(|entry| &mut entry.object)
    }

    /// All objects.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.objects.values().map(|entry| &entry.object)
    }

    /// The objects of a namespace.
    pub(crate) fn inside(&self, namespace: &str) -> impl Iterator<Item = &T> {
        let first = Place { namespace: namespace.to_owned(), name: String::new() };
        let of_it = move |place: &Place| place.namespace == namespace;
        self.objects.range(first..).take_while(move |(place, _)| of_it(place)).map(|(_, entry)| &entry.object)
    }

    /// The objects of a namespace that the owner with that identifier controls; empty: those that nothing controls.
    pub(crate) fn owned(&self, namespace: &str, uid: &str) -> impl Iterator<Item = &T> {
        let names = self.owned.get(&(namespace.to_owned(), uid.to_owned()));
        let place = |name: &String| Place { namespace: namespace.to_owned(), name: name.clone() };
        names.into_iter().flatten().filter_map(move |name| self.get(&place(name)))
    }

    /// Takes an object that was seen; answers whether it is news.
    pub(crate) fn see(&mut self, object: T) -> bool {
        self.seen = self.seen.max(object.meta().revision());
        self.unseen.remove(&object.meta().place());
        self.put(object)
    }

    /// Takes an object as the server answered a write; answers whether it is news.
    pub(crate) fn write(&mut self, object: T, now: Moment) -> bool {
        let place = object.meta().place();
        if !self.objects.contains_key(&place) {
            if object.meta().revision() <= self.seen {
                // The watch was faster than the answer: it has come and gone.
                return false;
            }
            self.unseen.insert(place, now);
        }
        self.put(object)
    }

    fn put(&mut self, mut object: T) -> bool {
        let place = object.meta().place();
        let mut doomed = None;
        if let Some(known) = self.objects.get(&place) {
            let (old, new) = (known.object.meta(), object.meta());
            if old.uid == new.uid && old.revision() >= new.revision() {
                return false;
            }
            doomed = known.doomed.clone().filter(|uid| *uid == new.uid);
            if doomed.is_some() && !new.is_leaving() {
                let since = old.deletion_timestamp;
                object.meta_mut().deletion_timestamp = since;
            }
        }
        self.remove(&place);
        self.owned.entry(owner(&object)).or_default().insert(place.name.clone());
        self.objects.insert(place, Entry { object, doomed });
        true
    }

    /// Notes that the server has agreed to delete an object; it may take its time.
    pub(crate) fn doom(&mut self, place: &Place, uid: &str, now: Moment) {
        let Some(entry) = self.objects.get_mut(place) else { return };
        let meta = entry.object.meta_mut();
        if meta.uid == uid {
            meta.deletion_timestamp.get_or_insert(now);
            entry.doomed = Some(uid.to_owned());
        }
    }

    /// Takes an object away.
    pub(crate) fn remove(&mut self, place: &Place) -> Option<T> {
        let entry = self.objects.remove(place)?;
        let key = owner(&entry.object);
        if let Some(names) = self.owned.get_mut(&key) {
            names.remove(&place.name);
            if names.is_empty() {
                self.owned.remove(&key);
            }
        }
        Some(entry.object)
    }

    /// Takes an object away that is not there any more.
    pub(crate) fn forget(&mut self, place: &Place) -> Option<T> {
        self.unseen.remove(place);
        self.remove(place)
    }

    /// Takes away what was made and not seen for too long, as what was there between two lists; answers it.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<T> {
        let late = self.unseen.iter().filter(|(_, since)| since.plus(PATIENCE) < now);
        let late: Vec<Place> = late.map(|(place, _)| place.clone()).collect();
        late.iter().filter_map(|place| self.forget(place)).collect()
    }
}

fn owner<T: Trimmed>(object: &T) -> (String, String) {
    let meta = object.meta();
    let uid = meta.controller().map(|owner| owner.uid.clone()).unwrap_or_default();
    (meta.namespace.clone(), uid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trimmed::{Meta, Plain};

    fn object(name: &str, uid: &str, revision: u64) -> Plain {
        let metadata = Meta {
            name: name.to_owned(),
            uid: uid.to_owned(),
            resource_version: revision.to_string(),
            ..Meta::default()
        };
        Plain { metadata, ..Plain::default() }
    }

    fn place(name: &str) -> Place {
        Place { namespace: String::new(), name: name.to_owned() }
    }

    #[test]
    fn what_is_old_does_not_count() {
        let mut table = Table::default();
        assert!(table.write(object("a", "1", 5), Moment(0)));
        assert!(!table.see(object("a", "1", 4)));
        assert!(!table.see(object("a", "1", 5)));
        assert!(table.see(object("a", "1", 6)));
        assert!(!table.write(object("a", "1", 5), Moment(0)));
        // Another object of the same name.
        assert!(table.see(object("a", "2", 7)));
    }

    #[test]
    fn what_was_deleted_stays_deleted_until_it_is_gone() {
        let mut table = Table::default();
        table.see(object("a", "1", 5));
        table.doom(&place("a"), "1", Moment(9));
        assert!(table.get(&place("a")).unwrap().metadata.is_leaving());
        table.see(object("a", "1", 6));
        assert!(table.get(&place("a")).unwrap().metadata.is_leaving());
        table.see(object("a", "2", 8));
        assert!(!table.get(&place("a")).unwrap().metadata.is_leaving());
        table.doom(&place("a"), "1", Moment(9));
        assert!(!table.get(&place("a")).unwrap().metadata.is_leaving());
    }

    #[test]
    fn what_came_and_went_before_the_answer_is_not_there() {
        let mut table = Table::default();
        table.see(object("a", "1", 5));
        table.forget(&place("a"));
        assert!(!table.write(object("a", "1", 5), Moment(0)));
        assert!(table.get(&place("a")).is_none());
    }

    #[test]
    fn what_is_never_seen_expires() {
        let mut table = Table::default();
        table.write(object("a", "1", 5), Moment(0));
        table.write(object("b", "2", 6), Moment(0));
        table.see(object("b", "2", 6));
        assert!(table.expire(Moment(300_000)).is_empty());
        assert_eq!(table.expire(Moment(300_001)).len(), 1);
        assert_eq!(table.all().map(|one| one.metadata.name.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
