//! Which ReplicaSet is the newest version's, what it is called, and which revision it is.

use serde_json::{Value, json};

use super::draft::{DESIRED, Draft, MAX, Sets, is_same, max_surge, scaled};
use super::{NAME, Stage, View, progress, rolling};
use crate::action::{Action, Kind, Said, controlled_by};
use crate::trimmed::{Pairs, ReplicaSet, condition};

/// The label that tells Pods of one version from those of another.
const HASH: &str = "pod-template-hash";
/// Which version it is, counted from 1.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
/// Which versions it has been before.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The history is at most so long.
const MAX_HISTORY: usize = 2000;
/// What is the Deployment's alone.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// The ReplicaSet of the newest version, and the others. `own`: the oldest first.
pub(super) fn split<'a>(view: &View<'_>, own: &[&'a ReplicaSet]) -> Sets<'a> {
    let is_newest = |set: &&&ReplicaSet| is_same_version(&set.spec.template, &view.deployment.spec.template);
    let new = own.iter().find(is_newest).copied();
    let is_other = |set: &&&ReplicaSet| new.is_none_or(|new| new.metadata.uid != set.metadata.uid);
    Sets { new: new.map(Draft::of), old: own.iter().filter(is_other).map(|set| Draft::of(set)).collect() }
}

/// Whether two templates describe the same Pods, but for the label of the version.
fn is_same_version(a: &Value, b: &Value) -> bool {
    let plain = |template: &Value| {
        let mut template = template.clone();
        if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(HASH);
        }
        template
    };
    is_same(&plain(a), &plain(b))
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// One more than that of any old ReplicaSet.
fn next_revision(stage: &Stage<'_, '_>) -> i64 {
    stage.sets.old.iter().filter_map(|draft| draft.set).map(revision).max().unwrap_or(0) + 1
}

/// Tells the ReplicaSet of the newest version, if it is there, what it should know of the Deployment, and the Deployment its
/// revision.
pub(super) fn tend(stage: &mut Stage<'_, '_>) {
    let (view, next) = (stage.view, next_revision(stage));
    let Some(draft) = &mut stage.sets.new else { return };
    for (key, value) in copied(&view.deployment.metadata.annotations) {
        draft.annotate(key, value.clone());
    }
    revise(draft, next);
    if let Some(set) = draft.set
        && set.spec.min_ready_seconds != view.deployment.spec.min_ready_seconds
    {
        draft.min_ready = Some(view.deployment.spec.min_ready_seconds);
    }
    let (revision, name) = (draft.annotation(REVISION).unwrap_or_default().to_owned(), draft.name.clone());
    record_revision(stage, revision);
    if view.deadline().is_some() && condition(&stage.work.status.conditions, progress::PROGRESSING).is_none()
    {
        let message = format!("Found new replica set \"{name}\"");
        progress::set(stage, progress::PROGRESSING, "True", ("FoundNewReplicaSet", &message));
    }
}

fn copied(annotations: &Pairs) -> impl Iterator<Item = (&String, &String)> {
    annotations.iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
}

/// A version that is used again becomes the newest one.
fn revise(draft: &mut Draft<'_>, next: i64) {
    let old = draft.annotation(REVISION).map(str::to_owned);
    let Ok(known) = old.as_deref().filter(|text| !text.is_empty()).unwrap_or("0").parse::<i64>() else {
        return;
    };
    if known >= next {
        return;
    }
    draft.annotate(REVISION, next.to_string());
    let Some(old) = old else { return };
    let before = draft.annotation(HISTORY).unwrap_or_default();
    let mut history: Vec<&str> = before.split(',').filter(|one| !one.is_empty()).collect();
    history.push(&old);
    while history.len() > 1 && history.iter().map(|one| one.len() + 1).sum::<usize>() > MAX_HISTORY {
        history.remove(0);
    }
    let history = history.join(",");
    draft.annotate(HISTORY, history);
}

fn record_revision(stage: &mut Stage<'_, '_>, revision: String) {
    let known = stage.view.deployment.metadata.annotations.get(REVISION);
    if !revision.is_empty() && known != Some(&revision) {
        stage.work.annotations.insert(REVISION.to_owned(), revision);
    }
}

/// Makes the ReplicaSet of the newest version if it is not there; answers whether it had to.
pub(super) fn make(stage: &mut Stage<'_, '_>) -> bool {
    if stage.sets.new.is_some() {
        tend(stage);
        return false;
    }
    let (view, next) = (stage.view, next_revision(stage));
    let collisions = view.deployment.status.collision_count.unwrap_or(0);
    let hash = hash(&view.deployment.spec.template, collisions);
    let name = format!("{}-{hash}", view.deployment.metadata.name);
    if view.taken.contains(name.as_str()) {
        // Somebody else's, or another template with the same hash: the next attempt has another name.
        stage.work.status.collision_count = Some(collisions + 1);
        let status = stage.work.status.clone();
        stage.write_status(status);
        return true;
    }
    if let Some(failure) = view.failure {
        report(stage, &name, failure);
    }
    let mut draft =
        Draft { set: None, name: name.clone(), replicas: 0, annotations: Pairs::new(), min_ready: None };
    draft.replicas = rolling::new_replicas(stage, &draft);
    let most = view.deployment.spec.replicas + max_surge(view.deployment);
    draft
        .annotations
        .extend(copied(&view.deployment.metadata.annotations).map(|(k, v)| (k.clone(), v.clone())));
    for (key, value) in [(REVISION, next), (DESIRED, view.wanted()), (MAX, most)] {
        draft.annotations.insert(key.to_owned(), value.to_string());
    }
    let told = (draft.replicas > 0).then(|| scaled(view, &name, 0, draft.replicas));
    let failed = Said::of(Kind::Deployment, &view.deployment.metadata, NAME).warning().open();
    let failed =
        failed.that("ReplicaSetCreateError", format!("Failed to create new replica set \"{name}\": "));
    let action =
        Action::create(Kind::ReplicaSet, &view.deployment.metadata.namespace, object(view, &draft, &hash));
    stage.plan.then(action.or_say(told, Some(failed)));
    stage.sets.new = Some(draft);
    record_revision(stage, next.to_string());
    if view.deadline().is_some() {
        let message = format!("Created new replica set \"{name}\"");
        progress::set(stage, progress::PROGRESSING, "True", ("NewReplicaSetCreated", &message));
    }
    true
}

/// Tells in the status that the ReplicaSet cannot be made, before it is tried again.
fn report(stage: &mut Stage<'_, '_>, name: &str, failure: &str) {
    if stage.view.deadline().is_none() {
        return;
    }
    let before = stage.work.status.clone();
    let message = format!("Failed to create new replica set \"{name}\": {failure}");
    progress::set(stage, progress::PROGRESSING, "False", ("ReplicaSetCreateError", &message));
    let status = stage.work.status.clone();
    stage.write_status(status);
    stage.work.status = before;
}

fn object(view: &View<'_>, draft: &Draft<'_>, hash: &str) -> Value {
    let meta = &view.deployment.metadata;
    let mut template = view.deployment.spec.template.clone();
    template["metadata"]["labels"][HASH] = hash.into();
    let mut selector = view.deployment.spec.selector.clone();
    selector["matchLabels"][HASH] = hash.into();
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": draft.name, "namespace": meta.namespace, "labels": template["metadata"]["labels"],
            "annotations": draft.annotations, "ownerReferences": [controlled_by(Kind::Deployment, meta)],
        },
        "spec": {
            "replicas": draft.replicas, "minReadySeconds": view.deployment.spec.min_ready_seconds,
            "selector": selector, "template": template,
        },
    })
}

/// The name of a template: FNV-1a of its JSON with sorted keys, and of the number of collisions, in letters that spell no
/// words.
///
/// Kubernetes hashes how Go prints the template, which nobody else can repeat. Which ReplicaSet is the newest is decided by
/// comparing templates, so both can tend the same Deployment one after the other.
pub(crate) fn hash(template: &Value, collisions: i64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash = Fnv(0x811c_9dc5);
    hash.value(template);
    if collisions > 0 {
        hash.bytes(&collisions.to_le_bytes());
    }
    let digits = hash.0.to_string();
    digits.bytes().map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()])).collect()
}

struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn value(&mut self, value: &Value) {
        if let Some(map) = value.as_object() {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            self.bytes(b"{");
            for key in keys {
                self.bytes(key.as_bytes());
                self.bytes(b":");
                self.value(&map[key]);
            }
            self.bytes(b"}");
        } else if let Some(list) = value.as_array() {
            self.bytes(b"[");
            list.iter().for_each(|item| self.value(item));
            self.bytes(b"]");
        } else {
            self.bytes(value.to_string().as_bytes());
            self.bytes(b",");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_names() {
        let template = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"b": [1, 2]}});
        assert_eq!(hash(&template, 0), hash(&template, 0));
        assert_ne!(hash(&template, 0), hash(&template, 1));
        assert_ne!(
            hash(&template, 0),
            hash(&json!({"metadata": {"labels": {"a": "1"}}, "spec": {"b": [1]}}), 0)
        );
        assert!(hash(&template, 0).len() <= 10);
    }

    #[test]
    fn the_label_of_the_version_makes_no_version() {
        let check = |a: Value, b: Value, expected: bool| {
            assert_eq!(is_same_version(&a, &b), expected, "{a} {b}");
        };
        let labels = |labels: Value| json!({"metadata": {"labels": labels}});
        check(labels(json!({"a": "1"})), labels(json!({"a": "1", HASH: "x"})), true);
        check(labels(json!({"a": "1"})), labels(json!({"a": "2", HASH: "x"})), false);
        check(labels(json!({HASH: "x"})), json!({"metadata": {"creationTimestamp": null}}), true);
        check(json!({"spec": {"a": [], "b": 1}}), json!({"spec": {"b": 1}}), true);
        check(json!({"spec": {"a": 0, "b": 1}}), json!({"spec": {"b": 1}}), false);
    }

    #[test]
    fn a_version_that_comes_back_is_the_newest() {
        let check = |revision: Option<&str>, history: Option<&str>, next: i64, expected: (&str, &str)| {
            let mut set = ReplicaSet::default();
            for (key, value) in [(REVISION, revision), (HISTORY, history)] {
                if let Some(value) = value {
                    let annotations = std::sync::Arc::make_mut(&mut set.metadata.annotations);
                    annotations.insert(key.to_owned(), value.to_owned());
                }
            }
            let mut draft = Draft::of(&set);
            revise(&mut draft, next);
            let is = |key| draft.annotation(key).unwrap_or_default();
            assert_eq!((is(REVISION), is(HISTORY)), expected);
        };
        check(None, None, 1, ("1", ""));
        check(Some("1"), None, 3, ("3", "1"));
        check(Some("3"), Some("1"), 5, ("5", "1,3"));
        check(Some("5"), Some("1,3"), 5, ("5", "1,3"));
        check(Some("some"), None, 5, ("some", ""));
    }
}
