//! Objects with their history: every write gets a revision, and reads may ask for older ones until they are compacted.
//!
//! Knows neither HTTP nor what the fields of an object mean; see `defaults` for the latter.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::defaults::{self, Allocator};
use super::resource::{Location, Resource};
use super::selector::Selector;
use super::status::Refusal;

/// One write. `after` is `None` for a deletion; `before` is `None` for a creation.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    pub(super) location: Location,
    pub(super) before: Option<Arc<Value>>,
    pub(super) after: Option<Arc<Value>>,
}

/// What a change is to a watch with a selector.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Added(Arc<Value>),
    Modified(Arc<Value>),
    Deleted(Arc<Value>),
}

impl Change {
    /// Answers what somebody sees who watches `selector`: an object that stops matching is deleted for them.
    pub(super) fn seen_through(&self, selector: &Selector) -> Option<Seen> {
        let before = self.before.as_ref().filter(|object| selector.matches(object));
        let after = self.after.as_ref().filter(|object| selector.matches(object));
        match (before, after) {
            (None, None) => None,
            (None, Some(after)) => Some(Seen::Added(after.clone())),
            (Some(_), Some(after)) => Some(Seen::Modified(after.clone())),
            (Some(before), None) => {
                let mut last = Value::clone(before);
                last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
                Some(Seen::Deleted(Arc::new(last)))
            }
        }
    }
}

/// How a write treats the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// The object's main resource over HTTP: the status stays as it was.
    KeepStatus,
    /// The subresource `status`: everything but the status stays as it was.
    OnlyStatus,
    /// A test writes all of it at once; a missing status stays as it was.
    Everything,
}

/// The objects and their history.
#[derive(Debug)]
pub(super) struct Store {
    objects: BTreeMap<Location, Arc<Value>>,
    log: Vec<Change>,
    revision: u64,
    compacted: u64,
    allocator: Allocator,
}

impl Store {
    pub(super) fn new(allocator: Allocator) -> Self {
        Self { objects: BTreeMap::new(), log: Vec::new(), revision: 1, compacted: 0, allocator }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Forgets the history up to now.
    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        self.log.clear();
    }

    /// Goes back to what was at an older revision, which must not be compacted.
    pub(super) fn restore(&mut self, revision: u64) {
        assert!(revision >= self.compacted, "revision {revision} was compacted");
        while let Some(change) = self.log.pop_if(|change| change.revision > revision) {
            if let Some(after) = &change.after {
                self.allocator.release(after);
            }
            match change.before {
                Some(before) => {
                    self.allocator.take(&before);
                    self.objects.insert(change.location, before);
                }
                None => drop(self.objects.remove(&change.location)),
            }
        }
        self.revision = revision;
    }

    pub(super) fn get(&self, location: &Location) -> Option<Arc<Value>> {
        self.objects.get(location).cloned()
    }

    /// Answers the objects of a resource as they were at `revision`, in order of their names.
    pub(super) fn list_at(&self, resource: Resource, revision: u64) -> Result<Vec<Arc<Value>>, Refusal> {
        if revision < self.compacted {
            return Err(Refusal::expired("list"));
        }
        let mut objects: BTreeMap<&Location, &Arc<Value>> =
            self.objects.iter().filter(|(at, _)| at.resource == resource).collect();
        for change in self.log.iter().rev().take_while(|change| change.revision > revision) {
            if change.location.resource != resource {
                continue;
            }
            match &change.before {
                Some(before) => objects.insert(&change.location, before),
                None => objects.remove(&change.location),
            };
        }
        Ok(objects.into_values().cloned().collect())
    }

    /// Answers the changes of a resource after `revision`.
    pub(super) fn changes_after(&self, resource: Resource, revision: u64) -> Result<Vec<Change>, Refusal> {
        if revision < self.compacted {
            return Err(Refusal::expired("watch"));
        }
        let first = self.log.partition_point(|change| change.revision <= revision);
        Ok(self.log[first..].iter().filter(|change| change.location.resource == resource).cloned().collect())
    }

    /// Creates an object that must not exist.
    pub(super) fn create(&mut self, location: &Location, object: Value) -> Result<Arc<Value>, Refusal> {
        if self.objects.contains_key(location) {
            return Err(Refusal::already_exists(location));
        }
        self.put(location, object, Write::KeepStatus)
    }

    /// Creates or replaces an object; a write that changes nothing gets no revision.
    pub(super) fn put(
        &mut self,
        location: &Location,
        mut object: Value,
        write: Write,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.objects.get(location).cloned();
        check_precondition(location, before.as_deref(), &object)?;
        match (write, before.as_deref()) {
            (Write::OnlyStatus, None) => return Err(Refusal::not_found(location)),
            (Write::OnlyStatus, Some(before)) => {
                let status = object["status"].take();
                object = before.clone();
                object["status"] = status;
            }
            (Write::KeepStatus, Some(before)) => keep(&mut object, before, "status"),
            (Write::Everything, Some(before)) if object.get("status").is_none() => {
                keep(&mut object, before, "status")
            }
            (Write::Everything, _) | (Write::KeepStatus, None) => {}
        }
        self.complete_metadata(location, before.as_deref(), &mut object);
        defaults::complete(&mut self.allocator, before.as_deref(), &mut object)?;
        if before.as_deref() == Some(&object) {
            return Ok(Arc::new(object));
        }
        if is_released(&object) {
            return Ok(self.remove(location, object));
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let after = Arc::new(object);
        self.objects.insert(location.clone(), after.clone());
        self.record(location, before, Some(after.clone()));
        Ok(after)
    }

    /// Stores an object without defaults or allocation, whatever it looks like.
    pub(super) fn put_as_is(&mut self, location: &Location, mut object: Value) -> Arc<Value> {
        let before = self.objects.get(location).cloned();
        self.complete_metadata(location, before.as_deref(), &mut object);
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let after = Arc::new(object);
        self.objects.insert(location.clone(), after.clone());
        self.record(location, before, Some(after.clone()));
        after
    }

    /// Deletes an object, or marks it when finalizers hold it.
    pub(super) fn delete(&mut self, location: &Location) -> Result<Arc<Value>, Refusal> {
        let Some(before) = self.objects.get(location).cloned() else {
            return Err(Refusal::not_found(location));
        };
        let held = before["metadata"]["finalizers"].as_array().is_some_and(|held| !held.is_empty());
        if !held {
            return Ok(self.remove(location, Value::clone(&before)));
        }
        let mut marked = Value::clone(&before);
        if marked["metadata"]["deletionTimestamp"].is_null() {
            marked["metadata"]["deletionTimestamp"] = json!(timestamp(SystemTime::now()));
            marked["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        self.put(location, marked, Write::Everything)
    }

    fn remove(&mut self, location: &Location, last: Value) -> Arc<Value> {
        let before = self.objects.remove(location);
        self.allocator.release(&last);
        self.revision += 1;
        self.record(location, before, None);
        Arc::new(last)
    }

    fn record(&mut self, location: &Location, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        self.log.push(Change { revision: self.revision, location: location.clone(), before, after });
    }

    /// Fills in what the server owns in `metadata`. The old resourceVersion is put back for the comparison with the
    /// old object.
    fn complete_metadata(&self, location: &Location, before: Option<&Value>, object: &mut Value) {
        object["apiVersion"] = json!(location.resource.api_version());
        object["kind"] = json!(location.resource.kind());
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(location.name);
        if location.resource.is_namespaced() {
            metadata["namespace"] = json!(location.namespace);
        }
        match before {
            Some(before) => {
                for field in ["uid", "creationTimestamp", "resourceVersion", "deletionTimestamp"] {
                    if let Some(old) = before["metadata"].get(field) {
                        metadata[field] = old.clone();
                    }
                }
            }
            None => {
                let number = self.revision + 1;
                metadata["uid"] = json!(format!("5b0c0000-0000-4000-8000-{number:012x}"));
                if metadata["creationTimestamp"].is_null() {
                    metadata["creationTimestamp"] = json!(timestamp(SystemTime::now()));
                }
            }
        }
    }
}

fn keep(object: &mut Value, before: &Value, field: &str) {
    match (before.get(field), object.as_object_mut()) {
        (Some(old), Some(object)) => drop(object.insert(field.to_owned(), old.clone())),
        (None, Some(object)) => drop(object.remove(field)),
        (_, None) => {}
    }
}

fn check_precondition(location: &Location, before: Option<&Value>, object: &Value) -> Result<(), Refusal> {
    let Some(asked) = object["metadata"]["resourceVersion"].as_str().filter(|asked| !asked.is_empty()) else {
        return Ok(());
    };
    match before {
        None => Ok(()),
        Some(before) if before["metadata"]["resourceVersion"] == asked => Ok(()),
        Some(_) => Err(Refusal::conflict(location)),
    }
}

/// Answers whether an object that waits for its deletion has lost its last finalizer.
fn is_released(object: &Value) -> bool {
    let metadata = &object["metadata"];
    !metadata["deletionTimestamp"].is_null() && metadata["finalizers"].as_array().is_none_or(Vec::is_empty)
}

/// Writes a time as RFC 3339 in seconds, as Kubernetes does.
pub(super) fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day since 1970-01-01; see <https://howardhinnant.github.io/date_algorithms.html>.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn store() -> Store {
        Store::new(Allocator::new(&["10.96.0.0/16", "fd00:10:96::/112"]))
    }

    fn slice(name: &str, label: &str) -> Value {
        json!({"kind": "EndpointSlice", "metadata": {"name": name, "labels": {"a": label}}, "addressType": "IPv4",
               "endpoints": []})
    }

    #[test]
    fn timestamps_are_rfc_3339() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
    }

    #[test]
    fn older_revisions_are_readable_until_compaction() {
        let mut store = store();
        let at = Location::of(&slice("a", "1")).unwrap();
        store.put(&at, slice("a", "1"), Write::Everything).unwrap();
        let first = store.revision();
        store.put(&at, slice("a", "2"), Write::Everything).unwrap();
        store.delete(&at).unwrap();
        let old = store.list_at(Resource::EndpointSlices, first).unwrap();
        assert_eq!(old[0]["metadata"]["labels"]["a"], "1");
        assert!(store.list_at(Resource::EndpointSlices, store.revision()).unwrap().is_empty());
        store.compact();
        assert_eq!(store.list_at(Resource::EndpointSlices, first).unwrap_err().code, 410);
        assert_eq!(store.changes_after(Resource::EndpointSlices, first).unwrap_err().code, 410);
        assert!(store.changes_after(Resource::EndpointSlices, store.revision()).unwrap().is_empty());
    }

    #[test]
    fn a_restored_store_is_what_it_was() {
        let mut store = store();
        let service = |name: &str, ip: &str| {
            json!({"kind": "Service", "metadata": {"name": name, "namespace": "a"},
                   "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
        };
        let put = |store: &mut Store, object: Value| {
            let at = Location::of(&object).unwrap();
            store.put(&at, object, Write::Everything).unwrap();
            at
        };
        let old = put(&mut store, service("old", "10.96.0.1"));
        let before = store.revision();
        store.delete(&old).unwrap();
        let new = put(&mut store, service("new", "10.96.0.1"));
        store.restore(before);
        assert_eq!((store.revision(), store.get(&new)), (before, None));
        assert_eq!(store.get(&old).unwrap()["spec"]["clusterIP"], "10.96.0.1");
        assert!(store.changes_after(Resource::Services, before).unwrap().is_empty());
        assert!(store.put(&new, service("new", "10.96.0.1"), Write::Everything).is_err(), "taken again");
        put(&mut store, service("new", "10.96.0.2"));
    }

    #[test]
    fn an_object_that_stops_matching_is_deleted_for_the_watcher() {
        let mut store = store();
        let at = Location::of(&slice("a", "1")).unwrap();
        let selector = Selector::parse("a=1", "").unwrap();
        for label in ["1", "1", "2", "1"] {
            let mut object = slice("a", label);
            object["addressType"] = json!(if store.revision() == 2 { "IPv6" } else { "IPv4" });
            store.put(&at, object, Write::Everything).unwrap();
        }
        let seen: Vec<_> = store
            .changes_after(Resource::EndpointSlices, 0)
            .unwrap()
            .iter()
            .map(|change| match change.seen_through(&selector) {
                Some(Seen::Added(_)) => "added",
                Some(Seen::Modified(_)) => "modified",
                Some(Seen::Deleted(object)) => {
                    assert_eq!(object["metadata"]["labels"]["a"], "1");
                    assert_eq!(object["metadata"]["resourceVersion"], change.revision.to_string());
                    "deleted"
                }
                None => "nothing",
            })
            .collect();
        assert_eq!(seen, ["added", "modified", "deleted", "added"]);
    }

    #[test]
    fn finalizers_hold_an_object() {
        let mut store = store();
        let mut object = slice("a", "1");
        object["metadata"]["finalizers"] = json!(["x/y"]);
        let at = Location::of(&object).unwrap();
        store.put(&at, object.clone(), Write::Everything).unwrap();
        store.delete(&at).unwrap();
        assert!(!store.get(&at).unwrap()["metadata"]["deletionTimestamp"].is_null());
        object["metadata"]["finalizers"] = json!([]);
        store.put(&at, object, Write::Everything).unwrap();
        assert!(store.get(&at).is_none());
    }

    #[test]
    fn a_write_that_changes_nothing_has_no_revision() {
        let mut store = store();
        let at = Location::of(&slice("a", "1")).unwrap();
        store.put(&at, slice("a", "1"), Write::Everything).unwrap();
        let revision = store.revision();
        store.put(&at, slice("a", "1"), Write::Everything).unwrap();
        assert_eq!(store.revision(), revision);
    }
}
