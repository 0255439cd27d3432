//! Who owns whom, and what is to be looked at after a change.
//!
//! Only references take memory: objects that have no owners and own nothing leave no trace.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Look, Meta, Object, Whereabouts, kinds};
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
            self.look_at_owned(object, before, after, &mut looks);
            self.look_at_owners(object, before, after, &mut looks);
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

    /// The object and its dependents.
    fn look_at_owned(
        &self,
        object: &Object,
        before: Option<&Meta>,
        after: Option<&Meta>,
        looks: &mut BTreeSet<Look>,
    ) {
        let all = |uid: &str| self.dependents(uid).cloned().map(Look::Object).collect::<BTreeSet<_>>();
        let Some(after) = after else {
            looks.extend(before.map(|before| all(&before.uid)).unwrap_or_default());
            return;
        };
        let begins = |finalizer: &str| {
            after.waits_for(finalizer) && !before.is_some_and(|before| before.waits_for(finalizer))
        };
        let has_other_owners = before.is_none_or(|before| before.owners != after.owners);
        if has_other_owners && !after.owners.is_empty() || begins(ORPHAN) || begins(FOREGROUND) {
            looks.insert(Look::Object(object.clone()));
        }
        if begins(FOREGROUND) {
            looks.extend(all(&after.uid));
        }
    }

    /// The owners that may have waited for this.
    fn look_at_owners(
        &self,
        object: &Object,
        before: Option<&Meta>,
        after: Option<&Meta>,
        looks: &mut BTreeSet<Look>,
    ) {
        let Some(before) = before else { return };
        let stays = |uid: &str| {
            after.is_some_and(|after| after.owners.iter().any(|owner| owner.uid == uid && owner.blocks()))
        };
        for owner in before.owners.iter().filter(|owner| owner.blocks() && !stays(&owner.uid)) {
            if let Whereabouts::At(owner) = owner.of(object) {
                looks.insert(Look::Object(owner));
            }
        }
    }

    /// What the object is in, or for.
    fn look_at_places(&mut self, object: &Object, after: Option<&Meta>, looks: &mut BTreeSet<Look>) {
        let note = |set: &mut BTreeSet<Arc<str>>| match after.is_some_and(Meta::is_deleted) {
            true => drop(set.insert(object.key.clone())),
            false => drop(set.remove(&object.key)),
        };
        match object.kind.table {
            "namespaces" => {
                note(&mut self.namespaces);
                looks.extend(self.namespaces.get(&object.key).cloned().map(Look::Namespace));
            }
            "servicecidrs" => {
                note(&mut self.ranges);
                looks.extend(after.map(|_| Look::Range(object.key.clone())));
                looks.extend(self.ranges.iter().cloned().map(Look::Range));
            }
            "ipaddresses" => looks.extend(self.ranges.iter().cloned().map(Look::Range)),
            _ => {}
        }
        let (namespace, _) = object.namespace_and_name();
        looks.extend(self.namespaces.get(namespace).cloned().map(Look::Namespace));
    }
}

/// Whether objects of a kind are in namespaces and go with them.
pub(crate) fn goes_with_namespace(kind: &Kind) -> bool {
    kind.scope == crate::kinds::Scope::Namespaced && kind.verbs.contains(&"delete")
}
