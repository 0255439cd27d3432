//! Who owns whom, and what is to be looked at after a change.
//!
//! Only references take memory: objects that have no owners and own nothing leave no trace.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Look, Meta, Object, Owner, Whereabouts, kinds};
use crate::kinds::Kind;
use crate::rest::delete::{FOREGROUND, ORPHAN};

/// The references between objects, and what is being deleted and concerns others.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// UIDs of owners with their dependents.
    references: BTreeSet<(Box<str>, Object)>,
    /// Namespaces that are being deleted.
    namespaces: BTreeSet<Arc<str>>,
    /// Ranges of addresses that are being deleted.
    ranges: BTreeSet<Arc<str>>,
}

impl Graph {
    /// Answers the objects that refer to an owner.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = &Object> {
        // Nothing sorts before the empty key of the first table.
        let first = kinds().into_iter().min_by_key(|kind| kind.table).map(|kind| Object::new(kind, ""));
        let from = first.map(|first| (Box::from(uid), first));
        let found = from.map(|from| self.references.range(from..));
        let uid: Box<str> = uid.into();
        found.into_iter().flatten().take_while(move |(owner, _)| *owner == uid).map(|(_, object)| object)
    }

    /// Notes what an object was and is, and answers what is to be looked at.
    pub(crate) fn change(
        &mut self,
        object: &Object,
        before: Option<&Meta>,
        after: Option<&Meta>,
    ) -> BTreeSet<Look> {
        let mut looks = BTreeSet::new();
        // Kubernetes collects no Events either.
        if object.kind.table != "events" {
            self.refer(object, before, after);
            looks.extend(self.owned(object, before, after));
            looks.extend(owners(object, before, after));
        }
        self.look_at_places(object, after, &mut looks);
        looks
    }

    fn refer(&mut self, object: &Object, before: Option<&Meta>, after: Option<&Meta>) {
        let owners = |meta: Option<&Meta>| -> BTreeSet<Box<str>> {
            meta.into_iter().flat_map(|meta| &meta.owners).map(|owner| owner.uid.as_str().into()).collect()
        };
        let (before, after) = (owners(before), owners(after));
        for gone in before.difference(&after) {
            self.references.remove(&(gone.clone(), object.clone()));
        }
        for new in after.difference(&before) {
            self.references.insert((new.clone(), object.clone()));
        }
    }

    /// The object and its dependents, where they may have to go.
    fn owned(&self, object: &Object, before: Option<&Meta>, after: Option<&Meta>) -> Vec<Look> {
        let all = |uid: &str| self.dependents(uid).cloned().map(Look::Object).collect::<Vec<_>>();
        let Some(after) = after else {
            return before.map(|before| all(&before.uid)).unwrap_or_default();
        };
        let begins = |finalizer: &str| {
            after.waits_for(finalizer) && !before.is_some_and(|before| before.waits_for(finalizer))
        };
        let has_other_owners = before.is_none_or(|before| before.owners != after.owners);
        let mut looks = if begins(FOREGROUND) { all(&after.uid) } else { Vec::new() };
        if has_other_owners && !after.owners.is_empty() || begins(ORPHAN) || begins(FOREGROUND) {
            looks.push(Look::Object(object.clone()));
        }
        looks
    }

    /// What the object is in, or for.
    fn look_at_places(&mut self, object: &Object, after: Option<&Meta>, looks: &mut BTreeSet<Look>) {
        let note = |set: &mut BTreeSet<Arc<str>>| match after.is_some_and(Meta::is_deleted) {
            true => set.insert(object.key.clone()),
            false => set.remove(&object.key),
        };
        match object.kind.table {
            "namespaces" => {
                _ = note(&mut self.namespaces);
                looks.extend(self.namespaces.get(&object.key).cloned().map(Look::Namespace));
            }
            "servicecidrs" => {
                _ = note(&mut self.ranges);
                looks.insert(Look::Ranges);
            }
            // An address that goes was perhaps the last that needed a range.
            "ipaddresses" if after.is_none() && !self.ranges.is_empty() => _ = looks.insert(Look::Ranges),
            _ => {}
        }
        let (namespace, _) = object.namespace_and_name();
        looks.extend(self.namespaces.get(namespace).cloned().map(Look::Namespace));
    }
}

/// The owners that may have waited for an object and need not any more.
fn owners(object: &Object, before: Option<&Meta>, after: Option<&Meta>) -> Vec<Look> {
    let blocks = |uid: &str| {
        after.is_some_and(|after| after.owners.iter().any(|owner| owner.uid == uid && owner.blocks()))
    };
    let before = before.into_iter().flat_map(|before| &before.owners);
    let freed = before.filter(|owner| owner.blocks() && !blocks(&owner.uid));
    let place = |owner: &Owner| match owner.of(object) {
        Whereabouts::At(owner) => Some(Look::Object(owner)),
        Whereabouts::Unknown => None,
    };
    freed.filter_map(place).collect()
}

/// Whether objects of a kind are in namespaces and go with them.
pub(crate) fn goes_with_namespace(kind: &Kind) -> bool {
    kind.scope == crate::kinds::Scope::Namespaced && kind.verbs.contains(&"delete")
}
