//! Server-side apply: a configuration is laid over an object, and what it no longer says is taken out.

use serde_json::Value;

use super::check::check;
use super::compare::Changes;
use super::conflicts::{ApplyError, Conflict};
use super::entries::{Entries, Entry, Id, Operation};
use super::merge::{merged, without};
use super::set::Set;
use super::typed::{At, said, with_named};
use super::value::{same, text};
use super::{Configuration, Manager, bare, update};
use crate::schema::TypeId;

/// Where kubectl keeps what it applied before there was server-side apply.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager of which Kubernetes knows that it is kubectl.
const KUBECTL: &str = "kubectl";
/// Who owns what was there before anybody was asked.
const BEFORE: &str = "before-first-apply";

/// What an apply makes of an object, and of who owns what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) object: Value,
    pub(super) entries: Entries,
}

/// Applies a configuration to an object (`live`), or to nothing at all, which is `blank`.
pub(super) fn apply(
    of: TypeId,
    live: &Value,
    applied: Configuration<'_>,
    manager: &Manager<'_>,
) -> Result<Outcome, ApplyError> {
    let applying = Applying::begin(of, [live, applied.object], manager)?;
    let mut outcome = applying.attempt(applied.force);
    if let (Err(ApplyError::Conflicts(conflicts)), KUBECTL) = (&outcome, manager.name)
        && let Some(allowed) = applying.applied_by_client()
    {
        let left: Vec<Conflict> =
            conflicts.iter().filter(|conflict| !allowed.has(&conflict.path)).cloned().collect();
        outcome = if left.is_empty() { applying.attempt(true) } else { Err(ApplyError::Conflicts(left)) };
    }
    let mut outcome = outcome?;
    if manager.name == KUBECTL {
        keep_last_applied(&mut outcome.object, applied.object);
    }
    Ok(outcome)
}

struct Applying<'a> {
    of: TypeId,
    manager: &'a Manager<'a>,
    live: &'a Value,
    bare_live: Value,
    applied: Value,
    entries: Entries,
}

impl<'a> Applying<'a> {
    fn begin(
        of: TypeId,
        [live, applied]: [&'a Value; 2],
        manager: &'a Manager<'a>,
    ) -> Result<Self, ApplyError> {
        let found = kind_in_words(applied);
        if found != in_words(manager.api_version, update::kind_of(of)) {
            return Err(ApplyError::Malformed(format!("invalid object type: {found}")));
        }
        if applied["metadata"].get("managedFields").is_some_and(Value::is_array) {
            return Err(ApplyError::Malformed("metadata.managedFields must be nil".to_owned()));
        }
        let mut entries = Entries::of(live)
            .map_err(|why| ApplyError::Unfit(format!("failed to decode managed fields: {why}")))?;
        if entries.is_empty() {
            let blank = super::blank(of);
            let before = Manager { name: BEFORE, ..*manager };
            entries = update::record(of, [&blank, live], entries, &before).map_err(|why| {
                ApplyError::Unfit(format!("failed to create manager for existing fields: {why}"))
            })?;
        }
        update::fit(of, &mut entries);
        let bare_applied = bare(applied);
        check(At::root(of), &bare_applied).map_err(|why| {
            let text = |field: &str| applied["metadata"][field].as_str().unwrap_or_default();
            let object = format!("{}/{}; {found}", text("namespace"), text("name"));
            ApplyError::Unfit(format!("failed to create typed patch object ({object}): {why}"))
        })?;
        Ok(Self { of, manager, live, bare_live: bare(live), applied: bare_applied, entries })
    }

    fn attempt(&self, force: bool) -> Result<Outcome, ApplyError> {
        let unfit =
            |what: &'static str| move |why: String| ApplyError::Unfit(format!("failed to {what}: {why}"));
        let at = At::root(self.of);
        let merged = merged(at, Some(&self.bare_live), Some(&self.applied)).map_err(unfit("merge config"))?;
        let merged = merged.unwrap_or_else(|| self.bare_live.clone());
        let says = said(at, &self.applied).map_err(unfit("get field set"))?;
        let ignored = Set::of_fields(self.manager.ignored);
        let fields = says.recursive_difference(&ignored);
        let id = Id::of(self.manager, Operation::Apply);
        let mut entries = self.entries.clone();
        let last = entries.0.remove(&id);
        let api_version = self.manager.api_version.to_owned();
        let time = last.as_ref().and_then(|last| last.time.clone());
        entries.0.insert(id.clone(), Entry { fields, api_version, time });
        let object = self.pruned(merged, last.as_ref(), &entries).map_err(unfit("prune fields"))?;
        let changes = Changes::between(at, &self.bare_live, &object).map_err(unfit("compare objects"))?;
        let changes = changes.without(&ignored);
        let conflicts = update::conflicts(self.of, &changes, &entries, (self.manager, &id));
        if !force && !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
        update::take(self.of, &changes, &mut entries, (self.manager, Some(&id)));
        let is_changed = !same(&object, &self.bare_live);
        if let Some(own) = entries.0.get_mut(&id) {
            own.fields = own.fields.difference(&Set::of_fields(update::NOBODYS));
            if is_changed {
                own.time = Some(self.manager.time.to_owned());
            }
        }
        entries.0.retain(|_, entry| !entry.fields.is_empty());
        Ok(Outcome { object: self.whole(if is_changed { &object } else { &self.bare_live }), entries })
    }

    /// Takes out what was applied before, is not applied now, and is nobody else's.
    fn pruned(&self, merged: Value, last: Option<&Entry>, entries: &Entries) -> Result<Value, String> {
        let Some(last) = last.filter(|last| last.api_version == self.manager.api_version) else {
            return Ok(merged);
        };
        if last.fields.is_empty() {
            return Ok(merged);
        }
        let at = At::root(self.of);
        let named = |set: &Set| with_named(Some(at), set);
        let owned = entries.0.values().fold(Set::default(), |all, entry| all.union(&entry.fields));
        let all = named(&said(at, &merged)?);
        let left = named(&said(at, &without(at, &merged, &named(&last.fields)))?);
        let kept = without(at, &merged, &all.difference(&left.union(&named(&owned))));
        let kept = named(&said(at, &kept)?);
        Ok(without(at, &merged, &all.difference(&kept).intersection(&named(&last.fields))))
    }

    /// Gives an object its type and its owners back.
    fn whole(&self, object: &Value) -> Value {
        let mut whole = object.clone();
        for (name, value) in [("apiVersion", self.manager.api_version), ("kind", update::kind_of(self.of))] {
            whole[name] = value.into();
        }
        whole
    }

    /// Answers what kubectl applied on the client's side, as far as it still is so; it may be applied anew without a conflict.
    fn applied_by_client(&self) -> Option<Set> {
        let text = last_applied(self.live)?;
        let object: Value = serde_json::from_str(text).ok()?;
        if object["apiVersion"] != self.manager.api_version {
            return None;
        }
        let at = At::root(self.of);
        let object = bare(&object);
        check(at, &object).ok()?;
        let changes = Changes::between(at, &object, &self.bare_live).ok()?;
        let says = said(at, &object).ok()?;
        Some(says.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
    }
}

fn last_applied(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())
}

/// Older kubectls go by the annotation: it has to say what was applied last.
fn keep_last_applied(object: &mut Value, applied: &Value) {
    if last_applied(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    object["metadata"]["annotations"][LAST_APPLIED] = format!("{}\n", text(&applied)).into();
}

fn kind_in_words(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    in_words(text("apiVersion"), text("kind"))
}

/// `/v1, Kind=Service`, `apps/v1, Kind=Deployment`.
fn in_words(api_version: &str, kind: &str) -> String {
    match api_version.matches('/').count() {
        0 => format!("/{api_version}, Kind={kind}"),
        1 => format!("{api_version}, Kind={kind}"),
        _ => format!("/, Kind={kind}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::canonical;
    use crate::manage::{Applied, apply, update};
    use crate::schema::Schema;
    use serde_json::json;

    const MANAGER: Manager<'static> = Manager {
        name: "a",
        api_version: "v1",
        subresource: "",
        time: "2026-01-01T00:00:01Z",
        ignored: &[&["status"]],
    };

    fn of() -> TypeId {
        Schema::get().find("core.v1.Service").unwrap()
    }

    fn service(labels: &[&str], ports: Value) -> Value {
        let labels: Value = labels
            .iter()
            .map(|label| ((*label).to_owned(), json!("x")))
            .collect::<serde_json::Map<_, _>>()
            .into();
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": labels}, "spec": {"ports": ports}})
    }

    fn applied(live: Option<&Value>, object: &Value, name: &str) -> Result<Value, ApplyError> {
        let applied: Applied =
            apply(of(), live, Configuration { object, force: false }, &Manager { name, ..MANAGER })?;
        let mut new = applied.object.clone();
        canonical(&mut new, of());
        applied.finish(&mut new, live);
        Ok(new)
    }

    fn labels(object: &Value) -> String {
        object["metadata"]["labels"]
            .as_object()
            .map(|labels| labels.keys().cloned().collect::<Vec<_>>().join(" "))
            .unwrap_or_default()
    }

    fn ports(object: &Value) -> String {
        let ports = object["spec"]["ports"].as_array().map_or(&[][..], Vec::as_slice);
        ports
            .iter()
            .map(|port| format!("{}{}", port["port"], port["name"].as_str().unwrap_or_default()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_is_applied_no_longer_goes_unless_it_is_somebody_elses() {
        let live =
            applied(None, &service(&["p", "q", "r"], json!([{"port": 1, "name": "n"}, {"port": 2}])), "a")
                .unwrap();
        let live = applied(Some(&live), &service(&["q"], json!([{"port": 2}])), "b").unwrap();
        let mut changed = live.clone();
        changed["metadata"]["labels"]["u"] = "x".into();
        update(of(), Some(&live), &mut changed, &Manager { name: "u", ..MANAGER });
        let live = changed;
        let check = |next: Value, wanted: (&str, &str)| {
            let made = applied(Some(&live), &next, "a").unwrap();
            assert_eq!((labels(&made).as_str(), ports(&made).as_str()), wanted, "{next}");
        };
        check(service(&["p", "q", "r"], json!([{"port": 1, "name": "n"}, {"port": 2}])), ("p q r u", "1n 2"));
        check(service(&["r"], json!([{"port": 1}])), ("q r u", "1 2"));
        check(service(&[], json!([])), ("q u", "2"));
        check(service(&["u"], json!([{"port": 3}, {"port": 2}])), ("q u", "3 2"));
        let nothing = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}});
        check(nothing, ("q u", "2"));
    }

    #[test]
    fn configurations_for_something_else_are_refused() {
        let check = |change: Value, wanted: ApplyError| {
            let mut object = service(&[], Value::Null);
            for (pointer, value) in change.as_object().unwrap() {
                object[pointer.as_str()] = value.clone();
            }
            assert_eq!(applied(None, &object, "a"), Err(wanted));
        };
        let malformed = |why: &str| ApplyError::Malformed(why.to_owned());
        check(json!({"kind": "Pod"}), malformed("invalid object type: /v1, Kind=Pod"));
        check(json!({"apiVersion": "apps/v1"}), malformed("invalid object type: apps/v1, Kind=Service"));
        check(json!({"metadata": {"managedFields": []}}), malformed("metadata.managedFields must be nil"));
        check(
            json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"x": 1}}),
            ApplyError::Unfit(
                "failed to create typed patch object (n/s; /v1, Kind=Service): .spec.x: field not declared in schema".to_owned(),
            ),
        );
    }

    #[test]
    fn what_was_there_before_belongs_to_the_past() {
        let mut live = service(&["p"], Value::Null);
        live["metadata"]["uid"] = "u".into();
        let mut same = live.clone();
        same["metadata"]["managedFields"] = json!([{}]);
        update(of(), Some(&live), &mut same, &MANAGER);
        assert_eq!(same, live, "who forgets all owners is no owner either");
        let mut other = service(&["p"], Value::Null);
        other["metadata"]["labels"]["p"] = "y".into();
        let Err(ApplyError::Conflicts(conflicts)) = applied(Some(&live), &other, "a") else {
            panic!("no conflict")
        };
        let found: Vec<(&str, &str)> =
            conflicts.iter().map(|one| (one.owner.as_str(), one.field.as_str())).collect();
        assert_eq!(found, [("\"before-first-apply\" using v1", ".metadata.labels.p")]);
    }

    /// A status that is applied to the whole object is reset, and so it is nobody's.
    #[test]
    fn what_is_reset_is_nobodys() {
        let mut object = service(&["p"], Value::Null);
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
        let made = applied(None, &object, "a").unwrap();
        assert_eq!(
            made["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:metadata": {"f:labels": {"f:p": {}}}, "f:spec": {"f:ports": {}}})
        );
    }

    /// The same said by two is no change, and is recorded without a time.
    #[test]
    fn who_only_agrees_has_no_time() {
        let object = service(&["p"], json!([{"port": 1}]));
        let live = applied(None, &object, "a").unwrap();
        let both = applied(Some(&live), &object, "b").unwrap();
        let times: Vec<&Value> = both["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["time"])
            .collect();
        assert_eq!(times, [&Value::Null, &json!(MANAGER.time)]);
        assert_eq!(applied(Some(&both), &object, "b").unwrap(), both);
    }
}
