//! What a kind may see and write besides the object itself while it is written: all of it is one transaction.

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
        Self { view, writes: Vec::new(), chance, now, revision, is_dry_run: false }
    }

    /// Answers what a key has, as bytes.
    pub fn get(&self, table: &str, key: &str) -> Option<Bytes> {
        for write in self.writes.iter().rev() {
            match write {
                Write::Put { table: in_table, key: at, value } if (&**in_table, &**at) == (table, key) => {
                    return Some(value.clone());
                }
                Write::Delete { table: in_table, key: at } if (&**in_table, &**at) == (table, key) => {
                    return None;
                }
                Write::Put { .. } | Write::Delete { .. } => {}
            }
        }
        self.view.get(table, key).map(|entry| entry.value.clone())
    }

    /// Answers whether there is something at a key.
    pub fn has(&self, table: &str, key: &str) -> bool {
        self.get(table, key).is_some()
    }

    /// Answers every key of a table that begins so, with its value, sorted. Those written in this transaction included.
    pub fn list(&self, table: &str, prefix: &str) -> Vec<(String, Bytes)> {
        let mut all: std::collections::BTreeMap<String, Bytes> = self
            .view
            .list(table, prefix)
            .into_iter()
            .map(|(key, entry)| (key.to_owned(), entry.value.clone()))
            .collect();
        for write in &self.writes {
            match write {
                Write::Put { table: in_table, key, value }
                    if &**in_table == table && key.starts_with(prefix) =>
                {
                    all.insert((**key).to_owned(), value.clone());
                }
                Write::Delete { table: in_table, key } if &**in_table == table => {
                    all.remove(&**key);
                }
                Write::Put { .. } | Write::Delete { .. } => {}
            }
        }
        all.into_iter().collect()
    }

    /// Writes bytes at a key.
    pub fn put(&mut self, table: &str, key: &str, value: impl Into<Bytes>) {
        self.writes.push(Write::Put { table: table.into(), key: Arc::from(key), value: value.into() });
    }

    /// Writes nothing at a key.
    pub fn delete(&mut self, table: &str, key: &str) {
        self.writes.push(Write::Delete { table: table.into(), key: Arc::from(key) });
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
