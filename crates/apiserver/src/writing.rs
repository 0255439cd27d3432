//! What a kind may see and write besides the object itself while it is written: all of it is one transaction.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use store::{View, Write};

use crate::body::time::Instant;
use crate::chance::Chance;
use crate::kinds::Kind;

/// A transaction while it is made. What is written can be read at once.
pub struct Writing<'a> {
    view: &'a View<'a>,
    writes: Vec<Write>,
    /// By table and key, the last of them: a write that takes many ports looks at each of them.
    last: HashMap<String, BTreeMap<String, usize>>,
    /// What is left to chance.
    pub chance: Chance,
    /// The time of the write.
    pub now: Instant,
    /// The revision that it will have.
    pub revision: u64,
    /// Whether nothing of it will be kept.
    pub is_dry_run: bool,
}

impl<'a> Writing<'a> {
    /// Begins one.
    pub fn new(view: &'a View<'a>, chance: Chance, now: Instant) -> Self {
        let revision = view.next_revision();
        Self { view, writes: Vec::new(), last: HashMap::new(), chance, now, revision, is_dry_run: false }
    }

    /// Answers what a key has, as bytes.
    pub fn get(&self, table: &str, key: &str) -> Option<Bytes> {
        if let Some(write) = self.written(table, key) {
            return match write {
                Write::Put { value, .. } => Some(value.clone()),
                Write::Delete { .. } => None,
            };
        }
        self.view.get(table, key).map(|entry| entry.value.clone())
    }

    /// Answers whether there is something at a key.
    pub fn has(&self, table: &str, key: &str) -> bool {
        self.get(table, key).is_some()
    }

    /// Answers every key of a table that begins so, with its value, sorted. Those written in this transaction included.
    pub fn list(&self, table: &str, prefix: &str) -> Vec<(String, Bytes)> {
        let mut all: BTreeMap<String, Bytes> = self
            .view
            .list(table, prefix)
            .into_iter()
            .map(|(key, entry)| (key.to_owned(), entry.value.clone()))
            .collect();
        let written = self.last.get(table).into_iter().flat_map(|keys| keys.range(prefix.to_owned()..));
        for (key, at) in written.take_while(|(key, _)| key.starts_with(prefix)) {
            match &self.writes[*at] {
                Write::Put { value, .. } => drop(all.insert(key.clone(), value.clone())),
                Write::Delete { .. } => drop(all.remove(key)),
            }
        }
        all.into_iter().collect()
    }

    /// Writes bytes at a key.
    pub fn put(&mut self, table: &str, key: &str, value: impl Into<Bytes>) {
        self.note(table, key);
        self.writes.push(Write::Put { table: table.into(), key: Arc::from(key), value: value.into() });
    }

    /// Writes nothing at a key.
    pub fn delete(&mut self, table: &str, key: &str) {
        self.note(table, key);
        self.writes.push(Write::Delete { table: table.into(), key: Arc::from(key) });
    }

    /// Notes that the next write is about a key.
    fn note(&mut self, table: &str, key: &str) {
        let keys = self.last.entry(table.to_owned()).or_default();
        keys.insert(key.to_owned(), self.writes.len());
    }

    fn written(&self, table: &str, key: &str) -> Option<&Write> {
        self.last.get(table)?.get(key).map(|at| &self.writes[*at])
    }

    /// Answers an object of a kind.
    pub fn object(&self, kind: &Kind, key: &str) -> Option<Value> {
        let stored = self.get(kind.table, key).and_then(|bytes| serde_json::from_slice(&bytes).ok())?;
        Some(match kind.rules.conversion {
            None => stored,
            Some(conversion) => (conversion.from_stored)(stored),
        })
    }

    /// Writes an object, which gets the revision of the transaction. Answers it as it is stored.
    pub fn put_object(&mut self, kind: &Kind, object: &mut Value) -> Bytes {
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let key = kind.key(object);
        let text = match kind.rules.conversion {
            None => crate::body::text(object, kind.of_type()),
            Some(conversion) => {
                crate::body::text(&(conversion.to_stored)(object.clone()), kind.stored().of_type())
            }
        };
        let text = Bytes::from(text);
        self.put(kind.table, &key, text.clone());
        text
    }

    /// Ends it: what is to be written.
    pub fn finish(self) -> Vec<Write> {
        self.writes
    }
}
