//! How a namespace that is being deleted is emptied: Pods first, then everything else; then it is let go. Its conditions
//! say what remains, in the words of Kubernetes' namespace controller.

use std::collections::BTreeMap;

use serde_json::Value;

use super::graph::goes_with_namespace;
use super::{Action, Condition, Meta, Object, What, kinds};
use crate::kinds::{KINDS, Kind};
use crate::rest::delete::{FOREGROUND, ORPHAN};
use crate::rest::options::Propagation;

/// What holds a namespace until nothing is in it any more.
pub(crate) const FINALIZER: &str = "kubernetes";

/// Answers what is to be done about a namespace. `content` answers what of a kind is in it. The last action must wait for
/// those before it.
pub(crate) fn decide(
    object: &Object,
    namespace: &Value,
    content: &dyn Fn(&Kind) -> Vec<(Object, Meta)>,
) -> Vec<Action> {
    let uid = namespace["metadata"]["uid"].as_str().unwrap_or_default();
    if !namespace["metadata"]["deletionTimestamp"].is_string() || !is_held(namespace) {
        return Vec::new();
    }
    let (pods, others): (Vec<&Kind>, Vec<&Kind>) =
        KINDS.iter().copied().filter(|kind| goes_with_namespace(kind)).partition(|kind| kind.table == "pods");
    let mut remaining = Remaining::default();
    for group in [pods, others] {
        let mut deletes = Vec::new();
        for kind in group {
            let all = content(kind);
            remaining.count(kind, &all);
            // Kinds that share a table have the same objects.
            if kinds().contains(&kind) {
                deletes.extend(all.into_iter().filter_map(|(object, meta)| delete(object, &meta)));
            }
        }
        if !deletes.is_empty() {
            return deletes;
        }
        if !remaining.by_kind.is_empty() {
            break;
        }
    }
    let act = |what: What| Action { object: object.clone(), uid: uid.to_owned(), what };
    let conditions = remaining.conditions();
    let is_known = |condition: &Condition| condition.is_in(namespace);
    let mut actions = Vec::new();
    if !conditions.iter().all(is_known) {
        actions.push(act(What::Report(conditions)));
    }
    if remaining.by_kind.is_empty() {
        actions.push(act(What::FinalizeNamespace));
    }
    actions
}

/// Whether the namespace waits for being emptied.
pub(crate) fn is_held(namespace: &Value) -> bool {
    let list = namespace["spec"]["finalizers"].as_array();
    list.into_iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// What is being deleted already is waited for, unless it waits for others, which go anyway.
fn delete(object: Object, meta: &Meta) -> Option<Action> {
    let waits = !object.kind.rules.is_graceful && (meta.waits_for(FOREGROUND) || meta.waits_for(ORPHAN));
    let what = What::Delete { revision: None, propagation: Propagation::Background };
    (!meta.is_deleted() || waits).then(|| Action { object, uid: meta.uid.clone(), what })
}

/// What is left in a namespace.
#[derive(Default)]
struct Remaining {
    by_kind: BTreeMap<String, usize>,
    by_finalizer: BTreeMap<String, usize>,
}

impl Remaining {
    fn count(&mut self, kind: &Kind, all: &[(Object, Meta)]) {
        if !all.is_empty() {
            self.by_kind.insert(format!("{}.{}", kind.plural, kind.group), all.len());
        }
        for finalizer in all.iter().flat_map(|(_, meta)| &meta.finalizers) {
            *self.by_finalizer.entry(finalizer.clone()).or_default() += 1;
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let fine = |name, reason, message: &str| Condition {
            name,
            is_true: false,
            reason,
            message: message.to_owned(),
        };
        let mut conditions = vec![
            fine(
                "NamespaceDeletionDiscoveryFailure",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            fine(
                "NamespaceDeletionGroupVersionParsingFailure",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            fine(
                "NamespaceDeletionContentFailure",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ];
        let list = |counts: &BTreeMap<String, usize>, word: &str| {
            let mut texts: Vec<String> = counts
                .iter()
                .map(|(name, count)| format!("{name} {word} {count} resource instances"))
                .collect();
            texts.sort_unstable();
            texts.join(", ")
        };
        let name = "NamespaceContentRemaining";
        conditions.push(if self.by_kind.is_empty() {
            fine(name, "ContentRemoved", "All content successfully removed")
        } else {
            let message = format!("Some resources are remaining: {}", list(&self.by_kind, "has"));
            Condition { name, is_true: true, reason: "SomeResourcesRemain", message }
        });
        let name = "NamespaceFinalizersRemaining";
        conditions.push(if self.by_finalizer.is_empty() {
            fine(name, "ContentHasNoFinalizers", "All content-preserving finalizers finished")
        } else {
            let message = format!(
                "Some content in the namespace has finalizers remaining: {}",
                list(&self.by_finalizer, "in")
            );
            Condition { name, is_true: true, reason: "SomeFinalizersRemain", message }
        });
        conditions
    }
}

impl Condition {
    /// Whether an object has it already.
    pub(crate) fn is_in(&self, object: &Value) -> bool {
        let status = if self.is_true { "True" } else { "False" };
        let list = object["status"]["conditions"].as_array();
        list.into_iter().flatten().any(|known| {
            let text = |field: &str| known[field].as_str().unwrap_or_default();
            (text("type"), text("status"), text("reason"), text("message"))
                == (self.name, status, self.reason, self.message.as_str())
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `pods/a configmaps/b.deleted.x.io/f`
    fn check(namespace: &Value, content: &str, wanted: &str) {
        let of = |kind: &Kind| -> Vec<(Object, Meta)> {
            let read = |text: &str| {
                let (table, rest) = text.split_once('/')?;
                let kept = super::super::kinds().into_iter().find(|kept| kept.table == table)?;
                let mut words = rest.split('.');
                let name = words.next()?;
                let words: Vec<&str> = words.collect();
                let meta = json!({"uid": name, "finalizers": words.iter().filter(|word| **word != "deleted").collect::<Vec<_>>(),
                                  "deletionTimestamp": words.contains(&"deleted").then_some("2026-01-01T00:00:00Z")});
                let meta = Meta::read(json!({"metadata": meta}).to_string().as_bytes());
                (table == kind.table).then(|| (Object::new(kept, &format!("n/{name}")), meta))
            };
            content.split_whitespace().filter_map(read).collect()
        };
        let object = Object::new(Kind::find("", "v1", "namespaces").expect("it is served"), "n");
        let show = |action: Action| match action.what {
            What::Delete { .. } => format!("delete {}", action.object.key),
            What::Report(conditions) => {
                let bad = conditions.iter().filter(|condition| condition.is_true);
                let bad: Vec<String> = bad.map(|one| format!("{}: {}", one.reason, one.message)).collect();
                format!("report {} {}", conditions.len(), bad.join(", "))
            }
            What::FinalizeNamespace => "FinalizeNamespace".to_owned(),
            What::Disown(_) | What::Unblock | What::Finish(_) => panic!("not of namespaces"),
        };
        let shown: Vec<String> = decide(&object, namespace, &of).into_iter().map(show).collect();
        assert_eq!(shown.join("; "), wanted, "{content}");
    }

    #[test]
    fn it_is_emptied_and_let_go() {
        let mut namespace =
            json!({"metadata": {"name": "n", "uid": "u"}, "spec": {"finalizers": ["kubernetes"]}});
        check(&namespace, "pods/a", "");
        namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        check(&namespace, "configmaps/c pods/a pods/b services/s", "delete n/a; delete n/b");
        check(
            &namespace,
            "configmaps/c pods/a.deleted",
            "report 5 SomeResourcesRemain: Some resources are remaining: pods. has 1 resource instances",
        );
        check(&namespace, "configmaps/c services/s events/e", "delete n/c; delete n/e; delete n/s");
        let left = "report 5 SomeResourcesRemain: Some resources are remaining: configmaps. has 2 resource instances, \
                    endpointslices.discovery.k8s.io has 1 resource instances, SomeFinalizersRemain: Some content in the \
                    namespace has finalizers remaining: x in 2 resource instances, y in 1 resource instances";
        check(&namespace, "configmaps/c.deleted.x configmaps/d.deleted.x.y endpointslices/e.deleted", left);
        check(&namespace, "configmaps/c.deleted.foregroundDeletion", "delete n/c");
        check(&namespace, "", "report 5 ; FinalizeNamespace");
        namespace["spec"]["finalizers"] = json!(["mine"]);
        check(&namespace, "configmaps/c", "");
    }

    #[test]
    fn what_is_known_is_not_reported_again() {
        let fine = Remaining::default().conditions();
        let known = |condition: &Condition| json!({"type": condition.name, "status": "False", "reason": condition.reason, "message": condition.message});
        let list: Vec<Value> = fine.iter().map(known).collect();
        let namespace = json!({"metadata": {"uid": "u", "deletionTimestamp": "x"}, "status": {"conditions": list},
                               "spec": {"finalizers": ["kubernetes"]}});
        check(&namespace, "", "FinalizeNamespace");
    }
}
