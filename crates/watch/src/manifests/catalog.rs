//! What the files of a directory define, and which definition counts: that of the first file in name order.
//!
//! Pure: definitions in, changes out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use objects::{Object, ObjectKey};

use crate::decode::key_of;

/// The name of a file in the directory.
pub(super) type FileName = Arc<str>;

/// The definitions of all files.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    files: BTreeMap<FileName, BTreeSet<ObjectKey>>,
    definitions: BTreeMap<ObjectKey, BTreeMap<FileName, Object>>,
}

/// What is different after a file changed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Applied(Object),
    Deleted(ObjectKey),
}

impl Change {
    /// Answers which object it is about.
    pub(super) fn key(&self) -> ObjectKey {
        match self {
            Self::Applied(object) => key_of(object),
            Self::Deleted(key) => key.clone(),
        }
    }
}

/// A definition that does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Duplicate {
    pub(super) key: ObjectKey,
    /// The file whose definition counts.
    pub(super) kept: FileName,
    /// The file whose definition does not; may be the same one.
    pub(super) ignored: FileName,
}

impl Catalog {
    /// Answers the files that define something.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileName> {
        self.files.keys()
    }

    /// Answers every object that counts.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.definitions.values().filter_map(|definitions| definitions.values().next())
    }

    /// Replaces what a file defines; answers what changed, and which definitions of it or of others newly do not count.
    pub(super) fn replace(
        &mut self,
        file: &FileName,
        objects: Vec<(ObjectKey, Object)>,
    ) -> (Vec<Change>, Vec<Duplicate>) {
        let (mut fresh, mut duplicates) = (BTreeMap::new(), Vec::new());
        for (key, object) in objects {
            match fresh.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert(object)),
                Entry::Occupied(entry) => {
                    let key = entry.key().clone();
                    duplicates.push(Duplicate { key, kept: file.clone(), ignored: file.clone() });
                }
            }
        }
        let keys: BTreeSet<ObjectKey> = fresh.keys().cloned().collect();
        let old_keys = match keys.is_empty() {
            true => self.files.remove(file),
            false => self.files.insert(file.clone(), keys.clone()),
        };
        let old_keys = old_keys.unwrap_or_default();
        let mut changes = Vec::new();
        for key in old_keys.union(&keys) {
            let object = fresh.remove(key);
            let is_new = object.is_some() && !old_keys.contains(key);
            changes.extend(self.redefine(file, key, object));
            if is_new {
                duplicates.extend(self.duplicate(file, key));
            }
        }
        (changes, duplicates)
    }

    fn redefine(&mut self, file: &FileName, key: &ObjectKey, object: Option<Object>) -> Option<Change> {
        let definitions = self.definitions.entry(key.clone()).or_default();
        let before = definitions.values().next().cloned();
        match object {
            Some(object) => drop(definitions.insert(file.clone(), object)),
            None => drop(definitions.remove(file)),
        }
        let after = definitions.values().next().cloned();
        if after.is_none() {
            self.definitions.remove(key);
        }
        match (before, after) {
            (before, after) if before == after => None,
            (_, Some(after)) => Some(Change::Applied(after)),
            (_, None) => Some(Change::Deleted(key.clone())),
        }
    }

    /// Answers who loses now that `file` defines `key`, too.
    fn duplicate(&self, file: &FileName, key: &ObjectKey) -> Option<Duplicate> {
        let mut files = self.definitions.get(key)?.keys();
        let kept = files.next()?.clone();
        let ignored = if kept == *file { files.next()?.clone() } else { file.clone() };
        Some(Duplicate { key: key.clone(), kept, ignored })
    }
}

#[cfg(test)]
mod tests {
    use objects::{Kind, ServiceCidr};

    use super::*;

    fn cidr(name: &str, range: &str) -> (ObjectKey, Object) {
        let object =
            ServiceCidr { name: name.into(), cidrs: vec![range.parse().unwrap()], problems: Vec::new() };
        (ObjectKey { kind: Kind::ServiceCidr, name: name.into() }, Object::ServiceCidr(object))
    }

    /// Writes changes and duplicates as one line.
    fn text((changes, duplicates): (Vec<Change>, Vec<Duplicate>)) -> String {
        let mut words = Vec::new();
        for change in changes {
            words.push(match change {
                Change::Applied(Object::ServiceCidr(cidr)) => format!("{}={}", cidr.name, cidr.cidrs[0]),
                Change::Applied(other) => panic!("{other:?}"),
                Change::Deleted(key) => format!("-{}", key.name),
            });
        }
        words.extend(duplicates.iter().map(|d| format!("{}:{}>{}", d.key.name, d.kept, d.ignored)));
        words.join(" ")
    }

    #[test]
    fn the_first_file_in_name_order_wins_and_only_differences_are_told() {
        let mut catalog = Catalog::default();
        let mut check = |file: &str, objects: &[(ObjectKey, Object)], expected: &str| {
            assert_eq!(text(catalog.replace(&file.into(), objects.to_vec())), expected);
        };
        check("b", &[cidr("x", "10.0.0.0/8"), cidr("y", "10.0.0.0/8")], "x=10.0.0.0/8 y=10.0.0.0/8");
        check("b", &[cidr("x", "10.0.0.0/8"), cidr("y", "10.0.0.0/8")], "");
        check("c", &[cidr("x", "12.0.0.0/8")], "x:b>c");
        check("a", &[cidr("x", "11.0.0.0/8")], "x=11.0.0.0/8 x:a>b");
        check("a", &[cidr("x", "11.0.0.0/8")], "");
        check("b", &[cidr("y", "13.0.0.0/8")], "y=13.0.0.0/8");
        check("a", &[], "x=12.0.0.0/8");
        check("c", &[cidr("z", "12.0.0.0/8"), cidr("z", "13.0.0.0/8")], "-x z=12.0.0.0/8 z:c>c");
        assert_eq!(catalog.files().map(|file| &**file).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(catalog.objects().count(), 2);
    }
}
