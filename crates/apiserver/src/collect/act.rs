//! Actions, each a transaction that sees whether it still is right.

use serde_json::{Value, json};

use super::graph::goes_with_namespace;
use super::{Action, Condition, Object, What, kinds, namespace};
use crate::kinds::Kind;
use crate::rest::{DeleteOptions, Place, Rest, WriteOptions, change, delete, managers};
use crate::status::Status;
use crate::writing::Writing;

/// Who is recorded for what is written here: in a cluster it is this process.
const MANAGER: &str = "kube-controller-manager";

impl Action {
    /// Carries it out. An object that is gone or another one by now needs nothing.
    pub(crate) async fn carry_out(self, rest: &Rest) -> Result<(), Status> {
        rest.write(false, move |writing| self.act(writing)).await
    }

    fn act(self, writing: &mut Writing<'_>) -> Result<(), Status> {
        let Self { object, uid, what } = &self;
        let Some(old) = writing.object(object.kind, &object.key) else { return Ok(()) };
        if old["metadata"]["uid"] != **uid {
            return Ok(());
        }
        let change = Changing { object, old: &old };
        match what {
            What::Delete { revision, propagation } => {
                let options = DeleteOptions {
                    propagation: Some(*propagation),
                    uid: Some(uid.clone()),
                    revision: revision.clone(),
                    ..DeleteOptions::default()
                };
                delete::delete(writing, &place(object, ""), &options).map(drop)
            }
            What::Disown(owners) => change.write(writing, "", |new| disown(new, owners)),
            What::Unblock => change.write(writing, "", unblock),
            What::Finish(finalizer) => change.write(writing, "", |new| finish(new, finalizer)),
            What::Report(conditions) => {
                let now = managers::time(writing);
                change.write(writing, "status", |new| report(new, conditions, &now))
            }
            What::FinalizeNamespace => {
                let prefix = format!("{}/", object.key);
                let is_inside =
                    |kind: &&Kind| goes_with_namespace(kind) && !writing.list(kind.table, &prefix).is_empty();
                if kinds().iter().any(is_inside) {
                    return Ok(());
                }
                change.write(writing, "finalize", let_go)
            }
        }
    }
}

/// A change of one object.
struct Changing<'a> {
    object: &'a Object,
    old: &'a Value,
}

impl Changing<'_> {
    /// Writes it by the rules of its kind, unless it stays as it is.
    fn write(
        &self,
        writing: &mut Writing<'_>,
        part: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<(), Status> {
        let mut new = self.old.clone();
        change(&mut new);
        if new == *self.old {
            return Ok(());
        }
        let place = place(self.object, part);
        managers::record(writing, &place, &WriteOptions::by(MANAGER), (Some(self.old), &mut new));
        change::finish(writing, &place, self.old, new).map(drop)
    }
}

fn place(object: &Object, part: &str) -> Place {
    let (namespace, name) = object.namespace_and_name();
    Place {
        kind: object.kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        part: part.to_owned(),
        is_old_watch: false,
    }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Puts a list into the metadata; an empty one leaves nothing.
fn set(object: &mut Value, field: &str, list: Vec<Value>) {
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    if list.is_empty() {
        meta.remove(field);
    } else {
        meta.insert(field.to_owned(), list.into());
    }
}

fn finish(object: &mut Value, finalizer: &str) {
    let list = texts(&object["metadata"]["finalizers"]).into_iter().filter(|known| known != finalizer);
    let list = list.map(Value::from).collect();
    set(object, "finalizers", list);
}

fn disown(object: &mut Value, owners: &[String]) {
    let list = object["metadata"]["ownerReferences"].as_array().into_iter().flatten();
    let is_kept = |owner: &&Value| !owners.iter().any(|uid| owner["uid"] == **uid);
    let list = list.filter(is_kept).cloned().collect();
    set(object, "ownerReferences", list);
}

fn unblock(object: &mut Value) {
    let list = object["metadata"]["ownerReferences"].as_array_mut();
    for owner in list.into_iter().flatten().filter(|owner| owner["blockOwnerDeletion"] == true) {
        owner["blockOwnerDeletion"] = false.into();
    }
}

fn report(object: &mut Value, conditions: &[Condition], now: &str) {
    if !object["status"]["conditions"].is_array() {
        object["status"]["conditions"] = json!([]);
    }
    let Some(list) = object["status"]["conditions"].as_array_mut() else { return };
    for condition in conditions {
        let status = if condition.is_true { "True" } else { "False" };
        let mut new = json!({"type": condition.name, "status": status, "lastTransitionTime": now,
                             "reason": condition.reason, "message": condition.message});
        match list.iter_mut().find(|known| known["type"] == condition.name) {
            Some(known) => {
                if known["status"] == status {
                    new["lastTransitionTime"] = known["lastTransitionTime"].clone();
                }
                *known = new;
            }
            None => list.push(new),
        }
    }
}

fn let_go(namespace: &mut Value) {
    let list =
        texts(&namespace["spec"]["finalizers"]).into_iter().filter(|known| known != namespace::FINALIZER);
    let list: Vec<String> = list.collect();
    namespace["spec"] = if list.is_empty() { json!({}) } else { json!({"finalizers": list}) };
}
