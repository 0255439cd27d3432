//! What becomes of an object by its owners, and of its dependents by it, as Kubernetes' garbage collector has it
//! (<https://kubernetes.io/docs/concepts/architecture/garbage-collection/>).

use super::graph::Graph;
use super::{Action, Meta, Object, What, Whereabouts};
use crate::rest::delete::{FOREGROUND, ORPHAN};
use crate::rest::options::Propagation;

/// What decisions are made from.
pub(crate) struct Known<'a> {
    pub(crate) graph: &'a Graph,
    /// Answers what is at a place now.
    pub(crate) read: &'a dyn Fn(&Object) -> Option<Meta>,
}

/// The references of an object by what their owners are.
#[derive(Debug, Default)]
struct Owners {
    /// They are there.
    solid: usize,
    /// They are gone.
    dangling: Vec<String>,
    /// They wait for the end of their dependents.
    waiting: Vec<String>,
}

/// Answers what is to be done about an object. The last action must wait for those before it.
pub(crate) fn decide(object: &Object, known: &Known<'_>) -> Vec<Action> {
    let Some(meta) = (known.read)(object) else { return Vec::new() };
    if meta.waits_for(ORPHAN) {
        return orphan(object, &meta, known);
    }
    if meta.waits_for(FOREGROUND) {
        return finish_foreground(object, &meta, known);
    }
    // What is being deleted already has its dependents looked after when it is gone.
    if meta.is_deleted() || meta.owners.is_empty() {
        return Vec::new();
    }
    let Some(owners) = classify(object, &meta, known) else { return Vec::new() };
    let act = |what: What| Action { object: object.clone(), uid: meta.uid.clone(), what };
    if owners.solid > 0 {
        // One that waits would wait forever for what stays.
        let gone: Vec<String> = owners.dangling.into_iter().chain(owners.waiting).collect();
        return if gone.is_empty() { Vec::new() } else { vec![act(What::Disown(gone))] };
    }
    let revision = Some(meta.resource_version.clone());
    let has_dependents = known.graph.dependents(&meta.uid).next().is_some();
    if owners.waiting.is_empty() || !has_dependents {
        return vec![act(What::Delete { revision, propagation: usual(&meta) })];
    }
    let propagation = Propagation::Foreground;
    if !is_in_circle(&meta, known) {
        return vec![act(What::Delete { revision, propagation })];
    }
    vec![act(What::Unblock), act(What::Delete { revision: None, propagation })]
}

fn usual(meta: &Meta) -> Propagation {
    if meta.has(ORPHAN) {
        Propagation::Orphan
    } else if meta.has(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    }
}

/// Whether a dependent waits for its own dependents, of which this may be one.
fn is_in_circle(meta: &Meta, known: &Known<'_>) -> bool {
    let waits =
        |object: &Object| (known.read)(object).is_some_and(|dependent| dependent.waits_for(FOREGROUND));
    meta.owners.iter().any(super::Owner::blocks) && known.graph.dependents(&meta.uid).any(waits)
}

/// `None`: of some owner nobody can say whether it is there.
fn classify(object: &Object, meta: &Meta, known: &Known<'_>) -> Option<Owners> {
    let mut owners = Owners::default();
    for owner in &meta.owners {
        let Whereabouts::At(place) = owner.of(object) else { return None };
        match (known.read)(&place).filter(|found| found.uid == owner.uid) {
            None => owners.dangling.push(owner.uid.clone()),
            Some(found) if found.waits_for(FOREGROUND) => owners.waiting.push(owner.uid.clone()),
            Some(_) => owners.solid += 1,
        }
    }
    Some(owners)
}

/// The dependents lose the owner, then it goes.
fn orphan(object: &Object, meta: &Meta, known: &Known<'_>) -> Vec<Action> {
    let disown = |dependent: &Object| {
        let found = (known.read)(dependent)?;
        let is_owned = found.owners.iter().any(|owner| owner.uid == meta.uid);
        let what = What::Disown(vec![meta.uid.clone()]);
        is_owned.then(|| Action { object: dependent.clone(), uid: found.uid, what })
    };
    let mut actions: Vec<Action> = known.graph.dependents(&meta.uid).filter_map(disown).collect();
    actions.push(Action { object: object.clone(), uid: meta.uid.clone(), what: What::Finish(ORPHAN) });
    actions
}

/// The owner goes when nothing blocks it; dependents are looked at for themselves.
fn finish_foreground(object: &Object, meta: &Meta, known: &Known<'_>) -> Vec<Action> {
    let blocks = |dependent: &&Object| {
        // Kubernetes lets an object wait for itself, forever.
        *dependent != object
            && (known.read)(dependent)
                .is_some_and(|found| found.owners.iter().any(|owner| owner.uid == meta.uid && owner.blocks()))
    };
    match known.graph.dependents(&meta.uid).find(blocks) {
        Some(_) => Vec::new(),
        None => {
            vec![Action { object: object.clone(), uid: meta.uid.clone(), what: What::Finish(FOREGROUND) }]
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::kinds::Kind;

    /// `b.deleted.orphan <- a! n:x`: an object that is deleted and has a finalizer, its owners of which one waits for it.
    /// `n:` is a Node, `s:` a Service, `?:` of a kind that is not known; anything else a ConfigMap.
    fn kind(name: &str) -> (&'static str, &'static str, &'static str) {
        match name.split_once(':') {
            Some(("n", _)) => ("v1", "Node", "nodes"),
            Some(("s", _)) => ("v1", "Service", "services"),
            Some((_, _)) => ("x.io/v1", "Thing", "things"),
            None => ("v1", "ConfigMap", "configmaps"),
        }
    }

    fn object(name: &str) -> Object {
        let kind = Kind::find("", "v1", kind(name).2).expect("it is served");
        Object::new(kind, &kind.key_of("t", name))
    }

    fn meta(text: &str) -> (String, Meta) {
        let (head, owners) = text.split_once(" <- ").unwrap_or((text, ""));
        let mut words = head.trim().split('.');
        let name = words.next().unwrap_or_default().to_owned();
        let (mut finalizers, mut deleted) = (Vec::new(), None);
        for word in words {
            match word {
                "deleted" => deleted = Some("2026-01-01T00:00:00Z"),
                "foreground" => finalizers.push(FOREGROUND),
                other => finalizers.push(other),
            }
        }
        let owner = |text: &str| {
            let (name, blocks) = text.strip_suffix('!').map_or((text, false), |name| (name, true));
            let (name, uid) = name.split_once('=').unwrap_or((name, name));
            json!({"apiVersion": kind(name).0, "kind": kind(name).1, "name": name, "uid": uid,
                   "blockOwnerDeletion": blocks})
        };
        let owners: Vec<_> = owners.split_whitespace().map(owner).collect();
        let value = json!({"metadata": {"uid": name, "resourceVersion": "7", "deletionTimestamp": deleted,
                                        "finalizers": finalizers, "ownerReferences": owners}});
        (name, Meta::read(value.to_string().as_bytes()))
    }

    fn check(world: &str, look: &str, wanted: &str) {
        let mut graph = Graph::default();
        let objects: BTreeMap<Object, Meta> =
            world.split(';').map(meta).map(|(name, meta)| (object(&name), meta)).collect();
        for (object, meta) in &objects {
            graph.change(object, None, Some(meta));
        }
        let read = |object: &Object| objects.get(object).cloned();
        let show = |action: Action| {
            let what = match action.what {
                What::Delete { revision, propagation } => {
                    format!("delete {propagation:?}{}", if revision.is_some() { " as seen" } else { "" })
                }
                What::Disown(owners) => format!("disown {}", owners.join(" ")),
                What::Finish(finalizer) => format!("finish {finalizer}"),
                What::Unblock => "unblock".to_owned(),
                What::Report(_) | What::FinalizeNamespace => panic!("not of owners"),
            };
            format!("{}: {what}", action.uid)
        };
        let actions = decide(&object(look), &Known { graph: &graph, read: &read });
        assert_eq!(actions.into_iter().map(show).collect::<Vec<_>>().join(", "), wanted, "{world}");
    }

    #[test]
    fn owners_decide_over_dependents() {
        check("a;b <- a", "b", "");
        check("b", "b", "");
        check("b <- a", "b", "b: delete Background as seen");
        check("b <- a c", "b", "b: delete Background as seen");
        check("a;b <- a c d", "b", "b: disown c d");
        // The same name is not the same object.
        check("a;b <- a=other", "b", "b: delete Background as seen");
        check("b.orphan <- a", "b", "b: delete Orphan as seen");
        check("b.foreground <- a", "b", "b: delete Foreground as seen");
        check("b.x.io/a <- a", "b", "b: delete Background as seen");
        check("b.deleted.x.io/a <- a", "b", "");
        // Owners that only they know about.
        check("b <- ?:a", "b", "");
        check("b <- a ?:a", "b", "");
        check("n:b <- a", "n:b", "");
        check("n:b <- n:a", "n:b", "n:b: delete Background as seen");
        check("n:a;b <- n:a", "b", "");
        check("b <- n:a", "b", "b: delete Background as seen");
        // An owner that waits for others than its dependents is there.
        check("a.deleted.x.io/a;b <- a", "b", "");
        check("a.deleted.orphan;b <- a", "b", "");
    }

    #[test]
    fn owners_wait_for_dependents_that_block_them() {
        let wait = "a.deleted.foreground";
        check(&format!("{wait};b <- a"), "b", "b: delete Background as seen");
        check(&format!("{wait};b <- a!;c <- b"), "b", "b: delete Foreground as seen");
        check(&format!("{wait};b <- a! c;c"), "b", "b: disown a");
        check(&format!("{wait};b <- a! x"), "b", "b: delete Background as seen");
        check(&format!("{wait};b <- a!"), "a", "");
        check(&format!("{wait};b.deleted.x.io/a <- a!"), "a", "");
        check(&format!("{wait};b <- a"), "a", "a: finish foregroundDeletion");
        check(&format!("{wait}.x.io/a"), "a", "a: finish foregroundDeletion");
        check("a.foreground", "a", "");
        // Circles.
        check(&format!("{wait} <- b!;b <- a!"), "b", "b: unblock, b: delete Foreground");
        check(&format!("{wait} <- b!;b <- a"), "b", "b: delete Foreground as seen");
        check(&format!("{wait} <- a!"), "a", "a: finish foregroundDeletion");
    }

    #[test]
    fn orphans_lose_their_owner_first() {
        check("a.deleted.orphan", "a", "a: finish orphan");
        check("a.deleted.orphan;b <- a;c <- a! d;d", "a", "b: disown a, c: disown a, a: finish orphan");
        check("a.orphan;b <- a", "a", "");
    }
}
