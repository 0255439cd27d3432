//! The entries of `managedFields`: who owns which fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Manager;
use super::set::Set;
use crate::body::time::{self, Precision};

/// From more updates than so many, the oldest become one entry.
const MOST_UPDATES: usize = 10;

/// How fields came to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Whose entry it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for an apply: one who applies has one entry, whichever version it applies.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl Id {
    pub(super) fn of(manager: &Manager<'_>, operation: Operation) -> Self {
        let name = if manager.name.is_empty() { "unknown" } else { manager.name };
        Self::new(name, operation, manager.api_version, manager.subresource)
    }

    fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let api_version = match operation {
            Operation::Apply => String::new(),
            Operation::Update => api_version.to_owned(),
        };
        Self { manager: manager.to_owned(), operation, api_version, subresource: subresource.to_owned() }
    }
}

/// What somebody owns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) fields: Set,
    pub(super) api_version: String,
    /// When it last changed. An apply that only says what is there already has none.
    pub(super) time: Option<String>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entries(pub(super) BTreeMap<Id, Entry>);

impl Entries {
    /// Reads the entries of an object; one that is malformed spoils them all.
    pub(super) fn of(object: &Value) -> Result<Self, String> {
        Self::read(&object["metadata"]["managedFields"])
    }

    /// Reads a list of entries.
    pub(super) fn read(list: &Value) -> Result<Self, String> {
        let mut all = BTreeMap::new();
        for (number, entry) in list.as_array().into_iter().flatten().enumerate() {
            let text = |field: &str| entry[field].as_str().unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            if text("apiVersion").is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            if text("fieldsType") != "FieldsV1" {
                return Err(format!("no known fieldsType in managed fields entry {number}"));
            }
            let id = Id::new(text("manager"), operation, text("apiVersion"), text("subresource"));
            // Without fields it owns nothing; what reads as "owned itself" is the object, which nobody owns.
            let fields = Set::read(&entry["fieldsV1"])?;
            let time = entry["time"].as_str().map(str::to_owned);
            all.insert(id, Entry { fields, api_version: text("apiVersion").to_owned(), time });
        }
        Ok(Self(all))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them into an object. Applies come first, then what is older.
    pub(super) fn write(&self, object: &mut Value) {
        let Some(fields) = object.as_object_mut() else { return };
        let list = self.print();
        if list.is_null() {
            if let Some(meta) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                meta.remove("managedFields");
            }
            return;
        }
        let meta = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("managedFields".to_owned(), list);
        }
    }

    /// Answers them as a list; nothing for none.
    pub(super) fn print(&self) -> Value {
        let mut all: Vec<(&Id, &Entry)> = self.0.iter().collect();
        all.sort_by_key(|(id, entry)| {
            (id.operation, seconds(entry), &id.manager, &entry.api_version, &id.subresource)
        });
        if all.is_empty() {
            return Value::Null;
        }
        all.into_iter().map(|(id, entry)| print(id, entry)).collect()
    }

    /// Makes one entry of the oldest updates while there are too many.
    pub(super) fn cap(&mut self) {
        let mut updates: Vec<(i64, Id)> = self
            .0
            .iter()
            .filter(|(id, _)| id.operation == Operation::Update)
            .map(|(id, entry)| (seconds(entry), id.clone()))
            .collect();
        updates.sort();
        let mut count = updates.len();
        let mut firsts: BTreeMap<String, Id> = BTreeMap::new();
        for (_, id) in updates {
            if count <= MOST_UPDATES {
                break;
            }
            let Some(first) = firsts.get(&id.api_version) else {
                firsts.insert(id.api_version.clone(), id);
                continue;
            };
            let bucket = Id::new("ancient-changes", Operation::Update, &id.api_version, "");
            if !self.0.contains_key(&bucket)
                && let Some(entry) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), entry);
            }
            let Some(entry) = self.0.remove(&id) else { continue };
            if let Some(all) = self.0.get_mut(&bucket) {
                all.fields = all.fields.union(&entry.fields);
                all.time = entry.time;
                count -= 1;
            } else {
                self.0.insert(bucket, entry);
            }
        }
    }
}

/// Seconds since 1970; 0 without a time.
fn seconds(entry: &Entry) -> i64 {
    let time = entry.time.as_deref().map(|time| time::parse(time, Precision::Seconds));
    time.and_then(Result::ok).map_or(0, |time| time.seconds)
}

fn print(id: &Id, entry: &Entry) -> Value {
    let mut printed = Map::new();
    let texts = [
        ("manager", Some(id.manager.as_str())),
        ("operation", Some(id.operation.word())),
        ("apiVersion", Some(entry.api_version.as_str())),
        ("time", entry.time.as_deref()),
        ("fieldsType", Some("FieldsV1")),
        ("subresource", Some(id.subresource.as_str())),
    ];
    let given =
        texts.into_iter().filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
    printed.extend(given.map(|(name, text)| (name.to_owned(), text.into())));
    printed.insert("fieldsV1".to_owned(), entry.fields.print());
    Value::Object(printed)
}

/// Whether a client asks to forget all owners: with no entries at all, or one that says nothing.
pub(super) fn is_reset(object: &Value) -> bool {
    match object["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(|entry| entry.values().all(Value::is_null)),
        Some([_, _, ..]) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(manager: &str, operation: &str, time: &str) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1",
               "fieldsV1": {"f:data": {format!("f:{manager}"): {}}}})
    }

    fn managers(list: &Value) -> String {
        let name = |entry: &Value| entry["manager"].as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn entries_have_an_order() {
        let (first, second) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z");
        let list = json!([
            entry("c", "Update", second),
            entry("b", "Update", first),
            entry("a", "Update", second),
            entry("z", "Apply", second)
        ]);
        let read = Entries::read(&list).unwrap();
        assert_eq!(managers(&read.print()), "z b a c");
        assert_eq!(Entries::read(&read.print()), Ok(read));
    }

    #[test]
    fn too_many_updates_become_one() {
        let list: Value = (0..13)
            .map(|n| entry(&format!("m{n:02}"), "Update", &format!("2026-01-01T00:00:{n:02}Z")))
            .collect();
        let mut entries = Entries::read(&list).unwrap();
        entries.cap();
        let printed = entries.print();
        assert_eq!(managers(&printed), "ancient-changes m04 m05 m06 m07 m08 m09 m10 m11 m12");
        assert_eq!(printed[0]["time"], "2026-01-01T00:00:03Z");
        assert_eq!(
            printed[0]["fieldsV1"],
            json!({"f:data": {"f:m00": {}, "f:m01": {}, "f:m02": {}, "f:m03": {}}})
        );
        entries.cap();
        assert_eq!(entries.print(), printed);
    }

    #[test]
    fn malformed_entries_are_no_entries() {
        for (field, value) in
            [("operation", "Patch"), ("apiVersion", ""), ("fieldsType", ""), ("fieldsType", "V2")]
        {
            let mut wrong = entry("a", "Apply", "2026-01-01T00:00:00Z");
            wrong[field] = value.into();
            assert!(Entries::read(&json!([wrong])).is_err(), "{field}: {value}");
        }
        let object = |list: Value| json!({"metadata": {"managedFields": list}});
        assert!(is_reset(&object(json!([]))) && is_reset(&object(json!([{}]))));
        assert!(
            !is_reset(&object(Value::Null)) && !is_reset(&object(json!([{}, {}]))) && !is_reset(&json!({}))
        );
    }
}
