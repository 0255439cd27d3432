//! A room for objects.

use serde_json::{Value, json};

use super::rules::{Column, created, list, take, text};
use super::{Does, FieldValue, Kind, Rules, STATUS, Scope, Selectable, Subresource};
use crate::body::time::{Instant, Precision};
use crate::meta::unknown_finalizer;
use crate::mistake::{Mistake, Path};
use crate::names;
use crate::status::Status;

/// A room for objects.
pub(super) const KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    type_name: "core.v1.Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[FINALIZE, STATUS],
    selectable: &[Selectable { label: "status.phase", value: FieldValue::Text("/status/phase") }],
    table: "namespaces",
    rules: RULES,
};

/// What holds it when it is being deleted.
const FINALIZE: Subresource = Subresource {
    name: "finalize",
    kind: None,
    verbs: &["update"],
    does: Does::Some { prepare: prepare_finalize, validate: validate_finalize },
};

const RULES: Rules = Rules {
    name: names::dns_label,
    defaults,
    prepare,
    prepare_update: |new, old| {
        let finalizers = old.pointer("/spec/finalizers").cloned().unwrap_or(Value::Null);
        set_finalizers(new, finalizers);
        take(new, old, "status");
    },
    validate,
    validate_update: |new, _| validate(new),
    prepare_status: |new, old| take(new, old, "spec"),
    validate_status,
    is_answered_when_deleted: true,
    is_finished: is_gone,
    check_delete,
    mark_deleted: |namespace, now| match deletion(namespace, now) {
        Deletion::Marked(marked) => {
            *namespace = marked;
            true
        }
        Deletion::Waiting => true,
        Deletion::Ordinary => false,
    },
    columns: &[Column::new("Status", "string", "Whether it is in use or being deleted."), Column::AGE],
    cells: |object, now| vec![text(object, "/status/phase").into(), created(object, now)],
    ..Rules::PLAIN
};

/// What holds a namespace until nothing is in it any more.
const FINALIZER: &str = "kubernetes";

/// What a DELETE does to a namespace.
#[derive(Debug, PartialEq)]
pub enum Deletion {
    /// It is this now: marked, and waiting to be emptied.
    Marked(Value),
    /// It was marked before and still waits; nothing changes.
    Waiting,
    /// It is deleted as every object is: by its own finalizers or at once.
    Ordinary,
}

/// Answers what a DELETE does to a namespace. A marked one is the answer, whatever the client asked for.
pub fn deletion(namespace: &Value, now: Instant) -> Deletion {
    if !namespace["metadata"]["deletionTimestamp"].is_string() {
        let mut marked = namespace.clone();
        marked["metadata"]["deletionTimestamp"] = now.print(Precision::Seconds).into();
        marked["status"]["phase"] = "Terminating".into();
        return Deletion::Marked(marked);
    }
    if list(namespace, "/spec/finalizers").is_empty() { Deletion::Ordinary } else { Deletion::Waiting }
}

/// What every cluster needs stays (kube-apiserver's plugin NamespaceLifecycle).
fn check_delete(namespace: &Value) -> Result<(), Status> {
    let name = text(namespace, "/metadata/name");
    if matches!(name, "default" | "kube-system" | "kube-public") {
        return Err(Status::forbidden(&KIND, name, "this namespace may not be deleted"));
    }
    Ok(())
}

/// Takes back what the subresource `finalize` may not change: the status.
pub fn prepare_finalize(new: &mut Value, old: &Value) {
    take(new, old, "status");
}

/// Judges an update through the subresource `finalize`, but for the metadata.
pub fn validate_finalize(new: &Value) -> Vec<Mistake> {
    let path = Path::new("spec").child("finalizers");
    let each = list(new, "/spec/finalizers").iter().filter_map(Value::as_str).enumerate();
    each.flat_map(|(at, name)| finalizer_mistakes(name, &path.index(at))).collect()
}

/// Whether a namespace that was just written goes: it is being deleted, and nothing holds it any more.
pub fn is_gone(namespace: &Value) -> bool {
    namespace["metadata"]["deletionTimestamp"].is_string()
        && list(namespace, "/spec/finalizers").is_empty()
        && list(namespace, "/metadata/finalizers").is_empty()
}

fn defaults(namespace: &mut Value) {
    let name = text(namespace, "/metadata/name").to_owned();
    if !name.is_empty() {
        if !namespace["metadata"]["labels"].is_object() {
            namespace["metadata"]["labels"] = json!({});
        }
        namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = name.into();
    }
    if text(namespace, "/status/phase").is_empty() {
        namespace["status"]["phase"] = "Active".into();
    }
}

fn prepare(namespace: &mut Value) {
    namespace["status"] = json!({"phase": "Active"});
    let mut finalizers = list(namespace, "/spec/finalizers").to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
    }
    set_finalizers(namespace, finalizers.into());
    // Its name may just have been made up.
    defaults(namespace);
}

/// Nothing stands there if there are none.
fn set_finalizers(namespace: &mut Value, finalizers: Value) {
    if !namespace["spec"].is_object() {
        namespace["spec"] = json!({});
    }
    match finalizers.as_array().is_some_and(|all| !all.is_empty()) {
        true => namespace["spec"]["finalizers"] = finalizers,
        false => super::rules::remove(&mut namespace["spec"], "finalizers"),
    }
}

fn finalizer_mistakes(name: &str, path: &Path) -> Vec<Mistake> {
    let wrong = names::qualified_name(name).into_iter().map(|why| Mistake::invalid(path, name, why));
    wrong.chain(unknown_finalizer(name, path)).collect()
}

fn validate(namespace: &Value) -> Vec<Mistake> {
    let path = Path::new("spec").child("finalizers");
    let each = list(namespace, "/spec/finalizers").iter().filter_map(Value::as_str);
    each.flat_map(|name| finalizer_mistakes(name, &path)).collect()
}

fn validate_status(new: &Value, _: &Value) -> Vec<Mistake> {
    // Kubernetes spells the field with a capital.
    let path = Path::new("status").child("Phase");
    let phase = text(new, "/status/phase");
    let why = match (new["metadata"]["deletionTimestamp"].is_string(), phase) {
        (false, "Active") | (true, "Terminating") => return Vec::new(),
        (false, _) => "may only be 'Active' if `deletionTimestamp` is empty",
        (true, _) => "may only be 'Terminating' if `deletionTimestamp` is not empty",
    };
    vec![Mistake::invalid(&path, phase, why)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mistake::aggregate;

    #[test]
    fn it_goes_when_nothing_holds_it() {
        let mut namespace = json!({"metadata": {"name": "a"}});
        defaults(&mut namespace);
        prepare(&mut namespace);
        assert!(!is_gone(&namespace));
        let now = Instant { seconds: 1_767_225_600, nanos: 5 };
        let Deletion::Marked(marked) = deletion(&namespace, now) else { panic!("it is marked") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(deletion(&marked, now), Deletion::Waiting);
        let mut finalized =
            json!({"metadata": marked["metadata"], "spec": {}, "status": {"phase": "Active"}});
        prepare_finalize(&mut finalized, &marked);
        assert_eq!(finalized["status"]["phase"], "Terminating");
        assert!(is_gone(&finalized));
        assert_eq!(deletion(&finalized, now), Deletion::Ordinary);
        finalized["metadata"]["finalizers"] = json!(["x.io/a"]);
        assert!(!is_gone(&finalized));
    }

    #[test]
    fn finalizers_have_names() {
        let namespace = json!({"spec": {"finalizers": ["kubernetes", "mine", "x.io/a"]}});
        let why =
            "Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(aggregate(&validate(&namespace)), format!("spec.finalizers: {why}"));
        assert_eq!(aggregate(&validate_finalize(&namespace)), format!("spec.finalizers[1]: {why}"));
    }

    #[test]
    fn the_phase_follows_deletion() {
        let check = |is_deleted: bool, phase: &str, wanted: &str| {
            let deleted = if is_deleted { json!("2026-01-01T00:00:00Z") } else { Value::Null };
            let new = json!({"metadata": {"deletionTimestamp": deleted}, "status": {"phase": phase}});
            assert_eq!(aggregate(&validate_status(&new, &Value::Null)), wanted);
        };
        check(false, "Active", "[]");
        check(true, "Terminating", "[]");
        check(
            true,
            "Active",
            "status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty",
        );
    }
}
