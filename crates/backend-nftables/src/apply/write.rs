//! A delta as a transaction.

use std::collections::BTreeMap;

use backend::{ApplyError, Change, Delta, RefusedChange};
use model::Family;
use sys::nftables::{Batch, CommitError, ElementValue};

use super::encode::Counting;
use super::sticky::LostClients;
use super::{TABLE, encode, failed};
use crate::item::{Foreign, Key, Value, VerdictKind};
use crate::names::Set;

/// A batch with the change that each of its operations is for.
pub(super) struct Writer {
    family: Family,
    counting: Counting,
    batch: Batch,
    owners: Vec<Option<usize>>,
}

impl Writer {
    /// Begins a transaction of about so many changes.
    pub(super) fn new((family, counting): (Family, Counting), changes: usize) -> Self {
        /// What an IPv4 slot takes; others take more, and the buffer grows.
        const BYTES: usize = 64;
        let mut batch = Batch::new(family, TABLE);
        batch.reserve(changes * BYTES);
        Self { family, counting, batch, owners: Vec::with_capacity(changes) }
    }

    pub(super) fn finish(self) -> (Batch, Vec<Option<usize>>) {
        (self.batch, self.owners)
    }

    /// Adds what `write` writes on behalf of a change.
    pub(super) fn operation(&mut self, change: Option<usize>, write: impl FnOnce(&mut Batch)) {
        write(&mut self.batch);
        self.owners.resize(self.batch.len(), change);
    }

    /// Everything but the deletion of chains and sets, in an order in which nothing refers to what is not there:
    /// declarations, elements that go, rules, elements that come. An element that becomes another goes and comes.
    pub(super) fn changes(&mut self, delta: &Delta<'_, Key, Value>, lost: &LostClients, can_destroy: bool) {
        let each = || delta.changes.iter().enumerate();
        for (index, change) in each() {
            self.declare(index, change);
        }
        let by_set = elements_by_set(delta);
        for index in by_set.iter().copied().filter(|index| delta.changes[*index].before.is_some()) {
            self.remove_element(index, &delta.changes[index]);
        }
        if can_destroy {
            for (set, key) in lost.iter() {
                self.operation(None, |batch| batch.destroy_element(set, key));
            }
        }
        for (index, change) in each() {
            self.write_rules(index, change);
        }
        for index in by_set {
            self.add_element(index, &delta.changes[index]);
        }
    }

    fn declare(&mut self, index: usize, change: &Change<'_, Key, Value>) {
        match (change.key, change.before, change.after) {
            (Key::Set(set), None, Some(_)) => {
                let definition = encode::definition(set, self.counting);
                self.operation(Some(index), |batch| batch.add_set(&definition));
            }
            (Key::Chain(chain), None, Some(_)) => {
                let hook = chain.hook().map(encode::hook);
                self.operation(Some(index), |batch| batch.add_chain(&chain.to_string(), hook));
            }
            (Key::Chain(chain), Some(_), _) => {
                self.operation(Some(index), |batch| batch.flush_chain(&chain.to_string()));
            }
            (Key::Foreign(foreign), Some(_), None) => {
                if let Foreign::Chain(name) = &**foreign {
                    self.operation(Some(index), |batch| batch.flush_chain(name));
                }
            }
            _ => {}
        }
    }

    fn remove_element(&mut self, index: usize, change: &Change<'_, Key, Value>) {
        let (Some(set), Some((key, end))) = (change.key.set(), encode::element(change.key, self.family))
        else {
            return;
        };
        self.operation(Some(index), |batch| batch.delete_element(&set.name(), (&key, end.as_deref())));
    }

    fn write_rules(&mut self, index: usize, change: &Change<'_, Key, Value>) {
        let (Key::Chain(chain), Some(Value::Chain(body))) = (change.key, change.after) else { return };
        let name = chain.to_string();
        for rule in &body.rules {
            let rule = encode::rule(rule, self.family);
            self.operation(Some(index), |batch| batch.add_rule(&name, &rule));
        }
    }

    fn add_element(&mut self, index: usize, change: &Change<'_, Key, Value>) {
        let (Some(set), Some(value)) = (change.key.set(), change.after) else { return };
        let Some((key, end)) = encode::element(change.key, self.family) else { return };
        let name = set.name();
        let key = (&key[..], end.as_deref());
        match value {
            Value::Endpoint(endpoint) => {
                let data = encode::endpoint(*endpoint);
                self.operation(Some(index), |batch| {
                    batch.add_element(&name, key, (ElementValue::Data(&data), None))
                });
            }
            Value::Verdict(verdict) => {
                let comment = Some(&*verdict.comment).filter(|comment| !comment.is_empty());
                let chain = if let VerdictKind::Goto(chain) = &verdict.kind {
                    chain.to_string()
                } else {
                    String::new()
                };
                let value = match verdict.kind {
                    VerdictKind::Goto(_) => ElementValue::Goto(&chain),
                    VerdictKind::Drop => ElementValue::Drop,
                };
                self.operation(Some(index), |batch| batch.add_element(&name, key, (value, comment)));
            }
            Value::Present | Value::Chain(_) | Value::Odd => {
                self.operation(Some(index), |batch| {
                    batch.add_element(&name, key, (ElementValue::None, None))
                });
            }
        }
    }
}

/// The changes of elements, those of one set together: they share messages.
fn elements_by_set(delta: &Delta<'_, Key, Value>) -> Vec<usize> {
    let mut by_set: BTreeMap<Set, Vec<usize>> = BTreeMap::new();
    for (index, change) in delta.changes.iter().enumerate() {
        if let Some(set) = change.key.set() {
            by_set.entry(set).or_default().push(index);
        }
    }
    by_set.into_values().flatten().collect()
}

/// The deletion of chains and sets to which nothing leads any more: a transaction of its own, because older kernels
/// count what refers to them until the one before is through.
pub(super) fn deletions(family: Family, delta: &Delta<'_, Key, Value>) -> Batch {
    let mut batch = Batch::new(family, TABLE);
    let gone = || delta.changes.iter().filter(|change| change.after.is_none());
    for change in gone() {
        if let Some(name) = chain_name(change.key) {
            batch.delete_chain(&name);
        }
    }
    for change in gone() {
        if let Some(name) = set_name(change.key) {
            batch.delete_set(&name);
        }
    }
    batch
}

fn chain_name(key: &Key) -> Option<String> {
    let foreign = if let Key::Foreign(foreign) = key { Some(&**foreign) } else { None };
    match (key, foreign) {
        (Key::Chain(chain), _) => Some(chain.to_string()),
        (_, Some(Foreign::Chain(name))) => Some(name.clone()),
        _ => None,
    }
}

fn set_name(key: &Key) -> Option<String> {
    let foreign = if let Key::Foreign(foreign) = key { Some(&**foreign) } else { None };
    match (key, foreign) {
        (Key::Set(set), _) => Some(set.to_string()),
        (_, Some(Foreign::Set(name))) => Some(name.clone()),
        _ => None,
    }
}

/// `ENFILE`.
const FULL: i32 = 23;

/// Says which changes the kernel refused.
pub(super) fn blamed(error: CommitError, owners: &[Option<usize>]) -> ApplyError {
    let CommitError::Refused { refused } = &error else { return failed(error) };
    let changes = refused.iter().map(|refused| {
        let change = owners.get(refused.operation).copied().flatten()?;
        // The kernel says so with ENFILE, whose own words are about files.
        let is_full = refused.errno == FULL;
        let reason = if is_full { "its map is full".to_owned() } else { refused.to_string() };
        Some(RefusedChange { change, reason })
    });
    // An operation that is nobody's cannot be left out.
    match changes.collect::<Option<Vec<_>>>() {
        Some(changes) if !changes.is_empty() => ApplyError::Refused(changes),
        Some(_) | None => failed(error),
    }
}
