//! The owners of an object as owners of its scale, and back. A scale has one field that can be owned: `spec.replicas`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::entries::{Entries, Entry, Id, Operation};
use super::set::Set;

const API_VERSION: &str = "autoscaling/v1";

/// Every kind that is scaled here has its replicas where a scale has them.
const REPLICAS: &[&[&str]] = &[&["spec", "replicas"]];

/// Answers the `managedFields` of a scale from those of its object, for which `api_version` is the only version; nothing
/// for none.
pub fn of_object(entries: &Value, api_version: &str) -> Value {
    let replicas = Set::of_fields(REPLICAS);
    let mut all = Entries::read(entries).unwrap_or_default();
    all.0.retain(|_, entry| entry.api_version == api_version && owns_replicas(entry));
    for entry in all.0.values_mut() {
        entry.fields = replicas.clone();
        entry.api_version = API_VERSION.to_owned();
    }
    all.print()
}

/// Answers the `managedFields` of an object after its scale was written, from those that it had and those of the scale;
/// nothing for none. Owners that are new have no time, as in Kubernetes.
pub fn to_object(was: &Value, scale: &Value, api_version: &str) -> Value {
    let replicas = Set::of_fields(REPLICAS);
    let mut all = Entries::read(was).unwrap_or_default();
    all.0.retain(|_, entry| entry.api_version == api_version);
    let mut of_scale: BTreeMap<Id, Entry> = BTreeMap::new();
    for (mut id, entry) in Entries::read(scale).unwrap_or_default().0 {
        // Updates are told apart by the version too, and the object knows another one than the scale.
        if id.operation == Operation::Update {
            api_version.clone_into(&mut id.api_version);
        }
        if owns_replicas(&entry) {
            of_scale.insert(id, entry);
        }
    }
    for (id, entry) in &mut all.0 {
        if owns_replicas(entry) && of_scale.remove(id).is_none() {
            entry.fields = entry.fields.difference(&replicas);
        }
    }
    for id in of_scale.into_keys() {
        let before = all.0.remove(&id);
        let time = before.as_ref().and_then(|before| before.time.clone());
        let fields = before.map(|before| before.fields).unwrap_or_default().union(&replicas);
        all.0.insert(id, Entry { fields, api_version: api_version.to_owned(), time });
    }
    all.0.retain(|_, entry| !entry.fields.is_empty());
    all.print()
}

fn owns_replicas(entry: &Entry) -> bool {
    let replicas = Set::of_fields(REPLICAS);
    entry.fields.intersection(&replicas) == replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, words: &str, fields: Value) -> Value {
        let mut words = words.split(' ');
        let mut next = || words.next().unwrap_or_default();
        let mut entry = json!({"manager": manager, "operation": next(), "apiVersion": next(), "fieldsType": "FieldsV1",
                               "fieldsV1": {"f:spec": fields}});
        let (subresource, time) = (next(), next());
        for (name, text) in [("subresource", subresource), ("time", time)] {
            if !text.is_empty() {
                entry[name] = text.into();
            }
        }
        entry
    }

    #[test]
    fn owners_of_replicas_own_the_scale() {
        let time = "2026-01-01T00:00:00Z";
        let (replicas, both) = (json!({"f:replicas": {}}), json!({"f:replicas": {}, "f:selector": {}}));
        let was = json!([
            entry("a", &format!("Apply apps/v1  {time}"), both.clone()),
            entry("b", "Update apps/v1", both.clone()),
            entry("c", "Update apps/v1", json!({"f:selector": {}})),
            entry("d", "Apply apps/v0", both.clone()),
        ]);
        let scale = of_object(&was, "apps/v1");
        assert_eq!(
            scale,
            json!([
                entry("a", &format!("Apply autoscaling/v1  {time}"), replicas.clone()),
                entry("b", "Update autoscaling/v1", replicas.clone()),
            ])
        );
        let mut kept = was.clone();
        kept.as_array_mut().unwrap().remove(3);
        kept.as_array_mut().unwrap().sort_by_key(|entry| entry["operation"].to_string());
        assert_eq!(to_object(&was, &scale, "apps/v1"), kept, "nothing was written");
        let taken = json!([entry("hpa", &format!("Update autoscaling/v1 scale {time}"), replicas.clone())]);
        assert_eq!(
            to_object(&was, &taken, "apps/v1"),
            json!([
                entry("a", &format!("Apply apps/v1  {time}"), json!({"f:selector": {}})),
                entry("b", "Update apps/v1", json!({"f:selector": {}})),
                entry("c", "Update apps/v1", json!({"f:selector": {}})),
                entry("hpa", "Update apps/v1 scale", replicas),
            ])
        );
        assert_eq!(to_object(&Value::Null, &Value::Null, "apps/v1"), Value::Null);
    }
}
